"""Your own data: images and labels in a folder, with a list of the classes."""

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
        self._check("images and labels in folders", split)

    def load(self, index: int) -> Pair:
        image_path, label_path = self.pairs[index]
        return check_pair(read_image(image_path), read_ids(label_path), image_path, label_path, len(self.info.classes))


def _images(root: Path, part: str) -> list[Path]:
    return [path for path in files_in(root / "images" / part, "*") if path.suffix.lower() in PICTURES]


def _labels(root: Path, image: Path) -> Path:
    return root / "labels" / image.parent.name / f"{image.stem}.png"


def describe(name: str, root: Path) -> DatasetInfo:
    """What the data set in a folder is; ValueError or FileNotFoundError says what is missing."""
    if not name.replace("-", "").isidentifier():
        raise ValueError(f"{name!r} is no name for a data set: letters, digits, - and _, not a digit first")
    classes = tuple(lines_of(root / CLASSES))
    if "" in classes:
        raise ValueError(f"{root / CLASSES}: line {classes.index('') + 1} is empty; lines count the ids: remove it")
    if not 2 <= len(classes) <= 255 or len(set(classes)) < len(classes):
        raise ValueError(f"{root / CLASSES}: {len(classes)} classes; it must name 2 to 255, one a line, each once")
    images = {split: _images(root, split) for split in ("train", "val", "test")}
    splits = {split: len(paths) for split, paths in images.items() if paths}
    for split, paths in images.items():
        if len({path.stem for path in paths}) < len(paths):
            raise ValueError(f"{root / 'images' / split}: two pictures of one name would share one file of labels")
    if "train" not in splits or len(splits) < 2:
        raise FileNotFoundError(
            f"{root}: images for {' and '.join(splits) or 'nothing'}; there must be images/train and images/val "
            "(or images/test), with labels of the same names in labels/train and so on"
        )
    return DatasetInfo(name, classes, distinct_colours(len(classes)), splits, size=_seen(images["train"][0]))


def _seen(path: Path) -> Size:
    """The size, (height, width), at which images like this one are trained: at most `LONGEST`, in whole strides."""
    with Image.open(path) as picture:
        width, height = picture.size
    factor = min(1, LONGEST / max(height, width)) / DEEPEST_STRIDE
    return max(1, round(height * factor)) * DEEPEST_STRIDE, max(1, round(width * factor)) * DEEPEST_STRIDE
