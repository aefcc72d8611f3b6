"""A reproduction as a workflow of Snakemake, for clusters: its plan is made here, its rules are in `Snakefile`."""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from bisenet.config import plain
from bisenet.data import DATASETS
from bisenet.data.places import check_writable, work_folder
from bisenet.execution import Execution
from bisenet.files import write_json
from bisenet.notebook.batch import SMALL, needed_by, with_absolute_paths
from bisenet.notebook.shared import Parameters
from bisenet.runs.plan import Run
from bisenet.runs.store import output_folder, results_folder, run_folder, yours
from bisenet.runs.training import datasets, lacks, look_at

# Records and notebooks are always whole and trainings lock each other out, so Snakemake need not doubt a file nor lock
# the folder, in which several workflows may run. A disk that machines share may show a file late.
SETTINGS = ["--keep-going", "--retries", "3", "--ignore-incomplete", "--nolock", "--latency-wait", "60"]
SETTINGS += ["--rerun-triggers", "mtime", "params", "--scheduler", "greedy"]
CORES_OF_A_GPU = 8  # of which all but one read, if nobody says otherwise


def command(paths: list[Path], parameters: Parameters, execution: Execution, words: list[str]) -> list[str]:
    """Write the plan and return what starts it: Snakemake, with `words` for it.

    Without any it is on all cores of this machine, and where it trains with CUDA on its first GPU, one job at a time.
    ValueError for an execution on several devices: a job has one.
    """
    if execution.several:
        raise ValueError("each job trains one run on one device, many at a time; leave --devices and --num-nodes out")
    parameters, folder = with_absolute_paths(parameters), results_folder().resolve()
    check_writable(folder)
    if not words:
        execution = dataclasses.replace(execution, accelerator=execution.resolved_accelerator)
        words = ["--cores", "all", *(["--resources", "gpu=1"] if execution.accelerator == "cuda" else [])]
    plan = write_plan(paths, parameters, execution)
    snakefile = Path(__file__).with_name("Snakefile")
    files = ["--snakefile", str(snakefile), "--configfile", str(plan), "--directory", str(folder)]
    return [sys.executable, "-m", "snakemake", *files, *SETTINGS, *words]


def write_plan(paths: list[Path], parameters: Parameters, execution: Execution) -> Path:
    """What `Snakefile` reads, in `results/workflow/`, and beside it a file for the worker of each job.

    Each job reads both anew, so they are named by all that was asked for: another workflow writes others.
    """
    reproduced = output_folder(parameters.dataset, parameters.scale).resolve()
    asked = json.dumps([[str(path) for path in paths], plain(parameters), plain(execution)])
    name = f"{reproduced.name}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
    folder = results_folder().resolve() / "workflow" / name
    runs = able(needed_by(paths, parameters))
    _look_at_files(runs, parameters)
    names = {run.hash: _folder_of(run) for run in runs}
    for run in runs:
        root = parameters.data_root if run.dataset == parameters.dataset else _usual_root(run.dataset)
        job = {"run": plain(run), "data_root": root, "execution": plain(execution)}
        write_json(folder / f"{names[run.hash]}.json", job)
    notebooks = {}
    for path in paths:
        job = {"source": str(path), "output": str(reproduced / path.name), "parameters": plain(parameters)}
        write_json(folder / f"{path.stem}.json", job)
        its_runs = [names[run.hash] for run in needed_by([path], parameters) if run.hash in names]
        notebooks[path.stem] = {"source": str(path), "runs": its_runs}
    plan = {
        "plan": name,
        "setting": reproduced.name,
        "parameters": plain(parameters),
        "runs": {
            names[run.hash]: [names[run.base.hash]] if run.base and run.base.hash in names else [] for run in runs
        },
        "notebooks": notebooks,
        **_demands(parameters, execution),
    }
    path = folder.with_name(f"{name}.json")  # the name of a data set of your own may have a dot
    write_json(path, plan)
    return path


def _folder_of(run: Run) -> str:
    """The name of the folder where the record of a run is, or where one that trains it will write it."""
    return (yours().record_path(run).parent if yours().find(run) else run_folder(run)).name


def able(runs: list[Run]) -> list[Run]:
    """The runs that are recorded or can be trained, with those that they begin with; said is which cannot, and why."""
    chosen: dict[str, Run] = {}
    for run in runs:
        reason = "" if yours().find(run) else lacks(run)
        if reason and run.base and run.base.dataset != run.dataset and _trainable(run.base):
            chosen.setdefault(run.base.hash, run.base)
        elif reason:
            print(f"{run.name}: not run. {reason}", flush=True)
            continue
        chosen.setdefault(run.hash, run)
    return list(chosen.values())


def _trainable(base: Run) -> bool:
    """Whether a run on another data set can be trained first: it is not, and its files lie where they usually do."""
    if yours().find(base):
        return False
    try:
        datasets(base, _usual_root(base.dataset) or None)
    except FileNotFoundError:
        return False
    return True


def _usual_root(dataset: str) -> str:
    """Said to jobs, which run in another folder."""
    return str(work_folder().resolve() / "data" / dataset) if DATASETS[dataset].needs_files else ""


def _look_at_files(runs: list[Run], parameters: Parameters) -> None:
    """Files that are not there are noticed before anything is submitted."""
    missing = [run for run in runs if run.dataset == parameters.dataset and not yours().find(run)]
    if missing:
        look_at(datasets(missing[0], parameters.data_root or None), missing[0].training)


def _demands(parameters: Parameters, execution: Execution) -> dict[str, Any]:
    """What a job asks for: cores, MB, minutes for each try, and where runs are trained with CUDA a GPU."""
    on_gpu, small = execution.accelerator == "cuda", parameters.scale in SMALL
    cores = 1 + execution.workers if execution.workers >= 0 else CORES_OF_A_GPU
    resources = {"mem_mb": 8_000, "runtime": 240} if small else {"mem_mb": 32_000, "runtime": 1_440}
    return {
        "threads": cores if on_gpu else 1,  # a CPU's steps keep one core busy, and hardly two
        "resources": resources | ({"gpu": 1} if on_gpu else {}),
    }
