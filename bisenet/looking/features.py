"""Features of a network as pictures: how strong they are, and single channels of them."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from bisenet.report.charts import closed

WIDTH = 2.0  # inches of a map
SHADES = plt.get_cmap("magma", 24)  # hardly told from all 256, and half as large in a file


def panels(features: Mapping[str, Tensor], channels: int = 0, columns: int = 4) -> Figure:
    """Features of one image, (1, C, h, w) each, by name: a column each, below its name and its shape C × h × w.

    On top is the root of the mean square over the channels, of a single channel its absolute value; below it are the
    `channels` channels that vary most over the picture. A map has the pixels that the features have, and goes from
    its own smallest value, black, to its own largest, pale yellow. After `columns` columns a new line begins.
    """
    *_, height, width = next(iter(features.values())).shape
    columns, lines = min(columns, len(features)), 1 + channels
    rows = lines * math.ceil(len(features) / columns)
    size = (WIDTH * columns, rows * (WIDTH * height / width + 0.2) + 0.2)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for cell in grid.flat:
        cell.axis("off")
    for place, (name, of_image) in enumerate(features.items()):
        maps = of_image[0].detach().float().cpu()  # (C, h, w)
        most = maps.std(dim=(1, 2)).argsort(descending=True, stable=True)[:channels]
        titles = [f"{name}\n{' × '.join(map(str, maps.shape))}", *(f"channel {number}" for number in most.tolist())]
        first = lines * (place // columns)
        cells = grid[first : first + lines, place % columns]
        for cell, title, each in zip(cells, titles, [maps.square().mean(0).sqrt(), *maps[most]], strict=True):
            cell.imshow(each, cmap=SHADES, interpolation="nearest")
            cell.set_title(title, fontsize=8)
    return closed(figure)
