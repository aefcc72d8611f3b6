"""The records that came with the repository are of rows as they are planned today."""

from bisenet import paper
from bisenet.runs.plan import plan
from bisenet.runs.store import published, records_folder


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
