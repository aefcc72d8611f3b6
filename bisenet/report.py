"""From records to the tables of the ablations. Nothing here trains or runs a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bisenet.boundaries import RADIUS
from bisenet.evaluate import iou, miou
from bisenet.paper import BASES, Row

NOT_RUN = "not run"
NOT_COUNTED = "not counted"  # by a record that knows nothing of boundaries

Records = Mapping[str, Sequence[Mapping[str, Any]]]


def comparison(rows: Sequence[Row], records: Records, gflops: Mapping[str, float]) -> pd.DataFrame:
    """One line a row: `row, miou_paper, miou_ours, miou_std, n, gflops_paper, gflops_ours`.

    mIoU in percent, mean and sample standard deviation over the n seeds recorded; NaN where there are too few, and
    where the paper prints no number. `records` and `gflops` are by row id.
    """
    lines = []
    for row in rows:
        mean, std, n = over_seeds(records.get(row.id, ()), miou)
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


def over_seeds(records: Sequence[Mapping[str, Any]], score: Callable[[np.ndarray], float]) -> tuple[float, float, int]:
    """Mean and sample standard deviation over n records, NaN where there are too few; and n."""
    scores = np.array([score(np.array(record["confusion"])) for record in records])
    n = len(scores)
    return scores.mean() if n else math.nan, scores.std(ddof=1) if n > 1 else math.nan, n


def by_place(rows: Sequence[Row], records: Records) -> pd.DataFrame:
    """mIoU near the boundaries of the labels and elsewhere, one line a row and place: `row, place, miou, std, n`.

    In percent, over those of the seeds whose records count the two apart, by today's radius; NaN where there are too
    few.
    """
    lines = []
    for row in rows:
        counted = [r for r in records.get(row.id, ()) if r.get("near_boundaries", {}).get("radius") == RADIUS]
        near = [np.array(record["near_boundaries"]["confusion"]) for record in counted]
        far = [np.array(record["confusion"]) - of_near for record, of_near in zip(counted, near, strict=True)]
        for place, matrices in (("near", near), ("elsewhere", far)):
            lines.append((row.name, place, *over_seeds([{"confusion": matrix} for matrix in matrices], miou)))
    return pd.DataFrame(lines, columns=["row", "place", "miou", "std", "n"])


def over_row(places: pd.DataFrame, name: str) -> pd.DataFrame:
    """What each other row of `by_place` lacks to the row `name`, near boundaries and elsewhere, and whether it counts.

    Columns `place, over, gain, spread, n, verdict`: `spread` is the standard deviation of the difference.
    """
    lines = []
    for place, table in places.groupby("place", sort=False):
        of_row = table.set_index("row")[["miou", "std", "n"]].T.to_dict("list")
        best, best_std, best_n = of_row.pop(name)
        for over, (miou_over, std, n) in of_row.items():
            gain, spread = best - miou_over, math.hypot(best_std, std)
            verdict = NOT_COUNTED if math.isnan(gain) else _resolved(gain, spread)
            lines.append((place, over, gain, spread, int(min(best_n, n)), verdict))
    return pd.DataFrame(lines, columns=["place", "over", "gain", "spread", "n", "verdict"])


def claim(places: pd.DataFrame, better: str, worse: str, place: str) -> dict[str, str]:
    """Does the row `better` of `by_place` do better at a place than the row `worse`? `ours, difference, why`."""
    table = over_row(places, better)
    line = table[(table["place"] == place) & (table["over"] == worse)].iloc[0]
    if math.isnan(line["gain"]):
        return {"ours": NOT_COUNTED, "difference": "", "why": ""}
    held = (
        line["verdict"] if line["verdict"] != "resolved" else "holds here" if line["gain"] > 0 else "does not hold here"
    )
    spread = "" if math.isnan(line["spread"]) else f" ± {line['spread']:.2f}"
    ours = f"{line['gain']:+.2f}{spread} points {place}, n = {line['n']}"
    return {"ours": ours, "difference": held, "why": f"{better} minus {worse}, mIoU; other data and budget"}


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


def show(table: pd.DataFrame, rows: Sequence[Row], setting: str) -> pd.DataFrame:
    """The table for reading: numbers as text, "not run" where nothing is recorded, gains over the base of the table.

    `setting` says what "ours" was trained on, such as "streets, short".
    """
    base = BASES[rows[0].table]
    ours = [score_text(*line) for line in zip(table["miou_ours"], table["miou_std"], table["n"], strict=True)]
    gain, over = gains(table, base), {row.name: row.label for row in rows}[base]
    return pd.DataFrame(
        {
            "mIoU % paper (Cityscapes val)": table["miou_paper"].map(number),
            f"mIoU % ours ({setting})": ours,
            "n": table["n"].astype(str),
            f"paper's gain over {over}": gain["paper"].map("{:+.2f}".format).where(gain["paper"].notna(), "-"),
            "our gain": [f"{g:+.2f} {v}" if v else "" for g, v in zip(gain["ours"], gain["verdict"], strict=True)],
            "GFLOPs paper": [number(row.gflops, row.gflops_decimals) for row in rows],
            "GFLOPs ours": table["gflops_ours"].map(number),
        }
    ).set_index(pd.Index([row.label for row in rows], name="row"))


def score_text(mean: float, std: float, n: int) -> str:
    return NOT_RUN if not n else f"{mean:.2f}" + (f" ± {std:.2f}" if n > 1 else "")


def number(value: float, decimals: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:.{decimals}f}"


def differences(table: pd.DataFrame, rows: Sequence[Row], dataset: str, scale: str) -> pd.DataFrame:
    """paper | ours | difference | why, first for the GFLOPs, then for the gains over the base of the table."""
    base = BASES[rows[0].table]
    lines: list[tuple[str, ...]] = []
    for row, ours in zip(rows, table["gflops_ours"], strict=True):
        if not math.isnan(row.gflops):
            percent = f"{100 * (ours / row.gflops - 1):+.2f} %"
            printed = number(row.gflops, row.gflops_decimals)
            lines.append(("GFLOPs", row.label, printed, number(ours), percent, gflops_verdict(row, ours)))
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
    other = [*(["data"] if dataset != "cityscapes" else []), *(["budget"] if scale != "paper" else [])]
    return f"{sign}, {verdict}" + (f"; other {' and '.join(other)}" if other else "")


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
            "files": record["source"],  # which kind, and how many if not all
            "protocol": record["training"].get("protocol", "paper"),  # older records have none
            "seen at": "x".join(map(str, record["training"]["test_size"])),
            "parts of a batch": process.get("accumulation", 1),
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


def save(table: pd.DataFrame, name: str, folder: Path) -> Path:
    """Write a table as CSV, numbers unrounded to eight digits; returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    table.to_csv(path, index=False, float_format="%.8g")
    return path
