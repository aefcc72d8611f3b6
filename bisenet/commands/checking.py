"""The command that looks at all files of a data set before anything is trained on them."""

import argparse
import functools
import sys

from tqdm import tqdm

from bisenet import paper
from bisenet.commands.common import Command, CommandError, add_data_root, add_setting
from bisenet.config import Size
from bisenet.data import DATASETS, check, files_of


def _check_flags(parser: argparse.ArgumentParser) -> None:
    add_setting(parser)
    add_data_root(parser)


def _check(arguments: argparse.Namespace) -> None:
    recipe, info = paper.recipe(arguments.dataset, arguments.scale), DATASETS[arguments.dataset]
    if not info.needs_files:
        raise CommandError(f"{info.name} is drawn: it has no files; name another with --dataset")
    faults = 0
    for split in (name for name in ("train", "val", "test") if name in info.splits):
        padded = split == recipe.test_split and recipe.protocol == "padded"
        faults += _of_split(arguments, split, recipe.test_size if padded else None)
    if faults:
        raise CommandError(f"faults in {info.name}: {faults}, named above; mend the files, or leave them out")


def _of_split(arguments: argparse.Namespace, split: str, largest: Size | None) -> int:
    """Say what is in a split; returns how many faults it has. A split that is not there is one."""
    try:
        dataset = files_of(arguments.dataset, split, arguments.data_root)
    except FileNotFoundError as error:
        print(f"{split}: wrong: {error}", file=sys.stderr)
        return 1
    if not dataset.labelled:
        print(f"{split}: {len(dataset)} images without labels")
        return 0
    bar = functools.partial(tqdm, desc=split, total=len(dataset), file=sys.stdout, disable=not sys.stdout.isatty())
    found = check.survey(dataset, range(len(dataset)), largest, bar)
    print(f"{split}: {found}")
    for doubt in found.doubts:
        print(f"{split}: doubtful: {doubt}")
    for fault in found.faults:
        print(f"{split}: wrong: {fault}", file=sys.stderr)
    return len(found.faults)


COMMANDS: dict[str, Command] = {
    "check": (
        "Look at all files of a data set: what is in them, what is wrong, what is doubtful.",
        _check_flags,
        _check,
    ),
}
