"""What several commands share: flags, and how scores are printed.

What is for training is imported where it is used: Lightning takes as long to load as PyTorch.
"""

import argparse
import dataclasses
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bisenet.data import DATASETS
from bisenet.data.folder import CLASSES
from bisenet.files import shipped

if TYPE_CHECKING:
    from bisenet.execution import Execution

PROGRAM = "python -m bisenet"

EXECUTION_HELP = {
    "accelerator": "auto (CUDA or else the CPU), cpu, cuda, mps",
    "devices": "how many GPUs or processes on this machine; torchrun says it by itself",
    "num_nodes": "how many machines",
    "strategy": "of Lightning Fabric, such as ddp",
    "precision": "auto (bf16-mixed where the hardware has it), 32-true, bf16-mixed; 16-mixed on GPUs",
    "accumulation": "parts of a device's share of a batch, one after the other, to save memory",
    "workers": "processes that read and augment, for each device; -1: for a GPU as cores allow, on a CPU one",
    "checkpoint_seconds": "from one checkpoint to the next; 0: every ten iterations",
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
    from bisenet.execution import Execution

    for field in dataclasses.fields(Execution):
        help = f"{EXECUTION_HELP[field.name]} (default: %(default)s)"
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=field.default, help=help)


def execution_of(arguments: argparse.Namespace, here: bool = True) -> "Execution":
    """CommandError for a device that cannot be had `here`, which Fabric would tell in its own words, if at all."""
    from bisenet.execution import Execution

    execution = Execution(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Execution)})
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if here and not there.get(name := execution.accelerator, True):
        raise CommandError(f"--accelerator {name}: no such device can be used here; leave it out, or take cpu")
    return execution


TOGETHER = ("train", "rehearse")  # commands that several processes run as one


def is_first(execution: "Execution") -> bool:
    """Whether this process is the first of those that run a command as one; each of several that do not is."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    return not execution.several or getattr(rank_zero_only, "rank", 0) == 0


def take_part(arguments: argparse.Namespace) -> None:
    """As one of several processes, leave all that is said, but errors, to the first.

    CommandError for a command that one process does.
    """
    if arguments.command in TOGETHER:
        if not is_first(execution_of(arguments)):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            warnings.simplefilter("ignore")
    elif (number := int(os.environ.get("WORLD_SIZE", 1))) > 1:
        raise CommandError(
            f"this is one of {number} processes (WORLD_SIZE in the environment), and {arguments.command} takes one; "
            f"torchrun is for {' and '.join(TOGETHER)}, reproduce and plan have --devices"
        )


def print_scores(matrix: Any, classes: tuple[str, ...]) -> None:
    from bisenet.evaluate import iou, miou, pixel_accuracy

    for name, value in zip(classes, iou(matrix), strict=True):
        print(f"{name:>14}  {100 * value:6.2f}")
    print(f"{'mIoU':>14}  {miou(matrix):6.2f} %\n{'pixAcc':>14}  {pixel_accuracy(matrix):6.2f} %")


# A command: what it does in a sentence, its flags, the function that runs it.
Command = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], None]]
