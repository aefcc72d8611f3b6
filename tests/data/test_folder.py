"""Your own data: the text of the docs, done as it stands there."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bisenet.__main__ import main
from bisenet.data import describe, files_of, open_dataset, streets
from bisenet.data.info import needed
from bisenet.data.places import REPOSITORY
from bisenet.notebook import batch

TEXT = (REPOSITORY / "docs" / "your_own_data.md").read_text()


def make(root: Path) -> Path:
    """Scenes as someone's own photographs: four to train on, two to test on, in the classes of the scenes."""
    info = describe("streets")
    for part, count in (("train", 4), ("val", 2)):
        for number in range(count):
            image, labels = streets.render(number, (96, 160), seed=part == "val")
            for path, pixels in ((f"images/{part}/{number}.jpg", image), (f"labels/{part}/{number}.png", labels)):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / path)
    (root / "images" / "train" / "Thumbs.db").write_bytes(b"of a file manager")
    (root / "classes.txt").write_text("\n".join(info.classes) + "\n", encoding="utf-8-sig")
    return root


@pytest.fixture
def mine(tmp_path, monkeypatch, results):
    monkeypatch.chdir(tmp_path)
    return make(tmp_path / "MINE")


def test_the_commands_of_the_docs(mine, capsys, monkeypatch):
    monkeypatch.setattr(batch, "places", lambda *words: [""])  # one process for all runs starts sooner
    (block,) = re.findall(r"```bash\n(python -m bisenet check.*?)```", TEXT, re.S)
    for line in block.splitlines():
        assert main(shlex.split(line)[3:]) == 0, line
    said = capsys.readouterr().out
    assert "train: 4 images" in said and "val: 2 images" in said
    assert re.search(r"weights: .*/table_2.ohem-mine-smoke-seed0-\w+/weights.safetensors", said)
    assert "table_2_components: done" in said


def test_the_python_of_the_docs(mine):
    code = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(code) == 2
    for block in code:
        exec(block, {})
    assert np.array_equal(open_dataset("mine", "val", root=mine).load(1)[1], streets.render(1, (96, 160), seed=1)[1])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("road\n", "1 classes; it must name 2 to 255"),
        ("road\ncar\nroad\n", "line 3, 'road', was there before; it must name each class once"),
        ("# mine\na\nb\n", "line 1 is a comment; lines count the ids: remove it"),
        ("0 a\n1 b\n", "every line begins with a number; the place of a line is its id"),
        ("a\nb\n", "allowed are 0 to 1 (the lines of classes.txt) and 255 (ignore); give its pixels"),
        ("a\n\nb\n", "line 2 is empty; lines count the ids: remove it"),
        ("stra\u00dfe\n", "classes.txt is not UTF-8"),
    ],
)
def test_what_is_wrong_is_said(mine, classes, message, capsys):
    (mine / "classes.txt").write_text(classes, encoding="latin-1")
    assert main(["check", "--dataset", "mine", "--data-root", str(mine)]) == 1
    assert message in capsys.readouterr().err


def test_images_and_labels_that_do_not_belong_together(mine, capsys):
    (mine / "images" / "train" / "0.jpg").unlink()
    with pytest.warns(UserWarning, match="labels/train/0.png has no image and is not used"):
        assert main(["check", "--dataset", "mine", "--data-root", str(mine)]) == 0
    shutil.copy(mine / "images" / "train" / "1.jpg", mine / "images" / "train" / "1.PNG")
    with pytest.raises(ValueError, match=r"1.jpg and 1.PNG would share one file of labels; give one another name"):
        describe("mine", mine)
    for image in (mine / "images").rglob("*.*"):
        image.rename(image.with_suffix(".heic"))
    with pytest.raises(FileNotFoundError, match=r"images for nothing; .* names of images end with .bmp"):
        describe("mine", mine)


def test_a_first_image_that_is_broken_is_found_like_others(mine, capsys):
    (mine / "images" / "train" / "0.jpg").write_bytes(b"nothing")
    assert main(["check", "--dataset", "mine", "--data-root", str(mine)]) == 1
    assert "train: wrong: " in (said := capsys.readouterr().err) and "0.jpg: cannot be read as a picture" in said


def test_the_order_of_the_classes_belongs_to_the_files(mine, capsys):
    """Two lines in another order are other classes; the folder that is given counts, not one that was known before."""
    train = ["train", "--dataset", "mine", "--data-root", str(mine), "--scale", "smoke", "--set", "iterations=1"]
    assert main(train) == main(train) == 0
    names = (mine / "classes.txt").read_text(encoding="utf-8-sig").split("\n")
    (mine / "classes.txt").write_text("\n".join([*names[1::-1], *names[2:]]))
    assert main(train) == 1 and "an image or a label file has changed" in capsys.readouterr().err
    assert describe("mine", mine).classes[:2] == tuple(names[1::-1])
    with pytest.raises(ValueError, match="or your own"):
        open_dataset("mine", "train", root=mine / "nowhere")


def test_a_folder_that_is_none(mine, capsys):
    assert main(["check", "--dataset", "camvud", "--data-root", str(mine / "images")]) == 1
    said = capsys.readouterr().err
    assert "did you mean 'camvid'?" in said and f"or your own: {mine / 'images' / 'classes.txt'} is not there" in said
    with pytest.raises(ValueError, match=r"classes\.txt is a file; give its folder as --data-root"):
        describe("mine", mine / "classes.txt")
    (mine / "images" / "val").rename(mine / "images" / "validation")
    with pytest.raises(FileNotFoundError, match="images for train; there must be images/train and images/val"):
        describe("mine", mine)


def test_the_folder_that_was_described_is_read_where_none_is_given(mine, monkeypatch):
    assert len(open_dataset("mine", "train", root="MINE")) == 4
    monkeypatch.chdir("/")
    assert len(open_dataset("mine", "val")) == 2
    shutil.rmtree(mine / "images" / "val")
    with pytest.raises(FileNotFoundError, match=r"MINE/images/val: no pictures \(.*\.webp\); put them there, or name"):
        open_dataset("mine", "val")


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".TIF", ".tiff"])
def test_pixels_that_change_without_the_number_of_bytes_are_other_data(suffix, mine):
    def size_and_fingerprint(value):
        path = (mine / "images" / "train" / "0").with_suffix(suffix)
        Image.new("RGB", (160, 96), (value, 0, 0)).save(path)
        return path.stat().st_size, files_of("mine", "train", mine).fingerprint

    (mine / "images" / "train" / "0.jpg").unlink()
    describe("mine", mine)
    (size, dark), (other, bright), (_, again) = map(size_and_fingerprint, (10, 200, 10))
    assert size == other and dark == again != bright


def test_the_labels_of_another_image_are_not_offered(tmp_path):
    label = tmp_path / "1.png"
    (tmp_path / "10.png").touch()
    assert needed(label) == str(label)
    (tmp_path / "1_mask.png").touch()
    assert needed(label) == f"{label}; there is 1_mask.png"
