"""Weights of the two public implementations, read into a network of ours: `python -m bisenet convert FILE`.

CoinCheung/BiSeNet (the format in use since July 2021) and mmsegmentation (all releases). A file is recognised by the
names and shapes of its tensors, never by its own name, and read without running code that it may hold. Auxiliary heads
serve training only and are left behind.
"""

import csv
import functools
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bisenet.augment import MEAN, STD, Normalisation
from bisenet.data import DATASETS
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.readings import READINGS

AUXILIARY = {"coincheung": "aux", "mmsegmentation": "auxiliary_head."}  # how names of heads for training begin
NAMES_FILE = Path(__file__).parents[1] / "tables" / "public_names.csv"
MARK, HEAD = "detail.stage1.0.0.weight", "head.classifier.weight"
# By the number of classes what CoinCheung trained on: the data set, and its mean and deviation.
COINCHEUNG_DATA: dict[int, tuple[str, Normalisation]] = {
    19: ("cityscapes", ((0.3257, 0.3690, 0.3223), (0.2112, 0.2148, 0.2115))),
    171: ("cocostuff", ((0.46962251, 0.4464104, 0.40718787), (0.27469736, 0.27012361, 0.28515933))),
    150: ("ADE20K", ((0.49343230, 0.46819794, 0.43106043), (0.25680755, 0.25506608, 0.27422913))),
}
OLDER = "in the format that CoinCheung/BiSeNet had before July 2021; take one of its release's files"


def convert(
    path: str | Path, classes: Sequence[str] = (), normalisation: Normalisation | None = None
) -> tuple[BiSeNetV2, str]:
    """The network of a public checkpoint, in `eval()`, and what was found in the file, in a few words.

    `classes` are names in the place of those that the file has, or of none; `normalisation` is mean and standard
    deviation of red, green and blue in [0, 1], in the place of the published. ValueError, which says what it is, for a
    file that is anything else; FileNotFoundError.
    """
    content = _loaded(Path(path))
    kind, tensors = _recognised(path, content)
    num_classes = len(tensors[HEAD])
    named, names = _class_names(path, kind, content, num_classes, tuple(classes))
    data, (mean, std) = _normalisation(path, kind, num_classes, normalisation)
    network = BiSeNetV2(ModelConfig(num_classes, booster=(), reading=READINGS[kind], mean=mean, std=std))
    network.load_state_dict(_fitting(path, network, tensors))
    network.classes = names
    found = f"{kind}, {num_classes} classes ({named}), mean and deviation {data}"
    return network.eval(), found


def _loaded(path: Path) -> Any:
    """What a file holds, if it is nothing but tensors, texts and numbers in lists and dictionaries."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is a folder, not a file" if path.is_dir() else f"no such file: {path}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch.load, about archives that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by what the file is
        foreign = re.search(r"(?:GLOBAL|class) ([\w.]+\.\w+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and foreign:
            raise ValueError(
                f"{path} holds more than tensors ({foreign[1]}), which could run code and is not read; where that "
                "package is installed, and if you trust the file, torch.save its 'state_dict' alone and convert that"
            ) from error
        raise ValueError(
            f"{path} is no file of tensors that torch.save wrote, or not a whole one (a page that says 'not found', a "
            "download that broke off, an export such as TorchScript, ...); compare its size with that at its origin, "
            "or take what it was exported from"
        ) from error


@functools.cache
def _names() -> dict[str, dict[str, str]]:
    """By implementation, named as its reading, what it calls each module and what that is called here."""
    with NAMES_FILE.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return {kind: {line[kind]: line["ours"] for line in lines} for kind in AUXILIARY}


def _recognised(path: str | Path, content: Any) -> tuple[str, dict[str, Tensor]]:
    """The kind of a checkpoint and its tensors of inference by our names; one that we do not know stays as it is."""
    found = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{path} holds a {type(content).__name__} and no tensors by name: it is no checkpoint")
    _check_flat(path, found)
    theirs = {str(name).removeprefix("module."): value for name, value in found.items()}  # of a parallel wrapper
    if HEAD in theirs:
        raise ValueError(
            f"{path} has the names of this package: if BiSeNetV2.save wrote it, give it as it is; torch.save keeps no "
            "configuration: load_state_dict it into BiSeNetV2(ModelConfig(...)), and save() that"
        )
    for kind, names in _names().items():
        parts = [name.rpartition(".") for name in theirs if not name.startswith(AUXILIARY[kind])]
        tensors = {f"{names.get(part, part)}{dot}{last}": theirs[f"{part}{dot}{last}"] for part, dot, last in parts}
        if HEAD in tensors and tensors[HEAD].ndim == 4:
            return kind, tensors
        if MARK in tensors:
            older = any(name.startswith("head.conv_out.") for name in theirs)
            raise ValueError(f"{path} is {OLDER}" if older else f"{path} has no classifier: a network without a head")
    some = ", ".join(list(theirs)[:3])
    raise ValueError(
        f"{path} is of another network: it holds {some}, ...; known are BiSeNet V2 of CoinCheung and mmsegmentation"
    )


def _check_flat(path: str | Path, found: Mapping[Any, Any]) -> None:
    """ValueError for anything but tensors by name: floating point, or the whole numbers of a counter."""
    if inside := [str(name) for name, value in found.items() if isinstance(value, Mapping)]:
        if {"detail", "segment"} <= {*inside}:
            what = "a backbone to begin training with, without a head; take a trained network"
        else:
            what = "dictionaries; torch.save the one with the weights alone, and convert that"
        raise ValueError(f"{path} holds {', '.join(inside[:3])}: {what}")
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{path} is no checkpoint that is known here: {name!r} in it is no tensor")
        counter = str(name).endswith("num_batches_tracked")
        if value.layout != torch.strided or value.is_meta or not (value.is_floating_point() or counter):
            raise ValueError(f"{path}: {name} is {value.dtype}, {value.layout}; weights must be floating point, dense")


def _fitting(path: str | Path, network: BiSeNetV2, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, and the counters of batch normalisation, which have no effect here, where they are missing."""
    wanted = network.state_dict()
    counters = {name: value for name, value in wanted.items() if name.endswith("num_batches_tracked")}
    tensors = {**counters, **tensors}
    if missing := sorted({*wanted} - {*tensors}):
        raise ValueError(f"{path} is not whole: it has nothing for {', '.join(missing[:3])}")
    if left := sorted({*tensors} - {*wanted}):
        raise ValueError(f"{path} is of a network that differs: it has {', '.join(left[:3])} besides")
    for name, value in wanted.items():
        if tensors[name].shape != value.shape:
            found, rule = tuple(tensors[name].shape), tuple(value.shape)
            raise ValueError(f"{path} is of a network that differs: {name} is {found}, it must be {rule}")
        if not tensors[name].float().isfinite().all():
            raise ValueError(f"{path} is damaged: {name} holds numbers that are not finite")
    return dict(tensors)


def _class_names(
    path: str | Path, kind: str, content: Mapping[str, Any], num_classes: int, given: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """Where the names of the classes are from, and the names."""
    if given:
        if len(given) != num_classes:
            raise ValueError(f"{len(given)} names of classes were given; {path} has {num_classes} classes")
        return "names as given", given
    meta: Any = content.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    newer = meta.get("dataset_meta")
    of_file = meta.get("CLASSES") or (newer.get("classes") if isinstance(newer, Mapping) else ())
    if isinstance(of_file, (list, tuple)) and len(of_file) == num_classes:
        return "names from the file", tuple(map(str, of_file))
    data = COINCHEUNG_DATA.get(num_classes, ("",))[0] if kind == "coincheung" else ""
    if data in DATASETS:
        return f"taken for those of {data}", DATASETS[data].classes
    return "without names, which --classes gives", ()


def _normalisation(
    path: str | Path, kind: str, num_classes: int, given: Normalisation | None
) -> tuple[str, Normalisation]:
    """Whose mean and deviation these are, and both."""
    if given:
        return "as given", given
    if kind == "mmsegmentation":
        return "of ImageNet", (MEAN, STD)
    if num_classes not in COINCHEUNG_DATA:
        known = ", ".join(f"{number} ({data})" for number, (data, _) in COINCHEUNG_DATA.items())
        raise ValueError(
            f"{path} has {num_classes} classes, published are {known}: give --mean and --std of the images that it "
            "was trained on, red, green and blue in 0 to 1"
        )
    data, values = COINCHEUNG_DATA[num_classes]
    return f"those of {data}", values
