"""What the readers of files share."""

import colorsys
import functools
import glob
import hashlib
import warnings
from pathlib import Path

import numpy as np

from bisenet.dataset import DatasetInfo, Pair

# Pictures that may keep their number of bytes when their pixels change: a fingerprint takes these bytes themselves. Of
# other pictures the number tells enough, and reading all of them would take long.
UNCOMPRESSED = (".bmp", ".ppm", ".tif", ".tiff")


def distinct_colours(count: int) -> np.ndarray:
    """Colours (count, 3), uint8, far apart for neighbours: hues by the golden section, two brightnesses in turn."""
    hsv = [(k * 0.618034 % 1, 0.55 + 0.4 * (k % 3) / 2, 0.95 - 0.35 * (k % 2)) for k in range(count)]
    return np.array([[round(255 * c) for c in colorsys.hsv_to_rgb(*colour)] for colour in hsv], dtype=np.uint8)


def files_in(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that match, sorted; hidden ones, such as `._NAME.png`, belong to a file manager."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def lines_of(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, stripped; ValueError where it is written otherwise."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8") from error


def needed(path: Path) -> str:
    """A label file that is not there, and what is there in its place."""
    if not path.parent.is_dir():
        return f"{path}; the folder {path.parent} is not there"
    alike = files_in(path.parent, f"{glob.escape(path.stem)}*")
    near = [each for each in alike if not each.name[len(path.stem) :][:1].isalnum()]  # 10.png is no label of 1.jpg
    lossy = ", and JPEG has changed its ids" if near and near[0].suffix.lower() in (".jpg", ".jpeg") else ""
    return f"{path}; there is {near[0].name}{lossy}" if near else str(path)


class FilePairs:
    """A reader of files: `pairs` of image and label file, for the `load` of each data set."""

    info: DatasetInfo
    source: str
    labelled = True
    complete: bool  # whether all files of the split are there
    pairs: list[tuple[Path, Path]]
    described = ""  # what else defines the classes, part of the fingerprint

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Pair:
        raise NotImplementedError

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the files: changes with a name, with the size of an image file, with the content of a label file, and with
        that of an image of a kind in `UNCOMPRESSED`.
        """
        found = hashlib.sha256(self.described.encode())
        for image, labels in self.pairs:
            content = labels.read_bytes() if self.labelled else b""
            found.update(f"{image.name} {image.stat().st_size} {len(content)}\n".encode() + content)
            if image.suffix.lower() in UNCOMPRESSED:
                found.update(image.read_bytes())
        return found.hexdigest()[:12]

    def name(self, index: int) -> str:
        """The name of an image file, without its folder."""
        return self.pairs[index][0].name

    def _check(self, kind: str, split: str) -> None:
        """Say what these files are; a warning if some of the split are missing."""
        self.source, expected = kind, self.info.splits[split]
        self.complete = len(self) == expected
        if not self.complete:
            self.source += f", {len(self)} of {expected} images of {split}"
            warnings.warn(f"{self.info.name} is not the whole data set: {self.source}", stacklevel=3)

    def check_labels(self) -> None:
        """FileNotFoundError for an image without a label file."""
        missing = [pair for pair in self.pairs if not pair[1].is_file()] if self.labelled else []
        if missing:
            more = f" (and {len(missing) - 1} more)" if missing[1:] else ""
            raise FileNotFoundError(f"image without labels: {missing[0][0]} needs {needed(missing[0][1])}{more}")
