"""Decoded pixels in a file: the same as without it, whole or not there, written once."""

import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bisenet import paper
from bisenet.data import miniature, open_dataset
from bisenet.data.cache import Decoded, decoded
from bisenet.data.camvid import CamVid
from bisenet.data.info import FilePairs
from bisenet.dataset import PairDataset
from bisenet.samples import Samples

REAL = Path(__file__).resolve().parents[3] / "shared" / "camvid"
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("BISENET_CACHE", str(folder))
    return folder


@pytest.fixture
def tutorial(tmp_path: Path) -> Path:
    """Six pictures of CamVid in the tutorial's layout, each of another size."""
    rng = np.random.default_rng(0)
    for number in range(6):
        for folder, shape, most in (("train", (3,), 256), ("trainannot", (), 12)):
            path = tmp_path / "camvid" / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, most, (30 + number, 41 - number, *shape), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    return tmp_path / "camvid"


def train(root: Path) -> FilePairs:
    dataset = open_dataset("camvid", "train", root=root)
    assert isinstance(dataset, FilePairs)
    return dataset


def assert_same(ours: PairDataset, theirs: PairDataset) -> None:
    assert len(ours) == len(theirs) and (ours.info, ours.source) == (theirs.info, theirs.source)
    for index in range(0, len(theirs), 1 + len(theirs) // 20):
        pair, expected = ours.load(index), theirs.load(index)
        assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(pair, expected, strict=True))


def assert_same_samples(dataset: PairDataset, recipe: str) -> None:
    """What training sees, from the file in a process that got it as reading processes do."""
    augmentation = paper.recipe(recipe, "paper").augmentation
    sent = pickle.dumps(decoded(dataset))
    kept = pickle.loads(sent)
    assert isinstance(kept, Decoded) and len(sent) < 10_000 and kept.fingerprint == dataset.fingerprint  # type: ignore[attr-defined]
    for n in range(6):
        ours, theirs = Samples(kept, augmentation, 3)[n], Samples(dataset, augmentation, 3)[n]
        assert all(map(np.array_equal, ours, theirs)) and ours[0].flags.writeable


def in_a_process(act: Callable[[], object]) -> int:
    """The exit code of a process that does so."""
    process = FORK.Process(target=act)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.skipif(not REAL.is_dir(), reason=f"CamVid is not at {REAL}")
def test_real_photographs(cache: Path) -> None:
    dataset = open_dataset("camvid", "val", root=REAL)
    assert_same_samples(dataset, "camvid")
    assert_same(decoded(dataset), dataset)
    (path,) = cache.glob("*.npy")
    assert np.load(path, mmap_mode="r", allow_pickle=False).shape == (101 * (4 * 360 * 480 + 8),)


def test_a_miniature(cache: Path, tmp_path: Path) -> None:
    miniature.make("cocostuff", tmp_path / "data", {"train": 2})
    dataset = open_dataset("cocostuff", "train", root=tmp_path / "data")
    assert_same_samples(dataset, "cocostuff")
    assert_same(decoded(dataset), dataset)


def test_pictures_of_any_sizes(cache: Path, tutorial: Path) -> None:
    assert_same(decoded(train(tutorial)), train(tutorial))


def test_only_who_asks_gets_one(monkeypatch: pytest.MonkeyPatch, cache: Path, tutorial: Path) -> None:
    scenes = open_dataset("streets", "train", size=(64, 128))
    assert decoded(scenes) is scenes
    for value in ("", None):
        monkeypatch.setenv("BISENET_CACHE", value) if value is not None else monkeypatch.delenv("BISENET_CACHE")
        dataset = train(tutorial)
        assert decoded(dataset) is dataset
    assert not cache.exists()


def test_corrected_labels_are_those_that_are_seen(cache: Path, tutorial: Path) -> None:
    before = decoded(train(tutorial)).load(4)[1]
    corrected = np.where(before == 255, 11, (before + 1) % 11).astype(np.uint8)
    Image.fromarray(corrected).save(tutorial / "trainannot" / "4.png")
    assert_same(decoded(train(tutorial)), train(tutorial))
    assert len([*cache.glob("*.npy")]) == 2


def test_a_file_of_other_pixels_or_a_part_of_one(cache: Path, tutorial: Path) -> None:
    decoded(train(tutorial))
    (path,) = cache.glob("*.npy")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # of the labels of the last pair
    with pytest.raises(ValueError, match=r"camvid-\w+\.npy holds other pixels than 5\.png; remove it"):
        decoded(train(tutorial))
    for size in (0, 40, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"camvid-\w+\.npy is not whole \(.*\); remove it"):
            decoded(train(tutorial))


def test_a_writer_that_is_killed_leaves_nothing_that_looks_whole(
    monkeypatch: pytest.MonkeyPatch, cache: Path, tutorial: Path
) -> None:
    def killed(self: CamVid, index: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(CamVid, "load", killed)
        assert in_a_process(lambda: decoded(train(tutorial))) == -signal.SIGKILL
    (left,) = cache.glob("camvid*.npy*")
    assert left.suffix == ".partial"
    live = left.with_stem(f"{left.stem}0")  # of a writer on another machine
    shutil.copy(left, live)
    os.utime(left, (0, time.time() - 3700))
    assert_same(decoded(train(tutorial)), train(tutorial))
    (whole,) = cache.glob("camvid*.npy")
    assert {*cache.glob("camvid*.npy*")} == {whole, live}


def test_processes_that_ask_at_once_write_it_once(cache: Path, tutorial: Path, capfd: pytest.CaptureFixture) -> None:
    together = FORK.Barrier(3)

    def ask() -> None:
        dataset = train(tutorial)
        together.wait(60)
        assert_same(decoded(dataset), dataset)

    processes = [FORK.Process(target=ask) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert capfd.readouterr().out.count("written once") == 1


def test_a_disk_that_is_too_small_or_becomes_full(
    monkeypatch: pytest.MonkeyPatch, cache: Path, tutorial: Path, capfd: pytest.CaptureFixture
) -> None:
    def asked() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))  # of the 28,000 bytes that it takes
        try:
            decoded(train(tutorial))
        except OSError as error:
            print(error, flush=True)

    assert in_a_process(asked) == 0
    assert "cannot write" in (said := capfd.readouterr().out) and "free some space, or name another place;" in said
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=8000))
    with pytest.raises(OSError, match=r"cache has 0.0 GB free, decoded camvid takes 0.0; make room there"):
        decoded(train(tutorial))
    other = cache / f"camvid-{train(tutorial).fingerprint}.npy.1.partial"
    other.touch()
    with pytest.raises(OSError, match=r"\(camvid-\w+\.npy\.1\.partial is of another writer; .* make room there"):
        decoded(train(tutorial))
    other.unlink()
    assert not [*cache.glob("*.npy*")]
    monkeypatch.setenv("BISENET_CACHE", __file__)
    with pytest.raises(OSError, match=r"BISENET_CACHE is .*test_cache\.py, no folder \(File exists\); name"):
        decoded(train(tutorial))


def test_a_broken_file_is_said_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, cache: Path, tutorial: Path
) -> None:
    path = tutorial / "train" / "3.png"
    for content in (path.read_bytes()[:-30], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"3\.png: cannot be read as a picture \(.*\); replace the file"):
            decoded(train(tutorial))
        assert not [*cache.glob("*.npy*")]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(ValueError, match=r"0\.png: it has more than 80 pixels; make it smaller"):
        decoded(train(tutorial))
