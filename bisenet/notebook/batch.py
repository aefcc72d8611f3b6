"""The notebooks as a batch: executed by papermill through a strict engine, with an index of what came out.

papermill by itself only warns about a parameter that a notebook does not have, and goes on with the default.
"""

import ast
import dataclasses
import datetime
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
import papermill
import torch
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from bisenet import paper
from bisenet.config import choose
from bisenet.data.places import CLONED, NOTEBOOKS, work_folder
from bisenet.execution import Execution
from bisenet.files import write_text
from bisenet.inference import engines
from bisenet.notebook.shared import COMPARED, Parameters
from bisenet.runs.forecast import Forecast, forecast_runs
from bisenet.runs.many import needed, train_side_by_side
from bisenet.runs.plan import Run
from bisenet.runs.store import check_writable, output_folder, results_folder, yours
from bisenet.runs.training import datasets, lacks, look_at
from bisenet.speed import bench, peers, ways

SHOWN = {
    "figure_8": "table_2",
    "figure_9": "table_2",
    "figure_10": "table_7",
}  # figures of networks that stand in a table
# Seconds, about, that notebooks measure other things than networks: steps of training, the reading of images.
MEASURING = {
    "speed": {"smoke": 11.0, "short": 80.0, "long": 160.0, "paper": 220.0},
    "data_pipeline": {"smoke": 19.0, "short": 38.0, "long": 38.0, "paper": 58.0},
}


class NotebooksFailedError(RuntimeError):
    """Some notebooks of a batch failed; the message names them."""


class SocketKernelManager(AsyncKernelManager):
    """Kernels over Unix sockets: TCP ports are chosen before they are bound, and runs side by side race for them."""

    @default("transport")
    def _transport(self) -> str:
        return "tcp" if sys.platform == "win32" else "ipc"


class StrictEngine(NBClientEngine):
    """papermill's engine, but unknown parameters fail, and a progress bar is one output instead of hundreds."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        check_parameters(nb_man.nb)
        options |= {"coalesce_streams": True, "kernel_manager_class": SocketKernelManager}
        return super().execute_managed_notebook(nb_man, kernel_name, **options)


papermill_engines.register("strict", StrictEngine)


def check_parameters(notebook: Any) -> None:
    """ValueError if papermill injected a name that the notebook's parameters cell does not assign."""
    cells = {tag: cell for cell in notebook.cells for tag in cell.metadata.get("tags", ())}
    if "injected-parameters" not in cells:
        return
    if "parameters" not in cells:
        raise ValueError("the notebook has no cell tagged 'parameters', so it takes none")
    known = _assigned(cells["parameters"].source)
    for name in _assigned(cells["injected-parameters"].source):
        choose("parameter", name, known)


def _assigned(source: str) -> list[str]:
    targets = [target for node in ast.parse(source).body if isinstance(node, ast.Assign) for target in node.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]


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
    cores = os.cpu_count() or 1
    if execution.resolved_accelerator == "cpu":
        return [""] * (min(4, cores) if parameters.scale in SMALL else 1)
    if execution.resolved_accelerator not in ("cuda", "gpu"):
        return [""]
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    devices = shown.split(",")[:count] if shown else [str(number) for number in range(count)]
    together = min(4, max(1, cores // (len(devices) * (1 + execution.workers)))) if parameters.scale in SMALL else 1
    return devices * together


def forecast(runs: list[Run], parameters: Parameters, paths: list[Path], execution: Execution) -> Forecast:
    """What training and executing will cost (`forecast.forecast_runs`), several runs at a time where that is faster."""
    processes, threads = len(places(parameters, execution)), torch.get_num_threads()
    torch.set_num_threads(max(1, threads // processes))
    try:
        reading = sum(seconds_stored(path) for path in paths) + measuring(paths, parameters.scale)
        return forecast_runs(runs, execution, notebooks=len(paths), reading=reading, start=start, processes=processes)
    finally:
        torch.set_num_threads(threads)


def start() -> float:
    """Seconds that a notebook takes to start: a fresh interpreter with what the notebooks import."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "bisenet.notebook.shared"], check=True)
    return time.perf_counter() - began


def measuring(paths: Iterable[Path], scale: str) -> float:
    """Seconds that notebooks will measure, beside what their cells take when they only read."""
    chosen = {path.stem for path in paths}
    total = sum(MEASURING[name][scale] for name in chosen if name in MEASURING)
    if "figure_1_speed_accuracy" in chosen:
        total += bench.seconds_of(peers.NETWORKS, [bench.EAGER], scale)
    if "speed" in chosen:
        possible = [name for name in engines.ENGINES if not bench.why_not(name, "fp32")]
        total += bench.seconds_of(peers.chosen(COMPARED), possible, scale) + ways.seconds_of(scale)
    return total


def seconds_stored(path: Path) -> float:
    """How long the cells of a notebook ran when its stored outputs were made, by the times stored with them."""
    times = [cell.metadata.get("execution", {}) for cell in nbformat.read(path, as_version=4).cells]
    spans = [(of_cell["iopub.status.busy"], of_cell["iopub.status.idle"]) for of_cell in times if of_cell]
    return sum((_moment(idle) - _moment(busy)).total_seconds() for busy, idle in spans)


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def reproduce(paths: list[Path], parameters: Parameters, execution: Execution | None = None) -> Path:
    """Execute notebooks one after the other and return the index; a failed one does not keep the others from running.

    What it will cost is said before. `parameters` go to each; NotebooksFailedError at the end names those that failed.
    What is asked of the `execution` of runs, such as devices, holds for those that are trained before the notebooks.
    """
    execution = execution or Execution()
    folder = output_folder(parameters.dataset, parameters.scale)
    check_writable(folder)
    os.environ["BISENET_RESULTS"] = str(results_folder().resolve())  # notebooks run in a folder of their own
    if not CLONED and not parameters.data_root and (place := work_folder() / "data" / parameters.dataset).is_dir():
        parameters = dataclasses.replace(parameters, data_root=str(place))
    if value := os.environ.get("BISENET_IMAGENET"):
        os.environ["BISENET_IMAGENET"] = str(Path(value).expanduser().resolve())
    runs = needed_by(paths, parameters)
    missing = [run for run in runs if not yours().find(run) and not lacks(run)]
    if missing:  # files that are not there are noticed before anything is timed
        look_at(datasets(missing[0], parameters.data_root or None), missing[0].training)
    cost = forecast(runs, parameters, paths, execution)
    print(f"{parameters.setting}: {cost}", flush=True)
    at_a_time = places(parameters, execution)
    if missing and (len(at_a_time) > 1 or execution != Execution()):
        longest_first = sorted(missing, key=lambda run: -cost.seconds[run.name])
        train_side_by_side(longest_first, at_a_time, parameters.data_root, execution)
    failed = []
    for path in paths:
        print(f"{path.stem} ...", flush=True)
        began, problem = time.monotonic(), _execute(path, folder / path.name, dataclasses.asdict(parameters))
        print(f"{path.stem}: {problem or 'done'} ({time.monotonic() - began:.0f} s)", flush=True)
        failed += [path.stem] if problem else []
    index = write_index(folder)
    if failed:
        raise NotebooksFailedError(f"failed: {', '.join(failed)}; the executed copies in {folder} show the errors")
    return index


def _execute(path: Path, output: Path, parameters: dict[str, Any]) -> str:
    """Run one notebook; returns what went wrong in one line, or nothing."""
    output.with_suffix(".csv").unlink(missing_ok=True)  # a table must not outlive the notebook that made it
    how = {"engine_name": "strict", "kernel_name": "python3", "cwd": output.parent, "progress_bar": False}
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        partial = Path(folder) / output.name
        try:  # what the cells print is shown while they run: training takes minutes
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
        table = f"[CSV]({path.stem}.csv)" if path.with_suffix(".csv").is_file() else ""
        lines.append(
            f"| [{path.stem}]({path.name}) | {settings} | {table} | {facts['duration'] or 0:.0f} | {_outcome(done)} |"
        )
    return write_text(folder / "index.md", "\n".join([*lines, ""]))


def _outcome(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    errors = [f"{o.ename}: {o.evalue}".splitlines()[0] for o in outputs if o.output_type == "error"]
    return errors[0].replace("|", "/") if errors else "done"
