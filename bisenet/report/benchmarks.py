"""Tables 7 to 9 of the paper: other methods as printed, and scores of this repository beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bisenet import paper
from bisenet.data import DATASETS
from bisenet.evaluate import miou, pixel_accuracy
from bisenet.report.ablations import Records, number, score_text, scores, spread
from bisenet.report.verdict import NOT_RUN, Gain, mean
from bisenet.runs.record import Record
from bisenet.train import TrainConfig

SERVER = "test server"  # Cityscapes keeps the labels of test to itself
HEADERS = {
    **{"reference": "ref.", "ratio": "γ", "backbone": "backbone"},
    **{"miou": "mIoU %", "miou_val": "mIoU % val", "miou_test": "mIoU % test", "pixacc": "pixAcc %"},
    "fps": "FPS",
}
SCORES: dict[str, Callable[[np.ndarray], float]] = {"miou": miou, "pixacc": pixel_accuracy}


def beside(name: str, records: Records) -> pd.DataFrame:
    """A table of `paper.published` with ours: `miou_ours, miou_std, n`, and in Table 9 `pixacc_ours, pixacc_std`.

    Percent, mean and sample standard deviation over the n seeds recorded; NaN where there are too few, and for other
    methods. `records` are by row id. The column `own` says which methods are the paper's own.
    """
    table, ours = paper.published(name), paper.ours(name)
    table["own"] = table["method"].isin(list(ours))
    of_line = [records.get(ours[method].id, ()) if method in ours else () for method in table["method"]]
    for score, function in SCORES.items():
        if score == "miou" or score in table:
            means, deviations, counts = zip(*(spread(scores(of_one, function)) for of_one in of_line), strict=True)
            table[f"{score}_ours"], table[f"{score}_std"], table["n"] = means, deviations, counts
    return table


def pairs(table: pd.DataFrame) -> dict[str, str]:
    """The columns with the paper's scores in a table of `beside`, and for each that with ours, "" for a test server."""
    ours = {"miou_val": "miou", "miou_test": "", "miou": "miou", "pixacc": "pixacc"}
    return {column: ours[column] for column in ours if column in table}


def show(table: pd.DataFrame, setting: str) -> pd.DataFrame:
    """A table of `beside` for reading: the paper's columns, then those here, "not run" where nothing is recorded.

    `setting` says what the networks here were trained on, such as "camvid, short".
    """
    shown = pd.DataFrame(index=pd.MultiIndex.from_frame(table[["group", "method"]]))
    for column, header in HEADERS.items():
        if column in table:
            shown[header] = [value if isinstance(value, str) else _printed(value, column) for value in table[column]]
    for column, ours in pairs(table).items():
        header = f"{HEADERS[column]} here" + (f" ({setting})" if ours else "")
        shown[header] = np.where(table["own"], _ours(table, ours), "")
    shown["n"] = np.where(table["own"], table["n"].astype(str), "")
    return shown


def _ours(table: pd.DataFrame, score: str) -> list[str]:
    if not score:
        return [SERVER] * len(table)
    return [score_text(*line) for line in zip(table[f"{score}_ours"], table[f"{score}_std"], table["n"], strict=True)]


def _printed(value: float, column: str) -> str:
    """A number as the paper prints it: scores with one decimal or two, FPS with none if there are none."""
    if column == "fps" and not math.isnan(value):
        return f"{value:g}"
    return number(value, 1 if round(value, 1) == value else 2)


def standing(table: pd.DataFrame) -> pd.DataFrame:
    """How many of the other methods each of the paper's networks leaves behind, by the paper's own scores."""
    lines = {}
    for column in pairs(table):
        others = table[~table["own"] & table[column].notna()]
        for method, score in table[table["own"]].set_index("method")[column].items():
            behind = {group: of_group[column] < score for group, of_group in others.groupby("group")}
            texts = {f"ahead of {group!s} models": f"{b.sum()} of {len(b)}" for group, b in behind.items()}
            lines[method, HEADERS[column]] = {"paper": _printed(score, column), **texts}
    return pd.DataFrame.from_dict(lines, orient="index").fillna("-").rename_axis(["method", "score"])


def recipes(of: str, dataset: str, scale: str) -> pd.DataFrame:
    """The paper's recipe for the data set `of` beside ours for `dataset` and `scale`, and where they differ."""
    columns = {
        f"paper ({of})": _recipe(paper.recipe(of, "paper")),
        f"here ({dataset}, {scale})": _recipe(paper.recipe(dataset, scale)),
    }
    table = pd.DataFrame(columns)
    table["differs"] = ["" if same else "yes" for same in table.iloc[:, 0] == table.iloc[:, 1]]
    return table.rename_axis("sizes: height x width")


def _recipe(training: TrainConfig) -> dict[str, str]:
    sizes = {
        "image at scale 1": training.image_size,
        "crop": training.crop,
        "what the network sees of a crop": training.input_size,
        "what it sees in evaluation": training.test_size,
    }
    return {
        "iterations": f"{training.iterations:,}",
        "batch": str(training.batch),
        "images shown": f"{training.iterations * training.batch:,}",
        "optimizer": training.optimizer,
        "learning rate": f"{training.lr}" + (f", {training.warmup} iterations of warm-up" if training.warmup else ""),
        "weight decay": str(training.weight_decay),
        **{name: "x".join(map(str, size)) if size else "its own" for name, size in sizes.items()},
        "random scales": ", ".join(map(str, training.scales)),
        "trained on": _split(training.train_split, training.train_images),
        "evaluated on": _split(training.test_split, training.test_images),
        "protocol of evaluation": training.protocol,
    }


def _split(name: str, limit: int | None) -> str:
    return f"{name}, the first {limit:,} images" if limit else name


def conditions(name: str, records: Records) -> pd.DataFrame:
    """What each of our numbers in a table was trained and tested on, one line a record, "not run" without one."""
    lines = []
    for method, row in paper.ours(name).items():
        begins = f"{row.base}, {row.pretrained_on}" if row.base else "at random"
        about = {"method": method, "row": row.id, "begins": begins}
        lines += [about | _condition(record) for record in records.get(row.id, ())] or [about | {"data set": NOT_RUN}]
    return pd.DataFrame(lines).fillna("").set_index("method")


def _condition(record: Record) -> dict[str, Any]:
    of = DATASETS[record.dataset].splits
    trained, tested = record.training.train_split, record.training.test_split
    return {
        "data set": record.dataset,
        "scale": record.scale,
        "seed": str(record.seed),
        "training images": f"{record.images['train']} of {of[trained]} ({trained})",
        "test images": f"{record.images['test']} of {of[tested]} ({tested})",
        "protocol": record.training.protocol,
        "files": record.source,
    }


def differences(name: str, table: pd.DataFrame, records: Records, dataset: str, scale: str) -> pd.DataFrame:
    """paper | here | difference | why | status, for every score of the paper's own networks in a table of `beside`."""
    lines = []
    for column, score in pairs(table).items():
        for (_, line), ours in zip(table.iterrows(), _ours(table, score), strict=True):
            if not line["own"]:
                continue
            of_row = records.get(paper.ours(name)[line["method"]].id, ()) if score else ()
            seen = [value - line[column] for value in scores(of_row, SCORES.get(score, miou))]
            why = _why(name, of_row, dataset, scale) if score else "the server alone has the labels"
            gap = mean(seen)
            status = _status(gap, dataset, scale, name)
            difference = "" if gap.verdict == NOT_RUN else f"{gap.points:+.2f}"
            printed = _printed(line[column], column)
            lines.append((HEADERS[column], line["method"], printed, ours, difference, why, status))
    columns = ["what", "row", "paper", "here", "difference", "why", "status"]
    return pd.DataFrame(lines, columns=columns).set_index(["what", "row"])


def _status(gap: Gain, dataset: str, scale: str, name: str) -> str:
    """Whether a score is the paper's, where both are of the same data and recipe, by its distance from the paper's."""
    if gap.verdict != NOT_RUN and (dataset, scale) != (paper.PUBLISHED[name], "paper"):
        return "not comparable"
    words = {"resolved": "differs", "unresolved": "interval includes the paper's"}
    return words.get(gap.verdict, gap.verdict)


def _why(name: str, records: Sequence[Record], dataset: str, scale: str) -> str:
    if not records:
        return f"no record for {dataset}, {scale}"
    reasons = [] if dataset == paper.PUBLISHED[name] else ["other data"]
    reasons += [] if scale == "paper" else ["other budget and size"]
    reasons += ["files at half the size"] if any(record.source.startswith("tutorial") for record in records) else []
    reasons += ["part of the data"] if any(_partial(record) for record in records) else []
    return ", ".join([*reasons, "one seed"] if len(records) == 1 else reasons) or f"{len(records)} seeds, same recipe"


def _partial(record: Record) -> bool:
    of = DATASETS[record.dataset].splits
    splits = {"train": record.training.train_split, "test": record.training.test_split}
    return any(record.images[part] < of[split] for part, split in splits.items())
