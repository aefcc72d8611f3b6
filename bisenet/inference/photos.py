"""Photographs and videos to class maps: frames from files, a network over each, the results in files.

Three things go on at a time, so that neither the disk nor compression costs frames a second: one thread reads ahead,
the caller's runs the network, one writes. Few frames are in memory at once, however many the files hold. A result is
written under a temporary name and renamed when it is whole; of a file that cannot be read to its end there is none.
"""

from __future__ import annotations

import itertools
import queue
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from bisenet.data import read_image
from bisenet.files import replacing

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
AHEAD = 2  # frames that wait between two of the three
MISSING = 1.0  # seconds short of what its file says, from which on a video counts as broken off
QUALITY = {"crf": "18", "preset": "veryfast"}  # of H.264: the colours of classes stay close

Network = Callable[[np.ndarray], np.ndarray]  # uint8 (H, W, 3) RGB to class ids, uint8 (H, W)
Result = tuple[Path, np.ndarray | BaseException, np.ndarray | None]  # file, frame or what went wrong, class ids
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


def frames(path: Path) -> Iterator[np.ndarray]:
    """The frame of a picture or those of a video, uint8 (H, W, 3) RGB, upright.

    ValueError if the file cannot be read to its end, which for a video may come after most of its frames.
    """
    if _is_video(path):
        yield from _decoded(path)
    elif path.suffix.lower() in PICTURES:
        yield read_image(path, upright=True)
    else:
        raise ValueError(f"{path}: by its name neither a picture nor a video; the names end with {_suffixes()}")


def _library(path: Path) -> Any:
    try:
        import av  # only where there is a video: it is an extra
    except ImportError as error:
        raise ValueError(f"{path}: videos need a library; pip install -e '.[video]'") from error
    return av


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Container and stream of a video; whatever the library finds wrong with them within is a ValueError."""
    av = _library(path)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise ValueError(f"{path}: no pictures in this video")
            yield container, stream
    except av.FFmpegError as error:
        raise ValueError(f"{path}: cannot be decoded to its end ({error.strerror}); replace the file") from error


def _decoded(path: Path) -> Iterator[np.ndarray]:
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        begin = end = float((stream.start_time or 0) * stream.time_base)
        for packet in container.demux(stream):
            if packet.is_corrupt:  # decoders may pass over it
                raise ValueError(f"{path}: this video breaks off after {end - begin:.1f} s; replace the file")
            for frame in packet.decode():
                lasts = frame.duration * frame.time_base if frame.duration else 1 / _rate(stream)
                end = float((end if frame.time is None else frame.time) + lasts)
                pixels = frame.to_ndarray(format="rgb24")
                yield np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
        whole = _seconds(container, stream)
        if end == begin or end - begin < whole - MISSING:
            raise ValueError(
                f"{path}: this video breaks off after {end - begin:.1f} of {whole:.1f} s; replace the file"
            )


def _rate(stream: Any) -> Fraction:
    """Frames a second, the mean if that changes."""
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def _seconds(container: Any, stream: Any) -> float:
    """How long the pictures last according to the file; 0 if it does not say.

    Frames are not counted: of a video that was trimmed, more are stored than shown.
    """
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # Matroska and WebM, as in 00:00:02.002
        hours, minutes, seconds = tag.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    return float((container.duration or 0) / 1e6)  # of pictures and sound


def _about(path: Path) -> tuple[Fraction, int]:
    """Of a video: frames a second, and about how many there are (1 if the file does not say)."""
    with _opened(path) as (container, stream):
        return _rate(stream), max(1, round(_seconds(container, stream) * _rate(stream)))


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

    `a.jpg` becomes `a.png` (see `coloured`) and `a.mov` the video `a.mp4` of the same length and mean frame rate;
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
    found = _targets(files, out, laid_over)
    _make_writable(out)
    return found


def _targets(files: Iterable[Path], out: Path, laid_over: bool) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Where the result of each file goes; the files without a place, with the reason."""
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
    return targets, failed


def _make_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise OSError(f"cannot write to the folder {out} ({error.strerror}); name another one") from error


def _progress(files: Iterable[Path]) -> tqdm[Any]:
    """A bar of frames, with frames a second; every ten seconds where nobody watches."""
    total = 0
    for path in files:
        try:
            total += _about(path)[1] if _is_video(path) else 1
        except ValueError:  # whoever reads it says what is wrong
            total += 1
    return tqdm(total=total, unit=" frames", file=sys.stdout, mininterval=0.1 if sys.stdout.isatty() else 10)


def _read(files: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray | BaseException]]:
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


def _segmented(network: Network, path: Path, frame: np.ndarray | BaseException) -> Result:
    if isinstance(frame, BaseException):
        return path, frame, None
    try:
        return path, frame, network(frame)
    except (RuntimeError, MemoryError) as error:  # out of memory is a RuntimeError; the next frame may be smaller
        size = "x".join(map(str, frame.shape[:2]))
        return path, ValueError(f"{path}: the network failed on a frame of {size} ({str(error).splitlines()[0]})"), None


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


def _drawn(results: Iterable[Result], draw: Callable[..., Image.Image]) -> Iterator[Image.Image]:
    for _, frame, classes in results:
        if isinstance(frame, BaseException):
            raise frame
        yield draw(frame, classes)


def _write_file(path: Path, target: Path, pictures: Iterator[Image.Image]) -> None:
    with replacing(target) as partial:
        if _is_video(path):
            _write_video(partial, pictures, path)
        else:
            next(pictures).save(partial, format="PNG" if target.suffix == ".png" else "JPEG", quality=90)


def _write_video(target: Path, pictures: Iterator[Image.Image], source: Path) -> None:
    first = next(pictures)
    av, rate = _library(source), _about(source)[0]
    try:
        with av.open(str(target), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options=QUALITY)
            stream.width, stream.height = first.size
            odd = first.width % 2 or first.height % 2  # what halved chroma cannot do, and all players like best
            stream.pix_fmt = "yuv444p" if odd else "yuv420p"
            for picture in itertools.chain([first], pictures):
                container.mux(stream.encode(av.VideoFrame.from_image(picture.convert("RGB"))))
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        raise ValueError(f"{source}: its result cannot be written as a video ({error.strerror})") from error
