"""Faults of files, planted one by one in a small CamVid, and what is said of each."""

import shutil
from pathlib import Path

import numpy as np
import oxipng
import pytest
from PIL import Image

from bisenet.__main__ import main
from bisenet.data import check, open_dataset
from bisenet.data.camvid import CamVid
from bisenet.data.pictures import read_ids
from bisenet.dataset import IGNORE

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
LABELS = np.resize(np.arange(12, dtype=np.uint8), (12, 16))  # every class, and void


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """Three images of each part, in the tutorial's layout, all right."""
    for part in ("train", "val", "test"):
        for name in "abc":
            save(PHOTO, tmp_path / part / f"{name}.png")
            save(LABELS, tmp_path / f"{part}annot" / f"{name}.png")
    return tmp_path


def save(pixels: np.ndarray, path: Path, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def of_train(root: Path) -> check.Survey:
    with pytest.warns(UserWarning, match="not the whole data set"):
        dataset = open_dataset("camvid", "train", root=root)
    return check.survey(dataset, range(len(dataset)))


def test_what_is_there_is_counted(camvid: Path) -> None:
    found = of_train(camvid)
    assert not found.faults and not found.doubts
    assert found.pixels[:11].tolist() == [48] * 11 and found.pixels[IGNORE] == 48 and found.images == 3
    assert str(found).startswith("3 images, brightest pixel 255 of 255; sky 9.1 %, ") and str(found).endswith(
        "; void 8.3 %"
    )


FAULTS = {
    "an id of no class": (
        lambda root: save(LABELS + 1, root / "trainannot/b.png"),
        "b.png: label id 12, allowed are 0 to 10, 11 (void) and 255 (ignore); give its pixels (16) the id of",
    ),
    "a JPEG": (
        lambda root: save(LABELS * 0 + 3, root / "trainannot/b.png", format="JPEG"),
        "b.png: JPEG changes ids; save the labels as PNG",
    ),
    "another size": (lambda root: save(LABELS[1:], root / "trainannot/b.png"), "sizes differ"),
    "no picture": (lambda root: (root / "train/b.png").write_bytes(b"nothing"), "b.png: cannot be read"),
    "colours": (
        lambda root: save(PHOTO, root / "trainannot/b.png"),
        "this one has colours; replace each",
    ),
    "masks of 0 and 255": (
        lambda root: [save(np.where(LABELS == 3, 255, 0).astype(np.uint8), p) for p in (root / "trainannot").iterdir()],
        "only 'sky' is labelled, 8 % of the pixels are void (255): nothing can be told apart; an object that is saved",
    ),
    "all void": (
        lambda root: [save(np.full_like(LABELS, 11), path) for path in (root / "trainannot").iterdir()],
        "nothing is labelled, 100 % of the pixels are void (255): nothing can be told apart",
    ),
}
DOUBTS = {
    "twelve bits in sixteen": (
        lambda root: save(LABELS.astype(np.uint16) * 300, root / "train/b.png"),
        "b.png: no pixel is brighter than 12 of 255, as where 16 bits hold only 12",
    ),
    "turned": (
        lambda root: save(
            PHOTO, root / "train/b.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\3\0\0\0\0\0\0"
        ),
        "b.png: its EXIF data (orientation 3) turn it, and labels do not follow",
    ),
    "some void": (
        lambda root: [save(np.full_like(LABELS, 11), root / f"trainannot/{name}.png") for name in "ab"],
        "a.png: all labels are void (2 such files)",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_ends_a_training_before_its_first_iteration(name, camvid, results, capsys) -> None:
    plant, message = FAULTS[name]
    plant(camvid)
    (fault,) = of_train(camvid).faults
    assert message in fault
    capsys.readouterr()
    assert main(f"train --dataset camvid --scale smoke --data-root {camvid} --set train_split=train".split()) == 1
    assert message in capsys.readouterr().err and not list(results.glob("runs/*/"))


@pytest.mark.parametrize("name", DOUBTS)
def test_a_doubt_is_said_once_with_the_first_file(name, camvid) -> None:
    plant, message = DOUBTS[name]
    plant(camvid)
    found = of_train(camvid)
    assert not found.faults and sum(doubt.endswith(message) for doubt in found.doubts) == 1, found.doubts


def test_the_command_finds_all_faults_of_all_parts_in_one_run(camvid, capsys) -> None:
    for part, number in (("train", 12), ("val", 13), ("test", 14)):
        save(np.full_like(LABELS, number), camvid / f"{part}annot" / "c.png")
    (camvid / "test" / "a.png").write_bytes(b"nothing")
    assert main(["check", "--dataset", "camvid", "--data-root", str(camvid)]) == 1
    said = capsys.readouterr().err
    assert all(words in said for words in ("label id 12", "label id 13", "label id 14", "a.png: cannot be read"))
    assert "faults in camvid: 4, named above" in said
    assert main(["check"]) == 1 and "streets is drawn: it has no files" in capsys.readouterr().err
    shutil.rmtree(camvid / "test")
    assert main(["check", "--dataset", "camvid", "--data-root", str(camvid)]) == 1
    said = capsys.readouterr().err
    assert "test: wrong: CamVid not found" in said and "faults in camvid: 3" in said


def test_a_label_file_of_another_name_is_named(camvid, capsys) -> None:
    (camvid / "trainannot" / "b.png").rename(camvid / "trainannot" / "b_mask.PNG")
    shutil.rmtree(camvid / "valannot")
    for command in ("check", "train"):
        assert main([command, "--dataset", "camvid", "--data-root", str(camvid)]) == 1
        assert "trainannot/b.png; there is b_mask.PNG" in (said := capsys.readouterr().err)
        assert command == "train" or "valannot/a.png; the folder" in said


def test_twenty_faults_in_one_run(tmp_path: Path, capsys) -> None:
    """What reports of users speak of, each in a file of its own, among files that are right."""
    for part in ("train", "val", "test"):
        for number in range(20):
            save(PHOTO, tmp_path / part / f"{number:02d}.png")
            save(LABELS, tmp_path / f"{part}annot" / f"{number:02d}.png")
    image, label = (lambda n: tmp_path / "train" / f"{n:02d}.png"), (lambda n: tmp_path / "trainannot" / f"{n:02d}.png")
    image(0).write_bytes(image(0).read_bytes()[:100])
    label(1).write_bytes(label(1).read_bytes()[:60])
    label(2).write_bytes(b"")
    image(3).write_text("no picture")
    flipped = bytearray(image(4).read_bytes())
    flipped[-20] ^= 1
    image(4).write_bytes(flipped)
    label(5).unlink()
    image(6).unlink()
    image(6).symlink_to("nowhere.png")
    image(7).unlink()
    image(7).mkdir()
    save(LABELS[:, 1:], label(8))
    save(PHOTO[1:], image(9))
    save(LABELS + 1, label(10))
    save(LABELS * 23, label(11))
    save(PHOTO, label(12))
    save(LABELS.astype(np.uint16), label(13))
    Image.fromarray(PHOTO).convert("RGBA").save(label(14))
    Image.fromarray(LABELS > 5).save(label(15))
    wrong = sorted([*map(image, (0, 3, 4, 6, 7, 8, 9)), *map(label, (1, 2, 5, 10, 11, 12, 13, 14, 15))])
    save(LABELS.astype(np.uint16) * 300, image(16))
    save(PHOTO, image(17), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\3\0\0\0\0\0\0")
    save(np.full_like(LABELS, 11), label(18))
    save(np.where(LABELS == 3, 255, 0).astype(np.uint8), label(19))
    doubtful = [image(16), image(17), label(18), label(19)]
    assert len(wrong) + len(doubtful) == 20
    assert main(["check", "--dataset", "camvid", "--data-root", str(tmp_path)]) == 1
    said = capsys.readouterr()
    faults = [line for line in said.err.splitlines() if line.startswith("train: wrong: ")]
    assert all(sum(str(path) in fault for fault in faults) == 1 for path in wrong) and len(faults) == len(wrong)
    doubts = [line for line in said.out.splitlines() if line.startswith("train: doubtful: ")]
    assert all(sum(str(path) in doubt for doubt in doubts) == 1 for path in doubtful) and len(doubts) == len(doubtful)
    assert "faults in camvid: 16, named above" in said.err and "val: doubtful" not in said.out


def test_of_some_images_a_single_class_is_no_fault(camvid: Path) -> None:
    save(np.zeros_like(LABELS), camvid / "trainannot" / "a.png")
    with pytest.warns(UserWarning, match="not the whole data set"):
        dataset = open_dataset("camvid", "train", root=camvid)
    assert not check.survey(dataset, [0]).faults and "only 'sky'" in check.survey(dataset, [0]).doubts[0]
    words = f"train --dataset camvid --scale smoke --data-root {camvid} --row table_2.detail"
    assert main([*words.split(), "--set", "train_split=train", "train_images=1", "iterations=1"]) == 0


def test_an_image_larger_than_its_padding_is_a_fault(camvid: Path) -> None:
    with pytest.warns(UserWarning, match="not the whole data set"):
        dataset = open_dataset("camvid", "train", root=camvid)
    (*_, fault) = check.survey(dataset, [0], largest=(12, 15)).faults
    assert "a.png: 12x16 (height x width), and evaluation pads to 12x15; make it smaller" in fault


def test_which_classes_never_occur_is_said_of_a_complete_set(camvid: Path, monkeypatch) -> None:
    for path in (camvid / "trainannot").iterdir():
        save(np.minimum(LABELS, 9), path)
    assert not of_train(camvid).doubts
    monkeypatch.setitem(CamVid.info.splits, "train", 3)
    dataset = open_dataset("camvid", "train", root=camvid)
    assert check.survey(dataset, range(3)).doubts == ["1 of 11 classes never occur: bicyclist"]


@pytest.mark.parametrize("step", [1, 20])
def test_labels_that_an_optimiser_made_smaller_keep_their_ids(step: int, tmp_path: Path) -> None:
    """It writes few greys as indices into a palette of greys; a palette of colours stands for its indices."""
    ids = np.random.default_rng(0).choice(np.array([0, 1, 4, 9], np.uint8) * step, (64, 64))
    save(ids, tmp_path / "grey.png")
    shutil.copy(tmp_path / "grey.png", tmp_path / "small.png")
    oxipng.optimize(tmp_path / "small.png", level=6)
    with Image.open(tmp_path / "small.png") as picture:
        assert picture.mode == "P"  # otherwise this tests nothing
    assert np.array_equal(read_ids(tmp_path / "small.png"), ids)
    coloured = Image.fromarray(np.resize(np.arange(4, dtype=np.uint8), (64, 64)), "P")
    coloured.putpalette([0, 0, 0, 128, 64, 128, 70, 70, 70, 220, 20, 60])
    coloured.save(tmp_path / "coloured.png")
    oxipng.optimize(tmp_path / "coloured.png", level=2, palette_reduction=False)
    assert np.array_equal(read_ids(tmp_path / "coloured.png"), np.asarray(coloured))
