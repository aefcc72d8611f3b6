"""What a data set is: its classes, palette and splits, and what training and evaluation need of a reader."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np

IGNORE = 255

Pair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a data set is. `splits` maps a split to its number of images; `size`, (height, width), is that of the images
    of your own data, from which their recipes are made.
    """

    name: str
    classes: tuple[str, ...]
    palette: np.ndarray  # (K, 3) uint8
    splits: Mapping[str, int]
    needs_files: bool = True
    size: tuple[int, int] | None = None


class PairDataset(Protocol):
    """What training and evaluation need of a data set."""

    info: DatasetInfo
    source: str  # which of several kinds of files, and how many if not all; recorded, since the pixels differ
    labelled: bool  # whether the labels are there, or kept by a test server

    def __len__(self) -> int: ...

    def load(self, index: int) -> Pair: ...
