"""Every layout of files, made by hand or as distributed, and what is said about wrong files."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from bisenet.data import DATASETS, files_of, open_dataset
from bisenet.data.camvid import camvid_split
from bisenet.data.pictures import read_ids, read_image

REAL = Path(__file__).resolve().parents[3] / "shared" / "camvid"
needs_camvid = pytest.mark.skipif(not REAL.is_dir(), reason=f"CamVid is not at {REAL}")

# The 32 colours of the release (its label_colors.txt), and the id of each in the protocol of 11 classes.
RELEASE = """
64 128 64 Animal 9  192 0 128 Archway 1  0 128 192 Bicyclist 10  0 128 64 Bridge 1
128 0 0 Building 1  64 0 128 Car 8  64 0 192 CartLuggagePram 9  192 128 64 Child 9
192 192 128 Column_Pole 2  64 64 128 Fence 7  128 0 192 LaneMkgsDriv 3  192 0 64 LaneMkgsNonDriv 3
128 128 64 Misc_Text 6  192 0 192 MotorcycleScooter 10  128 64 64 OtherMoving 8  64 192 128 ParkingBlock 4
64 64 0 Pedestrian 9  128 64 128 Road 3  128 128 192 RoadShoulder 4  0 0 192 Sidewalk 4
192 128 128 SignSymbol 6  128 128 128 Sky 0  64 128 192 SUVPickupTruck 8  0 0 64 TrafficCone 2
0 64 64 TrafficLight 6  192 64 128 Train 8  128 128 0 Tree 5  192 128 192 Truck_Bus 8
64 0 64 Tunnel 1  192 192 0 VegetationMisc 5  0 0 0 Void 255  64 192 0 Wall 1
"""
COLOURS = np.array(RELEASE.split()).reshape(32, 5)

ORIGINAL_SPLIT = {  # frames at both sides of every boundary of the split
    "train": ["0001TP_008520", "0006R0_f00930", "0016E5_07960"],
    "val": ["0016E5_07961"],
    "test": ["0001TP_008550", "Seq05VD_f00030"],
}

TINY = np.arange(12, dtype=np.uint8).reshape(3, 4)  # every id of the tutorial's files, the last one void
PHOTO = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def tutorial(tmp_path: Path) -> Path:
    for part in ("train", "val", "test"):
        write(tmp_path / part / f"{part}_a.png", PHOTO)
        write(tmp_path / f"{part}annot" / f"{part}_a.png", TINY)
    return tmp_path


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """One frame of every group of the split; the labels hold all 32 colours."""
    picture = COLOURS[:, :3].astype(np.uint8).reshape(4, 8, 3)
    for name in itertools.chain(*ORIGINAL_SPLIT.values()):
        write(tmp_path / "701_StillsRaw_full" / f"{name}.png", np.resize(PHOTO, (4, 8, 3)))
        write(tmp_path / "LabeledApproved_full" / f"{name}_L.png", picture)
    return tmp_path


def test_tutorial_layout(tutorial: Path) -> None:
    for split, files in (("train", 1), ("val", 1), ("test", 1), ("train+val", 2)):
        dataset = open_dataset("camvid", split, root=tutorial)
        assert len(dataset) == files
        image, labels = dataset.load(files - 1)
        assert np.array_equal(image, PHOTO) and image.dtype == labels.dtype == np.uint8
        assert labels.ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]


def test_files_of_a_file_manager_are_none_of_the_data(tutorial: Path) -> None:
    for name in ("._train_a.png", ".DS_Store"):
        (tutorial / "train" / name).write_bytes(b"not a picture")
    (tutorial / "train" / "Thumbs.db").write_bytes(b"nor is this")
    assert len(open_dataset("camvid", "train", root=tutorial)) == 1


def test_original_layout(original: Path) -> None:
    for split, expected in ORIGINAL_SPLIT.items():
        dataset = open_dataset("camvid", split, root=str(original))
        assert [image.stem for image, _ in dataset.pairs] == expected
        assert dataset.load(0)[1].ravel().tolist() == COLOURS[:, 4].astype(int).tolist()


def test_layouts_of_kaggle_and_fastai(original: Path, tmp_path: Path) -> None:
    """The same frames: in folders of another split, and as numbers of names in a list of an order of its own."""
    kaggle, fastai, order = tmp_path / "kaggle", tmp_path / "fastai", np.random.default_rng(0).permutation(32)
    codes = np.argsort(order).astype(np.uint8).reshape(4, 8)  # line `codes[i]` of the list names colour `i`
    for number, name in enumerate(itertools.chain(*ORIGINAL_SPLIT.values())):
        image, labels = (original / "701_StillsRaw_full" / f"{name}.png", f"LabeledApproved_full/{name}_L.png")
        part = ("train", "val", "test")[number % 3]
        for source, target in ((image, f"{part}/{name}.png"), (original / labels, f"{part}_labels/{name}_L.png")):
            write(kaggle / target, np.array(Image.open(source)))
        write(fastai / "images" / f"{name}.png", np.array(Image.open(image)))
        write(fastai / "labels" / f"{name}_P.png", codes)
    (kaggle / "train_labels").mkdir(exist_ok=True)
    (fastai / "codes.txt").write_text("\r\n".join(COLOURS[order, 3]))
    for root, source in ((kaggle, "Kaggle's folders"), (fastai, "fastai's folders")):
        for split in ORIGINAL_SPLIT:
            expected, found = (open_dataset("camvid", split, root=each) for each in (original, root))
            assert found.source.startswith(source) and len(found) == len(expected)
            for index in range(len(found)):
                assert all(map(np.array_equal, found.load(index), expected.load(index)))
    before, codes_file = files_of("camvid", "train", fastai).fingerprint, fastai / "codes.txt"
    codes_file.write_text("\n".join(reversed(codes_file.read_text().split())))
    assert files_of("camvid", "train", fastai).fingerprint != before  # other labels of the same files
    (fastai / "codes.txt").write_text("Sky\nMoon\n")
    with pytest.raises(ValueError, match=r"codes.txt: 'Moon' is none of CamVid's 32 classes"):
        open_dataset("camvid", "train", root=fastai)


def test_unknown_colour_is_located(original: Path) -> None:
    path = original / "LabeledApproved_full" / "0016E5_07961_L.png"
    pixels = np.array(Image.open(path))
    pixels[2, 5] = (60, 40, 222)  # SegNet's pavement, none of the release's
    write(path, pixels)
    with pytest.raises(ValueError, match=r"0016E5_07961_L\.png: colour \(60, 40, 222\) at row 2, column 5"):
        open_dataset("camvid", "val", root=original).load(0)


@needs_camvid
def test_real_split() -> None:
    names = {part: [path.stem for path in (REAL / part).glob("*.png")] for part in ("train", "val", "test")}
    assert {part: len(stems) for part, stems in names.items()} == {"train": 367, "val": 101, "test": 233}
    wrong = {(part, s) for part, stems in names.items() for s in stems if camvid_split(s) != part}
    assert not wrong
    for split, count in DATASETS["camvid"].splits.items():
        assert len(open_dataset("camvid", split, root=REAL)) == count
    held, others = (open_dataset("camvid", split, root=REAL).pairs for split in ("tuning", "tuning-train"))
    drives = [{image.name.split("_")[0] for image, _ in pairs} for pairs in (held, others)]
    assert drives == [{"0006R0"}, {"0016E5", "0001TP"}]  # and nothing of test
    assert {*held, *others} == {*open_dataset("camvid", "train+val", root=REAL).pairs}


@needs_camvid
def test_real_files() -> None:
    dataset, seen = open_dataset("camvid", "test", root=REAL), set()
    rows: dict[str, list[float]] = {"sky": [], "road": []}
    for index in range(0, 233, 12):
        image, labels = dataset.load(index)
        assert image.shape == (360, 480, 3) and labels.shape == (360, 480)
        raw = np.array(Image.open(REAL / "testannot" / dataset.pairs[index][0].name))
        assert np.array_equal(labels == 255, raw == 11) and np.array_equal(labels[raw < 11], raw[raw < 11])
        seen |= set(np.unique(labels).tolist())
        for name, means in rows.items():
            found = np.nonzero(labels == dataset.info.classes.index(name))[0]
            means += [found.mean()] if len(found) else []
    assert seen == {*range(11), 255}
    assert len(rows["sky"]) > 10 and max(rows["sky"]) < min(rows["road"])


def test_missing_files_name_the_path(tutorial: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "nowhere")):
        open_dataset("camvid", "train", root=tmp_path / "nowhere")
    (tutorial / "valannot" / "val_a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"val_a\.png needs .*valannot/val_a\.png"):
        open_dataset("camvid", "val", root=tutorial)
    (tutorial / "val" / "val_a.png").unlink()
    with pytest.raises(FileNotFoundError, match="no PNG images"):
        open_dataset("camvid", "val", root=tutorial)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((4, 3), np.uint8), r"train/train_a\.png is 3x4, .*trainannot/train_a\.png is 4x3"),
        (
            np.full((3, 4), 12, np.uint8),
            r"trainannot/train_a\.png: label id 12, allowed are 0 to 10, 11 \(void\) and 255",
        ),
        (np.zeros((3, 4, 3), np.uint8), r"trainannot/train_a\.png: .* has colours"),
        (np.zeros((3, 4), np.uint16), r"trainannot/train_a\.png: .* has 16 bits; save it with 8"),
    ],
)
def test_wrong_labels(tutorial: Path, pixels: np.ndarray, message: str) -> None:
    write(tutorial / "trainannot" / "train_a.png", pixels)
    with pytest.raises(ValueError, match=message):
        open_dataset("camvid", "train", root=tutorial).load(0)


@pytest.mark.parametrize("folder", ["train", "trainannot"])
def test_truncated_files(tutorial: Path, folder: str) -> None:
    path = tutorial / folder / "train_a.png"
    whole = path.read_bytes()
    for length in (0, 20, len(whole) // 2, len(whole) - 24):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"/{folder}/train_a\.png: cannot be read"):
            open_dataset("camvid", "train", root=tutorial).load(0)
    flipped = bytearray(whole)
    flipped[-30] ^= 1  # in the checksum of the pixels
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match=rf"/{folder}/train_a\.png: cannot be read"):
        open_dataset("camvid", "train", root=tutorial).load(0)


def cityscapes(root: Path, ids: list[int], part: str = "train", city: str = "aachen", kind: str = "labelIds") -> Path:
    """One frame of a city, two by two pixels, in the layout as downloaded; returns the label file."""
    name = f"{part}/{city}/{city}_000000_000019"
    write(root / "leftImg8bit" / f"{name}_leftImg8bit.png", PHOTO[:2, :2])
    return write(root / "gtFine" / f"{name}_gtFine_{kind}.png", np.array(ids, np.uint8).reshape(2, 2))


def test_cityscapes_label_ids_become_train_ids(tmp_path: Path) -> None:
    cityscapes(tmp_path, [7, 33, 4, 31])  # road, bicycle, static, train
    dataset = open_dataset("cityscapes", "train", root=tmp_path)
    assert [dataset.info.classes[k] for k in (0, 18, 16)] == ["road", "bicycle", "train"]
    assert dataset.load(0)[1].tolist() == [[0, 18], [255, 16]]
    cityscapes(tmp_path, [0, 18, 255, 16], part="val", kind="labelTrainIds")
    assert open_dataset("cityscapes", "val", root=tmp_path).load(0)[1].tolist() == [[0, 18], [255, 16]]


def test_cityscapes_ids_under_the_wrong_name(tmp_path: Path) -> None:
    cityscapes(tmp_path, [0, 18, 255, 16])
    with pytest.raises(ValueError, match=r"labelIds.png holds 255, which is no label id: these are train ids"):
        open_dataset("cityscapes", "train", root=tmp_path).load(0)
    cityscapes(tmp_path, [7, 26, 4, 11], part="val", kind="labelTrainIds")
    with pytest.raises(ValueError, match=r"labelTrainIds.png: label id 26, allowed are 0 to 18 and 255"):
        open_dataset("cityscapes", "val", root=tmp_path).load(0)


def test_cityscapes_that_is_not_there_or_not_whole(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Cityscapes train not found: looked for CITY/\*_leftImg8bit.png in"):
        open_dataset("cityscapes", "train", root=tmp_path)
    cityscapes(tmp_path, [7, 7, 4, 31])
    labels = cityscapes(tmp_path, [7, 40, 4, 31], city="bochum")
    with pytest.warns(UserWarning, match="cityscapes is not the whole data set: labelIds, 2 of 2975 images of train"):
        dataset = open_dataset("cityscapes", "train", root=tmp_path)
    assert dataset.source == "labelIds, 2 of 2975 images of train"
    with pytest.raises(ValueError, match=r"labelIds.png: label id 40, allowed are 0 to 33"):
        dataset.load(1)
    shutil.rmtree(labels.parent)  # one city of gtFine was not unpacked
    with pytest.raises(FileNotFoundError, match=r"image without labels: .* needs .*bochum.*labelIds.png"):
        open_dataset("cityscapes", "train", root=tmp_path)


def test_cityscapes_test_has_images_only(tmp_path: Path) -> None:
    cityscapes(tmp_path, [0, 0, 0, 0], part="test", city="berlin").unlink()
    dataset = open_dataset("cityscapes", "test", root=tmp_path)
    assert np.array_equal(dataset.load_image(0), PHOTO[:2, :2])
    with pytest.raises(ValueError, match="keeps the labels of test to itself: export predictions"):
        dataset.load(0)


def cocostuff(root: Path, **content: object) -> Path:
    """One grey photograph, two by two pixels, as COCO has some; returns the annotation."""
    write(root / "images" / "COCO_train2014_000000000077.jpg", np.full((2, 2), 90, np.uint8))
    for folder, name in (("annotations", "COCO_train2014_000000000077.mat"), ("imageLists", "train.txt")):
        (root / folder).mkdir(exist_ok=True)
        path = root / folder / name
        path.write_text("COCO_train2014_000000000077\n") if path.suffix == ".txt" else savemat(path, content)
    return root / "annotations" / "COCO_train2014_000000000077.mat"


def test_cocostuff_ids_become_classes(tmp_path: Path) -> None:
    cocostuff(tmp_path, S=np.array([[0, 1], [13, 182]], np.uint16), captions="a stop sign")
    dataset = open_dataset("cocostuff", "train", root=tmp_path)
    image, labels = dataset.load(0)
    assert image.shape == (2, 2, 3) and abs(int(image[0, 0, 0]) - 90) < 3
    assert labels[0].tolist() == [255, 0] and [dataset.info.classes[k] for k in labels[1]] == ["stop sign", "wood"]
    assert len(dataset.info.classes) == len(np.unique(dataset.info.palette, axis=0)) == 171


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"T": np.zeros((2, 2))},
            r"000077.mat: an annotation has the label map in the field S, .* neither",
        ),
        ({"S": np.array([[0, 183], [1, 1]])}, r"000077.mat: label ids 0 to 183, allowed are 0 to 182"),
        ({"S": np.zeros((2, 3))}, r"sizes differ: .*000077.jpg is 2x2, .*000077.mat is 2x3"),
        ({"S": np.ones((2, 2)), "names": np.zeros((172, 1))}, "000077.mat is of release 1.0, whose ids differ"),
    ],
)
def test_wrong_annotations(tmp_path: Path, content: dict[str, np.ndarray], message: str) -> None:
    path = cocostuff(tmp_path, **content)
    with pytest.raises(ValueError, match=message):
        open_dataset("cocostuff", "train", root=tmp_path).load(0)
    for broken in (b"", path.read_bytes()[:100], b"no MATLAB file, but long enough to have a header" * 9):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"000077.mat: cannot be read as a MATLAB file"):
            open_dataset("cocostuff", "train", root=tmp_path).load(0)


def test_cocostuff_with_the_images_in_the_folders_of_coco(tmp_path: Path) -> None:
    cocostuff(tmp_path, S=np.ones((2, 2)))
    (tmp_path / "images").rename(tmp_path / "moved")
    (tmp_path / "images").mkdir()
    (tmp_path / "moved").rename(tmp_path / "images" / "train2014")
    assert len(open_dataset("cocostuff", "train", root=tmp_path)) == 1
    (tmp_path / "imageLists" / "train.txt").unlink()
    (tmp_path / "images" / "train2014").rename(tmp_path / "images" / "train2017")
    with pytest.raises(FileNotFoundError, match="What is there is COCO-Stuff 164K, another data set"):
        open_dataset("cocostuff", "train", root=tmp_path)


def test_cocostuff_that_is_not_there_or_not_whole(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"looked for .*imageLists/train.txt"):
        open_dataset("cocostuff", "train", root=tmp_path)
    cocostuff(tmp_path, S=np.ones((2, 2))).unlink()
    with pytest.raises(FileNotFoundError, match=r"image without labels: .*000077.jpg needs .*000077.mat"):
        open_dataset("cocostuff", "train", root=tmp_path)
    (tmp_path / "images" / "COCO_train2014_000000000077.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="none of the images of its list is in"):
        open_dataset("cocostuff", "train", root=tmp_path)


def test_sixteen_bits_are_scaled_and_unknown_ranges_refused(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256, 0x7FFF, 0xFFFF]], np.uint16)
    for name in ("a.png", "a.tif"):
        image = read_image(write(tmp_path / name, values))
        assert image.dtype == np.uint8 and image[0].tolist() == [[v] * 3 for v in (0, 0, 1, 127, 255)]
    assert np.array_equal(read_image(write(tmp_path / "b.tif", values.astype(np.int32))), image)
    for wrong in (np.array([[0.5]], np.float32), np.array([[0x10000]], np.int32), np.array([[-1]], np.int32)):
        with pytest.raises(
            ValueError, match=r"c\.tif: its values are no integers from 0 to 65535; save it with 8 or 16"
        ):
            read_image(write(tmp_path / "c.tif", wrong))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "I;16", "RGB with a transparent colour"])
def test_fast_decoding_gives_the_pixels_of_pillow(mode: str, tmp_path: Path) -> None:
    """Every kind of PNG: those of which only Pillow knows what they mean are left to it."""
    pytest.importorskip("pywuffs", reason="the extra 'fast' is not installed")
    path = tmp_path / "a.png"
    if mode == "I;16":
        Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)).save(path)
    else:
        options = {"transparency": tuple(PHOTO[0, 0].tolist())} if "with" in mode else {}
        picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8))
        picture.convert(mode.split()[0]).save(path, **options)
    with Image.open(path) as picture:
        scaled = Image.fromarray((np.array(picture) >> 8).astype(np.uint8)) if mode == "I;16" else picture
        assert np.array_equal(read_image(path), np.array(scaled.convert("RGB")))
        if picture.mode in ("L", "P"):
            assert np.array_equal(read_ids(path), np.array(picture))
        else:
            with pytest.raises(ValueError, match="class id of 8 bits a pixel"):
                read_ids(path)
