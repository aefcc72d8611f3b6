"""The page of results: statuses that can be checked by hand, and files that stand by themselves."""

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
from bisenet.cost import variant_cost
from bisenet.evaluate import iou
from bisenet.notebook.result import Result
from bisenet.report import ablations, page
from bisenet.report.verdict import NOT_RUN
from bisenet.runs import provenance
from bisenet.runs.many import find_all
from bisenet.runs.plan import plan
from bisenet.runs.provenance import NOTEBOOKS
from bisenet.runs.record import Record
from bisenet.runs.store import published, records_folder

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
    statuses = ablations.verdicts(table.rename_axis("row").reset_index(), "base")
    resolved = ["resolved, same sign", "unresolved, same sign", "resolved, other sign"]
    assert statuses == ["", *resolved, "one seed, other sign", "not run", "resolved"]


def test_33_of_36_figures_are_met_and_the_others_near() -> None:
    """With torchvision's ShuffleNetV2; with that of its authors, in the ledger, they are 34."""
    rows = [row for name in paper.TABLES for row in paper.table(name) if not math.isnan(row.gflops)]
    told = [ablations.gflops_verdict(row, variant_cost(row.model).gflops) for row in rows]
    assert (told.count("equal to the printed digit"), told.count("within 0.1 %"), len(told)) == (33, 3, 36)


def test_a_result_is_html_and_markdown() -> None:
    levels = pd.MultiIndex.from_tuples([("miou", "near"), ("miou", "elsewhere")], names=[None, "place"])
    table = pd.DataFrame([["1.0 | 2", "<b>"]], columns=levels, index=pd.Index(["a"], name="row"))
    shown = Result(table, "Table 0: x, y")._repr_mimebundle_()
    assert shown["text/markdown"].splitlines() == [
        "**Table 0: x, y**",
        "",
        "| row   | miou near   | miou elsewhere   |",
        "|:------|:------------|:-----------------|",
        "| a     | 1.0 / 2     | &lt;b>           |",
    ]
    assert "<td>1.0 | 2</td>" in shown["text/html"] and "&lt;b&gt;" in shown["text/html"]


def test_every_record_is_a_line_of_the_csv() -> None:
    """If this fails: python -m bisenet report"""
    table = pd.read_csv(records_folder().parent / "results.csv")
    runs = table[table["kind"] == "run"].set_index("hash")["miou"]
    records = published().records().values()
    assert runs.to_dict() == pytest.approx({record.hash: record.miou for record in records}, abs=1e-3)
    files = {path.name for path in (records_folder() / "speed").rglob("*.json")}
    assert files == {*table["file"][table["kind"] != "run"]}


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


def test_page_stands_by_itself_and_has_what_you_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path))
    edition = tmp_path / "reproduced" / "streets-short"
    edition.mkdir(parents=True)
    for name in ("table_1_architecture", "table_2_components"):  # which lead to other notebooks
        shutil.copy(NOTEBOOKS / f"{name}.ipynb", edition)
    index = page.build()
    content = index.read_text()
    assert not re.findall(r"<script|<link|src=[\"\'](?!data:)", content)
    assert_links(index)
    assert content.count("Table 2: streets, short") == 2 and "as-shipped/table_2" in content  # and as you executed it
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
