"""The paper as data: the rows of its tables with their printed numbers, and its training recipes.

A variant is a row: `tables/table_2.csv` has one line for each row of Table 2, and a column that is named like a
field of `ModelConfig` or `TrainConfig` sets that field. Tables 7 to 9 compare with other methods, whose rows are
numbers only (`published`); the paper's own networks there are rows of Tables 2 and 6 (`ours`). `tables/recipes.csv` has
the recipe of each data set and scale.
"""

import csv
import math
import re
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
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
    return [_row(name, line) for line in lines(name)]


def lines(name: str) -> list[dict[str, str]]:
    """A file in `tables/`, line by line."""
    with (TABLES_FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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
    return lines("claims")


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
    return replace(row, **own)


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
# a row on one CPU core; "short" teaches within minutes; "smoke" only shows that everything runs. "short" was
# chosen for the embedded scenes, and "long" for CamVid, on images that no table is tested on
# (`results/records/recipes.csv`). "long" of the embedded scenes is their "short" with more of everything; Cityscapes
# has the same at four times the size, COCO-Stuff sizes of its own, and their recipes are untested.
# In few iterations AdamW learns more; so do crops of half a picture at scales at which they show much of it: scenes are
# seen so large that the Detail Branch alone, which sees 163 pixels, is short of context. CamVid has the size of the
# tutorial's files, and is tested at a multiple of 32, the deepest stride: otherwise the Semantic Branch lies askew.
SCALES = ("smoke", "short", "long", "paper")
RECIPES = {(line["dataset"], line["scale"]): TrainConfig(**_fields(TrainConfig, line)) for line in lines("recipes")}


def recipe(dataset: str, scale: str) -> TrainConfig:
    """How a data set is trained at a scale; ValueError with near matches for unknown names, or where there is none."""
    info = describe(dataset)
    choose("scale", scale, SCALES)
    if info.size is not None:
        return _own_recipe(info, info.size, scale)
    if (dataset, scale) not in RECIPES:
        raise ValueError(f"{dataset} has no recipe for the scale {scale!r}; add it to {TABLES_FOLDER / 'recipes.csv'}")
    return RECIPES[dataset, scale]


def _own_recipe(info: DatasetInfo, size: Size, scale: str) -> TrainConfig:
    """A recipe for your own data: CamVid's, at the size of your images, with crops of half of it; untested."""
    splits: dict[str, Any] = {"train_split": "train", "test_split": "val" if "val" in info.splits else "test"}
    if scale == "smoke":
        return replace(RECIPES["camvid", scale], **splits)
    half = (max(32, size[0] // 64 * 32), max(32, size[1] // 64 * 32))  # the deepest stride is 32
    crop = size if scale == "paper" else half
    return replace(RECIPES["camvid", scale], image_size=size, crop=crop, input_size=crop, test_size=size, **splits)
