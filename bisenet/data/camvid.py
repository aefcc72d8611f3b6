"""CamVid: 701 frames of drives through Cambridge, with the 11 classes of the usual protocol."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np

from bisenet.data.info import FilePairs, files_in
from bisenet.data.pictures import check_pair, read_ids, read_image
from bisenet.dataset import IGNORE, DatasetInfo, Pair

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


HELD = "0006R0"  # the drive of the split `tuning`


class CamVid(FilePairs):
    """CamVid's 367 / 101 / 233 split with 11 classes, in either of the two layouts in which people have it:

    - the tutorial's: `train/ trainannot/ val/ valannot/ test/ testannot/`, label files hold ids, 11 = void;
    - the original release's: `701_StillsRaw_full/NAME.png`, `LabeledApproved_full/NAME_L.png`, 32 colours.

    Val lies between frames of train and says little of another drive. To choose recipes there are two splits more, from
    train and val: `tuning`, one whole drive, and `tuning-train`, the others.
    """

    info = DatasetInfo(
        "camvid",
        tuple(CAMVID_COLOURS),
        np.array(list(CAMVID_COLOURS.values()), dtype=np.uint8),
        {"train": 367, "val": 101, "test": 233, "train+val": 468, "tuning-train": 367, "tuning": 101},
    )
    STILLS, LABELS = "701_StillsRaw_full", "LabeledApproved_full"

    def __init__(self, split: str, root: Path):
        self.original = (root / self.STILLS).is_dir()
        tuning = split.startswith("tuning")
        parts = ["train", "val"] if tuning else split.split("+")
        if not self.original and not all((root / part).is_dir() for part in parts):
            raise FileNotFoundError(
                f"CamVid not found: looked for the folders {', '.join(parts)} (tutorial layout) or {self.STILLS} "
                f"(original release) in {root.resolve()}; put the data there or give --data-root"
            )
        self.pairs = [pair for part in parts for pair in self._pairs(root, part)]
        if tuning:
            self.pairs = [pair for pair in self.pairs if pair[0].name.startswith(HELD) == (split == "tuning")]
        self._check("original release" if self.original else "tutorial layout", split)

    def _pairs(self, root: Path, part: str) -> list[tuple[Path, Path]]:
        if self.original:
            images = [p for p in files_in(root / self.STILLS, "*.png") if camvid_split(p.stem) == part]
            pairs = [(p, root / self.LABELS / f"{p.stem}_L.png") for p in images]
        else:
            pairs = [(p, root / f"{part}annot" / p.name) for p in files_in(root / part, "*.png")]
        if not pairs:
            raise FileNotFoundError(f"CamVid {part}: no PNG images below {root.resolve()}")
        return pairs

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
