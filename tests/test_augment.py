"""One resampling against two, labels against colours, padding against arithmetic, and the draws."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

from bisenet.augment import Augmentation, to_size, to_tensor

SCALES = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
PADDING = (124, 116, 104)  # 255 * (0.485, 0.456, 0.406), ImageNet's mean colour
PALETTE = np.random.default_rng(5).integers(0, 256, (21, 3), dtype=np.uint8)


class Draws:
    """Stands for a generator: one scale, one corner, one coin."""

    def __init__(self, scale: float, corner: tuple[float, float] = (0.0, 0.0), coin: float = 0.9):
        self.scale, self.corner, self.coin = scale, np.array(corner), coin

    def choice(self, scales: tuple[float, ...]) -> float:
        assert self.scale in scales
        return self.scale

    def random(self, count: int | None = None) -> Any:
        return self.coin if count is None else self.corner


def smooth(height: int, width: int) -> np.ndarray:
    """Waves of some sixty pixels, others in each channel and direction: half a pixel is some five levels."""
    y, x = np.mgrid[:height, :width] + 0.5
    waves = [np.sin(x / 9 + k) + np.cos(y / (11 - k) + k) for k in range(3)]
    return np.stack([127.5 + 60 * wave for wave in waves], -1).round().astype(np.uint8)


def regions(height: int, width: int) -> np.ndarray:
    """Labels: the nearest of 25 random points, 11 classes; no symmetry, edges in all directions."""
    rng = np.random.default_rng(3)
    points, classes = rng.random((25, 2)) * (height, width), rng.permutation(np.arange(25) % 11)
    grid = np.stack(np.mgrid[:height, :width], -1)[:, :, None]
    return classes[((grid - points) ** 2).sum(-1).argmin(-1)].astype(np.uint8)


def away_from_edges(labels: np.ndarray) -> np.ndarray:
    """Pixels whose eight neighbours have the same label; none at the border."""
    same = np.zeros(labels.shape, bool)
    h, w = labels.shape
    inner = [labels[y : y + h - 2, x : x + w - 2] for y in range(3) for x in range(3)]
    same[1:-1, 1:-1] = np.logical_and.reduce([part == labels[1:-1, 1:-1] for part in inner])
    return same


@pytest.mark.parametrize("source", [(96, 160), (120, 200)])
@pytest.mark.parametrize("scale", SCALES)
def test_one_resampling_is_scale_crop_resize(scale: float, source: tuple[int, int]) -> None:
    image, crop, seen = smooth(*source), (64, 96), (32, 48)
    height, width = round(96 * scale), round(160 * scale)
    scaled = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    y, x = (height - crop[0]) // 3, 2 * (width - crop[1]) // 3
    cut = torch.from_numpy(scaled[y : y + crop[0], x : x + crop[1]].copy()).permute(2, 0, 1)[None].float()
    two = F.interpolate(cut, size=seen, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    corner = y / (height - crop[0]), x / (width - crop[1])
    one, _ = Augmentation((96, 160), crop, seen)(image, np.zeros(source, np.uint8), Draws(scale, corner))
    difference = np.abs(one[1:-1, 1:-1] - two[1:-1, 1:-1])  # at its border the second step sees the crop only
    assert difference.max() < 3 and difference.mean() < 0.8
    moved = np.abs(one[1:-1, 1:-1] - two[1:-1, 2:])
    assert moved.mean() > 5 * difference.mean()  # the picture has enough in it to tell


def test_labels_follow_the_image() -> None:
    labels = 2 * regions(100, 168)  # zoomed by at most 96 / 100, so that an edge blurs one pixel to each side
    augment, rng = Augmentation((96, 160), (88, 144), (44, 72)), np.random.default_rng(0)
    for _ in range(40):
        image, classes = augment(PALETTE[labels], labels, rng)
        colours = np.vstack([PALETTE, np.tile(PADDING, (235, 1))])[classes]  # 21 and more: padding
        inside = away_from_edges(classes)
        wrong = (image[inside] != colours[inside]).any(-1)
        # not quite none: the corner of a third region may hide between the samples of the labels
        assert inside.mean() > 0.35 and wrong.mean() < 0.002
        found = np.unique(classes[classes != 255])
        assert len(found) > 3 and (found % 2 == 0).all()  # no id between two others


@pytest.mark.parametrize(("scale", "crop"), [(1.25, (64, 96)), (0.75, (96, 160))])
def test_flip_mirrors_image_and_labels(scale: float, crop: tuple[int, int]) -> None:
    """Padding, too."""
    pair, augment = (smooth(96, 160), regions(96, 160)), Augmentation((96, 160), crop, (32, 48))
    plain, flipped = (augment(*pair, Draws(scale, (0.3, 0.6), coin)) for coin in (0.9, 0.1))
    for a, b in zip(plain, flipped, strict=True):
        assert np.array_equal(a[:, ::-1], b) and not np.array_equal(a, b)
    assert (plain[1] == 255).any() == (scale < 1)
    never = Augmentation((96, 160), crop, (32, 48), flip=False)(*pair, Draws(scale, (0.3, 0.6), 0.1))
    assert np.array_equal(never[0], plain[0])


@pytest.mark.parametrize(
    ("corner", "top", "left"), [((0.0, 0.0), 0, 0), ((0.5, 0.25), 4, 4), ((0.999999, 0.999999), 8, 16)]
)
def test_padding_is_ignored_and_of_the_mean_colour(corner: tuple[float, float], top: int, left: int) -> None:
    """At scale 0.75 a quarter of each side is padding; the corner chooses one of 9 x 17 places."""
    image, labels = np.full((64, 128, 3), 200, np.uint8), np.full((64, 128), 4, np.uint8)
    image, labels = Augmentation((64, 128), (64, 128), (32, 64))(image, labels, Draws(0.75, corner))
    expected = np.full((32, 64), 255)
    expected[top : top + 24, left : left + 48] = 4
    assert np.array_equal(labels, expected)
    assert (image[labels == 255] == PADDING).all() and (image[labels == 4] == 200).all()
    assert to_tensor(torch.tensor([[[PADDING]]])).abs().max() < 0.01


def test_all_scales_and_both_flips_occur_equally_often() -> None:
    """A ramp shows its scale by its slope and its flip by the sign."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 3 + 20, (32, 64, 3)).copy()
    augment, rng = Augmentation((32, 64), (24, 48), (12, 24)), np.random.default_rng(0)
    counts, starts = Counter(), []
    for _ in range(1200):
        image, labels = augment(ramp, np.ones((32, 64), np.uint8), rng)
        assert image.shape == (12, 24, 3) and labels.shape == (12, 24) and (labels == 1).all()
        slope = (float(image[6, 20, 0]) - float(image[6, 3, 0])) / 17  # 3 a pixel; 2 / scale pixels
        scale = min(SCALES, key=lambda s: abs(6 / s - abs(slope)))
        assert abs(6 / scale - abs(slope)) < 0.15
        counts[scale, slope > 0] += 1
        if scale == 2.0:
            starts.append(image[6, :, 0].min())
    assert len(counts) == 12 and min(counts.values()) > 70 and max(counts.values()) < 130  # 100 +- 3 sigma
    assert min(starts) < 30 and max(starts) > 130  # from one end of the 20 to 209 to the other


def test_same_generator_same_sample() -> None:
    pair, augment = (smooth(96, 160), regions(96, 160)), Augmentation((96, 160), (64, 96), (32, 48))
    first, again, other = (augment(*pair, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("crop", [(193, 160), (96, 321)])
def test_a_crop_that_never_fits(crop: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"larger than the image \(96, 160\) at its largest.*\(192, 320\)"):
        Augmentation((96, 160), crop, (32, 48))
    Augmentation((96, 160), (192, 320), (32, 48))


def test_tensors_are_normalised_by_imagenets_statistics() -> None:
    tensor = to_tensor(torch.tensor([0, 128, 255], dtype=torch.uint8).expand(1, 2, 5, 3))
    assert tensor.shape == (1, 3, 2, 5) and tensor.dtype == torch.float32
    expected = [-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(tensor[0, :, 1, 4], torch.tensor(expected), atol=1e-5, rtol=0)
    image = smooth(8, 6)
    assert to_size(image, (8, 6)) is image and to_size(image, (4, 3)).shape == (4, 3, 3)


@pytest.mark.parametrize(("size", "most"), [((60, 128), 0), ((240, 512), 0), ((37, 91), 1), ((150, 300), 1)])
def test_resizing_is_pillows_to_a_grey_level(size: tuple[int, int], most: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 256, 3), dtype=np.uint8)
    image.flags.writeable = False  # as scenes are that several readers share
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    assert np.abs(to_size(image, size).astype(int) - expected).max() <= most
