"""What the tests of several rooms share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bisenet import paper
from bisenet.runs.plan import FORMAT, plan
from bisenet.runs.record import Record


@pytest.fixture(autouse=True, scope="session")
def kept_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for compiled engines that is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BISENET_ENGINES", str(tmp_path_factory.getbasetemp() / "engines"))
        yield


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for what runs leave."""
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def record_of() -> Callable[..., Record]:
    """A record with a confusion matrix; fields are changed by name."""

    def make(confusion: Any, row: str = "table_2.ohem", dataset: str = "streets", **changes: Any) -> Record:
        run = plan(paper.row(row), dataset, "short", 0)
        about: dict[str, Any] = {name: getattr(run, name) for name in ("hash", "row", "scale", "dataset", "seed")}
        about |= {"model": run.model, "training": run.training, "images": {"train": 400, "test": 100}}
        about |= {"format": FORMAT, "initial": "", "source": "drawn", "date": "2026-01-01", "processes": []}
        about |= {"losses": {"iteration": [300], "loss": [1.0]}, "seconds": {"train": 1.0, "evaluate": 1.0}}
        return Record(**{**about, "confusion": confusion, **changes})

    return make
