"""Cityscapes as downloaded: its layout, its label ids, and the files that its test server takes."""

import functools
from pathlib import Path

import numpy as np

from bisenet.data import streets
from bisenet.data.info import FilePairs, files_in
from bisenet.data.pictures import check_pair, check_sizes, read_ids, read_image
from bisenet.dataset import IGNORE, DatasetInfo, Pair


class Cityscapes(FilePairs):
    """`leftImg8bit/PART/CITY/*_leftImg8bit.png` and `gtFine/PART/CITY/*_gtFine_labelIds.png`.

    The 34 label ids become the 19 train ids of torchvision's class table, the others 255. Where the first image has
    no `labelIds` but `*_gtFine_labelTrainIds.png`, those are read. `test` has no labels: they are kept by the server.
    """

    info = DatasetInfo(
        "cityscapes",
        streets.CLASSES,  # the 19 classes that are scored, by train id
        streets.PALETTE,
        {"train": 2975, "val": 500, "train+val": 3475, "test": 1525},
    )
    IMAGE, KINDS = "_leftImg8bit.png", ("labelIds", "labelTrainIds")

    def __init__(self, split: str, root: Path):
        images = [path for part in split.split("+") for path in self._images(root, part)]
        first = self._labels(root, images[0], self.KINDS[1])
        usual = self._labels(root, images[0], self.KINDS[0])
        self.kind = self.KINDS[1] if first.is_file() and not usual.is_file() else self.KINDS[0]
        self.pairs = [(path, self._labels(root, path, self.kind)) for path in images]
        self.labelled = split != "test"
        self._check(self.kind if self.labelled else "without labels", split)

    def _images(self, root: Path, part: str) -> list[Path]:
        folder = root / "leftImg8bit" / part
        images = files_in(folder, f"*/*{self.IMAGE}")
        if not images:
            raise FileNotFoundError(
                f"Cityscapes {part} not found: looked for CITY/*{self.IMAGE} in {folder.resolve()}; "
                "put leftImg8bit and gtFine there or give --data-root"
            )
        return images

    def _labels(self, root: Path, image: Path, kind: str) -> Path:
        part, city, name = image.parts[-3:]
        return root / "gtFine" / part / city / f"{name.removesuffix(self.IMAGE)}_gtFine_{kind}.png"

    def load(self, index: int) -> Pair:
        image_path, label_path = self.pairs[index]
        if not self.labelled:
            raise ValueError("Cityscapes keeps the labels of test to itself: export predictions and send them there")
        image, ids = read_image(image_path), read_ids(label_path)
        if self.kind == "labelTrainIds":
            return check_pair(image, ids, image_path, label_path, len(self.info.classes))
        check_sizes(image, ids, image_path, label_path)
        return image, self._train_ids(ids, label_path)

    def load_image(self, index: int) -> np.ndarray:
        """The image alone, uint8 (H, W, 3); test has nothing else."""
        return read_image(self.pairs[index][0])

    def _train_ids(self, ids: np.ndarray, path: Path) -> np.ndarray:
        known = len(train_ids())
        if (largest := ids.max()) == IGNORE:
            raise ValueError(
                f"{path} holds 255, which is no label id: these are train ids; name it *_labelTrainIds.png"
            )
        if largest >= known:
            raise ValueError(f"{path}: label id {largest}, allowed are 0 to {known - 1}")
        mapped = ids.tobytes().translate(train_ids().tobytes().ljust(256, b"\xff"))  # five times as fast as indexing
        return np.frombuffer(mapped, np.uint8).reshape(ids.shape)


@functools.cache
def train_ids() -> np.ndarray:
    """The train id of every label id, uint8 (34,), 255 for those that are not scored."""
    from torchvision.datasets import Cityscapes as Torchvision  # takes seconds to load

    scored = {c.id: c.train_id for c in Torchvision.classes if not c.ignore_in_eval}
    known = [c.id for c in Torchvision.classes if c.id >= 0]  # -1: licence plate
    return np.array([scored.get(id, IGNORE) for id in known], dtype=np.uint8)


@functools.cache
def label_ids() -> np.ndarray:
    """The label id of every train id, uint8 (19,): what the test server scores."""
    table = train_ids()
    return np.array([int(np.flatnonzero(table == k)[0]) for k in range(len(streets.CLASSES))], dtype=np.uint8)
