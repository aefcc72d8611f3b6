"""The embedded scenes as a data set."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from bisenet.data import streets
from bisenet.dataset import DatasetInfo, Pair


class Streets:
    """The embedded scenes: rendered on request, the last ones kept. Every split has a seed of its own.

    Recipes were chosen on `tuning`, which no table is tested on.
    """

    info = DatasetInfo(
        "streets",
        streets.CLASSES,
        streets.PALETTE,
        {"train": 2975, "val": 500, "tuning": 500, "train+val": 3475},  # as many as Cityscapes has
        needs_files=False,
    )
    source = "rendered"
    labelled = True
    SEEDS: Mapping[str, int] = {"train": 0, "val": 1, "tuning": 2}

    def __init__(self, split: str, size: tuple[int, int]):
        self.size = size
        self.scenes = [(self.SEEDS[part], i) for part in split.split("+") for i in range(self.info.splits[part])]

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
        image, labels = streets.render(number, self.size, seed)
        image.flags.writeable = labels.flags.writeable = False  # shared by everybody who asks for this scene
        return image, labels

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: not the scenes."""
        return {key: value for key, value in vars(self).items() if key != "render"}
