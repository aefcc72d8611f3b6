"""Runs of yours become records of the repository: checked, then copied into `results/records/`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bisenet import paper
from bisenet.config import plain
from bisenet.evaluate import miou
from bisenet.files import write_json
from bisenet.model import BiSeNetV2
from bisenet.runs.plan import plan
from bisenet.runs.store import Record, records_folder, results_folder


def publish(run: str | Path, *, weights: bool = False) -> Path:
    """Copy the record of a run, and with `weights` its network in half precision; returns the record's path.

    `run` is a folder with `record.json`, or the name or hash of one in `results/runs/`. ValueError for a record that
    is of no row as it is planned today, of changed or several states of the code, or of another commit than what is
    published of its data set and scale; and for one that would replace another.
    """
    folder = _folder(run)
    record = json.loads((folder / "record.json").read_text())
    name = _check(record)
    target = next(records_folder().glob(f"*-{record['hash']}.json"), records_folder() / f"{name}.json")
    if target.exists() and json.loads(target.read_text()) != record:
        raise ValueError(f"{target.name} is there already with other numbers; remove it first if it is to be replaced")
    if weights:
        network = BiSeNetV2.load(folder / "weights.safetensors")
        if plain(network.config) != record["model"]:
            raise ValueError(f"{folder / 'weights.safetensors'} is of another network than its record")
        network.save(target.with_suffix(".safetensors"), torch.float16)
    write_json(target, record)
    return target


def _folder(run: str | Path) -> Path:
    if (Path(run) / "record.json").is_file():
        return Path(run)
    paths = (results_folder() / "runs").glob("*/record.json")
    named = [path.parent for path in paths if str(run) in (path.parent.name, path.parent.name.split("-")[-1])]
    if not named:
        raise FileNotFoundError(f"no record of {run}: looked for that folder, and in {results_folder() / 'runs'}")
    return named[0]


def _check(record: Record) -> str:
    """The name of the run, if its record may be published."""
    if record["scale"] == "custom":
        raise ValueError(f"{record['row']} {record['hash']} was trained with --set or --weights: it is no table's row")
    run = plan(paper.row(record["row"]), record["dataset"], record["scale"], record["seed"])
    if run.hash != record["hash"]:
        raise ValueError(f"{record['row']} {record['hash']} is of another recipe or network than {run.name} today")
    states = {(process["git"]["commit"], process["git"]["dirty"]) for process in record["processes"]}
    if len(states) > 1 or states & {(None, None)} or any(dirty for _, dirty in states):
        said = ", ".join(f"{str(commit)[:7]}{' + changes' * bool(dirty)}" for commit, dirty in sorted(states, key=str))
        raise ValueError(f"{run.name} is of changed or several states of the code ({said}): train it in a clean clone")
    if not math.isfinite(miou(np.array(record["confusion"]))) or not np.isfinite(record["losses"]["loss"]).all():
        raise ValueError(f"{run.name} has a score or a loss that is not finite")
    (commit, _), others = states.pop(), _commits(run.dataset, run.scale)
    if others - {commit}:
        raise ValueError(
            f"{run.name} is of commit {commit}, what is published of {run.dataset}, {run.scale} of "
            f"{', '.join(sorted(others))}: train it in a clone of that, or remove the others"
        )
    return run.name


def _commits(dataset: str, scale: str) -> set[Any]:
    """The commits of what is published, so that no table mixes two."""
    paths = records_folder().glob(f"*-{dataset}-{scale}-seed*.json")
    return {process["git"]["commit"] for path in paths for process in json.loads(path.read_text())["processes"]}
