"""The command that looks at all files of a data set before anything is trained on them."""

from __future__ import annotations

import argparse
import functools
import sys

from tqdm import tqdm

from bisenet import paper
from bisenet.commands.common import Command, CommandError, add_data_root, add_setting
from bisenet.data import DATASETS, check, open_dataset


def _check_flags(parser: argparse.ArgumentParser) -> None:
    add_setting(parser)
    add_data_root(parser)


def _check(arguments: argparse.Namespace) -> None:
    recipe = paper.recipe(arguments.dataset, arguments.scale)
    largest = recipe.test_size if recipe.protocol == "padded" else None
    faults = 0
    for split in (name for name in ("train", "val", "test") if name in DATASETS[arguments.dataset].splits):
        dataset = open_dataset(arguments.dataset, split, root=arguments.data_root, size=recipe.image_size)
        if not dataset.labelled:
            print(f"{split}: without labels")
            continue
        bar = functools.partial(tqdm, desc=split, total=len(dataset), file=sys.stdout, disable=not sys.stdout.isatty())
        found = check.survey(dataset, range(len(dataset)), largest, bar)
        print(f"{split}: {found}")
        for doubt in found.doubts:
            print(f"{split}: doubtful: {doubt}")
        for fault in found.faults:
            print(f"{split}: wrong: {fault}", file=sys.stderr)
        faults += len(found.faults)
    if faults:
        raise CommandError(f"{faults} faults in {arguments.dataset}, named above; mend the files, or leave them out")


COMMANDS: dict[str, Command] = {
    "check": (
        "Look at all files of a data set: what is in them, what is wrong, what is doubtful.",
        _check_flags,
        _check,
    ),
}
