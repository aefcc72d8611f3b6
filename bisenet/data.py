"""The data sets: what each one is (classes, palette, splits) and how its files are read.

A reader gives `(image, labels)` pairs: uint8 (H, W, 3) RGB and uint8 (H, W) class ids, 255 = ignore.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torchvision
from PIL import Image

from bisenet import streets

IGNORE = 255
DATA_FOLDER = Path(__file__).resolve().parent.parent / "data"

Pair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What does not depend on a copy of the files. `splits` maps a split to its number of images."""

    name: str
    classes: tuple[str, ...]
    palette: np.ndarray  # (K, 3) uint8
    splits: Mapping[str, int]
    needs_files: bool = True


CAMVID_COLOURS = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}

DATASETS = {
    "streets": DatasetInfo(
        "streets",
        streets.CLASSES,
        streets.PALETTE,
        {"train": 2975, "val": 500, "train+val": 3475},  # as many as Cityscapes has
        needs_files=False,
    ),
    "cityscapes": DatasetInfo(
        "cityscapes",
        streets.CLASSES,  # the 19 classes that are scored, by train id
        streets.PALETTE,
        {"train": 2975, "val": 500, "train+val": 3475},
    ),
    "camvid": DatasetInfo(
        "camvid",
        tuple(CAMVID_COLOURS),
        np.array(list(CAMVID_COLOURS.values()), dtype=np.uint8),
        {"train": 367, "val": 101, "test": 233, "train+val": 468},
    ),
}


class PairDataset(Protocol):
    """What training and evaluation need of a data set."""

    info: DatasetInfo
    source: str  # which of several kinds of files; recorded, since the pixels differ

    def __len__(self) -> int: ...

    def load(self, index: int) -> Pair: ...


def choose(what: str, name: str, choices: Iterable[str]) -> str:
    """`name` if it is one of `choices`; otherwise ValueError with the nearest ones."""
    choices = list(choices)
    if name in choices:
        return name
    near = difflib.get_close_matches(str(name), choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"unknown {what} {name!r}: {hint}known: {', '.join(choices)}")


def open_dataset(
    name: str, split: str, *, root: str | Path | None = None, size: tuple[int, int] = (512, 1024)
) -> PairDataset:
    """A data set by name and split.

    `root` is the folder with the files (default: `data/NAME` in the repository); `size`, (height, width), is that
    of rendered scenes. ValueError for an unknown name or split, FileNotFoundError where files are missing.
    """
    info = DATASETS[choose("dataset", name, DATASETS)]
    choose(f"split of {name}", split, info.splits)
    if not info.needs_files:
        if root:
            raise ValueError(f"{name} is drawn, not read: it takes no data root, got {str(root)!r}")
        return Streets(split, size)
    folder = Path(root) if root else DATA_FOLDER / name
    return CamVid(split, folder) if name == "camvid" else Cityscapes(split, folder)


class Streets:
    """The embedded scenes: rendered on request, the last ones kept. Validation scenes have a seed of their own."""

    info = DATASETS["streets"]
    source = "rendered"
    SEEDS: Mapping[str, int] = {"train": 0, "val": 1}

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


def _all_labelled(pairs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """The pairs of image and label file themselves, or FileNotFoundError for the first that has no labels."""
    for image, labels in pairs:
        if not labels.is_file():
            raise FileNotFoundError(f"image without labels: {image} needs {labels}")
    return pairs


class Cityscapes:
    """Cityscapes as downloaded: `leftImg8bit/PART/CITY/*_leftImg8bit.png` and `gtFine/PART/CITY/*_gtFine_labelIds.png`.

    The 34 label ids become the 19 train ids of torchvision's class table, the others 255.
    """

    info = DATASETS["cityscapes"]
    source = "labelIds"
    ENDS = ("_leftImg8bit.png", "_gtFine_labelIds.png")

    def __init__(self, split: str, root: Path):
        self.pairs = [pair for part in split.split("+") for pair in self._pairs(root, part)]

    def _pairs(self, root: Path, part: str) -> list[tuple[Path, Path]]:
        folder = root / "leftImg8bit" / part
        images = sorted(folder.glob(f"*/*{self.ENDS[0]}"))
        if not images:
            raise FileNotFoundError(
                f"Cityscapes {part} not found: looked for CITY/*{self.ENDS[0]} in {folder.resolve()}; "
                "put leftImg8bit and gtFine there or give --data-root"
            )
        names = [(p.parent.name, p.name.removesuffix(self.ENDS[0]) + self.ENDS[1]) for p in images]
        pairs = [(p, root.joinpath("gtFine", part, *name)) for p, name in zip(images, names, strict=True)]
        return _all_labelled(pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Pair:
        image_path, label_path = self.pairs[index]
        ids, table = read_ids(label_path), _train_ids()
        if (largest := ids.max()) >= len(table):
            raise ValueError(f"{label_path}: label id {largest}, allowed are 0 to {len(table) - 1}")
        return check_pair(read_image(image_path), table[ids], image_path, label_path, len(self.info.classes))


@functools.cache
def _train_ids() -> np.ndarray:
    """The train id of every label id, 255 for those that are not scored."""
    scored = {c.id: c.train_id for c in torchvision.datasets.Cityscapes.classes if not c.ignore_in_eval}
    known = [c.id for c in torchvision.datasets.Cityscapes.classes if c.id >= 0]  # -1: licence plate
    return np.array([scored.get(id, IGNORE) for id in known], dtype=np.uint8)


class CamVid:
    """CamVid's 367 / 101 / 233 split with 11 classes, in either of the two layouts in which people have it:

    - the tutorial's: `train/ trainannot/ val/ valannot/ test/ testannot/`, label files hold ids, 11 = void;
    - the original release's: `701_StillsRaw_full/NAME.png`, `LabeledApproved_full/NAME_L.png`, 32 colours.
    """

    info = DATASETS["camvid"]
    STILLS, LABELS = "701_StillsRaw_full", "LabeledApproved_full"

    def __init__(self, split: str, root: Path):
        self.original = (root / self.STILLS).is_dir()
        self.source = "original release" if self.original else "tutorial layout"
        parts = split.split("+")
        if not self.original and not all((root / part).is_dir() for part in parts):
            raise FileNotFoundError(
                f"CamVid not found: looked for the folders {', '.join(parts)} (tutorial layout) or {self.STILLS} "
                f"(original release) in {root.resolve()}; put the data there or give --data-root"
            )
        self.pairs = [pair for part in parts for pair in self._pairs(root, part)]

    def _pairs(self, root: Path, part: str) -> list[tuple[Path, Path]]:
        if self.original:
            images = [p for p in sorted((root / self.STILLS).glob("*.png")) if camvid_split(p.stem) == part]
            pairs = [(p, root / self.LABELS / f"{p.stem}_L.png") for p in images]
        else:
            pairs = [(p, root / f"{part}annot" / p.name) for p in sorted((root / part).glob("*.png"))]
        if not pairs:
            raise FileNotFoundError(f"CamVid {part}: no PNG images below {root.resolve()}")
        return _all_labelled(pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Pair:
        image_path, label_path = self.pairs[index]
        image = read_image(image_path)
        if self.original:
            labels = _from_colours(read_image(label_path), label_path)
        else:
            labels = read_ids(label_path)
            labels[labels == len(self.info.classes)] = IGNORE  # void is 11 in the tutorial's files
        return check_pair(image, labels, image_path, label_path, len(self.info.classes))


def camvid_split(name: str) -> str:
    """The part of the split to which a frame of the original release belongs, by its name.

    The split goes by sequence: 0006R0 trains and Seq05VD tests; of 0016E5 the odd frames from 7959 to 8159
    validate and the others train; the first half of 0001TP trains, the second tests. ValueError for other names.
    """
    found = re.fullmatch(r"(0006R0|Seq05VD|0016E5|0001TP)_f?(\d+)", name)
    if not found:
        raise ValueError(f"{name!r} is the name of no frame of CamVid, such as 0001TP_006690 or Seq05VD_f00000")
    sequence, number = found[1], int(found[2])
    if sequence == "0016E5":
        return "val" if number % 2 and 7959 <= number <= 8159 else "train"
    if sequence == "0001TP":
        return "train" if number <= 8520 else "test"
    return "test" if sequence == "Seq05VD" else "train"


# The 32 colours of the original release, grouped as is usual for the 11 classes; what is not here is void.
CAMVID_ORIGINAL = {
    "sky": [(128, 128, 128)],
    # bridge, building, wall, tunnel, archway
    "building": [(0, 128, 64), (128, 0, 0), (64, 192, 0), (64, 0, 64), (192, 0, 128)],
    # column or pole, traffic cone
    "pole": [(192, 192, 128), (0, 0, 64)],
    # road, lane markings drivable and not
    "road": [(128, 64, 128), (128, 0, 192), (192, 0, 64)],
    # sidewalk, parking block, road shoulder
    "pavement": [(0, 0, 192), (64, 192, 128), (128, 128, 192)],
    # tree, other vegetation
    "tree": [(128, 128, 0), (192, 192, 0)],
    # sign, other text, traffic light
    "sign symbol": [(192, 128, 128), (128, 128, 64), (0, 64, 64)],
    "fence": [(64, 64, 128)],
    # car, pick-up, truck or bus, train, other moving
    "car": [(64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)],
    # pedestrian, child, luggage or pram, animal
    "pedestrian": [(64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)],
    # bicyclist, motorcycle or scooter
    "bicyclist": [(0, 128, 192), (192, 0, 192)],
}
CAMVID_VOID = (0, 0, 0)


@functools.cache
def _original_colours() -> tuple[np.ndarray, np.ndarray]:
    """Colour codes in ascending order and the class id of each."""
    ids = {colour: k for k, colours in enumerate(CAMVID_ORIGINAL.values()) for colour in colours}
    table = sorted(((r << 16 | g << 8 | b), k) for (r, g, b), k in (ids | {CAMVID_VOID: IGNORE}).items())
    codes, classes = zip(*table, strict=True)
    return np.array(codes), np.array(classes, dtype=np.uint8)


def _from_colours(colours: np.ndarray, path: Path) -> np.ndarray:
    codes, classes = _original_colours()
    code = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    place = np.searchsorted(codes, code).clip(max=len(codes) - 1)
    unknown = np.argwhere(codes[place] != code)
    if len(unknown):
        y, x = unknown[0]
        raise ValueError(f"{path}: colour {tuple(colours[y, x].tolist())} at row {y}, column {x} is none of CamVid's")
    return classes[place]


def read_image(path: Path) -> np.ndarray:
    """A picture file as uint8 (H, W, 3) RGB; ValueError with the file's name if it cannot be read."""
    with _open(path) as picture:
        return np.array(picture.convert("RGB"))


def read_ids(path: Path) -> np.ndarray:
    """A label file as uint8 (H, W); ValueError if it does not hold one 8-bit id a pixel."""
    with _open(path) as picture:
        if picture.mode not in ("L", "P"):
            raise ValueError(f"{path}: a label file holds one 8-bit class id a pixel, this one has mode {picture.mode}")
        return np.array(picture)


def _open(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except (OSError, SyntaxError) as error:  # truncated, unidentified or missing; Pillow has SyntaxError for bad PNGs
        raise ValueError(f"{path}: cannot be read as a picture ({error}); replace the file") from error
    return picture


def check_pair(image: np.ndarray, labels: np.ndarray, image_path: Path, label_path: Path, num_classes: int) -> Pair:
    """The pair itself, or ValueError: sizes must be equal and ids below `num_classes` or 255."""
    if image.shape[:2] != labels.shape:
        raise ValueError(
            f"sizes differ: {image_path} is {image.shape[0]}x{image.shape[1]}, "
            f"{label_path} is {labels.shape[0]}x{labels.shape[1]} (height x width)"
        )
    wrong = labels[(labels >= num_classes) & (labels != IGNORE)]
    if wrong.size:
        raise ValueError(f"{label_path}: label id {wrong[0]}, allowed are 0 to {num_classes - 1} and {IGNORE} (ignore)")
    return image, labels
