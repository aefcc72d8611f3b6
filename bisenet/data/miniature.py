"""Miniature data sets: embedded scenes in the layout and file formats of the real ones, to rehearse with."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from bisenet.config import choose
from bisenet.data import streets
from bisenet.data.camvid import LAYOUTS, release
from bisenet.data.cityscapes import label_ids
from bisenet.dataset import IGNORE

# What the 19 classes of the scenes are called in the other data sets, in their order.
AS_CAMVID = (
    "road", "pavement", "building", "building", "fence", "pole", "sign symbol", "sign symbol", "tree", "tree", "sky",
    "pedestrian", "bicyclist", "car", "car", "car", "car", "bicyclist", "bicyclist",
)  # fmt: skip
AS_COCOSTUFF = (149, 140, 96, 173, 113, 132, 10, 13, 169, 124, 157, 1, 1, 3, 8, 6, 7, 4, 2)  # label ids

SIZES = {"cityscapes": (1024, 2048), "camvid": (720, 960), "cocostuff": (480, 640)}


def make(dataset: str, folder: Path, images: Mapping[str, int]) -> None:
    """Write `images` scenes of each part, such as {"train": 4, "val": 2}, below `folder`."""
    write = {"cityscapes": _cityscapes, "camvid": _camvid, "cocostuff": _cocostuff}[choose("data set", dataset, SIZES)]
    for seed, (part, count) in enumerate(images.items()):
        for number in range(count):
            image, labels = streets.render(number, SIZES[dataset], seed)
            write(folder, part, number, image, labels)


def _cityscapes(root: Path, part: str, number: int, image: np.ndarray, labels: np.ndarray) -> None:
    city = {"train": "aachen", "val": "frankfurt", "test": "berlin"}[part]
    name = f"{part}/{city}/{city}_{number:06d}_000019"
    _save(root / "leftImg8bit" / f"{name}_leftImg8bit.png", image)
    if part != "test":
        ids = np.where(labels == IGNORE, 0, label_ids()[labels % len(label_ids())]).astype(np.uint8)
        _save(root / "gtFine" / f"{name}_gtFine_labelIds.png", ids)


def _camvid(root: Path, part: str, number: int, image: np.ndarray, labels: np.ndarray) -> None:
    """The original release, whose frames say by their name to which part they belong."""
    first, step = {"train": ("0006R0_f", 1), "val": ("0016E5_", 2), "test": ("Seq05VD_f", 1)}[part]
    name = f"{first}{7959 + step * number:05d}"
    original = LAYOUTS[0]
    _save(root / original.marker / f"{name}.png", image)
    by_class = {line["class"]: [int(line[channel]) for channel in ("red", "green", "blue")] for line in release()}
    colours = np.full((IGNORE + 1, 3), by_class[""], dtype=np.uint8)
    colours[: len(AS_CAMVID)] = [by_class[other] for other in AS_CAMVID]
    _save(root / original.labels.format(name), colours[labels])


def _cocostuff(root: Path, part: str, number: int, image: np.ndarray, labels: np.ndarray) -> None:
    from scipy.io import savemat

    name = f"COCO_train2014_{number + 1000 * (part == 'test'):012d}"
    _save(root / "images" / f"{name}.jpg", image)
    ids = np.zeros(IGNORE + 1, dtype=np.uint16)
    ids[: len(AS_COCOSTUFF)] = AS_COCOSTUFF
    annotation, names = root / "annotations" / f"{name}.mat", root / "imageLists" / f"{part}.txt"
    annotation.parent.mkdir(parents=True, exist_ok=True)
    savemat(annotation, {"S": ids[labels]}, do_compression=True)
    names.parent.mkdir(parents=True, exist_ok=True)
    with names.open("a") as file:
        file.write(f"{name}\n")


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
