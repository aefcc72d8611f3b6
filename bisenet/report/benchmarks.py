"""Tables 7 to 9 of the paper: other methods as printed, and scores of this repository beside them."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from bisenet import paper
from bisenet.data import DATASETS
from bisenet.evaluate import miou, pixel_accuracy
from bisenet.report.ablations import Records, number, score_text, scores, spread
from bisenet.report.verdict import NOT_RUN, ONE_SEED, Gain, mean
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
    """A table of `paper.published` with `miou_here, miou_std, n`, and in Table 9 `pixacc_here, pixacc_std`.

    Percent, mean and sample standard deviation over the n seeds recorded; NaN where there are too few, and for other
    methods. `records` are by row id. The column `own` says which methods are the paper's own.
    """
    table, ours = paper.published(name), paper.ours(name)
    table["own"] = table["method"].isin(list(ours))
    of_line = [records.get(ours[method].id, ()) if method in ours else () for method in table["method"]]
    for score, function in SCORES.items():
        if score == "miou" or score in table:
            means, deviations, counts = zip(*(spread(scores(of_one, function)) for of_one in of_line), strict=True)
            table[f"{score}_here"], table[f"{score}_std"], table["n"] = means, deviations, counts
    return table


def pairs(table: pd.DataFrame) -> dict[str, str]:
    """The columns with the paper's scores in a table of `beside`, and for each that here, "" for a test server."""
    ours = {"miou_val": "miou", "miou_test": "", "miou": "miou", "pixacc": "pixacc"}
    return {column: ours[column] for column in ours if column in table}


def sentence(table: pd.DataFrame, setting: str) -> str:
    """The mIoU that is recorded of the paper's own networks, beside the paper's."""
    column = next(column for column, score in pairs(table).items() if score == "miou")
    own = zip(table["method"], table[column], _here(table, "miou"), table["own"], strict=True)
    told = (f"{method} {here} (paper: {_printed(printed, column)})" for method, printed, here, is_own in own if is_own)
    return f"{setting}, {HEADERS[column]}: {', '.join(told)}"


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
        shown[header] = np.where(table["own"], _here(table, ours), "")
    shown["n"] = np.where(table["own"], table["n"].astype(str), "")
    return shown


def marked(table: pd.DataFrame, setting: str) -> Styler:
    """`show`, bold and underlined what the paper prints so."""
    shown = show(table, setting).reset_index()
    css = pd.DataFrame("", shown.index, shown.columns)
    for mark, style in {"best": "font-weight: bold", "second": "text-decoration: underline"}.items():
        for line, columns in table[mark].items():
            css.loc[line, [HEADERS[column] for column in columns.split()]] = style
    return shown.style.hide(axis="index").set_uuid("printed").apply(lambda _: css, axis=None)


def _here(table: pd.DataFrame, score: str) -> list[str]:
    if not score:
        return [SERVER] * len(table)
    return [score_text(*line) for line in zip(table[f"{score}_here"], table[f"{score}_std"], table["n"], strict=True)]


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
    """The paper's recipe for the data set `of` beside that here for `dataset` and `scale`, and where they differ."""
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


def differences(name: str, table: pd.DataFrame, records: Records, dataset: str, scale: str) -> pd.DataFrame:
    """paper | here | difference | why, for every score of the paper's own networks in a table of `beside`."""
    lines = []
    for column, score in pairs(table).items():
        for (_, line), here in zip(table.iterrows(), _here(table, score), strict=True):
            if not line["own"]:
                continue
            of_row = records.get(paper.ours(name)[line["method"]].id, ()) if score else ()
            gap = mean([value - line[column] for value in scores(of_row, SCORES.get(score, miou))])
            why = _why(name, of_row, gap, dataset, scale) if score else "the server alone has the labels"
            difference = "" if gap.verdict == NOT_RUN else f"{gap.points:+.2f}"
            lines.append((HEADERS[column], line["method"], _printed(line[column], column), here, difference, why))
    return pd.DataFrame(lines, columns=["what", "row", "paper", "here", "difference", "why"]).set_index(["what", "row"])


def _why(name: str, records: Sequence[Record], gap: Gain, dataset: str, scale: str) -> str:
    """What differs from the paper; where nothing does, whether the paper's score lies in the interval of those here."""
    if not records:
        return f"no record of {dataset}, {scale}"
    reasons = [] if dataset == paper.PUBLISHED[name] else ["other data"]
    reasons += [] if scale == "paper" else ["other budget and size"]
    reasons += ["files at half the size"] if any(record.source.startswith("tutorial") for record in records) else []
    reasons += ["part of the data"] if any(_partial(record) for record in records) else []
    same = {"resolved": "differs", "unresolved": "the 95 % interval includes the paper's", ONE_SEED: "same recipe"}
    return ", ".join([*(reasons or [same[gap.verdict]]), *([ONE_SEED] if len(records) == 1 else [])])


def _partial(record: Record) -> bool:
    of = DATASETS[record.dataset].splits
    splits = {"train": record.training.train_split, "test": record.training.test_split}
    return any(record.images[part] < of[split] for part, split in splits.items())
