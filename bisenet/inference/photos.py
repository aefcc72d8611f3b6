"""Photographs and videos to class maps: frames from files, a network over each, the results in files.

Three things go on at a time, so that neither the disk nor compression costs frames a second: one thread reads ahead,
the caller's runs the network, one writes. Few frames are in memory at once, however many the files hold. A result is
written under a temporary name and renamed when it is whole; of a file that cannot be read to its end there is none.
"""

import itertools
import queue
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from bisenet.data import read_image
from bisenet.data.pictures import PICTURES
from bisenet.data.places import check_writable
from bisenet.files import first_line, replacing
from bisenet.inference import videos
from bisenet.inference.videos import Frame

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
AHEAD = 2  # frames that wait between two of the three

Network = Callable[[np.ndarray], np.ndarray]  # uint8 (H, W, 3) RGB to class ids, uint8 (H, W)
Result = tuple[Path, Frame | BaseException, np.ndarray | None]  # file, frame or what went wrong, class ids
T = TypeVar("T")


def find(paths: Iterable[Path]) -> tuple[list[Path], int]:
    """The files to segment, each once: those named, and in folders the pictures and videos; how many others are there.

    Subfolders and hidden files count as others. FileNotFoundError for a path that is not there or a folder without
    any picture or video.
    """
    files: dict[Path, Path] = {}
    others = 0
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        wanted = [each for each in inside if _is_wanted(each)] if path.is_dir() else inside
        if not wanted:
            raise FileNotFoundError(f"no picture or video in {path}; the names end with {_suffixes()}")
        others += len(inside) - len(wanted)
        files |= {each.resolve(): each for each in wanted if each.resolve() not in files}
    return list(files.values()), others


def _is_wanted(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in PICTURES + VIDEOS and not path.name.startswith(".")


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def _suffixes() -> str:
    return f"{' '.join(PICTURES)} (pictures), {' '.join(VIDEOS)} (videos)"


def frames(path: Path) -> Generator[Frame]:
    """The frame of a picture or those of a video, upright.

    ValueError if the file cannot be read to its end, which for a video may come after most of its frames; a warning
    where a file of pictures, such as an animated PNG, holds several, of which only the first is taken.
    """
    if _is_video(path):
        yield from videos.decoded(path)
    elif path.suffix.lower() in PICTURES:
        yield Frame(read_image(path, upright=True))
        with Image.open(path) as picture:
            count = getattr(picture, "n_frames", 1)
        if count > 1 and picture.format != "MPO":  # of which cameras make previews, and pairs for two eyes
            only = f"it holds {count} pictures, only the first is segmented; save them apart"
            warnings.warn(f"{path}: {only}", stacklevel=2)
    else:
        raise ValueError(f"{path}: by its name neither a picture nor a video; the names end with {_suffixes()}")


def coloured(classes: np.ndarray, palette: np.ndarray) -> Image.Image:
    """Class ids, uint8 (H, W), as a picture of mode P: its values are the ids, its palette, (K, 3), the colours."""
    picture = Image.fromarray(classes)
    picture.putpalette(palette.tobytes())
    return picture


def overlay(frame: np.ndarray, classes: np.ndarray, palette: np.ndarray) -> Image.Image:
    """The frame, uint8 (H, W, 3), and over it, half transparent, the colours of class ids, uint8 (H, W)."""
    return Image.blend(Image.fromarray(frame), coloured(classes, palette).convert("RGB"), 0.5)


def segment(
    files: Sequence[Path], network: Network, palette: np.ndarray, out: Path, laid_over: bool = False
) -> dict[Path, str]:
    """Segment every frame of `files` and write the results to the folder `out`, with a progress bar.

    `a.jpg` becomes `a.png` (see `coloured`) and `a.mov` the video `a.mp4`, whose frames have the times of its own;
    with `laid_over` they become `a_overlay.jpg` and `a_overlay.mp4`. Returns the files that failed, with the reason:
    broken ones, and those whose result would be named like that of another file. ValueError if `out` is a folder
    of such files itself, OSError if it cannot be written to.
    """
    targets, failed = check(files, out, laid_over)
    results: queue.Queue[Result | None] = queue.Queue(AHEAD)

    def draw(frame: np.ndarray, classes: np.ndarray) -> Image.Image:
        return overlay(frame, classes, palette) if laid_over else coloured(classes, palette)

    path = next(iter(targets), out)
    with _progress(targets) as bar, ThreadPoolExecutor(1) as pool, closing(_ahead(_read(targets))) as ahead:
        writing = pool.submit(_write, iter(results.get, None), targets, draw)
        try:
            for path, frame in ahead:
                results.put(_segmented(network, path, frame))
                bar.update()
        except BaseException as error:  # mostly an interruption; the writer must not take the video for whole
            results.put((path, error, None))
            raise
        finally:
            results.put(None)
        return failed | writing.result()


def check(files: Iterable[Path], out: Path, laid_over: bool) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Where the result of each file goes; the files without a place, with the reason. Makes the folder `out`.

    For those who want to know before a network is loaded; raises as `segment` does.
    """
    targets: dict[Path, Path] = {}
    taken: dict[Path, Path] = {}
    failed = {}
    for path in files:
        if path.resolve().parent == out.resolve():
            raise ValueError(f"{path} is in {out} itself: results do not go among such files; name another folder")
        suffix = "_overlay" * laid_over + (".mp4" if _is_video(path) else ".jpg" if laid_over else ".png")
        target = out / (path.stem + suffix)
        if target in taken:
            failed[path] = f"its result would replace that of {taken[target]}, {target}; give it another folder"
        else:
            targets[path], taken[target] = target, path
    check_writable(out)
    return targets, failed


def check_any_begins(files: Sequence[Path]) -> None:
    """ValueError if not one of `files` has a first frame: then no network need be loaded."""
    reasons = []
    for path in files:
        try:  # warnings are said when the file is segmented
            with warnings.catch_warnings(action="ignore"), closing(frames(path)) as begun:
                next(begun)
            return
        except (ValueError, OSError) as error:
            reasons.append(str(error))
    raise ValueError(" | ".join(reasons[:3]) + (f" | and {len(reasons) - 3} more" if reasons[3:] else ""))


def _progress(files: Iterable[Path]) -> "tqdm[Any]":
    """A bar of frames, with frames a second; every ten seconds where nobody watches."""
    total = 0
    for path in files:
        try:
            total += videos.about(path).frames if _is_video(path) else 1
        except ValueError:  # whoever reads it says what is wrong
            total += 1
    return tqdm(total=total, unit=" frames", file=sys.stdout, mininterval=0.1 if sys.stdout.isatty() else 10)


def _read(files: Iterable[Path]) -> Iterator[tuple[Path, Frame | BaseException]]:
    """Every frame of every file; where one cannot be read on, the reason in place of a frame."""
    for path in files:
        try:
            for frame in frames(path):
                yield path, frame
        except (ValueError, OSError) as error:
            yield path, error


def _ahead(items: Iterator[T]) -> Generator[T]:
    """The same, made in a thread, a few ahead of their use."""
    pool = ThreadPoolExecutor(1)
    waiting = deque(pool.submit(next, items, None) for _ in range(AHEAD))
    try:
        while (item := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def _segmented(network: Network, path: Path, frame: Frame | BaseException) -> Result:
    if isinstance(frame, BaseException):
        return path, frame, None
    try:
        return path, frame, network(frame.pixels)
    except (RuntimeError, MemoryError) as error:  # out of memory is a RuntimeError; the next frame may be smaller
        size = "x".join(map(str, frame.pixels.shape[:2]))
        return (
            path,
            ValueError(f"{path}: the network failed on a frame of {size} ({first_line(error)}); try a smaller one"),
            None,
        )


def _write(results: Iterator[Result], targets: dict[Path, Path], draw: Callable[..., Image.Image]) -> dict[Path, str]:
    """Write what comes, file after file; returns the files that failed, with the reason."""
    failed = {}
    try:
        for path, of_file in itertools.groupby(results, key=lambda result: result[0]):
            try:
                _write_file(path, targets[path], _drawn(of_file, draw))
            except (ValueError, OSError) as error:
                failed[path] = str(error).removeprefix(f"{path}: ")
    finally:
        for _ in results:  # or the network would wait forever to hand over its next frame
            pass
    return failed


def _drawn(results: Iterable[Result], draw: Callable[..., Image.Image]) -> Iterator[tuple[Image.Image, Frame]]:
    for _, frame, classes in results:
        if isinstance(frame, BaseException):
            raise frame
        yield draw(frame.pixels, classes), frame


def _write_file(path: Path, target: Path, pictures: Iterator[tuple[Image.Image, Frame]]) -> None:
    with replacing(target) as partial:
        if _is_video(path):
            videos.write(partial, pictures, path)
        else:
            next(pictures)[0].save(partial, format="PNG" if target.suffix == ".png" else "JPEG", quality=90)
