"""COCO-Stuff 10K, release 1.1: photographs with 80 classes of things and 91 of stuff."""

import csv
import functools
from pathlib import Path

import numpy as np

from bisenet.data.info import FilePairs, distinct_colours, lines_of
from bisenet.data.pictures import check_pair, read_image
from bisenet.dataset import IGNORE, DatasetInfo, Pair

CLASSES_FILE = Path(__file__).parent / "cocostuff_classes.csv"
LARGEST_ID = 182  # 0 is unlabelled, 1 to 91 are things, 92 to 182 stuff
NAMES_OF_RELEASE_1_0 = 172
IMAGE_FOLDERS = ("images", "images/train2014", "train2014")  # as released, and as those who have COCO have them


def _classes() -> dict[int, str]:
    """Name by label id of the 171 classes that occur: 11 of the 91 things were never annotated in COCO."""
    with CLASSES_FILE.open(newline="", encoding="utf-8") as file:
        return {int(line["id"]): line["name"] for line in csv.DictReader(file)}


CLASSES = _classes()


class CocoStuff(FilePairs):
    """`images/NAME.jpg`, `annotations/NAME.mat` with the label map in the field `S`, `imageLists/{train,test}.txt`.

    Images may lie in COCO's own folders, too (`IMAGE_FOLDERS`). Label ids become 0 to 170 in ascending order; what
    is not labelled is 255.
    """

    info = DatasetInfo(
        "cocostuff",
        tuple(CLASSES.values()),
        distinct_colours(len(CLASSES)),
        {"train": 9000, "test": 1000},
    )

    def __init__(self, split: str, root: Path):
        found = {name: self._image(root, name) for name in self._names(root, split)}
        self.pairs = [(path, root / "annotations" / f"{name}.mat") for name, path in found.items() if path]
        if not self.pairs:
            looked = ", ".join(IMAGE_FOLDERS)
            raise FileNotFoundError(f"COCO-Stuff {split}: none of the images of its list is in {looked} of {root}")
        self._check("10K, release 1.1", split)

    def _image(self, root: Path, name: str) -> Path | None:
        paths = (root / folder / f"{name}.jpg" for folder in IMAGE_FOLDERS)
        return next((path for path in paths if path.is_file()), None)

    def _names(self, root: Path, part: str) -> list[str]:
        path = root / "imageLists" / f"{part}.txt"
        if not path.is_file():
            larger = any((root / name).exists() for name in ("images/train2017", "train2017", "stuffthingmaps"))
            other = ". What is there is COCO-Stuff 164K, another data set (images of 2017)" if larger else ""
            raise FileNotFoundError(
                f"COCO-Stuff 10K not found: looked for {path.resolve()}; put images, annotations and imageLists "
                f"of release 1.1 there or give --data-root{other}"
            )
        return [name for line in lines_of(path) for name in line.split()]

    def load(self, index: int) -> Pair:
        image_path, label_path = self.pairs[index]
        labels = _read_mat(label_path)
        return check_pair(read_image(image_path), labels, image_path, label_path, len(self.info.classes))


@functools.cache
def _train_ids() -> np.ndarray:
    table = np.full(LARGEST_ID + 1, IGNORE, dtype=np.uint8)
    table[list(CLASSES)] = range(len(CLASSES))
    return table


def _read_mat(path: Path) -> np.ndarray:
    """The label map of an annotation file as train ids, uint8 (H, W)."""
    from scipy.io import loadmat  # only this data set needs it

    try:
        content = loadmat(path, variable_names=["S", "names"])
    except Exception as error:  # of a broken file scipy says so in a dozen ways, down to IndexError
        raise ValueError(f"{path}: cannot be read as a MATLAB file ({error}); replace the file") from error
    if "S" not in content or content["S"].ndim != 2:
        raise ValueError(f"{path}: an annotation has the label map in the field S, this one has {_fields(content)}")
    if "names" in content and content["names"].size == NAMES_OF_RELEASE_1_0:
        raise ValueError(f"{path} is of release 1.0, whose ids differ; get the annotations of release 1.1")
    ids = content["S"]
    if ids.min() < 0 or ids.max() > LARGEST_ID:
        raise ValueError(f"{path}: label ids {ids.min()} to {ids.max()}, allowed are 0 to {LARGEST_ID}")
    return _train_ids()[ids.astype(np.uint8)]


def _fields(content: dict) -> str:
    return ", ".join(f"{k} {v.shape}" for k, v in content.items() if not k.startswith("__")) or "neither S nor names"
