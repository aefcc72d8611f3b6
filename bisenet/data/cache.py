"""Decoded pixels of a data set in one file, which all processes that read it share: decoding is most of reading.

Nobody gets one unasked, it is large: the training images of Cityscapes take 25 GB.
"""

import contextlib
import functools
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from bisenet.data.info import FilePairs
from bisenet.data.pictures import size_of
from bisenet.dataset import Pair, PairDataset
from bisenet.execution import cores
from bisenet.files import replacing

COMPARED = 8  # pairs that are compared with their files before a training
ABANDONED = 3600  # seconds since a file that is being written was changed, after which nobody writes it
GB = 1e9


def decoded(dataset: PairDataset) -> PairDataset:
    """The same pairs, from a file in the folder that the environment variable BISENET_CACHE names; without it, or of
    what is drawn, the data set itself.

    The file is written if it is not there, once, however many processes ask for it. Its name has the fingerprint of the
    data set's files, so that after a correction another one is written. OSError if the disk is too small, ValueError if
    the file holds other pixels.
    """
    folder = os.environ.get("BISENET_CACHE")
    if not folder or not isinstance(dataset, FilePairs):
        return dataset
    path = Path(folder).expanduser() / f"{dataset.info.name}-{dataset.fingerprint}.npy"
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"BISENET_CACHE is {folder}, no folder ({error.strerror}); name another one") from error
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                _write(dataset, path)
    return Decoded(dataset, path)


class Decoded:
    """A data set of files whose pixels are read from the file that `_write` made of them."""

    labelled = True

    def __init__(self, dataset: FilePairs, path: Path):
        self.info, self.source, self.fingerprint = dataset.info, dataset.source, dataset.fingerprint
        self.path = path
        self.sizes = np.array(self.pixels[: 8 * len(dataset)]).view("<i4").reshape(-1, 2)
        self.starts = _starts(self.sizes)
        for index in sorted({k * len(self) // COMPARED for k in range(COMPARED)}):
            if not all(map(np.array_equal, self.load(index), dataset.load(index))):
                raise ValueError(f"{path} holds other pixels than {dataset.name(index)}; remove it")

    def __len__(self) -> int:
        return len(self.sizes)

    def load(self, index: int) -> Pair:
        """Views of the file, read-only."""
        height, width = self.sizes[index]
        image, labels = np.split(self.pixels[self.starts[index] : self.starts[index + 1]], [3 * height * width])
        return image.reshape(height, width, 3), labels.reshape(height, width)

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """The file, uint8."""
        try:
            return np.asarray(np.load(self.path, mmap_mode="r", allow_pickle=False))
        except (ValueError, EOFError) as error:
            raise ValueError(f"{self.path} is not whole ({error}); remove it") from error

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: not the pixels."""
        return {key: value for key, value in vars(self).items() if key != "pixels"}


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Where the pixels of every pair begin in a file, and where the last ones end, (N + 1,): after the sizes."""
    return np.cumsum([sizes.size * 4, *4 * sizes.astype(np.int64).prod(axis=1)])


def _write(dataset: FilePairs, path: Path) -> None:
    """One array of bytes: (height, width) of every image as int32, then of every pair the image and the labels."""
    sizes = np.array([size_of(image) for image, _ in dataset.pairs], "<i4")
    starts = _starts(sizes)
    others = _others(path)
    need, free = starts[-1] / GB, shutil.disk_usage(path.parent).free / GB
    if need > free:
        place = f"{path.parent} has {free:.1f} GB free, decoded {dataset.info.name} takes {need:.1f}{others}"
        raise OSError(f"{place}; make room there, set BISENET_CACHE to another folder, or unset it")
    print(f"{path}: written once, {need:.1f} GB of decoded pixels", flush=True)
    with replacing(path) as partial:
        with partial.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (int(starts[-1]),)}
            np.lib.format.write_array_header_1_0(file, header)
            first = file.tell()
            file.write(sizes.tobytes())
        put = functools.partial(_put, dataset, partial)
        with ThreadPoolExecutor(cores()) as pool:
            done = pool.map(put, range(len(sizes)), sizes, first + starts[:-1])
            list(tqdm(done, total=len(sizes), file=sys.stdout, disable=not sys.stdout.isatty()))
        with partial.open("rb+") as whole:
            os.fsync(whole.fileno())


def _others(path: Path) -> str:
    """Remove what killed writers of a file left an hour ago; returns what to say of one that may still be at work.

    There can be one in spite of the lock: on some network drives each machine has locks of its own.
    """
    fresh = ""
    for partial in path.parent.glob(f"{path.name}.*.partial"):
        with contextlib.suppress(FileNotFoundError):  # it has become whole meanwhile
            if time.time() - partial.stat().st_mtime > ABANDONED:
                partial.unlink()
            else:
                fresh = f" ({partial.name} is of another writer; if none is at work, remove it)"
    return fresh


def _put(dataset: FilePairs, path: Path, index: int, size: np.ndarray, place: int) -> None:
    """Write a pair at its place in a file."""
    pair = dataset.load(index)
    if pair[1].shape != tuple(size):
        raise ValueError(f"{dataset.pairs[index][0]} has another size than its header says; replace the file")
    with path.open("rb+") as file:  # and not by a map, where a full disk kills the process
        file.seek(place)
        file.writelines(np.ascontiguousarray(pixels).data for pixels in pair)
