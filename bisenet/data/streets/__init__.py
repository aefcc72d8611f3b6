"""Streets: procedural street scenes with the 19 Cityscapes classes, the data set that needs no download.

A scene is a list of things on a street, drawn far to near on a canvas that paints image and labels together.
Lengths are metres: x to the right, y up, z away from the camera, a pinhole at (0, eye, 0).
Every material has the colours that it has in life, and classes share materials: walls the concrete and plaster of
houses, trucks and cars the lacquer of motorcycles. What a pixel is follows from thin shapes (posts, spokes, lamps) and
from context (a long windowed box on rails is a train, with wheels it is a bus), seldom from its colour.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bisenet.data.streets.canvas import Canvas
from bisenet.data.streets.classes import CLASSES, PALETTE
from bisenet.data.streets.plan import Street, paint_bonnet
from bisenet.dataset import DatasetInfo, Pair

__all__ = ["CLASSES", "PALETTE", "Streets", "render"]


def render(index: int, size: tuple[int, int] = (512, 1024), seed: int = 0) -> Pair:
    """Scene number `index` of the endless series `seed`: image (H, W, 3) uint8 and labels (H, W) uint8.

    `size` is (height, width). Labels are train ids 0..18, 255 is void. The same arguments give the same bytes
    in any process; the same index and seed give the same layout, stretched to the size.
    Raises ValueError if a side of the size is below 1, or if index or seed is negative.
    """
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"got size={size!r}; the rule is (height, width), both at least 1")
    if index < 0 or seed < 0:
        raise ValueError(f"got index={index}, seed={seed}; the rule is that neither is negative")
    rng = np.random.default_rng((seed, index))
    canvas, street = Canvas(size, rng), Street(rng)
    things = sorted(street.things(rng), key=lambda thing: -thing.z - thing.reach)
    street.paint_ground(canvas, things, rng)
    for thing in things:
        thing.paint(canvas, thing, rng)
    canvas.mirror()
    paint_bonnet(canvas, rng)
    return canvas.develop(rng), np.array(canvas.labels)


class Streets:
    """The embedded scenes: rendered on request, the last ones kept. Every split has a seed of its own.

    Recipes were chosen on `tuning`, which no table is tested on.
    """

    info = DatasetInfo(
        "streets",
        CLASSES,
        PALETTE,
        {"train": 2975, "val": 500, "tuning": 500},  # as many as Cityscapes has
        needs_files=False,
    )
    source = "rendered"
    labelled = True
    SEEDS: Mapping[str, int] = {"train": 0, "val": 1, "tuning": 2}

    def __init__(self, split: str, size: tuple[int, int]):
        self.size = size
        self.scenes = [(self.SEEDS[split], number) for number in range(self.info.splits[split])]

    def __len__(self) -> int:
        return len(self.scenes)

    def load(self, index: int) -> Pair:
        seed, number = self.scenes[index]
        return self.render(number, seed)

    @functools.cached_property
    def render(self) -> Callable[[int, int], Pair]:
        """Rendering with a memory of 256 MiB, in which all scenes of a small run fit."""
        return functools.lru_cache(maxsize=2**28 // (4 * math.prod(self.size)))(self._render)

    def _render(self, number: int, seed: int) -> Pair:
        image, labels = render(number, self.size, seed)
        image.flags.writeable = labels.flags.writeable = False  # shared by everybody who asks for this scene
        return image, labels

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: not the scenes."""
        return {key: value for key, value in vars(self).items() if key != "render"}
