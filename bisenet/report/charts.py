"""Tables of results as pictures, and the loss curve."""

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
HERE, PAPER, BAD, GREEN = "#0072B2", "#999999", "#D55E00", "#009E73"


HOLLOW = Line2D([], [], marker="o", linestyle="", color=HERE, markerfacecolor="white", label=ONE_SEED)


def forest(table: pd.DataFrame, rows: Sequence[Row], setting: str) -> Figure:
    """Every row of a table of `ablations.comparison`: gain over the base, with its interval, and GFLOPs if printed.

    Hollow is a gain of one seed, which has no interval; the paper's are beside.
    """
    counted = table["gflops_paper"].notna().any()
    figure, axes, place = _lines([row.label for row in rows], 2 if counted else 1)
    base = {row.name: row.label for row in rows}[BASES[rows[0].table]]
    titles = (f"gain over {base}, points of mIoU, with its 95 % interval ({setting})", "GFLOPs")
    for panel, column, title in zip(axes, ("gain_paper", "gflops_paper"), titles, strict=False):
        panel.plot(table[column], place + 0.16, "D", color=PAPER, markersize=5, label="paper")
        panel.set_title(title, fontsize=9)
    _intervals(axes[0], table, place - 0.16)
    base_at = place[[row.name for row in rows].index(BASES[rows[0].table])]
    axes[0].annotate("base", (0, base_at), (4, 0), textcoords="offset points", va="center", fontsize=8)
    if counted:
        axes[1].plot(table["gflops_here"], place - 0.16, "o", color=HERE, markersize=5)
    handles = [
        Line2D([], [], marker=mark, color=colour, linestyle="", label=word)
        for word, mark, colour in (("paper", "D", PAPER), ("here", "o", HERE))
    ]
    if any(gained.verdict == ONE_SEED for gained in gains(table)):
        handles.append(HOLLOW)
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return closed(figure)


def _lines(labels: Sequence[str], panels: int = 1) -> tuple[Figure, list[Axes], np.ndarray]:
    """Panels side by side with one line for each label, and where the lines are."""
    figure, grid = plt.subplots(
        1,
        panels,
        figsize=(9.6, 0.34 * len(labels) + 1.4),
        sharey=True,
        squeeze=False,
        layout="constrained",
        width_ratios=(1.6, 1)[:panels],
    )
    place = -np.arange(len(labels), dtype=float)
    for axes in grid[0]:
        axes.grid(axis="y", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    grid[0][0].set_yticks(place, labels)
    grid[0][0].set_ylim(place.min() - 0.6, 0.6)
    return figure, list(grid[0]), place


def _intervals(axes: Axes, table: pd.DataFrame, place: np.ndarray) -> None:
    """Gains as dots with their intervals, hollow where there is none, and a line at zero."""
    axes.axvline(0, color="black", linewidth=0.8)
    for y, gained, n, printed in zip(place, gains(table), table["n"], table["gain_paper"], strict=True):
        axes.plot((gained.low, gained.high), (y, y), color=HERE, linewidth=2)
        axes.plot(gained.points, y, "o", color=HERE, markerfacecolor="white" if gained.verdict == ONE_SEED else HERE)
        if not n or (gained.verdict == NOT_RUN and not math.isnan(printed)):
            axes.annotate(NOT_RUN, (0.995, y), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=7)


def trials(table: pd.DataFrame) -> Figure:
    """Trials of recipes, a panel for each data set and split: mIoU, random scales by colour, pixels shown by area."""
    groups = list(table.groupby(["dataset", "split"], sort=False))
    heights = [len(of_name) + 2 for _, of_name in groups]
    size = (9.6, 0.28 * sum(heights) + 0.6)
    figure, panels = plt.subplots(
        len(groups), 1, figsize=size, squeeze=False, height_ratios=heights, layout="constrained"
    )
    colours = dict(
        zip(table["scales"].unique(), (HERE, BAD, GREEN, PAPER, "#CC79A7", "#E69F00", "#56B4E9"), strict=False)
    )
    for axes, (name, of_name) in zip(panels[:, 0], groups, strict=True):
        ordered = of_name.sort_values("miou").reset_index(drop=True)
        for scales, line in ordered.groupby("scales"):
            edges = ["black" if chosen == "yes" else "none" for chosen in line["chosen"]]
            axes.scatter(
                line["miou"], line.index, line["megapixels"] / 2, colours[scales], edgecolors=edges, linewidths=2
            )
        words = [
            f"{trial.crop}, {trial.iterations:,} iterations of {trial.batch}, {trial.optimizer} {trial.lr:g}"
            for trial in ordered.itertuples()
        ]
        axes.margins(0.05, 0.12)
        axes.set_yticks(ordered.index, words, fontsize=7)
        axes.set_title(", ".join(map(str, name)), fontsize=9)
        axes.grid(axis="y", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("mIoU %; the area is the number of pixels shown in training; with an edge: chosen")
    handles = [Line2D([], [], marker="o", linestyle="", color=c, label=f"scales {name}") for name, c in colours.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=7, frameon=False)
    return closed(figure)


def claims(table: pd.DataFrame, setting: str) -> Figure:
    """A table of `ablations.claims` as intervals, coloured by verdict; of one seed hollow; the paper's gain beside."""
    figure, (axes,), places = _lines(table["claim"].tolist())
    axes.axvline(0, color="black", linewidth=0.8)
    colours = {"holds": GREEN, "fails": BAD, "unresolved": HERE, ONE_SEED: HERE, NOT_RUN: PAPER}
    for place, line in zip(places, table.to_dict("records"), strict=True):
        colour = colours[line["verdict"]]
        axes.plot((line["low"], line["high"]), (place, place), color=colour)
        if line["verdict"] == NOT_RUN:
            style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 7, "backgroundcolor": "white"}
            axes.annotate(NOT_RUN, (1, place), xycoords=("axes fraction", "data"), **style)
        else:
            filled = "white" if line["verdict"] == ONE_SEED else colour
            axes.plot(line["here"], place, "o", color=colour, markerfacecolor=filled)
        axes.plot(line["paper"], place, "D", color=PAPER, markersize=5, zorder=1)
    axes.set_xlabel(f"gain, points of mIoU ({setting})")
    marks = {word: ("o", colours[word]) for word in ("holds", "fails", "unresolved")} | {"paper": ("D", PAPER)}
    handles = [Line2D([], [], marker=mark, color=colour, label=word) for word, (mark, colour) in marks.items()]
    handles.append(HOLLOW)
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    return closed(figure)


def methods(table: pd.DataFrame, setting: str) -> Figure:
    """Every method of a table of `benchmarks.beside` as a dot, by groups; the paper's own marked, those here beside."""
    scores = pairs(table)
    figure, panels = plt.subplots(
        1, len(scores), figsize=(9.6, 0.21 * len(table) + 1.4), sharey=True, squeeze=False, layout="constrained"
    )
    place, ticks = _places(table)
    for axes, (column, score) in zip(panels[0], scores.items(), strict=True):
        spread = ", ± standard deviation" if (table["n"] > 1).any() else ""
        _methods(axes, table, place, column, score, f"here ({setting}){spread}")
        axes.set_title(HEADERS[column], fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_yticks(list(ticks), list(ticks.values()))
    panels[0][0].set_ylim(place.min() - 0.6, 0)
    for text in panels[0][0].get_yticklabels():
        text.set_fontweight("bold" if text.get_text().endswith(" models") else "normal")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return closed(figure)


def _methods(axes: Axes, table: pd.DataFrame, place: np.ndarray, column: str, score: str, label: str) -> None:
    """One panel: the column `column` of the paper and, where it has one, that here."""
    own = table["own"].to_numpy()
    for y, x in zip(place[own], table[column][own], strict=True):
        axes.axhspan(y - 0.5, y + 0.5, color="#eeeeee", zorder=0)
        axes.plot((x, x), (y, 0), ":", color=BAD, linewidth=0.8, zorder=1)  # up to those that it leaves behind
    axes.plot(table[column][~own], place[~own], "o", color=PAPER, label="paper, other methods")
    axes.plot(table[column][own], place[own], "s", color=BAD, label="paper, BiSeNet V2")
    if score and table["n"].any():
        style: dict[str, Any] = {"fmt": "D", "color": HERE, "capsize": 3, "label": label}
        axes.errorbar(table[f"{score}_here"], place, xerr=table[f"{score}_std"], **style)
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


def by_place(places: pd.DataFrame, rows: Sequence[Row], setting: str) -> Figure:
    """A table of `ablations.by_place`: mIoU near boundaries and elsewhere, one line a row, with its 95 % interval."""
    figure, (axes,), lines = _lines([row.label for row in rows])
    at = dict(zip((row.name for row in rows), lines, strict=True))
    for place, colour_of, mark in (("near", BAD, "o"), ("elsewhere", HERE, "s")):
        of_place = places[places["place"] == place]
        seen, y = [mean(scores) for scores in of_place["scores"]], of_place["row"].map(at)
        axes.hlines(y, [one.low for one in seen], [one.high for one in seen], color=colour_of, linewidth=2)
        axes.plot([one.points for one in seen], y, mark, color=colour_of, label=place)
    for name in places["row"][places["scores"].str.len() == 0].unique():
        axes.annotate(NOT_COUNTED, (0.5, at[name]), xycoords=("axes fraction", "data"), ha="center", va="center")
    axes.set_xlabel(f"mIoU %, {setting}")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return closed(figure)


def closed(figure: Figure) -> Figure:
    """A notebook shows what a cell returns, and would show an open figure once more."""
    plt.close(figure)
    return figure


def loss_curve(losses: np.ndarray, axes: Axes) -> None:
    """Loss against iteration, faint as it is and smoothed over a twentieth of the run."""
    window = max(1, len(losses) // 20)
    axes.plot(np.arange(1, len(losses) + 1), losses, color=HERE, alpha=0.3, linewidth=1)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    axes.plot(np.arange(window, len(losses) + 1), smooth, color=HERE, linewidth=2)
    axes.set_xlabel("iteration")
    axes.set_ylabel("loss")
    axes.spines[["top", "right"]].set_visible(False)
