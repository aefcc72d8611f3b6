"""What several commands share: flags, and how scores are printed."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bisenet.config import choose
from bisenet.data import DATASETS
from bisenet.data.folder import CLASSES
from bisenet.evaluate import iou, miou, pixel_accuracy
from bisenet.execution import Execution
from bisenet.files import shipped

PROGRAM = "python -m bisenet"

EXECUTION_HELP = {
    "accelerator": "auto (CUDA or else the CPU), cpu, cuda, mps",
    "devices": "how many GPUs or processes on this machine; torchrun says it by itself",
    "num_nodes": "how many machines",
    "strategy": "of Lightning Fabric, such as ddp",
    "precision": "auto (bf16-mixed where the hardware has it), 32-true, bf16-mixed",
    "accumulation": "parts of a device's share of a batch, one after the other, to save memory",
    "workers": "processes that read and augment, for each device",
    "checkpoint_every": "iterations between checkpoints",
}


class CommandError(Exception):
    """Something that a user can mend, in one line."""


def path_of(text: str) -> Path:
    """A path as it is written, with a `~` that no shell has replaced, as in `--out=~/seen`."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is an address; nothing is fetched: download it, and name the file")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: that home folder is not known here: write it in full") from error


def weights_of(text: str) -> Path:
    """The file of weights that are given by a path, or by a name such as "streets"."""
    return shipped(path_of(text))


def add_setting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        default="streets",
        help=f"{', '.join(DATASETS)}, or your own, a folder with {CLASSES} (default: %(default)s)",
    )
    scales = "smoke: seconds a row, short: minutes, long: an hour, paper: the paper's schedule"
    parser.add_argument("--scale", default="short", help=f"{scales} (default: %(default)s)")


def add_data_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", help="folder with the files of the data set (default: data/DATASET)")


def add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run of each row for each (default: 0)")
    parser.add_argument("--only", nargs="+", metavar="NOTEBOOK", help="only these, such as table_2 (default: all)")


def add_execution(parser: argparse.ArgumentParser) -> None:
    for field in dataclasses.fields(Execution):
        help = f"{EXECUTION_HELP[field.name]} (default: %(default)s)"
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=field.default, help=help)


def execution_of(arguments: argparse.Namespace) -> Execution:
    """ValueError for a device that cannot be had here, which Fabric would tell in its own words, if at all."""
    chosen = choose("accelerator", arguments.accelerator, ("auto", "cpu", "cuda", "gpu", "mps"))
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if not {"cuda": cuda, "gpu": cuda, "mps": mps}.get(chosen, True):
        raise CommandError(f"--accelerator {chosen}: no such device can be used here; leave it out, or take cpu")
    return Execution(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Execution)})


def print_scores(matrix: Any, classes: tuple[str, ...]) -> None:
    for name, value in zip(classes, iou(matrix), strict=True):
        print(f"{name:>14}  {100 * value:6.2f}")
    print(f"{'mIoU':>14}  {miou(matrix):6.2f} %\n{'pixAcc':>14}  {pixel_accuracy(matrix):6.2f} %")


# A command: what it does in a sentence, its flags, the function that runs it.
Command = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], None]]
