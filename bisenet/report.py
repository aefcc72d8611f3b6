"""From records to tables and figures. Nothing here trains or runs a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bisenet.data import IGNORE, DatasetInfo
from bisenet.evaluate import iou, miou
from bisenet.paper import Row

# Okabe and Ito's colours, told apart by colour-blind readers too.
OURS, PAPER, BAD = "#0072B2", "#999999", "#D55E00"
NOT_RUN = "not run"

Records = Mapping[str, Sequence[Mapping[str, Any]]]


def comparison(rows: Sequence[Row], records: Records, gflops: Mapping[str, float]) -> pd.DataFrame:
    """One line a row: `row, miou_paper, miou_ours, miou_std, n, gflops_paper, gflops_ours`.

    mIoU in percent, mean and sample standard deviation over the n seeds recorded; NaN where there are too few.
    `records` and `gflops` are by row id.
    """
    lines = []
    for row in rows:
        scores = np.array([miou(np.array(record["confusion"])) for record in records.get(row.id, ())])
        n = len(scores)
        lines.append(
            {
                "row": row.name,
                "miou_paper": row.miou,
                "miou_ours": scores.mean() if n else math.nan,
                "miou_std": scores.std(ddof=1) if n > 1 else math.nan,
                "n": n,
                "gflops_paper": row.gflops,
                "gflops_ours": gflops[row.id],
            }
        )
    return pd.DataFrame(lines)


def show(table: pd.DataFrame, rows: Sequence[Row], setting: str) -> pd.DataFrame:
    """The table for reading: every number as text, "not run" where nothing is recorded.

    `setting` says what "ours" was trained on, such as "streets, short".
    """
    ours = [
        NOT_RUN if not n else f"{mean:.2f}" + (f" ± {std:.2f}" if n > 1 else "")
        for mean, std, n in zip(table["miou_ours"], table["miou_std"], table["n"], strict=True)
    ]
    return pd.DataFrame(
        {
            "mIoU % paper (Cityscapes val)": [f"{value:.2f}" for value in table["miou_paper"]],
            f"mIoU % ours ({setting})": ours,
            "n": table["n"].astype(str).to_list(),
            "GFLOPs paper": [f"{value:.2f}" for value in table["gflops_paper"]],
            "GFLOPs ours": [f"{value:.2f}" for value in table["gflops_ours"]],
        },
        index=pd.Index([row.label for row in rows], name="row"),
    )


def differences(table: pd.DataFrame, rows: Sequence[Row], dataset: str, scale: str) -> pd.DataFrame:
    """paper | ours | difference | why, first for the GFLOPs, then for the gain of each row over the first."""
    lines = []
    for row, line in zip(rows, table.to_dict("records"), strict=True):
        percent = 100 * (line["gflops_ours"] / line["gflops_paper"] - 1)
        why = "the paper's counting rule and our readings" if abs(percent) <= 0.1 else "open: see the readings"
        lines.append(
            _difference("GFLOPs", row.label, line["gflops_paper"], line["gflops_ours"], f"{percent:+.2f} %", why)
        )
    base = table.to_dict("records")[0]
    for row, line in zip(rows[1:], table.to_dict("records")[1:], strict=True):
        paper, ours = line["miou_paper"] - base["miou_paper"], line["miou_ours"] - base["miou_ours"]
        spread = math.hypot(line["miou_std"], base["miou_std"])
        lines.append(
            _difference(
                f"mIoU gain over {rows[0].label}",
                row.label,
                paper,
                ours,
                *_verdict(paper, ours, spread, dataset, scale),
            )
        )
    return pd.DataFrame(lines).set_index(["what", "row"])


def _difference(what: str, label: str, paper: float, ours: float, difference: str, why: str) -> dict[str, str]:
    shown = NOT_RUN if math.isnan(ours) else f"{ours:.2f}"
    return {
        "what": what,
        "row": label,
        "paper": f"{paper:.2f}",
        "ours": shown,
        "difference": difference,
        "why": why,
    }


def _verdict(paper: float, ours: float, spread: float, dataset: str, scale: str) -> tuple[str, str]:
    """Difference and reason; a gain inside the spread over seeds is unresolved, and one seed has no spread."""
    if math.isnan(ours):
        return "", f"no record for {dataset}, {scale}"
    sign = "same sign" if ours * paper > 0 else "opposite sign"
    resolved = "one seed" if math.isnan(spread) else "unresolved" if abs(ours) <= spread else "resolved"
    return f"{ours - paper:+.2f}", f"{sign}, {resolved}; other data" + ("" if scale == "paper" else " and budget")


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


def save(table: pd.DataFrame, name: str, folder: Path) -> Path:
    """Write a table as CSV, numbers unrounded to eight digits; returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    table.to_csv(path, index=False, float_format="%.8g")
    return path


def bar_chart(table: pd.DataFrame, rows: Sequence[Row], setting: str) -> Figure:
    """mIoU of every row, the paper's and ours side by side, spread over seeds as error bars."""
    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    place = np.arange(len(table))
    axes.bar(place - 0.2, table["miou_paper"], 0.38, color=PAPER, label="paper (Cityscapes val)")
    errors = table["miou_std"].to_numpy()  # NaN, and no bar, where there is one seed
    axes.bar(
        place + 0.2,
        table["miou_ours"].fillna(0),
        0.38,
        yerr=errors,
        capsize=3,
        color=OURS,
        label=f"ours ({setting})",
    )
    for x, paper, ours in zip(place, table["miou_paper"], table["miou_ours"], strict=True):
        axes.annotate(f"{paper:.1f}", (x - 0.2, paper), ha="center", va="bottom", fontsize=8)
        text = NOT_RUN if math.isnan(ours) else f"{ours:.1f}"
        axes.annotate(text, (x + 0.2, 0 if math.isnan(ours) else ours), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(place, [row.label.replace(" (", "\n(").replace(" + ", "\n+ ") for row in rows], fontsize=8)
    axes.set_ylabel("mIoU (%)")
    axes.set_ylim(0, 100)
    axes.legend(loc="upper left", ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    plt.close(figure)  # a notebook shows what a cell returns, and would show an open figure again
    return figure


def colour(classes: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Class map (H, W) to uint8 RGB (H, W, 3); ignored pixels are black."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = palette
    return table[classes]


def panel(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    info: DatasetInfo,
) -> Figure:
    """Image | truth | prediction | errors, one line a scene, with a legend of the classes that occur."""
    titles = ("image", "truth", "prediction", "errors (orange)")
    height = 9.6 / 4 * images[0].shape[0] / images[0].shape[1]
    figure, grid = plt.subplots(
        len(images), 4, figsize=(9.6, len(images) * height + 0.9), squeeze=False, layout="constrained"
    )
    for axes, image, truth, predicted in zip(grid, images, labels, predictions, strict=True):
        pictures = (
            image,
            colour(truth, info.palette),
            colour(predicted, info.palette),
            _errors(image, truth, predicted),
        )
        for cell, picture in zip(axes, pictures, strict=True):
            cell.imshow(picture, interpolation="nearest")
            cell.axis("off")
    for cell, title in zip(grid[0], titles, strict=True):
        cell.set_title(title, fontsize=9)
    present = sorted(set(np.unique(np.stack([*labels, *predictions]))) - {IGNORE})
    patches = [Patch(color=info.palette[k] / 255.0, label=info.classes[k]) for k in present]
    figure.legend(handles=patches, loc="outside lower center", ncols=7, fontsize=7, frameon=False)
    plt.close(figure)  # a notebook shows what a cell returns, and would show an open figure again
    return figure


def _errors(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in pale grey, wrong pixels in colour."""
    grey = (160 + image.mean(axis=2) * 0.35).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    wrong = (truth != predicted) & (truth != IGNORE)
    picture[wrong] = [int(BAD[i : i + 2], 16) for i in (1, 3, 5)]
    return picture


def loss_curve(losses: np.ndarray, axes: Axes) -> None:
    """Loss against iteration, faint as it is and smoothed over a twentieth of the run."""
    window = max(1, len(losses) // 20)
    axes.plot(np.arange(1, len(losses) + 1), losses, color=OURS, alpha=0.3, linewidth=1)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    axes.plot(np.arange(window, len(losses) + 1), smooth, color=OURS, linewidth=2)
    axes.set_xlabel("iteration")
    axes.set_ylabel("loss")
    axes.spines[["top", "right"]].set_visible(False)
