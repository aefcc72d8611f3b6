"""Times of videos: each frame's own, whatever rate, sound or header say; and files that are only suspicious."""

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bisenet.inference import photos, videos

av = pytest.importorskip("av", reason="the extra 'video' is not installed")
MILLISECOND = Fraction(1, 1000)
IRREGULAR = [0, 0.1, 0.15, 1, 3, 3.02, 8]  # seconds
PALETTE = np.zeros((2, 3), np.uint8)


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def clip(path: str, times: list[float], rate: int = 25, sound: float = 0, aspect: Fraction = Fraction(1)) -> Path:
    """A video with a frame at each of some times, and some seconds of silence."""
    mp4 = path.endswith(".mp4")
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libvpx" if path.endswith(".webm") else "libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.sample_aspect_ratio = 64, 48, "yuv420p", aspect
        stream.codec_context.time_base = MILLISECOND
        track = container.add_stream("aac" if mp4 else "libopus", rate=48000) if sound else None
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * k % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time / MILLISECOND), MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for start in range(0, int(sound * 48000), 960):
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 960), np.float32), format="fltp", layout="stereo")
            silence.rate, silence.pts, silence.time_base = 48000, start, Fraction(1, 48000)
            container.mux(track.encode(silence))
        if track:
            container.mux(track.encode(None))
    return Path(path)


def times(path: Path) -> list[float]:
    return [float(frame.time) for frame in videos.decoded(path)]


def result(path: Path) -> Path:
    """The segmented video; nothing may fail."""
    assert photos.segment([path], lambda frame: frame[..., 0] & 1, PALETTE, Path("out")) == {}
    return Path("out") / f"{path.stem}.mp4"


@pytest.mark.parametrize("rate", [25, 1000])
@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4"])
def test_a_video_of_variable_rate_keeps_its_times(suffix, rate):
    path = clip(f"a.{suffix}", IRREGULAR, rate)
    done = result(path)
    assert times(path) == times(done) == pytest.approx(IRREGULAR)
    assert [*videos.decoded(done)][-1].lasts == [*videos.decoded(path)][-1].lasts


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4"])
def test_sound_may_outlast_pictures_and_begin_before_them(suffix):
    even = [k / 10 for k in range(20)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert times(result(clip(f"a.{suffix}", even, 10, sound=8))) == pytest.approx(even)
        late = clip(f"late.{suffix}", [5 + time for time in even], 10, sound=8)
        assert times(late) == pytest.approx([5 + time for time in even])
        with av.open(str(result(late))) as container:
            assert float(next(container.decode(video=0)).time) == pytest.approx(5)


def test_where_the_file_does_not_say_how_long_its_pictures_last_the_result_is_kept():
    path = clip("a.mkv", [k / 10 for k in range(20)], 10, sound=8)
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"duratioN"))
    with pytest.warns(UserWarning, match=r"a.mkv: the pictures end after 2.0 s, the file after 8.0 s.*result is kept"):
        assert len(times(result(path))) == 20


@pytest.mark.parametrize("sound", [0, 8])
def test_a_missing_end_is_an_error_however_long_the_sound(sound):
    path = clip("a.mkv", [k / 10 for k in range(40)], 10, sound)
    with av.open(str(path)) as container:
        place = next(p.pos for p in container.demux(video=0) if p.pts and p.pts >= 3000)
    path.write_bytes(path.read_bytes()[:place])
    with pytest.raises(ValueError, match=r"a.mkv: this video breaks off after [23].\d of 4.0 s; replace the file"):
        times(path)


def test_damage_in_the_middle_is_a_warning():
    path = clip("a.mp4", [k / 10 for k in range(40)], 10)
    with av.open(str(path)) as container:
        packet = next(p for p in container.demux(video=0) if p.pts and p.pts * p.time_base >= 2)
    damaged = bytearray(path.read_bytes())
    damaged[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match="parts of this video are damaged; the result is kept, look at it"):
        assert len(times(path)) >= 38


def test_names_with_a_colon_and_pixels_that_are_no_squares():
    path = clip("12:30.mp4", [0, 0.1, 0.2], 10, aspect=Fraction(4, 3))
    assert next(videos.decoded(result(path))).aspect == Fraction(4, 3)


def test_a_file_of_several_pictures_is_said_to_be_one():
    pages = [Image.fromarray(np.full((8, 8, 3), 60 * k, np.uint8)) for k in range(3)]
    for name in ("a.png", "b.tiff", "c.webp"):
        pages[0].save(name, save_all=True, append_images=pages[1:])
        with pytest.warns(UserWarning, match=f"{name}: it holds 3 pictures, only the first is segmented"):
            (frame,) = photos.frames(Path(name))
        assert frame.pixels.max() <= 1
