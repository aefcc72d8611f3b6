"""Tables of results as pictures, and the loss curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bisenet.paper import BASES, Row
from bisenet.report.ablations import NOT_COUNTED, gains
from bisenet.report.benchmarks import HEADERS, SERVER, pairs
from bisenet.report.verdict import NOT_RUN, ONE_SEED, mean

# Okabe and Ito's colours, told apart by colour-blind readers too.
OURS, PAPER, BAD, GREEN = "#0072B2", "#999999", "#D55E00", "#009E73"


def forest(table: pd.DataFrame, rows: Sequence[Row], setting: str) -> Figure:
    """Every row of a table of `ablations.comparison` in two panels: gain over the base, with its interval, and GFLOPs.

    Hollow is a gain of one seed, which has no interval; the paper's are beside.
    """
    figure, panels = plt.subplots(
        1, 2, figsize=(9.6, 0.34 * len(rows) + 1.4), sharey=True, layout="constrained", width_ratios=(1.6, 1)
    )
    base = {row.name: row.label for row in rows}[BASES[rows[0].table]]
    place = -np.arange(len(table), dtype=float)
    for axes, column in zip(panels, ("gain_paper", "gflops_paper"), strict=True):
        axes.plot(table[column], place + 0.16, "D", color=PAPER, markersize=5, label="paper")
        axes.grid(axis="y", color="#dddddd")
    panels[1].plot(table["gflops_ours"], place - 0.16, "o", color=OURS, markersize=5, label="here")
    _intervals(panels[0], table, place - 0.16)
    over = f"gain over {base}, points of mIoU, with its 95 % interval ({setting})"
    for axes, title in zip(panels, (over, "GFLOPs"), strict=True):
        axes.set_title(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(place, [row.label for row in rows])
    figure.legend(
        *panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False
    )
    return closed(figure)


def _intervals(axes: Axes, table: pd.DataFrame, place: np.ndarray) -> None:
    """Gains as dots with their intervals, hollow where there is none, and a line at zero."""
    axes.axvline(0, color="black", linewidth=0.8)
    for y, gained, n, printed in zip(place, gains(table), table["n"], table["gain_paper"], strict=True):
        axes.plot((gained.low, gained.high), (y, y), color=OURS, linewidth=2)
        axes.plot(gained.points, y, "o", color=OURS, markerfacecolor="white" if gained.verdict == ONE_SEED else OURS)
        if not n or (gained.verdict == NOT_RUN and not math.isnan(printed)):
            axes.annotate(NOT_RUN, (0.995, y), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=7)


def trials(table: pd.DataFrame) -> Figure:
    """Trials of recipes, a panel for each data set: mIoU, random scales by colour, pixels shown by area."""
    groups = list(table.groupby("dataset", sort=False))
    heights = [len(of_name) + 2 for _, of_name in groups]
    size = (9.6, 0.28 * sum(heights) + 0.6)
    figure, panels = plt.subplots(
        len(groups), 1, figsize=size, squeeze=False, height_ratios=heights, layout="constrained"
    )
    colours = dict(zip(table["scales"].unique(), (OURS, BAD, GREEN, PAPER, "#CC79A7", "#E69F00"), strict=False))
    for axes, (name, of_name) in zip(panels[:, 0], groups, strict=True):
        ordered = of_name.sort_values("miou").reset_index(drop=True)
        for scales, line in ordered.groupby("scales"):
            axes.scatter(line["miou"], line.index, line["megapixels"] / 2, colours[scales])
        words = [
            f"{trial.crop}, {trial.iterations:,} times {trial.batch}, {trial.optimizer} {trial.lr:g}"
            for trial in ordered.itertuples()
        ]
        axes.set_yticks(ordered.index, words, fontsize=7)
        axes.set_title(name, fontsize=9)
        axes.grid(axis="y", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("mIoU % on images of no table; the area is the number of pixels shown in training")
    handles = [Line2D([], [], marker="o", linestyle="", color=c, label=f"scales {name}") for name, c in colours.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=7, frameon=False)
    return closed(figure)


def claims(table: pd.DataFrame, setting: str) -> Figure:
    """A table of `ablations.claims` as intervals, coloured by verdict; of one seed hollow; the paper's gain beside."""
    figure, axes = plt.subplots(figsize=(9.6, 0.27 * len(table) + 1.2), layout="constrained")
    axes.axvline(0, color="black", linewidth=0.8)
    colours = {"holds": GREEN, "fails": BAD, "unresolved": OURS, ONE_SEED: OURS, NOT_RUN: PAPER}
    for place, line in zip(-np.arange(len(table)), table.to_dict("records"), strict=True):
        colour = colours[line["verdict"]]
        axes.plot((line["low"], line["high"]), (place, place), color=colour)
        if line["verdict"] == NOT_RUN:
            axes.annotate(NOT_RUN, (1, place), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=7)
        else:
            filled = "white" if line["verdict"] == ONE_SEED else colour
            axes.plot(line["here"], place, "o", color=colour, markerfacecolor=filled)
        axes.plot(line["paper"], place, "D", color=PAPER, markersize=5, zorder=1)
    axes.set_yticks(-np.arange(len(table)), table["claim"], fontsize=8)
    axes.set_xlabel(f"gain in points of mIoU, {setting}, with its 95 % interval")
    marks = {word: ("o", colours[word]) for word in ("holds", "fails", "unresolved")} | {"paper": ("D", PAPER)}
    handles = [Line2D([], [], marker=mark, color=colour, label=word) for word, (mark, colour) in marks.items()]
    handles.append(Line2D([], [], marker="o", linestyle="", color=OURS, markerfacecolor="white", label=ONE_SEED))
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return closed(figure)


def methods(table: pd.DataFrame, setting: str) -> Figure:
    """Every method of a table of `benchmarks.beside` as a dot, by groups; the paper's own marked, ours beside."""
    scores = pairs(table)
    figure, panels = plt.subplots(
        1, len(scores), figsize=(9.6, 0.21 * len(table) + 1.4), sharey=True, squeeze=False, layout="constrained"
    )
    place, ticks = _places(table)
    for axes, (column, score) in zip(panels[0], scores.items(), strict=True):
        _methods(axes, table, place, column, score, f"here ({setting}), ± standard deviation")
        axes.set_title(HEADERS[column], fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_yticks(list(ticks), list(ticks.values()))
    panels[0][0].set_ylim(place.min() - 0.6, 0)
    for text in panels[0][0].get_yticklabels():
        text.set_fontweight("bold" if text.get_text().endswith(" models") else "normal")
    handles, labels = panels[0][0].get_legend_handles_labels()  # the first panel has all that there is
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return closed(figure)


def _methods(axes: Axes, table: pd.DataFrame, place: np.ndarray, column: str, score: str, label: str) -> None:
    """One panel: the column `column` of the paper and, where it has one, ours."""
    own = table["own"].to_numpy()
    for y, x in zip(place[own], table[column][own], strict=True):
        axes.axhspan(y - 0.5, y + 0.5, color="#eeeeee", zorder=0)
        axes.plot((x, x), (y, 0), ":", color=BAD, linewidth=0.8, zorder=1)  # up to those that it leaves behind
    axes.plot(table[column][~own], place[~own], "o", color=PAPER, label="paper, other methods")
    axes.plot(table[column][own], place[own], "s", color=BAD, label="paper, BiSeNet V2")
    if score:
        style: dict[str, Any] = {"fmt": "D", "color": OURS, "capsize": 3, "label": label}
        axes.errorbar(table[f"{score}_ours"], place, xerr=table[f"{score}_std"], **style)
    for y, n in zip(place[own], table["n"][own], strict=True):
        if not (score and n):
            text = f"here: {NOT_RUN if score else SERVER}"
            axes.annotate(text, (0.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=7)


def _places(table: pd.DataFrame) -> tuple[np.ndarray, dict[float, str]]:
    """Where each line of the table is drawn, (n,), and the labels of the axis: a heading above every group."""
    begins = (table["group"] != table["group"].shift()).to_numpy()
    place = -np.arange(len(table)) - 1.6 * begins.cumsum()
    repeated = table["method"].duplicated(keep=False)
    names = table["method"] + (", " + table["backbone"]).where(repeated, "")
    headings = {y + 1.1: f"{group} models" for y, group in zip(place[begins], table["group"][begins], strict=True)}
    return place, headings | dict(zip(place.tolist(), names, strict=True))


def trend(table: pd.DataFrame, rows: Sequence[Row], setting: str, knob: str, base: float = 0) -> Figure:
    """mIoU (the paper's, and ours with its standard deviation) and GFLOPs against the number that the table varies.

    A row without the knob is a dashed line. With `base`, such as 2, the axis is logarithmic.
    """
    figure, panels = plt.subplots(1, 3, figsize=(9.6, 2.9), layout="constrained")
    x = np.array([row.knob for row in rows])
    columns = (("miou_paper", PAPER, 0), ("miou_ours", OURS, 1), ("gflops_paper", PAPER, 2), ("gflops_ours", OURS, 2))
    for column, colour_of, panel in columns:
        error = table["miou_std"] if column == "miou_ours" else None
        size = 9 if column == "gflops_paper" else 5
        style: dict[str, Any] = {
            "color": colour_of,
            "markersize": size,
            "label": "paper" if column.endswith("paper") else "here",
        }
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
    return "mIoU %, paper (Cityscapes val)", f"mIoU %, here ({setting}), ± standard deviation", "GFLOPs"


def _finish(figure: Figure, panels: Sequence[Axes]) -> Figure:
    panels[-1].legend(fontsize=8, frameon=False)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return closed(figure)


def by_place(places: pd.DataFrame, rows: Sequence[Row], setting: str) -> Figure:
    """A table of `ablations.by_place`: mIoU near boundaries and elsewhere, one line a row, with its 95 % interval."""
    figure, axes = plt.subplots(figsize=(9.6, 0.4 * len(rows) + 1.2), layout="constrained")
    lines = {row.name: -k for k, row in enumerate(rows)}
    for place, colour_of, mark in (("near", BAD, "o"), ("elsewhere", OURS, "s")):
        of_place = places[places["place"] == place]
        seen = [mean(scores) for scores in of_place["scores"]]
        y = of_place["row"].map(lines)
        axes.hlines(y, [one.low for one in seen], [one.high for one in seen], color=colour_of, linewidth=2)
        axes.plot([one.points for one in seen], y, mark, color=colour_of, label=place)
    for name in places["row"][places["scores"].str.len() == 0].unique():
        axes.annotate(NOT_COUNTED, (0.5, lines[name]), xycoords=("axes fraction", "data"), ha="center", va="center")
    axes.set_yticks(list(lines.values()), [row.label for row in rows])
    axes.set_xlabel(f"mIoU %, {setting}")
    axes.grid(axis="y", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return closed(figure)


def closed(figure: Figure) -> Figure:
    """A notebook shows what a cell returns, and would show an open figure once more."""
    plt.close(figure)
    return figure


def loss_curve(losses: np.ndarray, axes: Axes) -> None:
    """Loss against iteration, faint as it is and smoothed over a twentieth of the run."""
    window = max(1, len(losses) // 20)
    axes.plot(np.arange(1, len(losses) + 1), losses, color=OURS, alpha=0.3, linewidth=1)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    axes.plot(np.arange(window, len(losses) + 1), smooth, color=OURS, linewidth=2)
    axes.set_xlabel("iteration")
    axes.set_ylabel("loss")
    axes.spines[["top", "right"]].set_visible(False)
