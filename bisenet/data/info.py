"""What a data set is: its classes, palette and splits, and what training and evaluation need of a reader."""

from __future__ import annotations

import colorsys
import dataclasses
import difflib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

IGNORE = 255

Pair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What does not depend on a copy of the files. `splits` maps a split to its number of images."""

    name: str
    classes: tuple[str, ...]
    palette: np.ndarray  # (K, 3) uint8
    splits: Mapping[str, int]
    needs_files: bool = True


def distinct_colours(count: int) -> np.ndarray:
    """Colours (count, 3), uint8, far apart for neighbours: hues by the golden section, two brightnesses in turn."""
    hsv = [(k * 0.618034 % 1, 0.55 + 0.4 * (k % 3) / 2, 0.95 - 0.35 * (k % 2)) for k in range(count)]
    return np.array([[round(255 * c) for c in colorsys.hsv_to_rgb(*colour)] for colour in hsv], dtype=np.uint8)


class PairDataset(Protocol):
    """What training and evaluation need of a data set."""

    info: DatasetInfo
    source: str  # which of several kinds of files, and how many if not all; recorded, since the pixels differ
    labelled: bool  # whether the labels are there, or kept by a test server

    def __len__(self) -> int: ...

    def load(self, index: int) -> Pair: ...


class FilePairs:
    """A reader of files: `pairs` of image and label file, for the `load` of each data set."""

    info: DatasetInfo
    source: str
    labelled = True
    pairs: list[tuple[Path, Path]]

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Pair:
        raise NotImplementedError

    def name(self, index: int) -> str:
        """The name of an image file, without its folder."""
        return self.pairs[index][0].name

    def _check(self, kind: str, split: str) -> None:
        """Say what these files are: warn if some of the split are missing; FileNotFoundError for missing labels."""
        self.source, expected = kind, self.info.splits[split]
        if len(self) != expected:
            self.source += f", {len(self)} of {expected} images of {split}"
            warnings.warn(f"{self.info.name} is not the whole data set: {self.source}", stacklevel=3)
        for image, labels in self.pairs if self.labelled else ():
            if not labels.is_file():
                raise FileNotFoundError(f"image without labels: {image} needs {labels}")


def choose(what: str, name: str, choices: Iterable[str]) -> str:
    """`name` if it is one of `choices`; otherwise ValueError with the nearest ones."""
    choices = list(choices)
    if name in choices:
        return name
    near = difflib.get_close_matches(str(name), choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"unknown {what} {name!r}: {hint}known: {', '.join(choices)}")
