"""Where records and weights are.

Records live in two places: `results/records/` holds those that came with the repository, and `results/runs/` yours.
Reading (`train = False`) shows the former, reproducing (`train = True`) trusts only the latter.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bisenet.runs.plan import Run
from bisenet.runs.provenance import REPOSITORY

Record = dict[str, Any]


def results_folder() -> Path:
    """`results/` in the repository, or where the environment variable BISENET_RESULTS points."""
    return Path(os.environ.get("BISENET_RESULTS", REPOSITORY / "results"))


def output_folder(dataset: str, scale: str) -> Path:
    """Where the notebooks that were executed as a batch go, and their tables."""
    return results_folder() / "reproduced" / f"{dataset}-{scale}"


def records_folder() -> Path:
    """Records that came with the repository."""
    return REPOSITORY / "results" / "records"


def find(run: Run, mine: bool) -> Record | None:
    """The record of a run, by its hash: among yours, or among those that came with the repository."""
    path = record_path(run, mine)
    return json.loads(path.read_text()) if path else None


def record_path(run: Run, mine: bool) -> Path | None:
    """The file of that record."""
    pattern = f"runs/*-{run.hash}/record.json" if mine else f"*-{run.hash}.json"
    return min((results_folder() if mine else records_folder()).glob(pattern), default=None)


def weights_path(run: Run, mine: bool = True) -> Path:
    """Where the weights of your run are, once it is recorded; or those that came with the repository, if any did."""
    if mine:
        return run_folder(run) / "weights.safetensors"
    return min(records_folder().glob(f"*-{run.hash}.safetensors"), default=records_folder() / f"{run.name}.safetensors")


def run_folder(run: Run) -> Path:
    """The folder of a run: by its hash if there is one, whatever the row was called when it began."""
    folders = results_folder() / "runs"
    return next((path for path in folders.glob(f"*-{run.hash}") if path.is_dir()), folders / run.name)


def check_writable(folder: Path) -> None:
    """Notice a read-only or full disk before hours of training, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"probe.{os.getpid()}"
        probe.write_bytes(bytes(1 << 20))
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"cannot write to {folder} ({error.strerror}); free some space, or set BISENET_RESULTS to another folder"
        ) from error
