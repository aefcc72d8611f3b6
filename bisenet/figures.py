"""Figures: tables of results as pictures, scenes beside their predictions, the loss curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bisenet.data import IGNORE, DatasetInfo
from bisenet.paper import Row
from bisenet.report import NOT_RUN

# Okabe and Ito's colours, told apart by colour-blind readers too.
OURS, PAPER, BAD = "#0072B2", "#999999", "#D55E00"


def dots(table: pd.DataFrame, rows: Sequence[Row], setting: str) -> Figure:
    """Every row as a dot in three panels: the paper's mIoU, ours with the spread over seeds, GFLOPs of both."""
    figure, panels = plt.subplots(
        1, 3, figsize=(9.6, 0.3 * len(rows) + 1.2), sharey=True, layout="constrained", width_ratios=(1, 1, 0.8)
    )
    place = -np.arange(len(table))
    style: dict[str, Any] = {"fmt": "o", "capsize": 3}
    panels[0].errorbar(table["miou_paper"], place, color=PAPER, **style)
    panels[1].errorbar(table["miou_ours"], place, xerr=table["miou_std"], color=OURS, **style)
    panels[2].errorbar(table["gflops_paper"], place, color=PAPER, markersize=9, label="paper", **style)
    panels[2].errorbar(table["gflops_ours"], place, color=OURS, markersize=4, label="ours", **style)
    for axes, title in zip(panels, _titles(setting), strict=True):
        axes.set_title(title, fontsize=9)
        axes.grid(axis="y", color="#dddddd")
    for y, missing in zip(place, table["miou_ours"].isna(), strict=True):
        if missing:
            panels[1].annotate(NOT_RUN, (0.5, y), xycoords=("axes fraction", "data"), ha="center", va="center")
    panels[0].set_yticks(place, [row.label for row in rows])
    return _finish(figure, panels)


def trend(table: pd.DataFrame, rows: Sequence[Row], setting: str, knob: str, base: float = 0) -> Figure:
    """mIoU (the paper's, and ours with its spread) and GFLOPs against the number that the table varies.

    A row without the knob is a dashed line. With `base`, such as 2, the axis is logarithmic.
    """
    figure, panels = plt.subplots(1, 3, figsize=(9.6, 2.9), layout="constrained")
    x = np.array([row.knob for row in rows])
    columns = (("miou_paper", PAPER, 0), ("miou_ours", OURS, 1), ("gflops_paper", PAPER, 2), ("gflops_ours", OURS, 2))
    for column, colour_of, panel in columns:
        error = table["miou_std"] if column == "miou_ours" else None
        size = 9 if column == "gflops_paper" else 5
        style: dict[str, Any] = {"color": colour_of, "markersize": size, "label": column.partition("_")[2]}
        panels[panel].errorbar(x, table[column], error, fmt="o-", capsize=3, **style)
        for row, value in zip(rows, table[column], strict=True):
            if math.isnan(row.knob):
                panels[panel].axhline(value, color=colour_of, linestyle="--", linewidth=1)
    if table["miou_ours"].isna().all():
        panels[1].annotate(NOT_RUN, (0.5, 0.5), xycoords="axes fraction", ha="center")
    for axes, title in zip(panels, _titles(setting), strict=True):
        if base:
            axes.set_xscale("log", base=base)
        axes.set_xlabel(knob)
        axes.set_title(title, fontsize=9)
    return _finish(figure, panels)


def _titles(setting: str) -> tuple[str, str, str]:
    return "mIoU %, paper (Cityscapes val)", f"mIoU %, ours ({setting})", "GFLOPs"


def _finish(figure: Figure, panels: Sequence[Axes]) -> Figure:
    panels[-1].legend(fontsize=8, frameon=False)
    for axes in panels:
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
