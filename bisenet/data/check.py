"""What is wrong with the files of a data set, found before anything is trained on them.

A fault cannot be right: a file that cannot be read, an id that no class has, labels of a single class. A doubt
probably is not: a picture that is all but black, a photograph that is to be turned, a class that never occurs.
"""

import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bisenet.config import Size
from bisenet.data.info import FilePairs, needed
from bisenet.dataset import IGNORE
from bisenet.execution import cores

DARK = 32  # of 255: an image without a brighter pixel has probably fewer bits than its file
MOST_VOID = 50  # percent of the pixels: where more are void, something is probably void that should not be
ORIENTATION = 0x0112  # the EXIF tag that says how a photograph is to be turned; 1 is upright
NAMED = 8  # classes in a line


@dataclasses.dataclass(frozen=True)
class Survey:
    """What some pairs hold: pixels by class id, (256,), 255 = void; every fault, and a line for each kind of doubt."""

    classes: tuple[str, ...]
    images: int
    pixels: np.ndarray
    brightest: int
    faults: Sequence[str]
    doubts: Sequence[str]

    @property
    def occurring(self) -> list[int]:
        """The ids of the classes that occur, the most frequent first."""
        counts = self.pixels[: len(self.classes)]
        return [k for k in np.argsort(-counts, kind="stable").tolist() if counts[k]]

    def __str__(self) -> str:
        """One line: shares of the most frequent classes, of the labelled pixels, and that of void, of all."""
        labelled = self.pixels[: len(self.classes)].sum()
        shares = [f"{self.classes[k]} {100 * self.pixels[k] / labelled:.1f} %" for k in self.occurring]
        void = 100 * self.pixels[IGNORE] / max(1, self.pixels.sum())
        if not self.pixels.any():
            return f"none of {self.images} images can be read"
        return f"{self.images} images, brightest pixel {self.brightest} of 255; {_few(shares)}; void {void:.1f} %"


# Of one pair: its pixels by id, its brightest, what is wrong with it ("" for nothing), and doubts by their kind.
Seen = tuple[np.ndarray, int, str, Mapping[str, str]]


def survey(
    dataset: FilePairs,
    indices: Sequence[int],
    largest: Size | None = None,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Survey:
    """Read some pairs, several at a time, and say what is in them and what is wrong.

    `largest`, (height, width): what an image must fit into, where evaluation pads. `watch` wraps what is gone through,
    such as a progress bar. A file that cannot be read is a fault and no error.
    """
    with ThreadPoolExecutor(cores()) as pool:
        seen = list(watch(pool.map(lambda index: _look(dataset, index, largest), indices)))
    pixels, brightest, faults, doubts = zip(*seen, strict=True)
    kinds = defaultdict(list)
    for kind, doubt in (item for of_one in doubts for item in of_one.items()):
        kinds[kind].append(doubt)
    lines = [of_kind[0] + (f" ({len(of_kind)} such files)" if len(of_kind) > 1 else "") for of_kind in kinds.values()]
    counts, wrong = np.sum(pixels, axis=0), list(filter(None, faults))
    found = Survey(dataset.info.classes, len(seen), counts, max(brightest), wrong, lines)
    return _with_all(found, whole=len(seen) == len(dataset), complete=dataset.complete)


def _look(dataset: FilePairs, index: int, largest: Size | None) -> Seen:
    (path, label_path) = dataset.pairs[index]
    if not label_path.is_file():
        return np.zeros(256, np.int64), 0, f"{path} has no labels: it needs {needed(label_path)}", {}
    try:
        image, labels = dataset.load(index)
    except (ValueError, OSError) as error:
        return np.zeros(256, np.int64), 0, str(error), {}
    height, width = image.shape[:2]
    pixels, brightest = np.bincount(labels.ravel(), minlength=256), int(image.max())
    fault, doubts = "", {}
    if largest and (height > largest[0] or width > largest[1]):
        room = "x".join(map(str, largest))
        fault = f"{path}: {height}x{width} (height x width), and evaluation pads to {room}; make it smaller"
    if brightest < DARK:
        doubts["dark"] = f"{path}: no pixel is brighter than {brightest} of 255, as where 16 bits hold only 12"
    if turned := _turned(path):
        doubts["turned"] = f"{path}: its EXIF data (orientation {turned}) turn it, and labels do not follow"
    if pixels[IGNORE] == pixels.sum():
        doubts["void"] = f"{label_path}: all labels are void"
    elif pixels[IGNORE] and np.count_nonzero(pixels) == 2:
        only = dataset.info.classes[int(pixels[:IGNORE].argmax())]
        doubts["single"] = f"{label_path}: all is {only!r} or void, as where an object is saved as 255"
    return pixels, brightest, fault, doubts


def _turned(path: Path) -> int:
    """The orientation in the EXIF data of a picture that is to be turned, or 0; nothing is decoded for it."""
    with contextlib.suppress(Exception), Image.open(path) as picture:  # whatever is wrong there, the pixels are read
        value = Image.Image.getexif(picture).get(ORIENTATION)
        return value if isinstance(value, int) and 1 < value < 9 else 0
    return 0


def _with_all(found: Survey, whole: bool, complete: bool) -> Survey:
    """The survey with what its classes say: of all images that are there, `whole`, and of a `complete` data set."""
    if not found.pixels.any():
        return found
    void, occurring = 100 * found.pixels[IGNORE] / found.pixels.sum(), found.occurring
    faults, doubts = [*found.faults], [*found.doubts]
    if len(occurring) < 2:
        only = f"only {found.classes[occurring[0]]!r} is labelled" if occurring else "nothing is labelled"
        told = f"{only}, {void:.0f} % of the pixels are void (255): nothing can be told apart"
        advice = "; an object that is saved as 255 needs the id of its class" if occurring and void else ""
        (faults if whole else doubts).append(told + advice)
    elif void > MOST_VOID:
        doubts.append(f"{void:.0f} % of the pixels are void (255)")
    absent = [name for k, name in enumerate(found.classes) if k not in occurring]
    if absent and complete and whole and len(occurring) > 1:
        doubts.append(f"{len(absent)} of {len(found.classes)} classes never occur: {_few(absent)}")
    return dataclasses.replace(found, faults=faults, doubts=doubts)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more if names else "no class"
