"""The tables and recipes against numbers typed from the paper once more; errors name the near match."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bisenet.data import DATASETS, open_dataset
from bisenet.paper import RECIPES, SCALES, recipe, row, table


def test_table_2_is_the_papers() -> None:
    rows = table("table_2")
    assert [r.miou for r in rows] == [62.35, 64.68, 68.60, 68.93, 69.67, 73.19, 73.36]
    assert [r.gflops for r in rows] == [15.26, 7.63, 20.77, 21.98, 21.15, 21.15, 21.15]
    assert sum(r.miou for r in rows) == pytest.approx(480.78)
    assert sum(r.gflops for r in rows) == pytest.approx(129.09)
    pairs = [(r.model, r.ohem) for r in rows]
    marks = [(m.detail, m.semantic, m.aggregation, len(m.booster), ohem) for m, ohem in pairs]
    assert marks == [
        (True, False, "none", 0, False),
        (False, True, "none", 0, False),
        (True, True, "sum", 0, False),
        (True, True, "concat", 0, False),
        (True, True, "bga", 0, False),
        (True, True, "bga", 4, False),
        (True, True, "bga", 4, True),
    ]
    assert all(row(r.id) == r for r in rows) and len({r.id for r in rows}) == 7


@pytest.mark.parametrize(
    ("dataset", "iterations", "crop", "seen"),
    [("streets", 150_000, (1024, 2048), (512, 1024)), ("camvid", 10_000, (720, 960), (720, 960))],
)
def test_paper_scale_is_section_5(dataset: str, iterations: int, crop: tuple, seen: tuple) -> None:
    """`streets` stands for Cityscapes."""
    config = recipe(dataset, "paper")
    assert (config.iterations, config.crop, config.input_size, config.test_size) == (
        iterations,
        crop,
        seen,
        seen,
    )
    assert (config.batch, config.lr, config.power, config.momentum) == (16, 0.05, 0.9, 0.9)
    assert (config.weight_decay, config.scales, config.flip) == (
        0.0005,
        (0.75, 1, 1.25, 1.5, 1.75, 2.0),
        True,
    )
    assert config.train_images is config.test_images is None


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_recipe_can_start(dataset: str, scale: str) -> None:
    config = recipe(dataset, scale)
    assert config.batch >= 2  # batch normalisation of the context embedding block needs two images
    assert {config.train_split, config.test_split} <= set(DATASETS[dataset].splits)
    assert not set(config.train_split.split("+")) & set(config.test_split.split("+"))
    pair = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8)
    image, labels = config.augmentation(*pair, np.random.default_rng(0))
    assert image.shape == (*config.input_size, 3) and labels.shape == config.input_size
    assert 1 <= config.iterations <= RECIPES[dataset, "paper"].iterations


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: table("table2"), "unknown table 'table2': did you mean 'table_2'"),
        (lambda: row("table_2.bgaa"), "unknown row 'table_2.bgaa': did you mean 'table_2.bga'"),
        (lambda: recipe("camvids", "short"), "unknown dataset 'camvids': did you mean 'camvid'"),
        (lambda: recipe("camvid", "shorts"), "unknown scale 'shorts': did you mean 'short'"),
        (lambda: recipe("camvid", "xyz"), "unknown scale 'xyz': known: smoke, short, paper"),
        (lambda: open_dataset("street", "val"), "unknown dataset 'street': did you mean 'streets'"),
        (lambda: open_dataset("streets", "vals"), "unknown split of streets 'vals': did you mean 'val'"),
    ],
)
def test_unknown_names_get_the_near_match(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": 0}, "iterations is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"ohem_threshold": 1.0}, "ohem_threshold is 1.0"),
        ({"ohem_threshold": 0.0}, "ohem_threshold is 0.0"),
        ({"ohem_keep": 0.0}, "ohem_keep 0.0"),
        ({"ohem_keep": 1.5}, "ohem_keep 1.5"),
    ],
)
def test_training_settings_that_mean_nothing(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(recipe("streets", "smoke"), **changes)


def test_settings_read_from_json_are_the_same_settings() -> None:
    config = recipe("streets", "short")
    lists = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(config).items()}
    assert type(config)(**lists) == config
    with pytest.raises(ValueError, match=r"larger than the image \(256, 512\) at its largest scale"):
        _ = dataclasses.replace(config, crop=(513, 512)).augmentation
