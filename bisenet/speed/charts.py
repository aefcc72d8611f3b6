"""Records of speed as pictures: Figure 1, ways to a class map, the roofline."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox

from bisenet.report.charts import BAD, PAPER, closed
from bisenet.speed.machine import where_measured
from bisenet.speed.protocol import WAY_STAGES

RED = BAD  # the paper's Figure 1 has its own networks in red

REAL_TIME = 30  # frames per second
LINES = (":", "--", "-.", (0, (1, 4)), (0, (5, 1, 1, 1, 1, 1)))  # of precisions


def speed_accuracy(published: pd.DataFrame, measured: Mapping[str, pd.DataFrame]) -> Figure:
    """Figure 1: accuracy against speed, as published (`paper.published("table_7")`) and once for each record.

    `measured` has tables of `timings.measured` by the title of their record; one without a number has no panel. A
    network without a published accuracy is a tick at the lower edge.
    """
    tables = {title: table for title, table in measured.items() if table["fps"].notna().any()}
    count = 1 + len(tables)
    figure, grid = plt.subplots(count, 1, figsize=(9.6, 4.2 * count), squeeze=False, layout="constrained")
    panels, points = list(grid[:, 0]), [_published_points(published)]
    points += [table.rename(columns={"network": "name", "miou_paper": "miou"}) for table in tables.values()]
    points = [of_panel.dropna(subset="fps") for of_panel in points]
    titles = ["as published, on a GTX 1080 Ti", *(f"FPS on {title}" for title in tables)]
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
        if math.isnan(point["miou"]):
            axes.axvline(point["fps"], 0, 0.04, color=PAPER, linewidth=2)
        else:
            axes.plot(point["fps"], point["miou"], marker, color=colour, markersize=9 if point["ours"] else 5)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("frames per second" + ("; ticks: no accuracy published" if points["miou"].isna().any() else ""))
    axes.set_ylabel("mIoU %, Cityscapes test, published")
    axes.margins(x=0.06, y=0.1)
    axes.spines[["top", "right"]].set_visible(False)


# Where a label may be, in points from its mark: the nearest first, at each distance in the order of the angles.
PLACES = [
    (distance * round(math.cos(math.radians(angle)), 2), distance * round(math.sin(math.radians(angle)), 2))
    for distance in (6, 10, 15, 22, 30, 40, 52, 66)
    for angle in (0, 45, -45, 90, -90, 180, 135, -135)
]


def _label(axes: Axes, points: pd.DataFrame) -> None:
    """Each name beside its mark, at the nearest place where it covers nothing; a thin line leads to one far away."""
    pixel = axes.figure.dpi / 72
    marks = list(zip(points["fps"], points["miou"].fillna(axes.get_ylim()[0] + 0.5), strict=True))
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
    """A record of `ways.time_ways`: every way as a bar, those here divided by the shares of their stages."""
    ordered = sorted(record["ways"].items(), key=lambda item: -item[1]["whole"]["median"])
    figure, axes = plt.subplots(figsize=(7.5, 0.35 * len(ordered) + 1), layout="constrained")
    colours = dict(zip(WAY_STAGES, ("tab:green", "tab:blue", "tab:orange"), strict=True))
    for place, (_, way) in enumerate(ordered):
        whole, stages = way["whole"], {name: of["median"] for name, of in way.get("stages", {}).items()}
        left = 0.0
        for stage, ms in stages.items():
            part = whole["median"] * ms / sum(stages.values())  # medians of parts do not add up to that of the whole
            axes.barh(place, part, left=left, color=colours[stage])
            left += part
        if not left:
            axes.barh(place, whole["median"], color="0.9", edgecolor="0.5", hatch="///")
        axes.plot([whole["low"], whole["high"]], [place, place], color="black", linewidth=1)
        axes.annotate(f"{whole['median']:.0f}", (whole["high"], place), (4, 0), textcoords="offset points", va="center")
    handles = [Patch(color=colour, label=stage) for stage, colour in colours.items()]
    handles.append(Patch(facecolor="0.9", edgecolor="0.5", hatch="///", label="one graph"))
    axes.legend(handles=handles, loc="upper right", fontsize=8)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    axes.set_title(where_measured(record), fontsize=9)
    axes.set_xlabel("ms a frame of 2048x1024: median, and 5 % to 95 %")
    axes.margins(x=0.08)
    return closed(figure)


def roofline(record: Mapping[str, Any]) -> Figure:
    """A record of `ways.time_ways`: GFLOP/s against FLOP a byte moved, of each convolution and of the whole network.

    A circle is a convolution in fp32, in OpenVINO where that was timed, otherwise in PyTorch, not compiled; its area is
    its share of the time. A line is the whole network in the engine that is fastest in a precision.
    """
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    key = "openvino_ms" if any("openvino_ms" in layer for layer in record["layers"]) else "ms"
    layers = [layer for layer in record["layers"] if key in layer]
    moved = np.array([layer["bytes"] for layer in layers]) / 1e9
    gflop, ms = (np.array([layer[of] for layer in layers]) for of in ("gflop", key))
    reach = np.geomspace(0.5 * (gflop / moved).min(), 2 * (gflop / moved).max(), 100)
    for top in record["peaks"].values():
        axes.plot(reach, np.minimum(top["gflops"], reach * top["gigabytes"]), color="black")
    detail = np.array([layer["layer"].startswith("detail") for layer in layers])
    for label, chosen, colour in (("Detail Branch", detail, "tab:blue"), ("the rest", ~detail, "tab:orange")):
        size = 2000 * ms[chosen] / ms.sum()
        axes.scatter((gflop / moved)[chosen], (1000 * gflop / ms)[chosen], size, colour, alpha=0.5, label=label)
    found = [way for way in record["ways"].values() if way["kind"] == "segmenter"]
    for precision, style in zip(dict.fromkeys(way["precision"] for way in found), LINES, strict=False):
        of_precision = [way for way in found if way["precision"] == precision]
        way = min(of_precision, key=lambda way: way["stages"]["network"]["median"])
        speed = 1000 * record["gflop"] / way["stages"]["network"]["median"]
        label = f"the network, {precision}, {way['engine']}: {speed:.0f} GFLOP/s"
        axes.axhline(speed, color="0.4", linewidth=1, linestyle=style, label=label)
    axes.set_title(where_measured(record), fontsize=9)
    axes.set(xscale="log", yscale="log", xlabel="FLOP for each byte read or written", ylabel="GFLOP/s")
    axes.legend(loc="lower right", fontsize=8, markerscale=0.5)
    return closed(figure)
