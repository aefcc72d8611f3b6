"""What is wrong with the files of a data set, found before anything is trained on them.

A fault cannot be right: a file that cannot be read, an id that no class has, labels of a single class. A doubt
probably is not: a picture that is all but black, a photograph that is to be turned, a class that never occurs.
"""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bisenet.config import Size
from bisenet.dataset import IGNORE, PairDataset

DARK = 32  # of 255: an image without a brighter pixel has probably fewer bits than its file
MOST_VOID = 0.5  # of the pixels: where more are void, something is probably void that should not be
ORIENTATION = 0x0112  # the EXIF tag that says how a photograph is to be turned


@dataclasses.dataclass(frozen=True)
class Survey:
    """What some pairs hold: pixels by class id, (256,), 255 = void; every fault, and a line for each kind of doubt."""

    classes: tuple[str, ...]
    images: int
    pixels: np.ndarray
    brightest: int
    faults: Sequence[str]
    doubts: Sequence[str]

    def __str__(self) -> str:
        """One line: the share of each class that occurs, of the labelled pixels, and that of void, of all."""
        labelled = self.pixels[: len(self.classes)]
        shares = zip(self.classes, 100 * labelled / max(1, labelled.sum()), strict=True)
        occurring = ", ".join(f"{name} {share:.1f} %" for name, share in shares if share)
        void = 100 * self.pixels[IGNORE] / max(1, self.pixels.sum())
        return f"{self.images} images up to {self.brightest} of 255; {occurring or 'no class'}; void {void:.1f} %"


@dataclasses.dataclass(frozen=True)
class _Seen:
    """One pair: its pixels by id, what is wrong with it, and doubts by their kind."""

    pixels: np.ndarray
    brightest: int
    fault: str = ""
    doubts: Mapping[str, str] = dataclasses.field(default_factory=dict)


def spread(dataset: PairDataset, count: int, limit: int | None = None) -> list[int]:
    """Indices of some images, spread evenly over a data set or over its first `limit`."""
    size = min(len(dataset), limit or len(dataset))
    return sorted({k * size // count for k in range(count)})


def survey(
    dataset: PairDataset,
    indices: Sequence[int],
    largest: Size | None = None,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Survey:
    """Read some pairs, several at a time, and say what is in them and what is wrong.

    `largest`, (height, width): what an image must fit into, where evaluation pads. `watch` wraps what is gone through,
    such as a progress bar. A file that cannot be read is a fault and no error.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(watch(pool.map(lambda index: _look(dataset, index, largest), indices)))
    pixels = np.sum([one.pixels for one in seen], axis=0)
    faults = [one.fault for one in seen if one.fault]
    doubts = defaultdict(list)
    for kind, doubt in (item for one in seen for item in one.doubts.items()):
        doubts[kind].append(doubt)
    lines = [found[0] + (f" ({len(found)} such files)" if len(found) > 1 else "") for found in doubts.values()]
    if pixels.any():
        of_all = _of_all(dataset.info.classes, pixels, whole=len(seen) == len(dataset))
        faults, lines = [*faults, *of_all[0]], [*lines, *of_all[1]]
    brightest = max(one.brightest for one in seen)
    return Survey(dataset.info.classes, len(seen), pixels, brightest, faults, lines)


def _look(dataset: PairDataset, index: int, largest: Size | None) -> _Seen:
    try:
        image, labels = dataset.load(index)
    except (ValueError, OSError) as error:
        return _Seen(np.zeros(256, np.int64), 0, str(error))
    pairs: Sequence[tuple[Path, Path]] = getattr(dataset, "pairs", ())  # of files, if it is read from such
    path = pairs[index][0] if pairs else None
    fault, doubts = "", {}
    if largest and (image.shape[0] > largest[0] or image.shape[1] > largest[1]):
        size, room = ("x".join(map(str, pair)) for pair in (image.shape[:2], largest))
        fault = f"{path}: {size} (height x width), and evaluation pads to {room}; make it smaller"
    if image.max() < DARK:
        doubts["dark"] = f"{path}: no pixel is brighter than {image.max()} of 255; are of its 16 bits only 12 in use?"
    if path and (turned := _orientation(path)) != 1:
        doubts["turned"] = f"{path}: its EXIF data (orientation {turned}) turn it, and labels do not follow"
    if (labels == IGNORE).all():
        doubts["void"] = f"{pairs[index][1] if pairs else index}: all labels are void"
    return _Seen(np.bincount(labels.ravel(), minlength=256), int(image.max()), fault, doubts)


def _orientation(path: Path) -> int:
    """1 is upright. Opening a picture does not decode it."""
    with Image.open(path) as picture:
        return int(picture.getexif().get(ORIENTATION, 1))


def _of_all(classes: tuple[str, ...], pixels: np.ndarray, whole: bool) -> tuple[list[str], list[str]]:
    """Faults and doubts by the pixels of each id; which classes are missing can be said of a whole set only."""
    occurring, void = np.flatnonzero(pixels[: len(classes)]), 100 * pixels[IGNORE] / pixels.sum()
    if not len(occurring):
        return ["all labels are void (255): nothing can be learned or scored"], []
    if len(occurring) == 1:
        only = f"only {classes[occurring[0]]!r} is labelled, {void:.0f} % of the pixels are void (255)"
        return [f"{only}: nothing can be told apart; a mask of 0 and 255 is to be saved as 0 and 1"], []
    absent = [name for k, name in enumerate(classes) if k not in occurring]
    doubts = [f"{len(absent)} of {len(classes)} classes never occur: {', '.join(absent)}"] if absent and whole else []
    if void > 100 * MOST_VOID:
        doubts.append(f"{void:.0f} % of the pixels are void (255)")
    return [], doubts
