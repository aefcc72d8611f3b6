"""Where records are, and that those of the repository are of rows as they are planned today."""

import pytest

from bisenet import paper
from bisenet.data import open_dataset
from bisenet.data.places import REPOSITORY
from bisenet.files import replacing
from bisenet.runs.plan import plan
from bisenet.runs.store import published, records_folder, results_folder


def test_every_record_is_of_some_row() -> None:
    """A record of a recipe that has changed would be shown by nobody."""
    rows = [row for name in paper.TABLES for row in paper.table(name)]
    rows += [row for name in paper.PUBLISHED for row in paper.ours(name).values()]
    assert published().records()
    for path, record in published().records().items():
        known = {plan(row, record.dataset, record.scale, record.seed).hash for row in rows}
        assert record.hash in known, path.name
    for path in records_folder().glob("*.safetensors"):
        assert path.with_suffix(".json").is_file(), path.name


def test_a_home_folder_and_an_empty_name_are_understood(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BISENET_RESULTS", "~/mine")
    assert results_folder() == tmp_path / "mine"
    monkeypatch.setenv("BISENET_RESULTS", "")
    assert results_folder() == REPOSITORY / "results"
    for part in ("train", "trainannot"):
        (tmp_path / "camvid" / part).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=f"no PNG images below {tmp_path / 'camvid'}"):
        open_dataset("camvid", "train", root="~/camvid")


def test_two_writers_of_one_file_do_not_meet(tmp_path) -> None:
    """In two containers on one disk both may be process 7."""
    path = tmp_path / "record.json"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first" and [*tmp_path.iterdir()] == [path]
