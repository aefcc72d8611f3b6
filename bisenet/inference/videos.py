"""Videos, by PyAV: every frame at its own time, read and written.

Frame rates are means, and what a file says of its length may be that of its sound. So a result takes the times of the
frames that were decoded, and whether a video breaks off is judged by what the file says of its pictures.
"""

import itertools
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

# Seconds short of what the file says of its pictures, or of pictures and sound, from which on a video breaks off.
MISSING, MISSING_OF_ALL = Fraction(1, 4), Fraction(1)
# Of H.264: the colours of classes stay close; frames are stored in their order, or MP4 mixes up how long they last.
QUALITY = {"crf": "18", "preset": "veryfast", "bf": "0"}
FINEST = 10**6  # ticks a second: of more, MP4 cannot store pauses of minutes


class Frame(NamedTuple):
    """A frame: uint8 (H, W, 3) RGB, upright; of a video, when it is shown and for how long, in seconds."""

    pixels: np.ndarray
    time: Fraction = Fraction(0)
    lasts: Fraction = Fraction(0)
    aspect: Fraction = Fraction(1)  # the width of a pixel by its height


class About(NamedTuple):
    """What a video says of itself: frames a second, the mean if that changes; its unit of time; how many frames."""

    rate: Fraction
    tick: Fraction
    frames: int  # about; 1 if the file does not say


def _library(path: Path) -> Any:
    try:
        import av  # only where there is a video: it is an extra
    except ImportError as error:
        raise ValueError(f"{path}: videos need a library ({error}); pip install -e '.[video]'") from error
    return av


def _address(path: Path) -> str:
    return f"file:{path}"  # or what is before a colon in a name would be taken for a protocol


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Container and stream of a video; whatever the library finds wrong with them within is a ValueError."""
    av = _library(path)
    try:
        with av.open(_address(path)) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise ValueError(f"{path}: no pictures in this video, only sound or text; name another")
            yield container, stream
    except av.FFmpegError as error:
        raise ValueError(f"{path}: cannot be decoded to its end ({error.strerror}); replace the file") from error


def about(path: Path) -> About:
    with opened(path) as (container, stream):
        seconds = float((_own_end(stream) or _end(container)) - _begin(stream))
        tick = stream.time_base if stream.time_base.denominator <= FINEST else Fraction(1, 90000)
        return About(_rate(stream), tick, max(1, stream.frames or round(seconds * _rate(stream))))


def decoded(path: Path) -> Iterator[Frame]:
    """The frames of a video, in the order in which they are shown; times are those since the file begins.

    ValueError, which may come after most of the frames, if its pictures break off; a warning where that is not sure.
    """
    invalid = _library(path).error.InvalidDataError
    with opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        starts = Fraction(container.start_time or 0, 10**6)
        begin = end = _begin(stream)
        torn, lasts = False, Fraction(0)
        for packet in container.demux(stream):
            torn |= packet.is_corrupt  # decoders may pass over it
            try:
                frames = packet.decode()
            except invalid:
                torn = True
                continue
            for frame in frames:
                torn |= frame.is_corrupt
                lasts = frame.duration * frame.time_base if frame.duration else 1 / _rate(stream)
                time = end if frame.pts is None else frame.pts * frame.time_base
                end = time + lasts
                upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                yield Frame(np.ascontiguousarray(upright), time - starts, lasts, _aspect(stream, frame.rotation))
        _check_end(path, begin, end, lasts, torn, stream)


def _check_end(path: Path, begin: Fraction, end: Fraction, lasts: Fraction, torn: bool, stream: Any) -> None:
    """Whether the pictures are all that there were: by what the file says of them, or if it does not, of itself.

    They were decoded from `begin` to `end`, in seconds, the last of them `lasts`, and `torn` says if any was damaged.
    """
    own, whole = _own_end(stream), _end(stream.container)
    stated, allowed = (whole, MISSING_OF_ALL) if own is None else (own, max(MISSING, 2 * lasts))
    if torn and own is not None:
        allowed = lasts / 2  # what is torn in the middle still ends in time
    short = end < stated - allowed
    if end == begin or (short and (torn or own is not None)):
        told = f"{float(end - begin):.1f} of {float(stated - begin):.1f} s"
        raise ValueError(f"{path}: this video breaks off after {told}; replace the file")
    if short:
        told = f"after {float(end - begin):.1f} s, the file after {float(whole - begin):.1f} s, perhaps its sound"
        warnings.warn(f"{path}: the pictures end {told}; the result is kept", stacklevel=2)
    elif torn:
        warnings.warn(f"{path}: parts of this video are damaged; the result is kept, look at it", stacklevel=2)


def _aspect(stream: Any, rotation: float) -> Fraction:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return 1 / aspect if round(rotation / 90) % 2 else aspect


def _rate(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def _begin(stream: Any) -> Fraction:
    return Fraction((stream.start_time or 0) * stream.time_base)


def _own_end(stream: Any) -> Fraction | None:
    """When the pictures end, if the file says so.

    But of AVI, whose length is guessed where it breaks off, frames are not counted: of a video that was trimmed, more
    are stored than shown.
    """
    if stream.container.format.name == "avi" and stream.frames:
        return _begin(stream) + stream.frames / _rate(stream)
    tag = stream.metadata.get("DURATION", "")  # as in 00:00:02.002: the end, not the length
    if found := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tag):
        return 3600 * int(found[1]) + 60 * int(found[2]) + Fraction(found[3])
    if "matroska" in stream.container.format.name:  # and WebM: without the tag, `duration` is that of all streams
        return None
    return _begin(stream) + Fraction(stream.duration * stream.time_base) if stream.duration else None


def _end(container: Any) -> Fraction:
    """When pictures and sound end."""
    return Fraction((container.start_time or 0) + (container.duration or 0), 10**6)


def _packets(stream: Any, shown: Iterable[tuple[Any, Frame]], tick: Fraction) -> Iterator[Any]:
    """Encode pictures of the library, each at its time; encoders forget how long one lasts."""
    at, lasting = -1, {}
    for picture, frame in itertools.chain(shown, [(None, None)]):  # None: what is still inside
        if picture and frame:
            at = max(at + 1, round(frame.time / tick))  # two at one time cannot be stored
            picture.pts, picture.time_base = at, tick
            lasting[at] = max(1, round(frame.lasts / tick))
        for packet in stream.encode(picture):
            packet.duration = lasting.pop(packet.pts)
            yield packet


def _encodable(av: Any, picture: Image.Image) -> Any:
    """A picture for the encoder; one of mode P keeps its palette, which is a third of the time for its colours."""
    if picture.mode != "P":
        return av.VideoFrame.from_image(picture)
    colours = np.full((256, 4), 255, np.uint8)  # opacity, red, green, blue
    given = np.array(picture.getpalette(), np.uint8).reshape(-1, 3)
    colours[: len(given), 1:] = given
    return av.VideoFrame.from_ndarray((np.asarray(picture), colours), format="pal8")


def write(target: Path, pictures: Iterator[tuple[Image.Image, Frame]], source: Path) -> None:
    """Write an MP4 of pictures, each at the time of the frame beside it. ValueError if that cannot be done."""
    first, frame = next(pictures)
    av, (rate, tick, _) = _library(source), about(source)
    try:
        with av.open(_address(target), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options=QUALITY)
            stream.codec_context.time_base = tick
            stream.width, stream.height = first.size
            stream.sample_aspect_ratio = frame.aspect
            odd = first.width % 2 or first.height % 2  # what halved chroma cannot do, and all players like best
            stream.pix_fmt = "yuv444p" if odd else "yuv420p"
            every = itertools.chain([(first, frame)], pictures)
            shown = ((_encodable(av, picture), frame) for picture, frame in every)
            for packet in _packets(stream, shown, tick):
                container.mux(packet)
    except av.FFmpegError as error:
        raise ValueError(f"{source}: its result cannot be written as a video ({error.strerror})") from error
