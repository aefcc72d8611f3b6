"""The page of results: statuses that can be checked by hand, and files that stand by themselves."""

import dataclasses
import itertools
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bisenet import paper
from bisenet.evaluate import iou
from bisenet.report import ablations, page, summary
from bisenet.report.verdict import NOT_RUN
from bisenet.runs import provenance
from bisenet.runs.many import find_all
from bisenet.runs.plan import plan
from bisenet.runs.provenance import NOTEBOOKS
from bisenet.runs.record import Record
from bisenet.runs.store import Store, published, records_folder, yours

NAN = math.nan


def test_statuses_of_gains() -> None:
    lines = {  # the paper's gain, ours, its interval
        "base": (NAN, NAN, NAN, NAN),
        "more": (5, 4, 1, 7),
        "hardly more": (5, 1, -2, 4),
        "less": (5, -4, -7, -1),
        "one seed less": (5, -1, NAN, NAN),
        "not there": (5, NAN, NAN, NAN),
        "not printed": (NAN, 4, 1, 7),
    }
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["gain_paper", "gain", "gain_low", "gain_high"])
    statuses = summary.gain_statuses(table.rename_axis("row").reset_index(), "base")
    resolved = ["resolved, same sign", "unresolved, same sign", "resolved, other sign"]
    assert statuses == ["base", *resolved, "one seed, other sign", "not run", "resolved"]


def test_33_of_36_figures_are_reproduced_and_the_others_near() -> None:
    """With torchvision's ShuffleNetV2; with that of its authors, in the ledger, they are 34."""
    counts = overview()["GFLOPs"]
    assert (counts["reproduced"], counts["within 0.1 %"], sum(counts.values())) == (33, 3, 36)


def overview() -> dict[str, dict[str, int]]:
    """The first table of the page, by what is counted and by status."""
    lines = [
        line.split("|")[1:-1]
        for line in summary.overview(summary.Recorded(published(), folder=Path("results"))).splitlines()
    ]
    (_, *names), _, *rows = [[cell.strip() for cell in line] for line in lines]
    return {name: {row[0]: int(row[place]) for row in rows} for place, name in enumerate(names, start=1)}


def test_miou_by_place_is_over_the_seeds_that_count_it(record_of: Callable[..., Record]) -> None:
    """Of two classes: near, one pixel of four is wrong; elsewhere none."""
    rows = paper.table("table_2")[:2]
    near, far = np.array([[2, 0], [1, 1]]), np.array([[4, 0], [0, 4]])
    counted = {"radius": 4, "confusion": near.tolist()}
    record = record_of((near + far).tolist(), near_boundaries=counted)
    older = record_of(far.tolist(), near_boundaries={**counted, "radius": 3})
    places = ablations.by_place(rows, {"table_2.detail": [record, record, older]}).set_index(["row", "place"])
    assert places.loc[("detail", "near"), "scores"] == pytest.approx([100 * (2 / 3 + 1 / 2) / 2] * 2)
    assert places.loc[("detail", "elsewhere"), "scores"] == pytest.approx([100, 100])
    assert places.loc[("semantic", "near"), "scores"] == []
    claim = ablations.claim(places.reset_index(), "detail", "semantic", "near")
    assert claim == {"here": "-", "95 % interval": "", "verdict": NOT_RUN}


def test_claims_by_place_hold_only_beyond_the_interval() -> None:
    lines = [("a", "near", [20, 21, 22]), ("b", "near", [15, 16, 17]), ("c", "near", [19, 20, 22])]
    places = pd.DataFrame(lines, columns=["row", "place", "scores"])
    held = [ablations.claim(places, *rows, "near")["verdict"] for rows in (("a", "b"), ("b", "a"), ("a", "c"))]
    assert held == ["holds", "fails", "unresolved"]
    half = 2.776445 * (2 / 3) ** 0.5  # Student's t of four degrees of freedom
    assert ablations.claim(places, "a", "b", "near")["95 % interval"] == f"{5 - half:+.2f} to {5 + half:+.2f}"


def test_what_the_readme_says_of_table_2_is_what_the_records_say() -> None:
    rows = paper.table("table_2")
    records = find_all(rows, "streets", "short", [0, 1, 2])
    scores = {row.name: np.mean(ablations.scores(records[row.id])) for row in rows}
    said = (provenance.REPOSITORY / "README.md").read_text()
    assert "the Semantic Branch alone is far below the others" in said
    assert all(scores["semantic"] < score / 2 for name, score in scores.items() if name != "semantic")
    assert "the Detail Branch alone is above all three ways to merge" in said
    assert scores["detail"] > max(scores[way] for way in ("sum", "concat", "bga"))
    assert "the five rows with both branches have the paper's order in the mean of three seeds" in said
    both = [row.name for row in rows[2:]]
    assert sorted(both, key=scores.get) == both == [row.name for row in sorted(rows[2:], key=lambda row: row.miou)]
    steps = [ablations.gain_over(better, worse, records) for worse, better in itertools.pairwise(rows[2:])]
    assert "none of the steps resolved" in said and {step.verdict for step in steps} == {"unresolved"}
    assert "the last row has 77.01 % mIoU, and no class less than 50" in said
    long = published().find(plan(rows[-1], "streets", "long", 0))
    assert long and f"{long.miou:.2f}" == "77.01" and iou(long.matrix).min() > 0.5


def test_a_gain_of_several_tables_is_counted_once() -> None:
    """BGA over Detail stands in Tables 2, 3a and 3c."""
    tables = {name: paper.table(name) for name in paper.TABLES}
    bases = {name: next(row for row in rows if row.name == paper.BASES[name]) for name, rows in tables.items()}
    gains = [(bases[name], row) for name, rows in tables.items() for row in rows if not math.isnan(row.miou)]
    gains = [tuple(plan(row, "streets", "short", 0).hash for row in pair) for pair in gains]
    distinct = {(base, row) for base, row in gains if base != row}
    counts = overview()["gains in mIoU: streets, short"]
    assert sum(counts.values()) == len(distinct) < len(gains) - len(bases)


def test_without_records_everything_is_not_run(tmp_path: Path) -> None:
    recorded = summary.Recorded(Store(tmp_path, "{}.json", "{}.safetensors"), folder=tmp_path)
    assert "33" in summary.overview(recorded)
    assert summary.by_place(recorded) == ""
    table = summary.ablation("table_4", recorded)
    assert NOT_RUN in table and "sign" not in table


def test_every_record_is_of_some_row() -> None:
    """A record of a recipe that has changed would be shown by nobody."""
    rows = [row for name in paper.TABLES for row in paper.table(name)]
    rows += [row for name in paper.PUBLISHED for row in paper.ours(name).values()]
    for path, record in published().records().items():
        known = {plan(row, record.dataset, record.scale, record.seed).hash for row in rows}
        assert record.hash in known, path.name
    for path in records_folder().glob("*.safetensors"):
        assert path.with_suffix(".json").is_file(), path.name


def test_readme_says_what_came_with_the_repository() -> None:
    """If this fails: python -m bisenet report"""
    committed = records_folder().parent / "README.md"
    assert committed.read_text() == page.readme()
    for link in re.findall(r"\]\(([^)]+)\)", committed.read_text()):
        assert (committed.parent / link).exists(), link


def test_page_stands_by_itself_and_prefers_your_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path))
    run = plan(paper.row("table_2.detail"), "streets", "short", 0)
    shipped = published().find(run)
    assert shipped
    dataclasses.replace(shipped, confusion=np.eye(19, dtype=int).tolist()).save(yours().record_path(run))
    edition = tmp_path / "reproduced" / "streets-short"
    edition.mkdir(parents=True)
    for name in ("table_1_architecture", "table_2_components"):  # which lead to other notebooks
        shutil.copy(NOTEBOOKS / f"{name}.ipynb", edition)
    index = page.build()
    content = index.read_text()
    assert not re.findall(r"<script|<link|src=[\"\'](?!data:)", content)
    assert_links(index)
    assert "100.00" in content and f"runs/{run.name}/record.json" in content
    for notebook in page.notebooks():
        whole = tmp_path / "html" / "as-shipped" / f"{notebook.stem}.html"
        assert not re.findall(r"<script|<link|src=[\"\'](?!data:)", whole.read_text()), notebook
    wholes = sorted(tmp_path.glob("html/*/*.html"))
    assert len(wholes) == len(page.notebooks()) + 2
    for whole in wholes:
        assert_links(whole)


def assert_links(path: Path) -> None:
    """Every link leads to a file that is there, or to a place of the page itself, or to the web."""
    content = path.read_text()
    for link in set(re.findall(r'href="([^"]+)"', content)):
        file, _, place = link.partition("#")
        assert link.startswith("https:") or (
            f'id="{place}"' in content if not file else (path.parent / file).exists()
        ), link
