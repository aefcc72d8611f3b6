"""The tables and recipes against numbers typed from the paper once more; errors name the near match."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bisenet.data import DATASETS, open_dataset
from bisenet.model import BOOSTER_POSITIONS, BiSeNetV2, ModelConfig
from bisenet.paper import RECIPES, SCALES, TABLES, from_text, ours, published, recipe, row, table

# Rows, sum of the mIoU column, sum of the GFLOPs column, added up from the paper's pages.
SUMS = {
    "table_2": (7, 480.78, 129.09),
    "table_3a": (5, 339.21, 101.79),
    "table_3b": (4, 274.28, 79.15),
    "table_3c": (6, 405.68, 114.93),
    "table_4": (8, 578.43, 0),
    "table_5a": (5, 370.79, 257.98),
    "table_5b": (4, 295.76, 109.29),
    "table_6": (5, 371.40, 541.16),
}


@pytest.mark.parametrize("name", TABLES)
def test_ablation_tables_are_the_papers(name: str) -> None:
    rows = table(name)
    printed = [r for r in rows if not np.isnan(r.miou)]  # the others, in Table 6, are ours
    sums = sum(r.miou for r in printed), np.nansum([r.gflops for r in printed])
    assert (len(printed), *np.round(sums, 2)) == SUMS[name]
    assert all(repr(row(r.id)) == repr(r) for r in rows) and len({r.id for r in rows}) == len(rows)


def test_rows_set_what_their_tables_vary() -> None:
    assert [r.miou for r in table("table_2")] == [62.35, 64.68, 68.60, 68.93, 69.67, 73.19, 73.36]
    settings = [(r.model, r.training["ohem"]) for r in table("table_2")]
    assert [(m.detail, m.semantic, m.aggregation, len(m.booster), ohem) for m, ohem in settings] == [
        (True, False, "none", 0, False),
        (False, True, "none", 0, False),
        (True, True, "sum", 0, False),
        (True, True, "concat", 0, False),
        (True, True, "bga", 0, False),
        (True, True, "bga", 4, False),
        (True, True, "bga", 4, True),
    ]
    assert [r.model.channel_ratio for r in table("table_3a")[1:]] == [1 / 2, 1 / 4, 1 / 8, 1 / 16]
    assert [r.model.expansion for r in table("table_3c")[1:]] == [1, 2, 4, 6, 8]
    block = [(r.model.gather_kernel, r.model.double_depthwise, r.model.context) for r in table("table_3b")]
    assert block == [(3, True, True), (3, True, False), (3, False, True), (1, True, True)]
    marks = [[position in r.model.booster for position in BOOSTER_POSITIONS] for r in table("table_4")]
    crosses = ["", "xxxxx", "xxxx", "xxx", " xxxx", "  xxx", "   xx", "xxxx"]
    assert marks == [[mark == "x" for mark in f"{line:5}"] for line in crosses]
    assert [r.training["ohem"] for r in table("table_4")] == [False] * 7 + [True]
    assert [r.model.width for r in table("table_5a")] == [1.0, 1.25, 1.5, 1.75, 2.0]
    assert [r.model.depth for r in table("table_5b")] == [1, 2, 3, 4]
    large = BiSeNetV2.large().config
    assert [r.model == large for r in table("table_6")] == [False] * 4 + [True] + [False] * 3
    assert [r.training["pretrained"] for r in table("table_6")] == [True] * 3 + [False] * 5


def test_a_row_of_several_tables_is_one_run() -> None:
    rows = [r for name in TABLES for r in table(name)]
    runs = {(r.model, r.training["ohem"], r.training.get("pretrained", False)) for r in rows}
    assert (len(rows), len(runs)) == (47, 36)  # 33 of the paper, and Table 6 from scratch


@pytest.mark.parametrize(
    ("name", "groups", "sums"),
    [
        ("table_7", {"large": 10, "small": 17}, {"miou_val": 929.8, "miou_test": 1863.8, "fps": 1264.28}),
        ("table_8", {"large": 8, "small": 12}, {"miou": 1338.21, "fps": 995.35}),
        ("table_9", {"large": 4, "small": 3}, {"miou": 192.4, "pixacc": 294.2, "fps": 186.7}),
    ],
)
def test_published_tables(name: str, groups: dict[str, int], sums: dict[str, float]) -> None:
    printed = published(name)
    assert printed["group"].value_counts().to_dict() == groups
    assert printed[list(sums)].sum().round(2).to_dict() == sums


def test_the_paper_s_own_networks_are_rows_of_the_ablations() -> None:
    """Those of Table 7 have the mIoU of their rows; those of Table 8 marked * begin with such a row's weights."""
    for name in ("table_7", "table_9"):
        assert {method: r.id for method, r in ours(name).items()} == {
            "BiSeNetV2": "table_2.ohem",
            "BiSeNetV2-L": "table_6.large",
        }
    printed = published("table_7").set_index("method")["miou_val"]
    assert all(round(r.miou, 1) == printed[method] for method, r in ours("table_7").items())
    small, large = ours("table_7").values()
    assert (small.model, large.model) == (ModelConfig(), BiSeNetV2.large().config)
    assert small.training["ohem"] and large.training["ohem"]
    begun = list(ours("table_8").values())[2:]
    assert [(r.id, r.base, r.pretrained_on, r.miou) for r in begun] == [
        ("table_8.ohem_cityscapes", "table_2.ohem", "cityscapes", 76.7),
        ("table_8.large_cityscapes", "table_6.large", "cityscapes", 78.5),
    ]
    assert [r.model for r in begun] == [small.model, large.model]
    assert all(row(r.id).label == r.label for r in [small, large, *begun])


@pytest.mark.parametrize(
    ("dataset", "iterations", "crop", "seen"),
    [
        ("cityscapes", 150_000, (1024, 2048), (512, 1024)),
        ("streets", 150_000, (1024, 2048), (512, 1024)),  # stand for Cityscapes
        ("camvid", 10_000, (720, 960), (720, 960)),
    ],
)
def test_paper_scale_is_section_5(dataset: str, iterations: int, crop: tuple, seen: tuple) -> None:
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


def test_a_data_set_without_a_recipe_is_told_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RECIPES, ("camvid", "long"))
    with pytest.raises(ValueError, match=r"camvid has no recipe for the scale 'long'; add it to .*recipes\.csv"):
        recipe("camvid", "long")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: table("table2"), "unknown table 'table2': did you mean 'table_2'"),
        (lambda: row("table_2.bgaa"), "unknown row 'table_2.bgaa': did you mean 'table_2.bga'"),
        (lambda: recipe("camvids", "short"), "unknown dataset 'camvids': did you mean 'camvid'"),
        (lambda: recipe("camvid", "shorts"), "unknown scale 'shorts': did you mean 'short'"),
        (lambda: recipe("camvid", "xyz"), "unknown scale 'xyz': known: smoke, short, long, paper"),
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
        ({"warmup": -1}, "warmup is -1, it must be at least 0"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam': did you mean 'adamw'"),
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


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("yes", bool, True),
        ("false", bool, False),
        ("perhaps", bool, "perhaps"),
        ("none", int | None, None),
        ("3", int | None, 3),
        ("0.5, 1", tuple[float, ...], (0.5, 1.0)),
        ("256x512", tuple[int, int], (256, 512)),
        ("stage2 stage3", tuple[str, ...], ("stage2", "stage3")),
        ("1e-3", float, 0.001),
        ("high", float, "high"),
    ],
)
def test_fields_from_text(text, kind, value):
    assert from_text(text, kind) == value
