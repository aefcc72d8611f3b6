"""Scenes repeat to the byte, keep their layout at any size, hold every class; colours and patches do not solve them."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torchvision

from bisenet import paper
from bisenet.data import baselines, open_dataset, streets
from bisenet.data.streets.classes import SCORED
from bisenet.evaluate import miou
from bisenet.runs.plan import plan
from bisenet.runs.store import published

SIZE = (256, 512)


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    return [streets.render(index, SIZE) for index in range(60)]


def test_another_process_draws_the_same_bytes() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(streets.render, 3, (96, 160), 7).result()
    assert all(map(np.array_equal, there, streets.render(3, (96, 160), 7)))


def test_index_and_seed_choose_the_scene() -> None:
    first = streets.render(0, SIZE)[1]
    for index, seed in ((1, 0), (0, 1)):
        assert (streets.render(index, SIZE, seed)[1] != first).mean() > 0.1


@pytest.mark.parametrize("size", [(32, 64), (65, 131), (360, 270), (64, 400)])
def test_any_size(size: tuple[int, int]) -> None:
    image, labels = streets.render(5, size)
    assert image.shape == (*size, 3) and labels.shape == size
    assert image.dtype == labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {*range(19), 255}
    assert len(np.unique(labels)) > 8


def test_layout_does_not_depend_on_the_size() -> None:
    for index in range(6):
        small, large = (streets.render(index, (k * 128, k * 256))[1] for k in (1, 2))
        assert (large[1::2, 1::2] == small).mean() > 0.93


def test_every_class_occurs(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    counts = np.array([np.bincount(labels.ravel(), minlength=256) for _, labels in scenes])
    share = dict(zip(streets.CLASSES, (counts[:, :19] >= 20).mean(0), strict=True))
    assert min(share.values()) > 0.25, share
    assert counts[:, 19:255].sum() == 0
    assert 0.005 < counts[:, 255].sum() / counts.sum() < 0.06


def test_neither_colours_nor_patches_solve_it(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """15.5 % mIoU by the colour of a pixel, 17.6 % by 7x7 pixels, far behind the network of the scale `long`."""
    network = published().find(plan(paper.row("table_2.ohem"), "streets", "long", 0)).miou
    assert 10 < miou(baselines.by_colour(scenes[:40], scenes[40:], 19)) < 0.4 * network
    assert 12 < miou(baselines.by_patch(scenes[:40], scenes[40:], 19)) < 0.4 * network


def test_splits_are_of_different_seeds() -> None:
    first = [open_dataset("streets", split, size=(32, 64)).load(0)[0] for split in ("train", "val", "tuning")]
    assert all((first[a] != first[b]).mean() > 0.1 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_the_baselines_learn_what_colours_and_patches_tell() -> None:
    """Two classes: of two colours, or of stripes of one pair of colours, upright or level."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.uint8([[0, 1]]), 16, axis=1).repeat(32, axis=0)
    colours = np.uint8([[200, 20, 20], [20, 20, 200]])
    plain = (colours[labels] + rng.integers(8, size=(32, 32, 3))).astype(np.uint8)
    assert miou(baselines.by_colour([(plain, labels)], [(plain, labels)], 2)) == 100
    y, x = np.mgrid[:32, :32]
    striped = colours[np.where(labels == 0, y, x) // 2 % 2]
    assert miou(baselines.by_colour([(striped, labels)], [(striped, labels)], 2)) < 60
    assert miou(baselines.by_patch([(striped, labels)], [(striped, labels)], 2)) > 85


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, SIZE, 0), "index=-1"),
        ((0, SIZE, -2), "seed=-2"),
        ((0, (0, 64), 0), r"size=\(0, 64\)"),
        ((0, (64,), 0), r"size=\(64,\)"),
    ],
)
def test_bad_arguments_say_what_was_got(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        streets.render(*arguments)


def test_classes_are_those_of_cityscapes() -> None:
    scored = [each for each in torchvision.datasets.Cityscapes.classes if not each.ignore_in_eval]
    assert [(each.name, each.color) for each in scored] == list(SCORED)
