"""CamVid: 701 frames of drives through Cambridge, with the 11 classes of the usual protocol."""

import csv
import dataclasses
import functools
import re
from pathlib import Path

import numpy as np

from bisenet.data.info import FilePairs, files_in, lines_of
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
CLASSES_FILE = Path(__file__).parent / "camvid_classes.csv"
PARTS = ("train", "val", "test")
STRAY = IGNORE - 1  # among class ids, a colour that is no class


@dataclasses.dataclass(frozen=True)
class Layout:
    """A way in which people have the files, known by a file or folder that no other has, its marker."""

    name: str
    marker: str
    folders: tuple[str, ...]  # of images
    labels: str  # the label file of an image of some name in some folder
    kind: str  # what it holds: colours, codes (numbers of lines in `codes.txt`) or ids of the 11 classes


LAYOUTS = (
    Layout(
        "original release", "701_StillsRaw_full", ("701_StillsRaw_full",), "LabeledApproved_full/{}_L.png", "colours"
    ),
    Layout("Kaggle's folders", "train_labels", PARTS, "{folder}_labels/{}_L.png", "colours"),
    Layout("fastai's folders", "codes.txt", ("images",), "labels/{}_P.png", "codes"),
)
TUTORIAL = Layout("tutorial layout", "train", PARTS, "{folder}annot/{}.png", "ids")  # 11 = void


class CamVid(FilePairs):
    """CamVid's 367 / 101 / 233 split with 11 classes, in each of the layouts in which people have it.

    Which frames are of which part is told by their names, whatever folders they lie in (Kaggle's are of another split),
    but in the tutorial's layout, which is that split. Val lies between frames of train and says little of another
    drive. To choose recipes there are two splits more, from train and val: `tuning`, one whole drive, and
    `tuning-train`, the others.
    """

    info = DatasetInfo(
        "camvid",
        tuple(CAMVID_COLOURS),
        np.array(list(CAMVID_COLOURS.values()), dtype=np.uint8),
        {"train": 367, "val": 101, "test": 233, "train+val": 468, "tuning-train": 367, "tuning": 101},
    )

    def __init__(self, split: str, root: Path):
        self.layout = next((layout for layout in LAYOUTS if (root / layout.marker).exists()), TUTORIAL)
        tuning = split.startswith("tuning")
        parts = ["train", "val"] if tuning else split.split("+")
        if self.layout is TUTORIAL and not all((root / part).is_dir() for part in parts):
            markers = ", ".join(f"{layout.marker} ({layout.name})" for layout in LAYOUTS)
            raise FileNotFoundError(
                f"CamVid not found: looked for the folders {', '.join(parts)} (tutorial layout), or {markers}, in "
                f"{root.resolve()}; put the data there or give --data-root"
            )
        self.pairs = [pair for part in parts for pair in self._pairs(root, part)]
        if tuning:
            self.pairs = [pair for pair in self.pairs if pair[0].name.startswith(HELD) == (split == "tuning")]
        self._check(self.layout.name, split)
        if self.layout.kind == "codes":
            self.codes = _classes_of_codes(root / "codes.txt")
            self.described = " ".join(map(str, self.codes))

    def _pairs(self, root: Path, part: str) -> list[tuple[Path, Path]]:
        layout = self.layout
        folders = (part,) if layout is TUTORIAL else layout.folders
        images = [path for folder in folders for path in files_in(root / folder, "*.png")]
        chosen = [path for path in images if layout is TUTORIAL or camvid_split(path.stem) == part]
        if not chosen:
            raise FileNotFoundError(f"CamVid {part}: no PNG images below {root.resolve()}")
        return [(path, root / layout.labels.format(path.stem, folder=path.parent.name)) for path in chosen]

    def load(self, index: int) -> Pair:
        image_path, label_path = self.pairs[index]
        labels = self._labels(label_path)
        void = f", {len(self.info.classes)} (void)" if self.layout.kind == "ids" else ""
        return check_pair(read_image(image_path), labels, image_path, label_path, len(self.info.classes), void)

    def _labels(self, path: Path) -> np.ndarray:
        if self.layout.kind == "colours":
            return _from_colours(read_image(path), path)
        ids = read_ids(path)
        if self.layout.kind == "codes":
            if ids.max() >= len(self.codes):
                raise ValueError(f"{path}: label id {ids.max()}, codes.txt has lines for 0 to {len(self.codes) - 1}")
            return self.codes[ids]
        ids[ids == len(self.info.classes)] = IGNORE
        return ids


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


@functools.cache
def release() -> list[dict[str, str]]:
    """The 32 classes of the release: name, colour (red, green, blue) and that of the 11 classes, "" for void."""
    with CLASSES_FILE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _id(line: dict[str, str]) -> int:
    return list(CAMVID_COLOURS).index(line["class"]) if line["class"] else IGNORE


def _classes_of_codes(path: Path) -> np.ndarray:
    """The class id of each line of `codes.txt`, which are names of the release."""
    known, names = {line["name"]: _id(line) for line in release()}, [name for name in lines_of(path) if name]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{path}: {unknown[0]!r} is none of CamVid's 32 classes, such as Sidewalk")
    return np.array([known[name] for name in names], np.uint8)


@functools.cache
def _class_of_colour() -> np.ndarray:
    """The class id of every colour, by its 24 bits; `STRAY` for those that the release has not."""
    classes = np.full(1 << 24, STRAY, np.uint8)
    for line in release():
        classes[int(line["red"]) << 16 | int(line["green"]) << 8 | int(line["blue"])] = _id(line)
    return classes


def _from_colours(picture: np.ndarray, path: Path) -> np.ndarray:
    """The class ids (H, W) of a picture (H, W, 3) in the release's colours."""
    bits = picture[..., 0].astype(np.int32)
    for channel in (1, 2):
        bits <<= 8
        bits |= picture[..., channel]
    ids = _class_of_colour()[bits]
    if len(unknown := np.argwhere(ids == STRAY)):
        y, x = unknown[0]
        colour = f"{tuple(picture[y, x].tolist())} at row {y}, column {x}"
        raise ValueError(
            f"{path}: colour {colour} is none of CamVid's 32 (bisenet/data/camvid_classes.csv), so are those of "
            f"{len(unknown)} pixels; pictures that were resized or saved as JPEG have such"
        )
    return ids
