"""The notebooks as a batch: executed by papermill through a strict engine, with an index of what came out.

papermill by itself only warns about a parameter that a notebook does not have, and goes on with the default.
"""

from __future__ import annotations

import ast
import os
import sys
import time
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from bisenet.data import choose
from bisenet.runs import REPOSITORY, output_folder

NOTEBOOKS = REPOSITORY / "notebooks"


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
    """The notebooks to execute; `only` names some by a beginning such as `table_2`. ValueError for an unknown one."""
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not only:
        return paths
    for name in only:
        if not any(path.stem.startswith(name) for path in paths):
            choose("notebook", name, [path.stem for path in paths])
    return [path for path in paths if path.stem.startswith(tuple(only))]


def reproduce(paths: list[Path], parameters: dict[str, Any]) -> Path:
    """Execute notebooks one after the other and return the index; a failed one does not keep the others from running.

    `parameters` go to each; raises RuntimeError at the end, naming those that failed.
    """
    folder = output_folder(parameters["dataset"], parameters["scale"])
    folder.mkdir(parents=True, exist_ok=True)
    lines, failed = [], []
    for path in paths:
        print(f"{path.stem} ...", flush=True)
        began, problem = time.monotonic(), _execute(path, folder / path.name, parameters)
        seconds = time.monotonic() - began
        print(f"{path.stem}: {problem or 'done'} ({seconds:.0f} s)", flush=True)
        failed += [path.stem] if problem else []
        table = f"[{path.stem}.csv]({path.stem}.csv)" if (folder / f"{path.stem}.csv").is_file() else ""
        lines.append(f"| [{path.stem}]({path.name}) | {table} | {seconds:.0f} | {problem or 'done'} |")
    index = _write_index(folder, parameters, lines)
    if failed:
        raise RuntimeError(f"failed: {', '.join(failed)}; the executed copies in {folder} show the errors")
    return index


def _execute(path: Path, output: Path, parameters: dict[str, Any]) -> str:
    """Run one notebook; returns what went wrong in one line, or nothing."""
    partial = output.with_suffix(f".{os.getpid()}.ipynb")
    how = {"engine_name": "strict", "kernel_name": "python3", "cwd": output.parent, "progress_bar": False}
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


def _write_index(folder: Path, parameters: dict[str, Any], lines: list[str]) -> Path:
    settings = ", ".join(f"{name} = {value}" for name, value in parameters.items() if name != "data_root")
    head = [f"# Reproduced: {parameters['dataset']}, {parameters['scale']}", "", settings, ""]
    table = ["| notebook | table | seconds | outcome |", "|---|---|---|---|", *lines, ""]
    index = folder / "index.md"
    index.write_text("\n".join(head + table))
    return index
