"""From records to tables. Nothing here trains or runs a network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bisenet import paper
from bisenet.data import DATASETS
from bisenet.evaluate import iou, miou, pixel_accuracy
from bisenet.paper import Row
from bisenet.peers import NETWORKS
from bisenet.speed import timing_of
from bisenet.train import TrainConfig

NOT_RUN = "not run"
SERVER = "test server"  # Cityscapes keeps the labels of test to itself

Records = Mapping[str, Sequence[Mapping[str, Any]]]


def comparison(rows: Sequence[Row], records: Records, gflops: Mapping[str, float]) -> pd.DataFrame:
    """One line a row: `row, miou_paper, miou_ours, miou_std, n, gflops_paper, gflops_ours`.

    mIoU in percent, mean and sample standard deviation over the n seeds recorded; NaN where there are too few, and
    where the paper prints no number. `records` and `gflops` are by row id.
    """
    lines = []
    for row in rows:
        mean, std, n = _over_seeds(records.get(row.id, ()), miou)
        lines.append(
            {
                "row": row.name,
                "miou_paper": row.miou,
                "miou_ours": mean,
                "miou_std": std,
                "n": n,
                "gflops_paper": row.gflops,
                "gflops_ours": gflops[row.id],
            }
        )
    return pd.DataFrame(lines)


def _over_seeds(records: Sequence[Mapping[str, Any]], score: Callable[[np.ndarray], float]) -> tuple[float, float, int]:
    """Mean and sample standard deviation over n records, NaN where there are too few; and n."""
    scores = np.array([score(np.array(record["confusion"])) for record in records])
    n = len(scores)
    return scores.mean() if n else math.nan, scores.std(ddof=1) if n > 1 else math.nan, n


def gains(table: pd.DataFrame, base: str) -> pd.DataFrame:
    """What each row gains over the row `base`, in points of mIoU, and whether it is more than chance.

    Columns `paper`, `ours`, `spread` (standard deviation of the difference, NaN with one seed) and `verdict`:
    "unresolved" where the gain is not larger than the spread.
    """
    first = table.set_index("row").loc[base]
    paper, ours = table["miou_paper"] - first["miou_paper"], table["miou_ours"] - first["miou_ours"]
    spread = np.hypot(table["miou_std"], first["miou_std"])
    verdicts = [
        "" if name == base or math.isnan(gain) else _resolved(gain, of_gain)
        for name, gain, of_gain in zip(table["row"], ours, spread, strict=True)
    ]
    return pd.DataFrame({"paper": paper, "ours": ours, "spread": spread, "verdict": verdicts})


def _resolved(gain: float, spread: float) -> str:
    if math.isnan(spread):
        return "one seed"
    return "unresolved" if abs(gain) <= spread else "resolved"


def show(table: pd.DataFrame, rows: Sequence[Row], setting: str, base: str) -> pd.DataFrame:
    """The table for reading: every number as text, "not run" where nothing is recorded, gains over the row `base`.

    `setting` says what "ours" was trained on, such as "streets, short".
    """
    ours = [_score(*line) for line in zip(table["miou_ours"], table["miou_std"], table["n"], strict=True)]
    gain, over = gains(table, base), {row.name: row.label for row in rows}[base]
    return pd.DataFrame(
        {
            "mIoU % paper (Cityscapes val)": table["miou_paper"].map(_number),
            f"mIoU % ours ({setting})": ours,
            "n": table["n"].astype(str),
            f"paper's gain over {over}": gain["paper"].map("{:+.2f}".format).where(gain["paper"].notna(), "-"),
            "our gain": [f"{g:+.2f} {v}" if v else "" for g, v in zip(gain["ours"], gain["verdict"], strict=True)],
            "GFLOPs paper": [_number(row.gflops, row.gflops_decimals) for row in rows],
            "GFLOPs ours": table["gflops_ours"].map(_number),
        }
    ).set_index(pd.Index([row.label for row in rows], name="row"))


def _score(mean: float, std: float, n: int) -> str:
    return NOT_RUN if not n else f"{mean:.2f}" + (f" ± {std:.2f}" if n > 1 else "")


def _number(value: float, decimals: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:.{decimals}f}"


def differences(table: pd.DataFrame, rows: Sequence[Row], dataset: str, scale: str, base: str) -> pd.DataFrame:
    """paper | ours | difference | why, first for the GFLOPs, then for the gain of each row over the row `base`."""
    lines: list[tuple[str, ...]] = []
    for row, ours in zip(rows, table["gflops_ours"], strict=True):
        if not math.isnan(row.gflops):
            percent = f"{100 * (ours / row.gflops - 1):+.2f} %"
            printed = _number(row.gflops, row.gflops_decimals)
            lines.append(("GFLOPs", row.label, printed, _number(ours), percent, gflops_verdict(row, ours)))
    gain, what = gains(table, base), f"mIoU gain over { ({row.name: row.label for row in rows}[base]) }"
    for row, line in zip(rows, gain.to_dict("records"), strict=True):
        if row.name == base or math.isnan(row.miou):
            continue
        paper, ours = line["paper"], line["ours"]
        numbers = [f"{value:+.2f}" for value in (paper, ours, ours - paper)]
        if math.isnan(ours):
            numbers[1:] = [NOT_RUN, ""]
        lines.append((what, row.label, *numbers, _why(paper, ours, line["verdict"], dataset, scale)))
    return pd.DataFrame(lines, columns=["what", "row", "paper", "ours", "difference", "why"]).set_index(["what", "row"])


def gflops_verdict(row: Row, ours: float) -> str:
    """Whether a count agrees with the printed one: in every printed digit, within 0.1 %, or "open"."""
    if f"{ours:.{row.gflops_decimals}f}" == f"{row.gflops:.{row.gflops_decimals}f}":
        return "equal to the printed digit"
    return "within 0.1 %" if abs(ours / row.gflops - 1) <= 1e-3 else "open: see gflops_ledger"


def _why(paper: float, ours: float, verdict: str, dataset: str, scale: str) -> str:
    if math.isnan(ours):
        return f"no record for {dataset}, {scale}"
    sign = "same sign" if ours * paper > 0 else "opposite sign"
    return f"{sign}, {verdict}; other data" + ("" if scale == "paper" else " and budget")


def rank_correlation(table: pd.DataFrame) -> str:
    """Spearman's correlation between the paper's column of mIoU and ours, as a sentence."""
    both = table[["miou_paper", "miou_ours"]].dropna()
    if len(both) < 3:
        return f"rank correlation with the paper's mIoU: it takes three rows, recorded: {len(both)}"
    if both["miou_ours"].nunique() == 1:
        return "rank correlation with the paper's mIoU: undefined, all of ours are equal"
    value = both["miou_paper"].rank().corr(both["miou_ours"].rank())
    return f"rank correlation with the paper's mIoU over {len(both)} rows: {value:+.2f}"


def per_class(rows: Sequence[Row], records: Records, classes: Sequence[str]) -> pd.DataFrame:
    """IoU in percent of each class (lines) for each row (columns), mean over the seeds recorded."""
    columns = {
        row.label: 100
        * pd.DataFrame([iou(np.array(record["confusion"])) for record in records[row.id]]).mean().to_numpy()
        for row in rows
        if records.get(row.id)
    }
    return pd.DataFrame(columns, index=pd.Index(classes, name="class")).round(1)


def provenance(records: Records) -> pd.DataFrame:
    """Where each number comes from, one line a run."""
    lines = [
        {
            "row": id,
            "seed": record["seed"],
            "iterations": record["training"]["iterations"],
            "batch": record["training"]["batch"],
            "train / test images": f"{record['images']['train']} / {record['images']['test']}",
            "precision": process["precision"],
            "device": process["device"].get("gpu", f"{process['device']['cpu']}, {process['threads']} threads"),
            "minutes": f"{record['seconds']['train'] / 60:.1f}",
            "processes": len(record["processes"]),
            "commit": (process["git"]["commit"] or "-")[:7] + (" + changes" if process["git"]["dirty"] else ""),
        }
        for id, of_row in records.items()
        for record in of_row
        for process in record["processes"][-1:]
    ]
    return pd.DataFrame(lines)


def speeds(record: Mapping[str, Any], gflops: Mapping[str, float]) -> pd.DataFrame:
    """One line for each of `peers.NETWORKS`, with a record of `speed.bench`; NaN where there is no number.

    Columns `network, ours, height, width` (of what it sees), `gflops` (of `peers.cost`, by name), `miou_paper` (test)
    and `fps_paper` (both from Table 7), `fps`, the fields of `speed.Timing`, `note`.
    """
    lines = []
    for network in NETWORKS:
        height, width = network.input_size
        line = {"network": network.name, "ours": network.ours, "height": height, "width": width}
        line |= {"gflops": gflops[network.name], "note": network.note}
        printed = {"miou_test": math.nan, "fps": math.nan, **network.printed}
        line |= {"miou_paper": printed["miou_test"], "fps_paper": printed["fps"]}
        if entry := record["networks"].get(network.name):
            timing = timing_of(entry)
            line |= {"fps": timing.fps, **dataclasses.asdict(timing)}
        lines.append(line)
    columns = "network ours height width gflops miou_paper fps_paper fps median low high iterations warm_up note"
    return pd.DataFrame(lines, columns=columns.split())


def show_speeds(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of `speeds`, by the title of their record, as one for reading: the FPS of Table 7 and of each."""
    first = next(iter(tables.values()))
    shown = {
        "ours": first["ours"].map({True: "yes", False: ""}),
        "sees": [f"{width}x{height}" for width, height in zip(first["width"], first["height"], strict=True)],
        "GFLOPs": first["gflops"].map(_number),
        "mIoU % test, published": first["miou_paper"].map(lambda value: _number(value, 1)),
        "FPS published (GTX 1080 Ti)": first["fps_paper"].map("{:g}".format).where(first["fps_paper"].notna(), "-"),
    }
    for title, table in tables.items():
        shown[f"FPS here ({title})"] = table["fps"].map("{:.3g}".format).where(table["fps"].notna(), NOT_RUN)
    return pd.DataFrame({**shown, "note": first["note"]}).set_index(first["network"])


def speed_ratios(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How many times as fast as each other network of Table 7 BiSeNetV2 is, their first line.

    Columns paper | ours | difference | why.
    """
    lines = []
    for title, table in tables.items():
        paper, ours = (table[column][0] / table[column] for column in ("fps_paper", "fps"))
        for place in table.index[1:][table["fps_paper"][1:].notna()]:
            lines.append((title, table["network"][place], *_ratio(paper[place], ours[place], table["note"][place])))
    columns = ["measured on", "BiSeNetV2 against", "paper", "ours", "difference", "why"]
    return pd.DataFrame(lines, columns=columns).set_index(columns[:2])


def _ratio(paper: float, ours: float, note: str) -> tuple[str, ...]:
    if math.isnan(ours):
        return f"{paper:.3g}", NOT_RUN, "", "no record"
    order = "same order" if (paper > 1) == (ours > 1) else "opposite order"
    why = f"{order}; other device and engine" + ("; see note" if note else "")
    return f"{paper:.3g}", f"{ours:.3g}", f"x {ours / paper:.2g}", why


def speed_provenance(records: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Where measured speeds come from, by the title of their record, one line a network."""
    lines = [
        {
            "measured on": title,
            "network": name,
            "ms (5 % to 95 %)": f"{timing.median:.1f} ({timing.low:.1f} to {timing.high:.1f})",
            "iterations": timing.iterations,
            "built by": entry["built"],
            "torch": process["versions"]["torch"],
            "load before": process["load"],
            "date": process["date"][:10],
            "commit": (process["git"]["commit"] or "-")[:7] + (" + changes" if process["git"]["dirty"] else ""),
        }
        for title, record in records.items()
        for name, entry in record["networks"].items()
        for timing, process in [(timing_of(entry), entry["process"])]
    ]
    return pd.DataFrame(lines)


def save(table: pd.DataFrame, name: str, folder: Path) -> Path:
    """Write a table as CSV, numbers unrounded to eight digits; returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    table.to_csv(path, index=False, float_format="%.8g")
    return path


# --- Tables 7 to 9: other methods, and ours beside them -----------------------------------------------------------

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
            means, deviations, counts = zip(*(_over_seeds(of_one, function) for of_one in of_line), strict=True)
            table[f"{score}_ours"], table[f"{score}_std"], table["n"] = means, deviations, counts
    return table


def pairs(table: pd.DataFrame) -> dict[str, str]:
    """The columns with the paper's scores in a table of `beside`, and for each that with ours, "" for a test server."""
    ours = {"miou_val": "miou", "miou_test": "", "miou": "miou", "pixacc": "pixacc"}
    return {column: ours[column] for column in ours if column in table}


def show_beside(table: pd.DataFrame, setting: str) -> pd.DataFrame:
    """A table of `beside` for reading: the paper's columns as printed, then ours, "not run" where nothing is recorded.

    `setting` says what "ours" was trained on, such as "camvid, short".
    """
    shown = pd.DataFrame(index=pd.MultiIndex.from_frame(table[["group", "method"]]))
    for column, header in HEADERS.items():
        if column in table:
            shown[header] = [value if isinstance(value, str) else _printed(value, column) for value in table[column]]
    for column, ours in pairs(table).items():
        header = f"{HEADERS[column]} ours" + (f" ({setting})" if ours else "")
        shown[header] = np.where(table["own"], _ours(table, ours), "")
    shown["n"] = np.where(table["own"], table["n"].astype(str), "")
    return shown


def _ours(table: pd.DataFrame, score: str) -> list[str]:
    if not score:
        return [SERVER] * len(table)
    return [_score(*line) for line in zip(table[f"{score}_ours"], table[f"{score}_std"], table["n"], strict=True)]


def _printed(value: float, column: str) -> str:
    """A number as the paper prints it: scores with one decimal or two, FPS with none if there are none."""
    if column == "fps" and not math.isnan(value):
        return f"{value:g}"
    return _number(value, 1 if round(value, 1) == value else 2)


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


def recipes(name: str, dataset: str, scale: str) -> pd.DataFrame:
    """The paper's recipe for the data set of a table beside that of `dataset` and `scale`, and where they differ."""
    columns = {
        "paper": _recipe(paper.recipe(paper.PUBLISHED[name], "paper")),
        f"ours ({dataset}, {scale})": _recipe(paper.recipe(dataset, scale)),
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
        "learning rate": str(training.lr),
        "weight decay": str(training.weight_decay),
        **{name: "x".join(map(str, size)) if size else "its own" for name, size in sizes.items()},
        "trained on": training.train_split,
        "evaluated on": training.test_split,
        "protocol of evaluation": training.protocol,
    }


def conditions(name: str, records: Records) -> pd.DataFrame:
    """What each of our numbers in a table was trained and tested on, one line a record, "not run" without one."""
    lines = []
    for method, row in paper.ours(name).items():
        begins = f"{row.base}, {row.pretrained_on}" if row.base else "at random"
        about = {"method": method, "row": row.id, "begins": begins}
        lines += [about | _condition(record) for record in records.get(row.id, ())] or [about | {"data set": NOT_RUN}]
    return pd.DataFrame(lines).fillna("").set_index("method")


def _condition(record: Mapping[str, Any]) -> dict[str, Any]:
    training = TrainConfig(**record["training"])  # fields that came after the record have their defaults
    of = DATASETS[record["dataset"]].splits
    trained, tested = training.train_split, training.test_split
    return {
        "data set": record["dataset"],
        "scale": record["scale"],
        "seed": str(record["seed"]),
        "training images": f"{record['images']['train']} of {of[trained]} ({trained})",
        "test images": f"{record['images']['test']} of {of[tested]} ({tested})",
        "protocol": training.protocol,
        "files": record["source"],
    }


def differences_beside(name: str, table: pd.DataFrame, records: Records, dataset: str, scale: str) -> pd.DataFrame:
    """paper | ours | difference | why, for every score of the paper's own networks in a table of `beside`."""
    lines = []
    for column, score in pairs(table).items():
        for (_, line), ours in zip(table.iterrows(), _ours(table, score), strict=True):
            if not line["own"]:
                continue
            gap = line[f"{score}_ours"] - line[column] if score else math.nan
            of_row = records.get(paper.ours(name)[line["method"]].id, ())
            why = _why_beside(name, of_row, dataset, scale) if score else "the server alone has the labels"
            difference = "" if math.isnan(gap) else f"{gap:+.2f}"
            lines.append((HEADERS[column], line["method"], _printed(line[column], column), ours, difference, why))
    return pd.DataFrame(lines, columns=["what", "row", "paper", "ours", "difference", "why"]).set_index(["what", "row"])


def _why_beside(name: str, records: Sequence[Mapping[str, Any]], dataset: str, scale: str) -> str:
    if not records:
        return f"no record for {dataset}, {scale}"
    reasons = [] if dataset == paper.PUBLISHED[name] else ["other data"]
    reasons += [] if scale == "paper" else ["other budget and size"]
    reasons += ["part of the data"] if any(_partial(record) for record in records) else []
    return ", ".join([*reasons, "one seed"] if len(records) == 1 else reasons) or f"{len(records)} seeds, same recipe"


def _partial(record: Mapping[str, Any]) -> bool:
    of, training = DATASETS[record["dataset"]].splits, record["training"]
    return any(record["images"][part] < of[training[f"{part}_split"]] for part in ("train", "test"))
