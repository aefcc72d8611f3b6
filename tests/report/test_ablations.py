"""From records to the tables of the ablations, by hand."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bisenet import paper
from bisenet.report import ablations
from bisenet.report.verdict import NOT_RUN
from bisenet.runs.record import Record

NAN = math.nan


@pytest.fixture
def of_mious(record_of):
    """Records of two classes with these mIoU: 100, or 25."""
    matrices = {100: np.diag([5, 5]).tolist(), 25: [[5, 0], [5, 0]]}
    return lambda *scores: [record_of(matrices[score]) for score in scores]


def test_comparison_of_recorded_and_missing_rows(of_mious):
    rows = paper.table("table_2")[:4]
    scores = [of_mious(100, 25), of_mious(25), of_mious(100, 100)]
    records = {row.id: of_row for row, of_row in zip(rows, scores, strict=False)}
    table = ablations.comparison(rows, records, {row.id: row.gflops for row in rows})
    numbers = ["gain_paper", "gain", "gain_low", "gain_high", "gflops_paper", "gflops_here"]
    assert list(table.columns) == ["row", "miou_paper", "miou_here", "miou_std", "n", *numbers]
    assert table["miou_here"].tolist()[:3] == [62.5, 25.0, 100.0]
    assert table["miou_std"][0] == pytest.approx(np.std([100, 25], ddof=1))
    assert np.isnan(table["miou_std"][1])
    assert np.isnan(table["miou_here"][3])
    shown = ablations.show(table, rows, "x, y")
    assert shown["mIoU % here (x, y)"].tolist() == ["62.50 ± 53.03", "25.00", "100.00 ± 0.00", "not run"]
    assert shown["gain here"].tolist() == ["", "-37.50", "+37.50", "-"]
    assert shown["verdict"].tolist() == ["", "one seed, other sign", "unresolved, same sign", "not run"]
    half = 12.706205 * 53.033009 / 2**0.5  # Student's t of one degree of freedom: only one row varies
    assert shown["95 % interval"].tolist() == ["", "", f"{37.5 - half:+.2f} to {37.5 + half:+.2f}", ""]
    assert ablations.gain_over(rows[0], rows[2], records).points == -37.5  # over another row than the base
    assert shown["agree"].tolist() == 4 * ["to the last digit"]
    assert "GFLOPs paper" not in ablations.show(table.assign(gflops_paper=NAN), rows, "x, y")
    assert ablations.order(table).endswith("over 3 rows: +0.50 (p = 1.000)")  # paper 1 2 3, ours 2 1 3
    assert "it takes three rows, recorded: 2" in ablations.order(table[:2])


def test_claims_are_of_known_rows_and_hold_or_fail_where_resolved(of_mious):
    found = paper.claims()
    assert {paper.row(claim["better"]).table for claim in found} == set(paper.TABLES)
    records = {"table_2.detail": of_mious(25, 25), "table_2.sum": of_mious(100, 100), "table_2.bga": of_mious(25, 25)}
    claims = ablations.claims(records)
    told = claims.set_index("of")["verdict"]
    n = told.value_counts()
    words = ["1 holds", "1 fails", f"{n['unresolved']} is unresolved", f"{n[NOT_RUN]} are not run"]
    failed = "; ".join(claims["claim"][claims["verdict"] == "fails"])
    counted = f"x, y: {len(told)} claims of the paper: {', '.join(words)}. Fails: {failed}."
    assert ablations.sentence(claims, "x, y") == counted
    assert len(told) == len(found) and (told[~told.index.str.startswith("table_2")] == NOT_RUN).all()
    assert ablations.claims(records, ["table_2"])["of"].str.startswith("table_2").all()
    assert told[["table_2.sum - detail", "table_2.bga - sum", "table_2.booster - bga"]].tolist() == [
        "holds",
        "fails",
        NOT_RUN,
    ]
    assert (ablations.claims({})["paper"] > 0).all()  # what the paper claims is what it printed


def test_the_source_of_numbers_is_said_once(record_of):
    process = {"git": {"commit": "0123456789", "dirty": False}, "precision": "32-true", "threads": 2}
    process["device"] = {"cpu": "A"}
    first, other = (record_of([[1]], hash=str(seed), seed=seed, processes=[process]) for seed in (0, 1))
    told = ablations.source({"a": [first, other], "b": [first]})
    assert told.startswith("2 runs; seeds 0, 1; images in training and test ")
    assert told.endswith("; precision 32-true; on A, 2 threads; commit 0123456")
    assert ablations.source({"a": []}) == NOT_RUN


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
    statuses = ablations.verdicts(table.rename_axis("row").reset_index().assign(n=0), "base")
    recorded = ablations.verdicts(table.rename_axis("row").reset_index().assign(n=1), "base")
    assert recorded == [*statuses[:5], "base not run", statuses[6]]
    resolved = ["resolved, same sign", "unresolved, same sign", "resolved, other sign"]
    assert statuses == ["", *resolved, "one seed, other sign", "not run", "resolved"]


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
