"""What the records say of each table of the paper, as Markdown: paper beside ours, a status, and where it comes from.

`KEY` says what the statuses mean.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bisenet import paper
from bisenet.boundaries import RADIUS
from bisenet.cost import variant_cost
from bisenet.data import DATASETS
from bisenet.paper import BASES
from bisenet.report import ablations, benchmarks
from bisenet.runs.plan import plan
from bisenet.runs.record import Record
from bisenet.runs.store import Store

KEY = """**Status.** GFLOPs are *reproduced* if every printed digit is met, or *within 0.1 %*; otherwise the status is
*differs*. ShuffleNetV2 is torchvision's here; with that of its authors its row is met too, which makes 34 (the
ledger). A gain, in points of mIoU over the base of its table, has its 95 % interval (Welch, over seeds) and is
*resolved* if that excludes zero, otherwise *unresolved*; of *one seed* there is no interval, and *not run* is without
a record. *Same* or *other sign* compares with the paper's gain. A claim *holds* or *fails* if its gain is resolved.
Tables 7 to 9 compare the value itself, by the 95 % interval of its mean, where data set and recipe are the paper's; on
other data or at a smaller budget a sign can be compared and a value cannot."""

Setting = tuple[str, str]  # data set and scale


class Recorded:
    """The records of some stores, read once; where two have a run, that of the later store counts."""

    def __init__(self, *stores: Store, folder: Path):
        files = {path: record for store in stores for path, record in store.records().items()}
        self.records = {record.hash: record for record in files.values()}
        # the page lies in the folder of results, which may be elsewhere; README.md beside the records
        self.files = {record.hash: Path(os.path.relpath(path, folder)).as_posix() for path, record in files.items()}
        self.seeds = sorted({record.seed for record in self.records.values()})
        found = {(record.dataset, record.scale) for record in self.records.values()}
        # embedded scenes first; "smoke" only shows that everything runs, and "custom" is no row
        self.settings = [(d, s) for d in DATASETS for s in paper.SCALES[1:] if (d, s) in found]

    def of(self, rows: Iterable[paper.Row], setting: Setting) -> dict[str, list[Record]]:
        """Records by row id."""
        hashes = {row.id: [plan(row, *setting, seed).hash for seed in self.seeds] for row in rows}
        return {id: [self.records[hash] for hash in of_row if hash in self.records] for id, of_row in hashes.items()}

    def with_any(self, rows: Sequence[paper.Row]) -> dict[Setting, dict[str, list[Record]]]:
        """The settings that have a record of some row, with their records."""
        tried = {setting: self.of(rows, setting) for setting in self.settings}
        return {setting: records for setting, records in tried.items() if any(records.values())}


def ablation(name: str, recorded: Recorded) -> str:
    """A table of the ablations, 2 to 6, once for each setting that has records of it, or once with "not run"."""
    rows = paper.table(name)
    gflops = {row.id: variant_cost(row.model).gflops for row in rows}
    parts = []
    for setting, records in (recorded.with_any(rows) or {("streets", "short"): {}}).items():
        table = ablations.comparison(rows, records, gflops)
        shown = ablations.show(table, rows, ", ".join(setting))
        shown["verdict"] = gain_statuses(table, BASES[name])
        shown["status of the GFLOPs"] = gflops_statuses(rows, gflops)
        title = f"### Table {name.removeprefix('table_')}: {', '.join(setting)}"
        parts += [title, markdown(shown.reset_index()), *_sources(records, recorded)]
    return "\n\n".join(parts)


def gain_statuses(table: pd.DataFrame, base: str) -> list[str]:
    """The status of each row of `ablations.comparison`."""
    lines = zip(table["row"], ablations.gains(table), table["gain_paper"], strict=True)
    return ["base" if row == base else gained.beside(printed) for row, gained, printed in lines]


def gflops_statuses(rows: Sequence[paper.Row], gflops: Mapping[str, float]) -> list[str]:
    """The status of each printed figure of GFLOPs, empty where there is none."""
    verdicts = ["" if math.isnan(row.gflops) else ablations.gflops_verdict(row, gflops[row.id]) for row in rows]
    words = {"equal to the printed digit": "reproduced", "open: see gflops_ledger": "differs"}
    return [words.get(verdict, verdict) for verdict in verdicts]


def benchmark(name: str, recorded: Recorded) -> str:
    """The paper's own networks in Table 7, 8 or 9; its other methods are in the notebook."""
    rows, dataset = list(paper.ours(name).values()), paper.PUBLISHED[name]
    with_any = {setting: of for setting, of in recorded.with_any(rows).items() if setting[0] == dataset}
    parts = []
    for setting, records in (with_any or {(dataset, "paper"): {}}).items():
        table = benchmarks.differences(name, benchmarks.beside(name, records), records, *setting)
        parts += [f"### {', '.join(setting)}", markdown(table.reset_index()), *_sources(records, recorded)]
    return "\n\n".join(parts)


def by_place(recorded: Recorded) -> str:
    """mIoU near boundaries and elsewhere of the rows of Table 2, for each setting whose records count them apart."""
    rows, parts = paper.table("table_2"), []
    for setting, records in recorded.with_any(rows).items():
        places = ablations.by_place(rows, records)
        if not places["scores"].str.len().any():
            continue
        text = [ablations.score_text(*ablations.spread(scores)) for scores in places["scores"]]
        wide = places.assign(score=text).pivot(index="row", columns="place", values="score")[["near", "elsewhere"]]
        wide["n"] = places.groupby("row")["scores"].first().str.len()
        table = (
            wide.loc[[row.name for row in rows]].set_axis([row.label for row in rows]).rename_axis("row").reset_index()
        )
        title = f"### mIoU % within {RADIUS} pixels of a boundary, and elsewhere: {', '.join(setting)}"
        parts += [title, markdown(table), *_sources(records, recorded)]
    return "\n\n".join(parts)


def overview(recorded: Recorded) -> str:
    """How many figures of GFLOPs have which status, and how many gains; one that stands in several tables is one."""
    rows = {name: paper.table(name) for name in paper.TABLES}
    gflops = {row.id: variant_cost(row.model).gflops for of_table in rows.values() for row in of_table}
    counts = {"GFLOPs": Counter(status for of_table in rows.values() for status in gflops_statuses(of_table, gflops))}
    for setting in recorded.settings:
        statuses: dict[tuple[str, str], str] = {}
        for name, of_table in rows.items():
            table = ablations.comparison(of_table, recorded.of(of_table, setting), gflops)
            hashes = [plan(row, *setting, seed=0).hash for row in of_table]
            base = hashes[[row.name for row in of_table].index(BASES[name])]
            pairs = [(base, hash) for hash in hashes]
            printed = zip(pairs, gain_statuses(table, BASES[name]), table["miou_paper"].notna(), strict=True)
            statuses |= {pair: status for pair, status, is_printed in printed if is_printed}
        counts[f"gains in mIoU: {', '.join(setting)}"] = Counter(statuses.values())
    table = pd.DataFrame(counts).drop(index=["", "base"], errors="ignore").fillna(0).astype(int)
    return markdown(table.rename_axis("Tables 2 to 6").reset_index())


def _sources(records: ablations.Records, recorded: Recorded) -> list[str]:
    """Where the numbers come from, one click away; nothing without records."""
    if not any(records.values()):
        return []
    table = ablations.provenance(records)
    hashes = [record.hash for of_row in records.values() for record in of_row]
    table["record"] = [
        f"[{recorded.files[hash].split('-')[-1].removesuffix('.json')}]({recorded.files[hash]})" for hash in hashes
    ]
    return ["<details><summary>where these numbers come from</summary>", markdown(table), "</details>"]


def markdown(table: pd.DataFrame) -> str:
    """A table of texts and whole numbers."""
    cells = table.astype(str).map(lambda text: text.replace("|", "/").replace("<", "&lt;"))
    return cells.to_markdown(index=False, disable_numparse=True)
