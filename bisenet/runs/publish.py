"""Runs of yours become records of the repository: checked, then copied into `results/records/`."""

import math
import re
from pathlib import Path

import numpy as np
import torch

from bisenet import paper
from bisenet.files import WEIGHTS_FOLDER
from bisenet.model import BiSeNetV2
from bisenet.runs.plan import plan
from bisenet.runs.record import Record
from bisenet.runs.store import records_folder, results_folder


def publish(run: str | Path, *, weights: bool = False) -> Path:
    """Copy the record of a run, and with `weights` its network in half precision; returns the record's path.

    `run` is a folder with `record.json`, or the name or hash of one in `results/runs/`. ValueError for a record that
    is of no row as it is planned today, of changed or several states of the code, or of another commit than what is
    published of its data set and scale; and for one that would replace another.
    """
    folder, record = _found(run)
    name = _check(record)
    target = next(records_folder().glob(f"*-{record.hash}.json"), records_folder() / f"{name}.json")
    if target.exists() and Record.load(target) != record:
        raise ValueError(f"{target.name} is there already with other numbers; remove it first if it is to be replaced")
    if weights:
        _network(folder, record).save(target.with_suffix(".safetensors"), torch.float16)
    record.save(target)
    return target


def ship(run: str | Path, name: str) -> Path:
    """Put the network of a run among the weights of the package, in half precision, with its record beside it.

    It may have been trained with a recipe of its own, and go on from other weights: the record says so. Afterwards
    `name` means it wherever weights are asked for. ValueError as of `publish`, for the state of the code and numbers.
    """
    folder, record = _found(run)
    _check_state(record)
    target = WEIGHTS_FOLDER / f"{name}.safetensors"
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"{name!r} is no name for weights: letters, digits, - and _ only")
    beside = target.with_suffix(".json")
    if target.exists() and not (beside.exists() and Record.load(beside) == record):
        raise ValueError(f"{target.name} is there already, of another run; remove it first if it is to be replaced")
    _network(folder, record).save(target, torch.float16)
    record.save(beside)
    return target


def _network(folder: Path, record: Record) -> BiSeNetV2:
    network = BiSeNetV2.load(folder / "weights.safetensors")
    if network.config != record.model:
        raise ValueError(f"{folder / 'weights.safetensors'} is of another network than its record")
    return network


def _found(run: str | Path) -> tuple[Path, Record]:
    """The folder of a run and its record."""
    paths = (results_folder() / "runs").glob("*/record.json")
    named = [path.parent for path in paths if str(run) in (path.parent.name, path.parent.name.split("-")[-1])]
    if (Path(run) / "record.json").is_file():
        named = [Path(run)]
    if not named:
        looked = f"looked for that folder, and in {results_folder() / 'runs'}"
        raise FileNotFoundError(f"no record of {run}: {looked}; name a folder with record.json")
    return named[0], Record.load(named[0] / "record.json")


def _check(record: Record) -> str:
    """The name of the run, if its record may be published."""
    if record.scale == "custom":
        raise ValueError(f"{record.row} {record.hash} was trained with --set or --weights: it is no table's row")
    run = plan(paper.row(record.row), record.dataset, record.scale, record.seed)
    if run.hash != record.hash:
        raise ValueError(f"{record.row} {record.hash} is of another recipe or network than {run.name} today")
    paths = records_folder().glob(f"*-{run.dataset}-{run.scale}-seed*.json")  # of which no table mixes two commits
    others = {process["git"]["commit"] for path in paths for process in Record.load(path).processes}
    commit = _check_state(record)
    if others - {commit}:
        raise ValueError(
            f"{run.name} is of commit {commit}, what is published of {run.dataset}, {run.scale} of "
            f"{', '.join(sorted(others))}: train it in a clone of that, or remove the others"
        )
    return run.name


def _check_state(record: Record) -> str:
    """The commit of a run, if it was of one clean state of the code and its numbers are finite."""
    name = f"{record.row} {record.hash}"
    states = {(process["git"]["commit"], process["git"]["dirty"]) for process in record.processes}
    if len(states) > 1 or states & {(None, None)} or any(dirty for _, dirty in states):
        said = ", ".join(f"{str(commit)[:7]}{' + changes' * bool(dirty)}" for commit, dirty in sorted(states, key=str))
        raise ValueError(f"{name} is of changed or several states of the code ({said}): train it in a clean clone")
    if not math.isfinite(record.miou) or not np.isfinite(record.losses["loss"]).all():
        raise ValueError(f"{name} has a score or a loss that is not finite")
    return str(states.pop()[0])
