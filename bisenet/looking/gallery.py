"""Scenes as pictures: beside what a network makes of them, and what goes on in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bisenet.data import DATASETS
from bisenet.dataset import IGNORE, DatasetInfo
from bisenet.report.charts import BAD, GREEN, HERE, closed
from bisenet.report.verdict import NOT_RUN

# Classes whose official colours nobody can tell apart, such as five vehicles in blues, in pictures that are to be read.
TOLD_APART = {
    **{"truck": (150, 75, 0), "bus": (0, 220, 230), "train": (0, 110, 90), "rider": (255, 120, 90)},
    **{"motorcycle": (190, 130, 255), "bicycle": (255, 215, 160), "fence": (225, 160, 160)},
}


def readable(info: DatasetInfo) -> np.ndarray:
    """The palette of a data set for pictures that are to be read, uint8 (K, 3); files have the official one.

    Only that of Cityscapes, and so of the embedded scenes, differs.
    """
    if info.classes != DATASETS["cityscapes"].classes:
        return info.palette
    return np.array([TOLD_APART.get(name, official) for name, official in zip(info.classes, info.palette, strict=True)])


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
    wrong = [_errors(*scene) for scene in zip(images, labels, predictions, strict=True)]
    columns = {"image": images, "truth": labels, "prediction": predictions, "errors (orange)": wrong}
    return _scenes(columns, info)


def examples(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    predictions: Mapping[str, Sequence[np.ndarray]],
    info: DatasetInfo,
) -> Figure:
    """Image | truth | a column for each network, one line a scene (Figure 10); without predictions it is "not run"."""
    return _scenes({"image": images, "truth": labels, **predictions}, info)


def _scenes(columns: Mapping[str, Sequence[np.ndarray]], info: DatasetInfo) -> Figure:
    """Columns of pictures, uint8 (H, W, 3), or class maps (H, W), by their titles; an empty one is "not run"."""
    images = columns["image"]
    height = 9.6 / len(columns) * images[0].shape[0] / images[0].shape[1]
    size = (9.6, len(images) * height + 0.9)
    figure, grid = plt.subplots(len(images), len(columns), figsize=size, squeeze=False, layout="constrained")
    for cells, (title, pictures) in zip(grid.T, columns.items(), strict=True):
        cells[0].set_title(title, fontsize=9)
        blank = [np.full_like(image, 238) for image in images]  # pale grey
        for cell, picture in zip(cells, pictures or blank, strict=True):
            cell.imshow(colour(picture, readable(info)) if picture.ndim == 2 else picture, interpolation="nearest")
            cell.axis("off")
            if not pictures:
                cell.annotate(NOT_RUN, (0.5, 0.5), xycoords="axes fraction", ha="center", va="center")
    maps = [picture for pictures in columns.values() for picture in pictures if picture.ndim == 2]
    present = sorted({k for classes in maps for k in np.unique(classes).tolist()} - {IGNORE})
    patches = [Patch(color=readable(info)[k] / 255.0, label=info.classes[k]) for k in present]  # classes that occur
    figure.legend(handles=patches, loc="outside lower center", ncols=7, fontsize=7, frameon=False)
    return closed(figure)


def _errors(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in pale grey, wrong pixels in colour."""
    picture = _grey(image)
    wrong = (truth != predicted) & (truth != IGNORE)
    picture[wrong] = [int(BAD[i : i + 2], 16) for i in (1, 3, 5)]
    return picture


def _grey(image: np.ndarray) -> np.ndarray:
    """The image in pale grey, still RGB."""
    return np.repeat((160 + image.mean(axis=2, keepdims=True) * 0.35).astype(np.uint8), 3, axis=2)


SHARES = np.linspace(0, 1, 256)
# Clear at 0, and ever less so; a root, so that small values are seen.
CLEAR = ListedColormap(np.column_stack([plt.get_cmap("plasma")(SHARES)[:, :3], np.sqrt(SHARES)]), "clear")


def activations(
    titles: Sequence[str], lines: Sequence[tuple[str, np.ndarray, Sequence[np.ndarray]]], scaling: str
) -> Figure:
    """Figures 8 and 9: a picture (H, W, 3) | maps (H, W) in [0, 1] over its greys, one line an example, with its label.

    `titles` are those of the columns; `scaling` says what 0 and 1 are in the colour bar. Where a map is 0 it is clear.
    """
    height = 9.2 / len(titles) * lines[0][1].shape[0] / lines[0][1].shape[1] + 0.1
    size = (9.6, len(lines) * height + 0.9)
    figure, grid = plt.subplots(len(lines), len(titles), figsize=size, squeeze=False, layout="constrained")
    for cells, (label, picture, maps) in zip(grid, lines, strict=True):
        cells[0].imshow(picture)
        cells[0].set_ylabel(label, fontsize=9)
        for cell, each in zip(cells[1:], maps, strict=True):
            cell.imshow(_grey(picture))
            cell.imshow(each, cmap=CLEAR, vmin=0, vmax=1)
        for cell in cells:
            cell.set(xticks=[], yticks=[])
    for cell, title in zip(grid[0], titles, strict=True):
        cell.set_title(title, fontsize=9)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), CLEAR), ax=grid, location="bottom", aspect=40, shrink=0.5, pad=0.02
    )
    bar.set_label(scaling, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return closed(figure)


def highlighted(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) in pale grey, but for the pixels of a mask."""
    return np.where(mask[..., None], image, _grey(image))


def boundary_ratios(measured: Mapping[str, pd.DataFrame], names: Mapping[str, str]) -> Figure:
    """Tables of `statistics.boundary_ratios`, by network: ratio against radius, a panel for each of the named methods.

    Stages are told apart by colour and mark, networks by line. Bars are two standard errors of the mean over images.
    """
    figure, grid = plt.subplots(1, len(names), sharey=True, figsize=(9.6, 3.6), squeeze=False, layout="constrained")
    panels = grid[0]
    for axes, (method, title) in zip(panels, names.items(), strict=True):
        axes.axhline(1, color="black", linewidth=0.8)
        shifts = iter(2 ** np.linspace(-0.15, 0.15, 6))  # so that no bar hides another
        for (network, table), line in zip(measured.items(), ("-", ":"), strict=True):
            images = table[table["method"] == method].groupby(["stage", "radius", "image"])["ratio"].mean()
            of_radius = images.groupby(["stage", "radius"])
            mean, error = of_radius.mean().unstack(), 2 * of_radius.sem().unstack()
            for stage, colour_of, mark in zip(mean.index, (HERE, GREEN, BAD), "os^", strict=True):
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
