"""The notebooks as a batch: executed by papermill, with an index of what came out."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
import torch
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from bisenet import paper
from bisenet.config import choose, plain
from bisenet.data.places import CLONED, NOTEBOOKS, check_writable, work_folder
from bisenet.execution import Execution, cores
from bisenet.files import write_text
from bisenet.notebook.shared import Parameters
from bisenet.runs.forecast import Forecast, forecast_runs
from bisenet.runs.many import needed, train_side_by_side
from bisenet.runs.plan import Run
from bisenet.runs.store import output_folder, results_folder, yours
from bisenet.runs.training import datasets, lacks, look_at

# Figures of networks that stand in a table.
SHOWN = {"figure_8": "table_2", "figure_9": "table_2", "figure_10": "table_7"}
# Seconds, about, that notebooks measure with all engines installed; at the paper's scale on a GPU, a CPU takes days.
MEASURING = {
    "figure_1_speed_accuracy": {"smoke": 20.0, "short": 160.0, "long": 450.0, "paper": 1000.0},
    "speed": {"smoke": 520.0, "short": 1000.0, "long": 2000.0, "paper": 2500.0},
    "data_pipeline": {"smoke": 19.0, "short": 38.0, "long": 38.0, "paper": 58.0},
}


class NotebooksFailedError(RuntimeError):
    """Some notebooks of a batch failed; the message names them."""


class SocketKernelManager(AsyncKernelManager):
    """Kernels over Unix sockets: TCP ports are chosen before they are bound, and runs side by side race for them."""

    @default("transport")
    def _transport(self) -> str:
        return "tcp" if sys.platform == "win32" else "ipc"


def notebooks(only: list[str] | None = None) -> list[Path]:
    """The notebooks to execute; `only` names some, whole or by the beginning, as `table_2`. ValueError for others."""
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not only:
        return paths
    chosen = [path for path in paths if any(path.stem == name or path.stem.startswith(f"{name}_") for name in only)]
    for name in only:
        if not any(path.stem == name or path.stem.startswith(f"{name}_") for path in chosen):
            short = ["_".join(path.stem.split("_")[:2]) for path in paths]
            choose("notebook", name, dict.fromkeys([*short, *(path.stem for path in paths)]))
    return chosen


def needed_by(paths: Iterable[Path], parameters: Parameters) -> list[Run]:
    """The distinct runs that notebooks train: `table_3_semantic_branch` has those of tables 3a, 3b and 3c."""
    numbers = {"_".join(path.stem.split("_")[:2]) for path in paths}
    numbers |= {table for figure, table in SHOWN.items() if figure in numbers}
    tables = [name for name in (*paper.TABLES, *paper.PUBLISHED) if name.rstrip("abc") in numbers]
    if "claims" in numbers:
        tables = [*dict.fromkeys((*paper.TABLES, *tables))]
    return needed(tables, parameters.dataset, parameters.scale, parameters.seeds)


SMALL = ("smoke", "short", "long")  # scales whose steps do not fill a device


def places(parameters: Parameters, execution: Execution) -> list[str]:
    """Where runs are trained at a time (`train_side_by_side`): on every GPU one, or four where they are small.

    On a CPU the steps of the small scales keep one core busy, and hardly two. One run on several devices is alone.
    """
    if execution.several:
        return [""]
    if execution.resolved_accelerator == "cpu":
        return [""] * (min(4, cores()) if parameters.scale in SMALL else 1)
    if execution.resolved_accelerator != "cuda":
        return [""]
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    devices = shown.split(",")[:count] if shown else [str(number) for number in range(count)]
    reading = execution.workers if execution.workers >= 0 else 1  # at the least
    together = min(4, max(1, cores() // (len(devices) * (1 + reading)))) if parameters.scale in SMALL else 1
    return devices * together


def forecast(runs: list[Run], parameters: Parameters, paths: list[Path], execution: Execution) -> Forecast:
    """What training and executing will cost (`forecast.forecast_runs`), several runs at a time where that is faster."""
    at_a_time, threads = places(parameters, execution), torch.get_num_threads()
    processes = len({*at_a_time}) if at_a_time[0] else len(at_a_time)  # what runs gain that share a GPU is not known
    torch.set_num_threads(max(1, threads // processes))
    try:
        reading = sum(seconds_stored(path) for path in paths)  # beside what is measured
        reading += sum(MEASURING[path.stem][parameters.scale] for path in paths if path.stem in MEASURING)
        return forecast_runs(runs, execution, notebooks=len(paths), reading=reading, start=start, processes=processes)
    finally:
        torch.set_num_threads(threads)


def start() -> float:
    """Seconds that a notebook takes to start: a fresh interpreter with what the notebooks import."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "bisenet.notebook.shared"], check=True)
    return time.perf_counter() - began


def seconds_stored(path: Path) -> float:
    """How long the cells of a notebook ran when its stored outputs were made, by the times stored with them."""
    times = [cell.metadata.get("execution", {}) for cell in nbformat.read(path, as_version=4).cells]
    spans = [(pd.Timestamp(t["iopub.status.busy"]), pd.Timestamp(t["iopub.status.idle"])) for t in times if t]
    return sum((idle - busy).total_seconds() for busy, idle in spans)


def reproduce(paths: list[Path], parameters: Parameters, execution: Execution | None = None) -> Path:
    """Execute notebooks one after the other and return the index; a failed one does not keep the others from running.

    What it will cost is said before. `parameters` go to each; NotebooksFailedError at the end names those that failed.
    What is asked of the `execution` of runs, such as devices, holds for those that are trained before the notebooks.
    """
    execution = execution or Execution()
    folder = output_folder(parameters.dataset, parameters.scale)
    check_writable(folder)
    parameters = with_absolute_paths(parameters)
    runs = needed_by(paths, parameters)
    missing = [run for run in runs if not yours().find(run) and not lacks(run)]
    if missing:  # files that are not there are noticed before anything is timed
        look_at(datasets(missing[0], parameters.data_root or None), missing[0].training)
    cost = forecast(runs, parameters, paths, execution)
    print(f"{parameters.setting}: {cost}", flush=True)
    at_a_time = places(parameters, execution)
    if missing and (len(at_a_time) > 1 or execution != Execution()):
        longest_first = sorted(missing, key=lambda run: -cost.seconds.get(run.name, 0.0))  # unless recorded meanwhile
        train_side_by_side(longest_first, at_a_time, parameters.data_root, execution)
    failed = []
    for path in paths:
        print(f"{path.stem} ...", flush=True)
        began, problem = time.monotonic(), execute(path, folder / path.name, plain(parameters))
        print(f"{path.stem}: {problem or 'done'} ({time.monotonic() - began:.0f} s)", flush=True)
        failed += [path.stem] if problem else []
    index = write_index(folder)
    if failed:
        raise NotebooksFailedError(f"failed: {', '.join(failed)}; the executed copies in {folder} show the errors")
    return index


def with_absolute_paths(parameters: Parameters) -> Parameters:
    """For processes that run in folders of their own: the same parameters, and the environment of this process."""
    os.environ["BISENET_RESULTS"] = str(results_folder().resolve())
    for name in ("BISENET_IMAGENET", "BISENET_CACHE", "BISENET_ENGINES"):
        if value := os.environ.get(name):
            os.environ[name] = str(Path(value).expanduser().resolve())
    if not CLONED and not parameters.data_root and (place := work_folder() / "data" / parameters.dataset).is_dir():
        return dataclasses.replace(parameters, data_root=str(place))
    return parameters


def execute(path: Path, output: Path, parameters: dict[str, Any]) -> str:
    """Run one notebook; returns what went wrong in one line, or nothing."""
    output.with_suffix(".csv").unlink(missing_ok=True)  # a table must not outlive the notebook that made it
    how = {"kernel_name": "python3", "cwd": output.parent, "progress_bar": False}
    how |= {"coalesce_streams": True, "kernel_manager_class": SocketKernelManager}  # a progress bar is one output
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        partial = Path(folder) / output.name
        try:  # what the cells print is shown while they run: training takes minutes
            known = papermill.inspect_notebook(path)
            for name in parameters:  # of one that a notebook does not have papermill would only warn
                choose("parameter", name, known)
            papermill.execute_notebook(path, partial, parameters, stdout_file=sys.stdout, **how)
        except PapermillExecutionError as error:
            return f"{error.ename}: {error.evalue}".splitlines()[0]
        except (ValueError, DeadKernelError) as error:
            return str(error)
        finally:
            if partial.exists():
                partial.replace(output)
    return ""


def write_index(folder: Path) -> Path:
    """`index.md`: every executed notebook in the folder, with its parameters, table, duration and outcome."""
    lines = ["# Reproduced", "", "| notebook | parameters | table | seconds | outcome |", "|---|---|---|---|---|"]
    for path in sorted(folder.glob("*.ipynb")):
        done = nbformat.read(path, as_version=4)
        facts = done.metadata["papermill"]
        settings = ", ".join(f"{name} = {value}" for name, value in facts["parameters"].items() if name != "data_root")
        outputs = [output for cell in done.cells for output in cell.get("outputs", ())]
        errors = [f"{o.ename}: {o.evalue}".splitlines()[0] for o in outputs if o.output_type == "error"]
        outcome = errors[0].replace("|", "/") if errors else "done"
        table = f"[CSV]({path.stem}.csv)" if path.with_suffix(".csv").is_file() else ""
        seconds = f"{facts['duration'] or 0:.0f}"
        lines.append(f"| [{path.stem}]({path.name}) | {settings} | {table} | {seconds} | {outcome} |")
    return write_text(folder / "index.md", "\n".join([*lines, ""]))
