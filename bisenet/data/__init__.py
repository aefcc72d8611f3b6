"""The data sets: what each one is (classes, palette, splits) and how its files are read.

A reader gives `(image, labels)` pairs: uint8 (H, W, 3) RGB and uint8 (H, W) class ids, 255 = ignore.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bisenet.config import Size, choose, unknown
from bisenet.data import folder
from bisenet.data.camvid import CamVid
from bisenet.data.cityscapes import Cityscapes
from bisenet.data.cocostuff import CocoStuff
from bisenet.data.info import FilePairs, distinct_colours
from bisenet.data.pictures import read_image
from bisenet.data.places import work_folder
from bisenet.data.streets import Streets
from bisenet.dataset import DatasetInfo, PairDataset

__all__ = ["DATASETS", "describe", "open_dataset", "palette", "read_image"]

FILES = (Cityscapes, CamVid, CocoStuff)  # readers of files, to which one of yours is added
READERS: dict[str, Callable[[str, Path], FilePairs]] = {reader.info.name: reader for reader in FILES}
DATASETS = {reader.info.name: reader.info for reader in (Streets, *FILES)}
PROVIDED = tuple(DATASETS)
FOLDERS: dict[str, Path] = {}  # of your own data, by name: what was described there is read from there


def describe(name: str, root: str | Path | None = None) -> DatasetInfo:
    """What a data set is: one of `DATASETS`, or your own (`bisenet.data.folder`), which then is one of them.

    `root` as in `open_dataset`; that of your own data is remembered. ValueError for a name that is neither.
    """
    if name not in PROVIDED and (root or name not in DATASETS):
        place = _place(name, root)
        if not (place / folder.CLASSES).is_file():
            lacks = f"{place / folder.CLASSES} is not there (a name a line)"
            if not place.is_dir():
                lacks = f"{place} is {'a file' if place.exists() else 'not there'}; give its folder as --data-root"
            raise ValueError(f"{unknown('dataset', name, PROVIDED)}; or your own: {lacks}")
        DATASETS[name] = folder.describe(name, place)
        READERS[name] = functools.partial(folder.Folder, DATASETS[name])
        FOLDERS[name] = place.absolute()
    return DATASETS[name]


def open_dataset(name: str, split: str, *, root: str | Path | None = None, size: Size | None = None) -> PairDataset:
    """A data set by name and split; any other name is that of your own in `root` (`bisenet.data.folder`).

    `root` is the folder with the files (default: of your own data the one that was last given; else `data/NAME` in the
    clone, without one in this folder); `size`, (height, width), is that of rendered scenes (default: 512x1024).
    ValueError for an unknown name or split, FileNotFoundError where files are missing; a split of which only some
    images are there is a warning, and is said in `source`.
    """
    info = describe(name, root)
    choose(f"split of {name}", split, info.splits)
    if not info.needs_files:
        if root:
            raise ValueError(f"{name} is drawn, not read: it takes no data root, got {str(root)!r}")
        return Streets(split, size or (512, 1024))
    dataset = READERS[name](split, _place(name, root))
    dataset.check_labels()
    return dataset


def files_of(name: str, split: str, root: str | Path | None = None) -> FilePairs:
    """A data set of files as `open_dataset` has it, even where labels are missing: to look at what is there."""
    return READERS[name](split, _place(name, root))


def _place(name: str, root: str | Path | None) -> Path:
    return Path(root).expanduser() if root else FOLDERS.get(name, work_folder() / "data" / name)


def palette(num_classes: int) -> np.ndarray:
    """Colours (num_classes, 3), uint8: of the first data set with so many classes, where there is none, distinct ones.

    19 classes are those of Cityscapes, 11 CamVid's, 171 COCO-Stuff's.
    """
    known = (DATASETS[name].palette for name in PROVIDED if len(DATASETS[name].classes) == num_classes)
    return next(known, distinct_colours(num_classes))
