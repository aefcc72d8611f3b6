"""Commands that count and time, and `check`, which looks at all files of a data set before any training."""

import argparse
import functools
import sys
from typing import Any

from tqdm import tqdm

from bisenet import cost, paper
from bisenet.commands.common import Command, CommandError, add_data_root, add_setting, path_of, weights_of
from bisenet.config import Size
from bisenet.data import DATASETS, check, files_of
from bisenet.inference import engines
from bisenet.report import ablations
from bisenet.speed import bench, peers, timings, training_steps, ways
from bisenet.speed.machine import device_here, machine_of, where_measured
from bisenet.speed.protocol import ITERATIONS


def _cost_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--row", help="one row, such as table_2.bga (default: all)")


def _cost(arguments: argparse.Namespace) -> None:
    rows = [paper.row(arguments.row)] if arguments.row else [row for name in paper.TABLES for row in paper.table(name)]
    print(f"{'':28} GFLOPs: paper     here    GMACs   parameters")
    for row in rows:
        ours = cost.variant_cost(row.model)
        printed, verdict = ablations.number(row.gflops, row.gflops_decimals), ablations.gflops_verdict(row, ours.gflops)
        print(f"{row.id:28} {printed:>13} {ours.gflops:8.2f} {ours.gmacs:8.2f} {ours.parameters:12,}  {verdict}")


def _bench_flags(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(network.name for network in peers.NETWORKS)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"some of: {names} (default: all)")
    how_often = (
        f"how often each is timed (default: {ITERATIONS}, as in the paper; of training {training_steps.ITERATIONS})"
    )
    parser.add_argument("--iterations", type=int, help=how_often)
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="stop each after this time (default: none)")
    engine_names = ", ".join((bench.EAGER, *engines.ENGINES))
    which = f"some of: {engine_names} (default: all that can be had here)"
    parser.add_argument("--engines", nargs="+", metavar="NAME", help=which)
    which = f"some of: {', '.join(bench.PRECISIONS)} (default: all that can be had here)"
    parser.add_argument("--precisions", nargs="+", metavar="NAME", help=which)
    parser.add_argument(
        "--weights",
        type=weights_of,
        metavar="FILE",
        help="time the network of this file alone, half a side of the frame",
    )
    instead = parser.add_mutually_exclusive_group()
    ours = "instead: the ways of this package from frame to class map, in every engine and precision, in turn"
    instead.add_argument("--ours", action="store_true", help=ours)
    camvid = "with --ours: score every engine on CamVid's test images, too"
    parser.add_argument("--camvid", type=path_of, metavar="FOLDER", help=camvid)
    instead.add_argument(
        "--training",
        action="store_true",
        help="instead: the training step of this package beside a plain loop, on the CPU",
    )


def _bench(arguments: argparse.Namespace) -> None:
    idle = ["limit"] * arguments.training + ["only", "engines", "precisions", "weights"] * (
        arguments.training or arguments.ours
    )
    if given := [f"--{name}" for name in idle if getattr(arguments, name) is not None]:
        which = "--training" if arguments.training else "--ours"
        raise CommandError(f"{which} does not take {', '.join(given)}: it times its own ways, all of them")
    if arguments.camvid and not arguments.ours:
        raise CommandError("--camvid belongs to --ours: it is our engines that are scored")
    usual = training_steps.ITERATIONS if arguments.training else ITERATIONS
    iterations = usual if arguments.iterations is None else arguments.iterations
    if arguments.training:
        print(timings.training(training_steps.time_steps(iterations=iterations)).to_string())
    elif arguments.ours:
        record = ways.time_ways(iterations=iterations, limit=arguments.limit, camvid=arguments.camvid)
        print(f"{timings.our_ways(record).to_string()}\n{timings.goals(record).to_string()}")
    else:
        _bench_networks(arguments, iterations)


def _bench_networks(arguments: argparse.Namespace, iterations: int) -> None:
    effort: dict[str, Any] = {"iterations": iterations, "limit": arguments.limit}
    failed: list[str] = []
    if arguments.weights:
        if arguments.only is not None:
            raise CommandError("--only and --weights exclude each other: a file is timed alone")
        arguments.only, effort["more"] = [], [peers.of_file(arguments.weights)]
    for engine, precision in bench.combinations(arguments.engines, arguments.precisions):
        of_engine = bench.bench(arguments.only, engine=engine, precision=precision, **effort)
        failed += [f"{name} ({engine}, {precision})" for name in of_engine]
    here = where_measured(machine_of(device_here(), peers.FRAME))
    print(timings.engines_side_by_side(bench.records(bench.speed_folder()), here).to_string())
    if failed:
        raise CommandError(f"failed, for the reasons above: {', '.join(failed)}")


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
    "cost": ("GFLOPs by the paper's rule, plain MACs and parameters, beside the paper's numbers.", _cost_flags, _cost),
    "bench": (
        "Time the paper's networks and others by the paper's protocol, and record the speeds.",
        _bench_flags,
        _bench,
    ),
    "check": (
        "Look at all files of a data set: what is in them, what is wrong, what is doubtful.",
        _check_flags,
        _check,
    ),
}
