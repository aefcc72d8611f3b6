"""Your own data: images and labels in a folder, with a list of the classes."""

import contextlib
import re
import warnings
from pathlib import Path

from PIL import Image

from bisenet.config import Size
from bisenet.data.info import FilePairs, distinct_colours, files_in, lines_of
from bisenet.data.pictures import PICTURES, check_pair, read_ids, read_image
from bisenet.dataset import DatasetInfo, Pair

CLASSES = "classes.txt"
LONGEST = 1024  # of an image in training, by default; larger ones are made smaller
DEEPEST_STRIDE = 32


class Folder(FilePairs):
    """`classes.txt`, one name a line, its number, from 0, the id; `images/SPLIT/NAME.jpg` (or png ...) and
    `labels/SPLIT/NAME.png`, one 8-bit id a pixel, 255 = ignore. Splits are `train` and `val`, and if you like `test`.
    """

    def __init__(self, info: DatasetInfo, split: str, root: Path):
        self.info, self.described = info, " ".join(info.classes)
        self.pairs = [(path, _labels(root, path)) for path in _images(root, split)]
        if not self.pairs:
            ends = f"names of pictures end with {' '.join(PICTURES)}"
            told = f"{root / 'images' / split}: no pictures ({ends})"
            raise FileNotFoundError(f"{told}; put them there, or name the folder that has them as --data-root")
        self._check("images and labels in folders", split)
        if spare := {*files_in(root / "labels" / split, "*.png")} - {labels for _, labels in self.pairs}:
            more = f" (and {len(spare) - 1} more)" if len(spare) > 1 else ""
            warnings.warn(f"{min(spare)} has no image and is not used{more}; an image has its name", stacklevel=2)

    def load(self, index: int) -> Pair:
        image_path, label_path = self.pairs[index]
        image, ids = read_image(image_path), read_ids(label_path)
        return check_pair(image, ids, image_path, label_path, len(self.info.classes), f" (the lines of {CLASSES})")


def _images(root: Path, part: str) -> list[Path]:
    return [path for path in files_in(root / "images" / part, "*") if path.suffix.lower() in PICTURES]


def _labels(root: Path, image: Path) -> Path:
    return root / "labels" / image.parent.name / f"{image.stem}.png"


def describe(name: str, root: Path) -> DatasetInfo:
    """What the data set in a folder is; ValueError or FileNotFoundError says what is missing."""
    if not name.replace("-", "").isidentifier():
        raise ValueError(f"{name!r} is no name for a data set: letters, digits, - and _, not a digit first")
    classes = _classes(root / CLASSES)
    images = {split: _images(root, split) for split in ("train", "val", "test")}
    splits = {split: len(paths) for split, paths in images.items() if paths}
    for paths in images.values():
        first: dict[str, Path] = {}
        for path in paths:
            if (other := first.setdefault(path.stem, path)) is not path:
                raise ValueError(f"{path} and {other.name} would share one file of labels; give one another name")
    if "train" not in splits or len(splits) < 2:
        raise FileNotFoundError(
            f"{root}: images for {' and '.join(splits) or 'nothing'}; there must be images/train and images/val "
            "(or images/test), with labels of the same names in labels/train and so on; names of images end with "
            f"{' '.join(PICTURES)}"
        )
    return DatasetInfo(name, classes, distinct_colours(len(classes)), splits, size=_seen(images["train"]))


def _classes(path: Path) -> tuple[str, ...]:
    """The names of the classes, in their order; ValueError for lines that are none or would shift the ids."""
    classes = lines_of(path)
    for number, name in enumerate(classes, start=1):
        if not name or name.startswith("#"):
            told = "a comment" if name else "empty"
            raise ValueError(f"{path}: line {number} is {told}; lines count the ids: remove it")
        if name in classes[: number - 1]:
            raise ValueError(f"{path}: line {number}, {name!r}, was there before; it must name each class once")
    if not 2 <= len(classes) <= 255:
        raise ValueError(f"{path}: {len(classes)} classes; it must name 2 to 255, one a line, each once")
    if all(re.match(r"\d+[\s,:;]", name) for name in classes):
        raise ValueError(f"{path}: every line begins with a number; the place of a line is its id: remove the numbers")
    return tuple(classes)


def _seen(paths: list[Path]) -> Size:
    """The size, (height, width), at which images like the first are trained: at most `LONGEST`, in whole strides."""
    for path in paths:
        with contextlib.suppress(Exception), Image.open(path) as picture:  # of a broken one `check` says what it is
            width, height = picture.size
            break
    else:
        raise ValueError(f"{paths[0].parent}: none of its {len(paths)} pictures can be read; replace the files")
    factor = min(1, LONGEST / max(height, width)) / DEEPEST_STRIDE
    return max(1, round(height * factor)) * DEEPEST_STRIDE, max(1, round(width * factor)) * DEEPEST_STRIDE
