"""The paper as data: the rows of its tables with their printed numbers, and its training recipes.

A variant is a row: `tables/table_2.csv` has one line for each row of Table 2, and a column that is named like a
field of `ModelConfig` sets that field.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

from bisenet.data import DATASETS, choose
from bisenet.model import ModelConfig
from bisenet.train import TrainConfig

TABLES_FOLDER = Path(__file__).parent / "tables"
LARGE_GFLOPS = 118.51  # BiSeNetV2-Large, Table 6
TABLES = tuple(sorted(path.stem for path in TABLES_FOLDER.glob("*.csv")))


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table: what to build and train, and what the paper printed (Cityscapes, val)."""

    table: str
    name: str
    label: str
    model: ModelConfig
    ohem: bool
    miou: float  # percent
    gflops: float

    @property
    def id(self) -> str:
        return f"{self.table}.{self.name}"


def table(name: str) -> list[Row]:
    """The rows of one table in the paper's order; ValueError with near matches for an unknown name."""
    choose("table", name, TABLES)
    with (TABLES_FOLDER / f"{name}.csv").open(newline="") as file:
        return [_row(name, line) for line in csv.DictReader(file)]


def row(id: str) -> Row:
    """A row by its id, such as `table_2.bga`."""
    rows = {row.id: row for name in TABLES for row in table(name)}
    return rows[choose("row", id, rows)]


def _row(name: str, line: dict[str, str]) -> Row:
    types = {field.name: type(field.default) for field in dataclasses.fields(ModelConfig)}
    knobs = {key: _parse(value, types[key]) for key, value in line.items() if key in types}
    numbers = {key: float(line[key]) for key in ("miou", "gflops")}
    return Row(name, line["row"], line["label"], ModelConfig(**knobs), line["ohem"] == "yes", **numbers)


def _parse(text: str, kind: type) -> Any:
    if kind is bool:
        return {"yes": True, "no": False}[text]
    return tuple(text.split()) if kind is tuple else kind(text)


# Scales. "paper" is Section 5 of the paper, Training and Inference; "short" teaches within minutes on two CPU
# cores (learning rate proportional to the batch); "smoke" only shows that everything runs.
SCALES = ("smoke", "short", "paper")

RECIPES = {
    ("streets", "paper"): TrainConfig(
        iterations=150_000,
        image_size=(1024, 2048),
        crop=(1024, 2048),
        input_size=(512, 1024),
        test_size=(512, 1024),
    ),
    ("streets", "short"): TrainConfig(
        iterations=300,
        image_size=(256, 512),
        crop=(256, 512),
        input_size=(128, 256),
        test_size=(128, 256),
        train_images=400,
        test_images=100,
        batch=8,
        lr=2.5e-2,
    ),
    ("camvid", "paper"): TrainConfig(
        iterations=10_000,
        image_size=(720, 960),
        crop=(720, 960),
        input_size=(720, 960),
        test_size=(720, 960),
        train_split="train+val",
        test_split="test",
    ),
    ("camvid", "short"): TrainConfig(
        iterations=2_500,
        image_size=(360, 480),  # the files' own size
        crop=(256, 320),
        input_size=(256, 320),
        test_size=(384, 512),  # a multiple of 32, the deepest stride: otherwise the Semantic Branch lies askew
        train_split="train+val",
        test_split="test",
        batch=8,
        lr=2.5e-2,
    ),
}
SMOKE: dict[str, Any] = {
    "iterations": 6,
    "image_size": (128, 256),
    "crop": (128, 256),
    "input_size": (64, 128),
    "test_size": (64, 128),
    "train_images": 8,
    "test_images": 4,
    "batch": 4,
    "lr": 1e-2,
}


def recipe(dataset: str, scale: str) -> TrainConfig:
    """How a data set is trained at a scale; ValueError with near matches for unknown names."""
    choose("dataset", dataset, DATASETS)
    choose("scale", scale, SCALES)
    if scale == "smoke":
        return dataclasses.replace(RECIPES[dataset, "paper"], **SMOKE)  # every data set has the paper's
    return RECIPES[dataset, scale]
