"""Tables of results as pictures, and the loss curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from bisenet.benchmarks import HEADERS, SERVER, pairs
from bisenet.paper import BASES, Row
from bisenet.report import NOT_COUNTED, gains
from bisenet.verdict import NOT_RUN, ONE_SEED, mean

# Okabe and Ito's colours, told apart by colour-blind readers too.
OURS, PAPER, BAD, GREEN = "#0072B2", "#999999", "#D55E00", "#009E73"
RED = BAD  # the paper's Figure 1 has its own networks in red

REAL_TIME = 30  # frames per second
UNKNOWN = 55.0  # where a network without a published mIoU is drawn


def forest(table: pd.DataFrame, rows: Sequence[Row], setting: str) -> Figure:
    """Every row of a table of `report.comparison` in two panels: gain over the base, with its interval, and GFLOPs.

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
    panels[1].plot(table["gflops_ours"], place - 0.16, "o", color=OURS, markersize=5, label="ours")
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
    """A table of `report.claims` as intervals, coloured by verdict; of one seed hollow; the paper's gain beside."""
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
        _methods(axes, table, place, column, score, f"ours ({setting}), ± standard deviation")
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
            text = f"ours: {NOT_RUN if score else SERVER}"
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
    return "mIoU %, paper (Cityscapes val)", f"mIoU %, ours ({setting}), ± standard deviation", "GFLOPs"


def _finish(figure: Figure, panels: Sequence[Axes]) -> Figure:
    panels[-1].legend(fontsize=8, frameon=False)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return closed(figure)


def speed_accuracy(published: pd.DataFrame, measured: Mapping[str, pd.DataFrame]) -> Figure:
    """Figure 1: accuracy against speed, as published (`paper.published("table_7")`) and once for each record of ours.

    `measured` has tables of `timings.measured` by the title of their record; one without a number has no panel. A
    network that Table 7 does not have is a hollow mark at the bottom.
    """
    tables = {title: table for title, table in measured.items() if table["fps"].notna().any()}
    count = 1 + len(tables)
    figure, grid = plt.subplots(count, 1, figsize=(9.6, 4.2 * count), squeeze=False, layout="constrained")
    panels, points = list(grid[:, 0]), [_published_points(published)]
    points += [table.rename(columns={"network": "name", "miou_paper": "miou"}) for table in tables.values()]
    points = [of_panel.dropna(subset="fps") for of_panel in points]
    titles = ["as published, on a GTX 1080 Ti", *(f"FPS on {title}; accuracy as published" for title in tables)]
    for axes, of_panel, title in zip(panels, points, titles, strict=True):
        _trade_off(axes, of_panel, title)
    for axes in panels[1:]:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.1)
    figure.draw_without_rendering()  # settles the layout, which the places of the labels depend on
    figure.set_layout_engine("none")
    for axes, of_panel in zip(panels, points, strict=True):
        _label(axes, of_panel)
    return closed(figure)


def _published_points(table: pd.DataFrame) -> pd.DataFrame:
    """`name, fps, miou, ours`; a method that stands there twice is told apart by its backbone."""
    twice = table["method"].duplicated(keep=False)
    names = table["method"].str.rstrip("*") + (" " + table["backbone"]).where(twice, "")
    ours = table["method"].str.startswith("BiSeNetV2")
    return pd.DataFrame({"name": names, "fps": table["fps"], "miou": table["miou_test"], "ours": ours})


def _trade_off(axes: Axes, points: pd.DataFrame, title: str) -> None:
    """Others grey, ours red, and the line of real time."""
    axes.axvline(REAL_TIME, color=RED, linewidth=1)
    where: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate("real time", (REAL_TIME, 0.99), (-3, 0), rotation=90, ha="right", va="top", fontsize=7, **where)
    for _, point in points.iterrows():
        colour, marker = (RED, "*") if point["ours"] else (PAPER, "o")
        hollow = math.isnan(point["miou"])
        style: dict[str, Any] = {"color": colour, "marker": marker, "markerfacecolor": "none" if hollow else colour}
        axes.plot(point["fps"], UNKNOWN if hollow else point["miou"], markersize=9 if point["ours"] else 5, **style)
    axes.set_title(
        title
        + ("; hollow: no accuracy published there, so the height means nothing" if points["miou"].isna().any() else ""),
        fontsize=9,
    )
    axes.set_xlabel("frames per second")
    axes.set_ylabel("mIoU %, Cityscapes test")
    axes.margins(x=0.06, y=0.1)
    axes.spines[["top", "right"]].set_visible(False)


# Where a label may be, in points from its mark: the nearest first, at each distance in the order of the angles.
PLACES = [
    (distance * round(math.cos(math.radians(angle)), 2), distance * round(math.sin(math.radians(angle)), 2))
    for distance in (6, 10, 15, 22, 30, 40)
    for angle in (0, 45, -45, 90, -90, 180, 135, -135)
]


def _label(axes: Axes, points: pd.DataFrame) -> None:
    """Each name beside its mark, at the nearest place where it covers nothing; a thin line leads to one far away."""
    pixel = axes.figure.dpi / 72
    marks = list(zip(points["fps"], points["miou"].fillna(UNKNOWN), strict=True))
    taken = [Bbox([at, at]).padded(5 * pixel) for at in axes.transData.transform(marks)]
    taken += [text.get_window_extent().padded(pixel) for text in axes.texts]
    line = axes.transData.transform((REAL_TIME, 0))[0]
    taken.append(Bbox.from_extents(line - pixel, axes.bbox.y0, line + pixel, axes.bbox.y1))
    for mark, name, ours in zip(marks, points["name"], points["ours"], strict=True):
        style: dict[str, Any] = {"color": RED, "weight": "bold"} if ours else {}
        label = axes.annotate(name, mark, (0, 0), textcoords="offset points", fontsize=8, **style)
        for across, up in PLACES:
            label.set_position((across, up))
            label.set(ha=_side(across, "right", "center", "left"), va=_side(up, "top", "center", "bottom"))
            box = label.get_window_extent()
            if axes.bbox.count_contains(box.corners()) == 4 and not box.count_overlaps(taken):
                break
        taken.append(box.padded(pixel))
        if math.hypot(across, up) > 12:
            leader = {"arrowstyle": "-", "color": PAPER, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
            axes.annotate("", mark, (across, up), textcoords="offset points", arrowprops=leader)


def _side(offset: float, below: str, at: str, above: str) -> str:
    return at if offset == 0 else above if offset > 0 else below


def ways(record: Mapping[str, Any]) -> Figure:
    """A record of `ways.compare`: every way as a bar, ours divided into its stages, the slowest below."""
    ordered = sorted(record["ways"].values(), key=lambda way: -way["whole"]["median"])
    figure, axes = plt.subplots(figsize=(7.5, 0.35 * len(ordered) + 1), layout="constrained")
    colours = {"resize": "0.75", "network": "tab:blue", "classes": "tab:orange"}
    for place, way in enumerate(ordered):
        whole = way["whole"]
        left = 0.0
        for stage, of_stage in way.get("stages", {}).items():
            axes.barh(place, of_stage["median"], left=left, color=colours[stage])
            left += of_stage["median"]
        if not left:
            axes.barh(place, whole["median"], color="0.9", edgecolor="0.5", hatch="///")
        axes.plot([whole["low"], whole["high"]], [place, place], color="black", linewidth=1)
        axes.annotate(f"{whole['median']:.0f}", (whole["high"], place), (4, 0), textcoords="offset points", va="center")
    handles = [Patch(color=colour, label=stage) for stage, colour in colours.items()]
    handles.append(Patch(facecolor="0.9", edgecolor="0.5", hatch="///", label="one graph"))
    axes.legend(handles=handles, loc="upper right", fontsize=8)
    axes.set_yticks(range(len(ordered)), [f"{way['kind']}, {way['engine']}, {way['precision']}" for way in ordered])
    axes.set_xlabel("ms a frame of 2048x1024: median, and 5 % to 95 %")
    axes.margins(x=0.08)
    return closed(figure)


def roofline(record: Mapping[str, Any]) -> Figure:
    """A record of `ways.compare`: GFLOP/s against FLOP a byte moved, of each convolution and of the whole network.

    A circle is a convolution in PyTorch, not compiled, its area its share of the time; a line is the network in an
    engine.
    """
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    peak, layers = record["peak"], record["layers"]
    moved = np.array([layer["bytes"] for layer in layers]) / 1e9
    gflop, ms = (np.array([layer[key] for layer in layers]) for key in ("gflop", "ms"))
    reach = np.geomspace(0.5 * (gflop / moved).min(), 2 * (gflop / moved).max(), 100)
    axes.plot(reach, np.minimum(peak["gflops"], reach * peak["gigabytes"]), color="black")
    detail = np.array([layer["layer"].startswith("detail") for layer in layers])
    for label, chosen, colour in (("Detail Branch", detail, "tab:blue"), ("the rest", ~detail, "tab:orange")):
        size = 2000 * ms[chosen] / ms.sum()
        axes.scatter((gflop / moved)[chosen], (1000 * gflop / ms)[chosen], size, colour, alpha=0.5, label=label)
    ours = [way for way in record["ways"].values() if way["kind"] == "segmenter"]
    for number, way in enumerate(ours):
        speed = 1000 * record["gflop"] / way["stages"]["network"]["median"]
        label = f"{way['engine']}, {way['precision']}: {speed:.0f} GFLOP/s"
        axes.axhline(speed, color=f"C{number + 2}", linewidth=1, linestyle=":", label=label)
    axes.set(xscale="log", yscale="log", xlabel="FLOP for each byte read or written", ylabel="GFLOP/s")
    axes.legend(loc="lower right", fontsize=8, markerscale=0.5)
    return closed(figure)


def boundary_ratios(measured: Mapping[str, pd.DataFrame], names: Mapping[str, str]) -> Figure:
    """Tables of `explain.boundary_ratios`, by network: ratio against radius, a panel for each of the named methods.

    Stages are told apart by colour and mark, networks by line. Bars are two standard errors of the mean over images.
    """
    options: dict[str, Any] = {"figsize": (9.6, 3.6), "squeeze": False, "layout": "constrained"}
    figure, (panels,) = plt.subplots(1, len(names), sharey=True, **options)
    for axes, (method, title) in zip(panels, names.items(), strict=True):
        axes.axhline(1, color="black", linewidth=0.8)
        shifts = iter(2 ** np.linspace(-0.15, 0.15, 6))  # so that no bar hides another
        for (network, table), line in zip(measured.items(), ("-", ":"), strict=True):
            images = table[table["method"] == method].groupby(["stage", "radius", "image"])["ratio"].mean()
            of_radius = images.groupby(["stage", "radius"])
            mean, error = of_radius.mean().unstack(), 2 * of_radius.sem().unstack()
            for stage, colour_of, mark in zip(mean.index, (OURS, GREEN, BAD), "os^", strict=True):
                style: dict[str, Any] = {"fmt": mark + line, "color": colour_of, "capsize": 2, "markersize": 5}
                axes.errorbar(
                    mean.columns * next(shifts), mean.loc[stage], error.loc[stage], label=f"{stage}, {network}", **style
                )
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("pixels from a label boundary, at most")
        axes.set_title(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share of the map / chance")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False
    )
    return closed(figure)


def by_place(places: pd.DataFrame, rows: Sequence[Row], setting: str) -> Figure:
    """A table of `report.by_place`: mIoU near boundaries and elsewhere, one line a row, with its 95 % interval."""
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
