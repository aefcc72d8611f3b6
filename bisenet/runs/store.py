"""Where records and weights are: two stores, yours and the repository's.

Reading (`train = False`) shows what came with the repository, reproducing (`train = True`) trusts only your own.
"""

import dataclasses
import os
from pathlib import Path

from bisenet.data.places import REPOSITORY, work_folder
from bisenet.runs.plan import Run
from bisenet.runs.record import Record


@dataclasses.dataclass(frozen=True)
class Store:
    """Records and weights of runs in a folder: the files of a run, by its name, which ends with its hash."""

    root: Path
    record: str
    weights: str

    def record_path(self, run: Run) -> Path:
        """Where the record of a run is or will be: by its hash if it is there, whatever its row was called."""
        return self._path(run, self.record)

    def weights_path(self, run: Run) -> Path:
        """Where its weights are or will be."""
        return self._path(run, self.weights)

    def find(self, run: Run) -> Record | None:
        path = self._path(run, self.record)
        return Record.load(path) if path.is_file() else None

    def records(self) -> dict[Path, Record]:
        """All of them, by their files."""
        return {path: Record.load(path) for path in sorted(self.root.glob(self.record.format("*")))}

    def _path(self, run: Run, pattern: str) -> Path:
        """Where a file of a run is or will be: by its hash if it is there, whatever its row was called."""
        return min(self.root.glob(pattern.format(f"*-{run.hash}")), default=self.root / pattern.format(run.name))


def yours() -> Store:
    """What you have run: a folder for each run."""
    return Store(results_folder() / "runs", "{}/record.json", "{}/weights.safetensors")


def published() -> Store:
    """What came with the repository."""
    return Store(records_folder(), "{}.json", "{}.safetensors")


def results_folder() -> Path:
    """`results/` of the clone (of a package that was installed by itself, in this folder), or where the environment
    variable BISENET_RESULTS points; empty is not set.
    """
    named = os.environ.get("BISENET_RESULTS")
    return Path(named).expanduser() if named else work_folder() / "results"


def output_folder(dataset: str, scale: str) -> Path:
    """Where the notebooks that were executed as a batch go, and their tables."""
    return results_folder() / "reproduced" / f"{dataset}-{scale}"


def records_folder() -> Path:
    """Records that came with the repository."""
    return REPOSITORY / "results" / "records"


def run_folder(run: Run) -> Path:
    """The folder of a run of yours: by its hash if there is one, whatever the row was called when it began."""
    folders = results_folder() / "runs"
    return next((path for path in folders.glob(f"*-{run.hash}") if path.is_dir()), folders / run.name)
