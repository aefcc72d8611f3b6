"""Our scores beside those of other methods."""

import dataclasses

import numpy as np
import pytest

from bisenet import paper
from bisenet.report import benchmarks
from bisenet.report.verdict import NOT_RUN


def test_tables_of_other_methods_without_a_record():
    for name, numbers in (("table_7", 1), ("table_8", 1), ("table_9", 2)):
        shown = benchmarks.show(benchmarks.beside(name, {}), "x, y")
        ours = shown[[column for column in shown if column.endswith("here (x, y)")]]
        assert ours.shape[1] == numbers
        own = shown["n"] == "0"
        assert own.sum() == len(paper.ours(name))
        assert (ours[own] == NOT_RUN).all(axis=None) and (ours[~own] == "").all(axis=None)
        differences = benchmarks.differences(name, benchmarks.beside(name, {}), {}, paper.PUBLISHED[name], "paper")
        assert set(differences["here"]) <= {NOT_RUN, benchmarks.SERVER}
        assert benchmarks.sentence(benchmarks.beside(name, {}), "x, y").count("not run (paper: ") == own.sum()


def test_bold_and_underlined_is_what_the_paper_prints_so():
    """The largest and the next of a column, but for val in Table 7, where two are passed over."""
    for name in paper.PUBLISHED:
        table = paper.published(name)
        marks = {mark: table[mark].str.split().explode().dropna() for mark in ("best", "second")}
        for column in set(marks["best"]):
            best, second = (table[column][marks[mark].index[marks[mark] == column]].item() for mark in marks)
            largest = sorted(table[column].dropna().unique())[-2:]
            passed = [75.8, 74.8] if (name, column) == ("table_7", "miou_val") else largest[::-1]
            assert [best, second] == passed, (name, column)
        styled = benchmarks.marked(benchmarks.beside(name, {}), "x, y")
        styled._compute()
        for mark, css in (("best", ("font-weight", "bold")), ("second", ("text-decoration", "underline"))):
            cells = {(styled.index[i], styled.columns[j]) for (i, j), found in styled.ctx.items() if css in found}
            assert cells == {(place, benchmarks.HEADERS[column]) for place, column in marks[mark].items()}


def test_our_scores_beside_the_paper_s_and_why_they_differ(record_of):
    half_right = (2 * np.eye(11, dtype=int) + np.roll(np.eye(11, dtype=int), 1, axis=1)).tolist()  # 2 of 4 each
    images = {"train": 468, "test": 233}
    record = record_of(half_right, dataset="camvid", source="tutorial layout", images=images)
    records = {"table_2.ohem": [record, record]}
    table = benchmarks.beside("table_8", records)
    line = table.set_index("method").loc["BiSeNetV2"]
    assert (line["miou_here"], line["miou_std"], line["n"]) == (pytest.approx(50), 0, 2)
    assert table["n"].sum() == 2  # the same row with other first weights is not this run
    why = benchmarks.differences("table_8", table, records, "camvid", "short").loc[("mIoU %", "BiSeNetV2")]
    reasons = "other budget and size, files at half the size"
    assert why.tolist() == ["72.4", "50.00 ± 0.00", "-22.40", reasons]
    recipe = {"dataset": "camvid", "scale": "paper"}
    whole = dataclasses.replace(record, source="original release")
    same = benchmarks.differences("table_8", table, {"table_2.ohem": [whole, whole]}, **recipe)["why"]
    assert same.tolist() == ["differs", *["no record of camvid, paper"] * 3]  # by 22.4, and the two do not differ
    part = {"table_2.ohem": [dataclasses.replace(whole, images={"train": 468, "test": 5})]}
    assert benchmarks.differences("table_8", table, part, **recipe)["why"].iloc[0] == "part of the data, one seed"
    assert benchmarks.standing(table).loc[("BiSeNetV2", "mIoU %")].tolist() == ["72.4", "7 of 8", "7 of 8"]
    assert (benchmarks.recipes("camvid", "camvid", "paper")["differs"] == "").all()
