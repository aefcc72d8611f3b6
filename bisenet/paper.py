"""The paper as data: the rows of its tables with their printed numbers, and its training recipes.

A variant is a row: `tables/table_2.csv` has one line for each row of Table 2, and a column that is named like a
field of `ModelConfig` or `TrainConfig` sets that field. Tables 7 to 9 compare with other methods, whose rows are
numbers only (`published`); the paper's own networks there are rows of Tables 2 and 6 (`ours`).
"""

import csv
import dataclasses
import math
import re
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pandas as pd

from bisenet.config import Size, choose
from bisenet.data import describe
from bisenet.dataset import DatasetInfo
from bisenet.model import ModelConfig
from bisenet.train import TrainConfig

TABLES_FOLDER = Path(__file__).parent / "tables"
TABLES = ("table_2", "table_3a", "table_3b", "table_3c", "table_4", "table_5a", "table_5b", "table_6")
PUBLISHED = {"table_7": "cityscapes", "table_8": "camvid", "table_9": "cocostuff"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table: what to build and train, and what the paper printed (Tables 2 to 6: Cityscapes, val)."""

    table: str
    name: str
    label: str
    model: ModelConfig
    training: dict[str, Any]  # fields of `TrainConfig` that the row sets
    miou: float  # percent; NaN where the paper prints none, as for GFLOPs
    gflops: float
    gflops_decimals: int  # as printed
    base: str = ""  # Table 8, marked *: id of the row with whose weights it begins, all but the classifiers,
    pretrained_on: str = ""  # and the data set that those were trained on

    @property
    def id(self) -> str:
        return f"{self.table}.{self.name}"


def table(name: str) -> list[Row]:
    """The rows of one ablation table in the paper's order; ValueError with near matches for an unknown name."""
    choose("table", name, TABLES)
    with (TABLES_FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return [_row(name, line) for line in csv.DictReader(file)]


def row(id: str) -> Row:
    """A row by its id, such as `table_2.bga`; ValueError with near matches for an unknown id."""
    rows = _ablations() | {row.id: row for name in PUBLISHED for row in ours(name).values()}
    return rows[choose("row", id, rows)]


def _ablations() -> dict[str, Row]:
    return {row.id: row for name in TABLES for row in table(name)}


def claims() -> list[dict[str, str]]:
    """What the paper claims of its ablations, as pairs of rows: `claim, said`, and the ids of `better` and `worse`.

    `said` is where, with the words where there are any; "Table ..." is read off the numbers.
    """
    with (TABLES_FOLDER / "claims.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def published(name: str) -> pd.DataFrame:
    """A table that compares with other methods, as printed: NaN where the paper has a dash.

    Columns `row` and `pretrained_on` say which row of the ablations a method is, if it is one of the paper's own;
    `best` and `second` which of the line's columns are printed bold, and which underlined.
    """
    choose("table", name, PUBLISHED)
    names = ("group", "method", "reference", "ratio", "backbone", "row", "pretrained_on", "best", "second")
    texts = dict.fromkeys(names, str)
    table = pd.read_csv(TABLES_FOLDER / f"{name}.csv", dtype=texts)
    return table.fillna(dict.fromkeys(texts, ""))


def ours(name: str) -> dict[str, Row]:
    """The paper's own networks in a table of `published`, by what it calls them, such as `BiSeNetV2-L`."""
    rows, lines = _ablations(), published(name).to_dict("records")
    return {line["method"]: _own(name, rows[line["row"]], line) for line in lines if line["row"]}


def _own(name: str, row: Row, line: dict[Any, Any]) -> Row:
    """A row of the ablations, or one of its own that begins with the weights of such a row."""
    if not (elsewhere := line.get("pretrained_on")):
        return row
    own: dict[str, Any] = {"table": name, "name": f"{row.name}_{elsewhere}", "label": line["method"]}
    own |= {"miou": line["miou"], "gflops": math.nan, "base": row.id, "pretrained_on": elsewhere}
    return dataclasses.replace(row, **own)


def _row(name: str, line: dict[str, str]) -> Row:
    model = ModelConfig(**_fields(ModelConfig, line))
    numbers: dict[str, Any] = {key: float(line.get(key) or math.nan) for key in ("miou", "gflops")}
    decimals = len(line.get("gflops", "").partition(".")[2])
    return Row(name, line["row"], line["label"], model, _fields(TrainConfig, line), **numbers, gflops_decimals=decimals)


def _fields(config: Any, line: dict[str, str]) -> dict[str, Any]:
    """The columns that are fields of `config`."""
    kinds = get_type_hints(config)
    return {key: from_text(value, kinds[key]) for key, value in line.items() if key in kinds}


def from_text(text: str, kind: Any) -> Any:
    """A field's value as tables and the command line have it: yes or true, none, 256x512, words and numbers in a row.

    Text that is nothing of its kind is given back: the field's own check says what it must be.
    """
    members = get_args(kind)
    if get_origin(kind) is UnionType:  # X | None
        return None if text == "none" else from_text(text, members[0])
    if get_origin(kind) is tuple:
        parts = re.split("x" if members[0] is int else "[, ]", text)
        return tuple(from_text(part, members[0]) for part in parts if part)
    if kind is bool:
        return {"yes": True, "true": True, "no": False, "false": False}.get(text, text)
    try:
        return kind(text)
    except ValueError:
        return text


# The row of each table over which the others gain.
BASES = {
    **{"table_2": "detail", "table_3a": "detail", "table_3b": "all", "table_3c": "detail"},
    **{"table_4": "none", "table_5a": "alpha_100", "table_5b": "d_1", "table_6": "ours"},
}

# Scales. "paper" is Section 5 of the paper, Training and Inference; "long" teaches enough to believe, in about an hour
# a row on two CPU cores; "short" teaches within minutes; "smoke" only shows that everything runs. "short" was
# chosen for the embedded scenes, and "long" for CamVid, on images that no table is tested on
# (`results/records/recipes.csv`). "long" of the embedded scenes is their "short" with more of everything; the other
# data sets have sizes of their own, and their recipes are untested.
SCALES = ("smoke", "short", "long", "paper")

CITYSCAPES = TrainConfig(
    iterations=150_000,
    image_size=(1024, 2048),
    crop=(1024, 2048),
    input_size=(512, 1024),
    test_size=(512, 1024),
)
COCOSTUFF = TrainConfig(
    iterations=20_000,
    image_size=None,
    crop=(640, 640),
    input_size=(640, 640),
    test_size=(640, 640),
    protocol="padded",
    test_split="test",
    weight_decay=1e-4,
)
CAMVID = TrainConfig(
    iterations=10_000,
    image_size=(720, 960),
    crop=(720, 960),
    input_size=(720, 960),
    test_size=(720, 960),
    train_split="train+val",
    test_split="test",
)
# In few iterations AdamW learns more; so do crops of half a picture at scales at which they show much of it.
FEW: dict[str, Any] = {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-2}
SHORT: dict[str, Any] = {**FEW, "batch": 4, "warmup": 30}
LONG: dict[str, Any] = {**FEW, "batch": 8, "warmup": 200}
FROM_HALF = (0.5, 0.75, 1.0)  # random scales for crops of half a picture
SCENES: dict[str, Any] = {  # seen so large that the Detail Branch alone, which sees 163 pixels, is short of context
    "image_size": (256, 512),
    "crop": (128, 256),
    "input_size": (128, 256),
    "test_size": (256, 512),
}
HALF: dict[str, Any] = {**SCENES, "image_size": (1024, 2048), "crop": (512, 1024)}  # the same of Cityscapes, untested
FILES: dict[str, Any] = {  # CamVid in the size of the tutorial's files
    "image_size": (360, 480),
    "crop": (128, 160),
    "input_size": (128, 160),
    "test_size": (384, 512),  # a multiple of 32, the deepest stride: otherwise the Semantic Branch lies askew
    "scales": (*FROM_HALF, 1.25),
}
SQUARES: dict[str, Any] = {"crop": (320, 320), "input_size": (320, 320), "scales": (0.75, 1.0, 1.25)}  # untested
RECIPES = {
    ("cityscapes", "paper"): CITYSCAPES,
    ("cityscapes", "long"): replace(CITYSCAPES, iterations=4_000, scales=(*FROM_HALF, 1.25), **HALF, **LONG),
    ("cityscapes", "short"): replace(CITYSCAPES, iterations=300, scales=FROM_HALF, **HALF, **SHORT),
    ("streets", "paper"): CITYSCAPES,
    ("streets", "long"): replace(CITYSCAPES, iterations=4_000, scales=(*FROM_HALF, 1.25), **SCENES, **LONG),
    ("streets", "short"): replace(
        CITYSCAPES, iterations=300, scales=FROM_HALF, train_images=400, test_images=100, **SCENES, **SHORT
    ),
    ("camvid", "paper"): CAMVID,
    ("camvid", "long"): replace(CAMVID, iterations=5_000, **FILES, **SHORT | {"warmup": 100}),
    ("camvid", "short"): replace(CAMVID, iterations=500, **FILES, **SHORT),
    ("cocostuff", "paper"): COCOSTUFF,
    ("cocostuff", "long"): replace(COCOSTUFF, iterations=2_000, **SQUARES, **LONG),
    ("cocostuff", "short"): replace(COCOSTUFF, iterations=400, **SQUARES, **SHORT),
}
SMOKE: dict[str, Any] = {
    "iterations": 6,
    "image_size": (128, 256),
    "crop": (128, 256),
    "input_size": (64, 128),
    "test_size": (64, 128),
    "train_images": 8,
    "test_images": 4,
    "protocol": "paper",
    "batch": 4,
    "lr": 1e-2,
}


def recipe(dataset: str, scale: str) -> TrainConfig:
    """How a data set is trained at a scale; ValueError with near matches for unknown names."""
    info = describe(dataset)
    choose("scale", scale, SCALES)
    recipes = RECIPES if info.size is None else _recipes_of(info, info.size)
    if scale == "smoke":
        return dataclasses.replace(recipes[dataset, "paper"], **SMOKE)  # every data set has the paper's
    return recipes[dataset, scale]


def _recipes_of(info: DatasetInfo, size: Size) -> dict[tuple[str, str], TrainConfig]:
    """Recipes for your own data: those of CamVid, at the size of your images, with crops of half of it; untested."""
    half = (max(32, size[0] // 64 * 32), max(32, size[1] // 64 * 32))  # the deepest stride is 32
    whole: dict[str, Any] = {"image_size": size, "crop": size, "input_size": size, "test_size": size}
    cut: dict[str, Any] = {**whole, "crop": half, "input_size": half}
    changes = {"paper": whole, "long": cut, "short": cut}
    splits: dict[str, Any] = {"train_split": "train", "test_split": "val" if "val" in info.splits else "test"}
    of_camvid = {scale: RECIPES["camvid", scale] for scale in changes}
    return {(info.name, scale): replace(of_camvid[scale], **splits, **changes[scale]) for scale in changes}
