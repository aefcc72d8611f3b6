"""`python -m bisenet predict`: all kinds of files, what is said about bad ones, and that nothing half-written stays."""

import dataclasses
import itertools
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bisenet.__main__ import main
from bisenet.data import DATASETS, palette, read_image
from bisenet.inference import photos, videos
from bisenet.inference.segmenter import Segmenter

PALETTE = DATASETS["cityscapes"].palette
PHOTO = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
REAL = Segmenter
ORIENTATION = 0x0112  # the tag of EXIF


def halves(frame: np.ndarray) -> np.ndarray:
    """A network for which what is brighter than half is class 8 and the rest class 11."""
    return np.where(frame.mean(axis=2) > 127, 8, 11).astype(np.uint8)


@pytest.fixture(autouse=True)
def fake(tmp_path, monkeypatch):
    """The command with `halves` as its network, in an empty folder."""

    class Segmenter:
        num_classes = 19

        def __init__(self, weights, *, size, engine, precision):
            self.options = (size, engine, precision)
            self.engine, self.precision, self.chosen = "openvino", precision, "remembered in a folder"

        def __call__(self, frame):
            return halves(frame)

    monkeypatch.setattr("bisenet.commands.using.Segmenter", Segmenter)
    monkeypatch.chdir(tmp_path)
    return Segmenter


def write(path: str, picture: np.ndarray | Image.Image, **options: object) -> Path:
    where = Path(path)
    where.parent.mkdir(exist_ok=True)
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(where, **options)
    return where


def names(folder: str = "predicted") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def clip(path: str, count: int = 8, size: tuple[int, int] = (48, 64), rate: Fraction | int = 4) -> Path:
    """A video whose frames get brighter; noise, so that half of the file is half of the frames."""
    av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    Path(path).parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    options = {"movflags": "faststart"} if path.endswith(".mp4") else {}  # or half of a file could not be opened at all
    with av.open(path, "w", options=options) as container:
        stream = container.add_stream("libx264", rate=rate, options={"bf": "0"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv444p"
        for k in range(count):
            pixels = rng.integers(0, 100, (*size, 3)) + 150 * k // (count - 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return Path(path)


def test_a_folder_with_good_and_bad_files(capsys):
    whole = write("in/whole.jpg", np.tile(PHOTO, (40, 40, 1))).read_bytes()
    Path("in/truncated.jpg").write_bytes(whole[: len(whole) // 2])
    Path("in/empty.png").touch()
    Path("in/text.png").write_text("no picture\n")
    Path("in/notes.txt").write_text("no picture either, and does not claim to be one\n")
    Path("in/._whole.jpg").write_text("what macOS leaves beside its files\n")
    write("in/grey.png", PHOTO[..., 0])
    write("in/sixteen.png", np.array([[0, 0x7F00, 0x8000, 0xFFFF]], np.uint16))
    write("in/one.png", PHOTO[:1, :1])
    write("in/large.jpg", np.zeros((4000, 6000, 3), np.uint8))
    assert main(["predict", "in"]) == 1
    assert names() == ["grey.png", "large.png", "one.png", "sixteen.png", "whole.png"]
    said = capsys.readouterr()
    assert "5 of 8 files: predicted; 2 that are no pictures or videos were passed over" in said.out
    assert "engine openvino, fp32, remembered in a folder" in said.out
    bad, last = said.err.splitlines()[:-1], said.err.splitlines()[-1]
    assert [line.partition(": ")[0] for line in bad] == ["in/empty.png", "in/text.png", "in/truncated.jpg"]
    assert all("cannot be read as a picture" in line for line in bad)
    assert last == "python -m bisenet predict: 3 of 8 files failed, for the reasons above"
    for name, frame in (("grey", np.repeat(PHOTO[..., :1], 3, axis=2)), ("one", PHOTO[:1, :1])):
        with Image.open(f"predicted/{name}.png") as done:
            assert done.mode == "P" and np.array_equal(np.array(done), halves(frame))
            assert np.array_equal(np.array(done.convert("RGB")), PALETTE[halves(frame)])
    assert np.array(Image.open("predicted/sixteen.png")).tolist() == [[11, 11, 8, 8]]  # scaled, not clipped
    assert Image.open("predicted/large.png").size == (6000, 4000)


def upright(kind: str) -> Path:
    """A picture that `frames` gives as PHOTO (a JPEG as about it)."""
    if kind.startswith("EXIF"):
        exif = Image.Exif()
        exif[ORIENTATION] = 6  # to be turned by a quarter, clockwise
        return write(f"a{kind[4:]}", np.rot90(PHOTO), exif=exif, quality=100, subsampling=0)
    opaque = Image.fromarray(PHOTO)
    if kind == "palette":
        few = opaque.quantize(256)  # there are 96 pixels
        return write("a.png", few, transparency=b"\x00\x80")
    if kind == "RGBA":
        opaque.putalpha(7)
        return write("a.png", opaque)
    if kind == "CMYK":
        return write("a.jpg", opaque.convert("CMYK"), quality=100, subsampling=0)
    return write(f"a{kind}", opaque, lossless=True)  # of WebP


@pytest.mark.parametrize("kind", ["EXIF.jpg", "EXIF.png", "palette", "RGBA", "CMYK", ".webp", ".TIF"])
def test_pictures_are_upright_and_opaque(kind, recwarn):
    path = upright(kind)
    ((frame, *_),) = photos.frames(path)
    loss = 20 if path.suffix == ".jpg" else 0
    assert frame.shape == PHOTO.shape and frame.dtype == np.uint8
    assert np.abs(frame.astype(int) - PHOTO).max() <= loss
    assert not [warning for warning in recwarn if "ransparency" in str(warning.message)]
    if kind == "EXIF.png":
        assert np.array_equal(read_image(path), np.rot90(PHOTO))  # a data set's labels do not turn


def test_a_decompression_bomb_is_a_bad_file(monkeypatch, capsys):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    for name in ("bomb.png", "large.jpg"):
        write(name, PHOTO)
    write("small.png", PHOTO[:4, :4])
    assert main(["predict", "bomb.png", "large.jpg", "small.png"]) == 1
    assert names() == ["small.png"]
    assert capsys.readouterr().err.count("it has more than 80 pixels; make it smaller, or cut it into parts") == 2


def test_an_overlay_shows_the_frame_and_the_classes():
    frame = np.full((16, 16, 3), 200, np.uint8)
    write("a.png", frame)
    assert main(["predict", "a.png", "--overlay", "--out", "deep/er"]) == 0
    assert names("deep/er") == ["a_overlay.jpg"]
    shown = np.array(Image.open("deep/er/a_overlay.jpg")).astype(int)
    assert np.abs(shown - (PALETTE[8].astype(int) + 200) // 2).max() <= 6


def test_no_result_replaces_another_or_lies_among_its_sources(capsys):
    for name in ("in/a.jpg", "in/a.png", "other/a.jpg"):
        write(name, PHOTO)
    assert main(["predict", "in", "in/a.jpg", "other/a.jpg"]) == 1
    said = capsys.readouterr()
    assert "1 of 3 files" in said.out  # one of them was named twice
    for path in ("in/a.png", "other/a.jpg"):
        assert f"{path}: its result would replace that of in/a.jpg, predicted/a.png; give it another folder" in said.err
    assert main(["predict", "in/a.png", "--out", "in"]) == 1
    assert "in/a.png is in in itself" in capsys.readouterr().err
    assert names("in") == ["a.jpg", "a.png"] and np.array_equal(read_image(Path("in/a.png")), PHOTO)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no such file or folder: nowhere"),
        (["void"], "no picture or video in void; the names end with .bmp"),
        (
            ["a.png", "--out", "file"],
            "cannot write to file (file is a file); make room there, or name another folder: --out",
        ),
        (["notes.txt"], "notes.txt: by its name neither a picture nor a video"),
    ],
)
def test_errors_in_one_line(words, message, capsys):
    write("a.png", PHOTO)
    Path("void").mkdir()
    for name in ("file", "notes.txt"):
        Path(name).touch()
    assert main(["predict", *words]) == 1
    said = capsys.readouterr().err.splitlines()
    assert any(message in line for line in said) and len(said) <= 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.png", "--size", "512"], "'512' is no size such as 512x1024"),
        (["https://example.org/a.jpg"], "is an address; nothing is fetched: download it"),
    ],
)
def test_words_that_are_none(words, message, capsys):
    with pytest.raises(SystemExit):
        main(["predict", *words])
    assert message in capsys.readouterr().err


def test_no_network_is_loaded_for_files_that_cannot_be_read(fake, monkeypatch, capsys):
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    monkeypatch.setattr(fake, "__init__", lambda *words, **options: pytest.fail("loaded"))
    Path("in").mkdir()
    for name in ("text.jpg", "text.mp4", "none.png"):
        Path("in", name).write_text("no picture\n" if name.startswith("text") else "")
    assert main(["predict", "in"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert all(f"in/{name}: cannot be " in line for name in ("text.jpg", "text.mp4", "none.png"))


def test_options_reach_the_network(fake, monkeypatch):
    seen = []
    monkeypatch.setattr(fake, "__call__", lambda self, frame: seen.append(self.options) or halves(frame))
    write("a.png", PHOTO)
    assert main(["predict", "a.png", "--size", "64x128", "--engine", "torch", "--precision", "fp16"]) == 0
    assert seen == [((64, 128), "torch", "fp16")]


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_a_video_there_and_back(size):
    rate = Fraction(30000, 1001)
    path = clip("in/drive.mkv", 20, size, rate)
    before = [frame.pixels for frame in photos.frames(path)]
    assert len(before) == 20 and before[0].shape == (*size, 3)
    assert before[0].mean() < 60 and before[-1].mean() > 190
    assert main(["predict", "in", "--out", "maps"]) == main(["predict", "in", "--out", "maps", "--overlay"]) == 0
    assert names("maps") == ["drive.mp4", "drive_overlay.mp4"]
    for name in names("maps"):
        assert videos.about(Path("maps") / name).rate == pytest.approx(float(rate), rel=1e-3)
    after = [frame.pixels for frame in photos.frames(Path("maps/drive.mp4"))]
    assert len(after) == 20 and after[0].shape == (*size, 3)
    for frame, k in ((after[0], 11), (after[-1], 8)):
        assert np.abs(frame.mean(axis=(0, 1)) - PALETTE[k]).max() < 8


def test_a_video_is_turned_upright():
    av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32] = 255  # the left half is bright
    with av.open("a.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.height, stream.width = 32, 64
        stream.set_display_rotation(90)  # to be shown turned by a quarter, counter-clockwise
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    ((frame, *_),) = photos.frames(Path("a.mp4"))
    assert frame.shape == (64, 32, 3)
    assert frame[:28].max() < 20 and frame[36:].min() > 235


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_broken_video_leaves_nothing(suffix, capsys):
    whole = clip(f"whole{suffix}").read_bytes()
    Path(f"half{suffix}").write_bytes(whole[: len(whole) // 2])
    Path(f"text{suffix}").write_text("no video\n")
    write("after.png", PHOTO)
    assert main(["predict", f"half{suffix}", f"text{suffix}", "after.png"]) == 1
    assert names() == ["after.png"]
    half, text, last = capsys.readouterr().err.splitlines()
    assert half.startswith(f"half{suffix}: ") and ("breaks off" in half or "decoded to its end" in half)
    assert text.startswith(f"text{suffix}: cannot be decoded to its end (Invalid data")
    assert last.endswith("2 of 3 files failed, for the reasons above")


def test_videos_without_their_library(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    Path("a.mp4").touch()
    assert main(["predict", "a.mp4"]) == 1
    said = capsys.readouterr().err
    assert "a.mp4: videos need a library (" in said and "pip install -e '.[video]'" in said


@pytest.mark.parametrize(("kind", "at"), [("pictures", 3), ("video", 80)])  # by when the encoder has begun to write
def test_an_interruption_leaves_whole_files_only(kind, at, fake, monkeypatch, capsys):
    for k in range(5):
        write(f"in/{k}.png", PHOTO)
    path = clip("a.mp4", 100) if kind == "video" else Path("in")
    counter = itertools.count(1)

    def interrupted(self, frame):
        if next(counter) == at:
            raise KeyboardInterrupt
        return halves(frame)

    monkeypatch.setattr(fake, "__call__", interrupted)
    assert main(["predict", str(path)]) == 130
    assert names() == ([] if kind == "video" else ["0.png", "1.png"])
    assert "interrupted; what is done is kept" in capsys.readouterr().err


def test_a_frame_too_large_for_the_network_is_a_bad_file(fake, monkeypatch, capsys):
    def limited(self, frame):
        if frame.shape[0] > 4:
            raise RuntimeError("not enough memory\n  a stack of C++")
        return halves(frame)

    monkeypatch.setattr(fake, "__call__", limited)
    write("in/a.png", PHOTO)
    write("in/b.png", PHOTO[:4])
    assert main(["predict", "in"]) == 1
    assert names() == ["b.png"]
    assert "in/a.png: the network failed on a frame of 8x12 (not enough memory)" in capsys.readouterr().err


def test_an_error_of_the_writer_is_not_waited_for():
    files = [write(f"in/{k}.png", PHOTO) for k in range(8)]
    with pytest.raises(AttributeError):
        photos.segment(files, lambda frame: "no array", PALETTE, Path("out"))
    assert names("out") == []


def test_palettes(monkeypatch):
    """Another data set of 11 classes, which comes later, changes no colours of those that are there."""
    monkeypatch.setitem(DATASETS, "later", dataclasses.replace(DATASETS["camvid"], palette=np.zeros((11, 3), np.uint8)))
    monkeypatch.setattr("bisenet.data.PROVIDED", ("streets", "cityscapes", "camvid", "cocostuff", "later"))
    for name in ("cityscapes", "streets", "camvid", "cocostuff"):
        assert np.array_equal(palette(len(DATASETS[name].classes)), DATASETS[name].palette)
    assert len(np.unique(palette(7), axis=0)) == 7


def test_the_network_itself(monkeypatch):
    segmenter = REAL(engine="torch", size=(64, 128))
    monkeypatch.setattr("bisenet.commands.using.Segmenter", lambda *words, **options: segmenter)
    write("a.png", np.tile(PHOTO, (5, 5, 1)))
    write("one.png", PHOTO[:1, :1])
    assert main(["predict", "a.png", "one.png", "--engine", "torch", "--size", "64x128"]) == 0
    for name in ("a.png", "one.png"):
        expected = segmenter(next(photos.frames(Path(name))).pixels)
        assert np.array_equal(np.array(Image.open(Path("predicted") / name)), expected)
