"""The command line: `python -m bisenet COMMAND --help`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import math
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from bisenet import cost, paper
from bisenet.config import choose
from bisenet.data import DATASETS, palette
from bisenet.data.miniature import SIZES as MINIATURES
from bisenet.evaluate import PROTOCOLS, iou, miou, pixel_accuracy
from bisenet.execution import Execution
from bisenet.files import SHIPPED_WEIGHTS, shipped
from bisenet.inference import engines, photos
from bisenet.inference.convert import convert
from bisenet.inference.segmenter import Segmenter
from bisenet.model import BiSeNetV2
from bisenet.report import ablations
from bisenet.runs.memory import NotEnoughMemoryError
from bisenet.runs.plan import plan
from bisenet.runs.publish import publish, ship
from bisenet.runs.rehearse import rehearse
from bisenet.runs.store import yours
from bisenet.runs.testing import evaluate_file, load_for, predictions
from bisenet.runs.training import find_or_train
from bisenet.runs.transfer import fingerprint
from bisenet.speed import bench, peers, timings, training_steps, ways
from bisenet.speed.machine import device_here, machine_of, where_measured
from bisenet.speed.protocol import ITERATIONS
from bisenet.train import LossNotFiniteError, TrainConfig, print_progress

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


def main(words: list[str] | None = None) -> int:
    """Run one command; 0 if it succeeded, 1 with one line on stderr for an error a user can mend."""
    arguments = make_parser().parse_args(words)
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # without our lines of code
    try:
        arguments.run(arguments)
    except (ValueError, OSError, LossNotFiniteError, NotEnoughMemoryError, CommandError) as error:
        print(f"{PROGRAM} {arguments.command}: {error}", file=sys.stderr)
        return 1
    except torch.OutOfMemoryError as error:
        print(f"{PROGRAM} {arguments.command}: out of memory on the device ({error})".splitlines()[0], file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        training = "" if arguments.command == "predict" else ", training goes on from the last checkpoint"
        print(f"\ninterrupted; what is done is kept{training}", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(PROGRAM, description="A reproducible companion to BiSeNet V2.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    batch = command("reproduce", _reproduce, "Execute the notebooks, train what is missing, write tables and an index.")
    _add_setting(batch)
    _add_data_root(batch)
    _add_batch(batch)
    batch.add_argument("--weights", metavar="FILE", help="a network to look at in the quickstart and Figures 8 to 10")
    _add_execution(batch)

    ahead = command("plan", _plan, "Say what a reproduction would cost: distinct runs, hours, memory; trains nothing.")
    _add_setting(ahead)
    _add_batch(ahead)
    _add_execution(ahead)

    command("report", _report, "Write all results as one page: tables beside the paper's, figures, provenance.")

    single = command("train", _train, "Train one row of a table and record it; an interrupted run goes on.")
    single.add_argument(
        "--row", default="table_2.ohem", help="the variant (default: %(default)s, the paper's final one)"
    )
    _add_setting(single)
    _add_data_root(single)
    single.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    fields = ", ".join(field.name for field in dataclasses.fields(TrainConfig))
    single.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help=f"change the recipe, sizes as 256x512, several numbers as 0.5,1; fields: {fields}",
    )
    single.add_argument("--weights", type=shipped, help="begin with this file, all but its classifiers")
    _add_execution(single)

    done = command("publish", _publish, "Check records of yours and copy them into results/records/.")
    done.add_argument("runs", nargs="+", metavar="RUN", help="a folder with record.json, or a name in results/runs/")
    how = done.add_mutually_exclusive_group()
    how.add_argument("--weights", action="store_true", help="the networks too, in half precision")
    shipping = "instead: the network of one run becomes bisenet/weights/NAME.safetensors, its record beside it"
    how.add_argument("--ship", metavar="NAME", help=shipping)

    dry = command("rehearse", _rehearse, "A few iterations of a recipe at its real size on a miniature data set.")
    dry.add_argument("--row", default="table_2.ohem", help="the variant (default: %(default)s)")
    dry.add_argument("--dataset", default="cityscapes", help=f"{', '.join(MINIATURES)} (default: %(default)s)")
    dry.add_argument("--scale", default="paper", help="(default: %(default)s)")
    dry.add_argument("--iterations", type=int, default=2, help="(default: %(default)s)")
    _add_execution(dry)

    again = command("evaluate", _evaluate, "Evaluate a weights file by the protocol of a data set and scale.")
    again.add_argument("weights", type=shipped, help="a .safetensors file that a run or BiSeNetV2.save wrote")
    _add_setting(again)
    _add_data_root(again)
    again.add_argument("--split", help="(default: that of the recipe)")
    again.add_argument("--protocol", help=f"{', '.join(PROTOCOLS)} (default: that of the recipe)")
    again.add_argument("--predictions", type=Path, metavar="FOLDER", help="Cityscapes: write PNGs for its test server")

    seen = command("predict", _predict, "Segment photographs and videos: a class map for every frame.")
    seen.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a photograph, a video, a folder of them")
    seen.add_argument("--overlay", action="store_true", help="lay the colours of the classes over the frames")
    seen.add_argument("--out", type=Path, default=Path("predicted"), metavar="FOLDER", help="(default: %(default)s)")
    given = "a .safetensors file, or streets: that of the package, which knows drawn streets only (default: streets)"
    seen.add_argument("--weights", type=shipped, default=SHIPPED_WEIGHTS, metavar="FILE", help=given)
    size = "what the network sees (default: what the weights were tested at, or else 512x1024)"
    seen.add_argument("--size", type=_size, metavar="HEIGHTxWIDTH", help=size)
    seen.add_argument("--engine", default="auto", metavar="NAME", help="what runs the network (default: %(default)s)")
    seen.add_argument("--precision", default="fp32", metavar="NAME", help="(default: %(default)s)")

    foreign = command(
        "convert", _convert, "Read a checkpoint of CoinCheung/BiSeNet or mmsegmentation into a file of ours."
    )
    foreign.add_argument("checkpoint", type=Path, metavar="FILE", help="such as model_final_v2_city.pth")
    foreign.add_argument(
        "--classes", nargs="+", default=(), metavar="NAME", help="names, in the place of those in the file"
    )
    colour: dict[str, Any] = {"nargs": 3, "type": float, "metavar": ("R", "G", "B")}
    foreign.add_argument("--mean", **colour, help="of the images it was trained on, 0 to 1 (default: the published)")
    foreign.add_argument("--std", **colour, help="their standard deviation")
    foreign.add_argument("--out", type=Path, metavar="FILE", help="(default: named after the file, in this folder)")

    file = command("export", _export, "Write a network for another runtime, and compare it there with what it was.")
    file.add_argument("weights", nargs="?", type=shipped, default=SHIPPED_WEIGHTS, metavar="WEIGHTS", help=given)
    file.add_argument("--to", required=True, metavar="FORMAT", help="onnx, openvino, torchscript, pt2")
    file.add_argument("--size", type=_size, metavar="HEIGHTxWIDTH", help=size)
    whole = "from frames, uint8 RGB (N, H, W, 3), to class maps, uint8 (N, H, W), instead of images to logits"
    file.add_argument("--whole", action="store_true", help=whole)
    frames = file.add_mutually_exclusive_group()
    frames.add_argument("--dynamic", action="store_true", help="any size; resized inside to --size, if that is given")
    frame = "size of the frames, resized inside to --size (default: that of --size)"
    frames.add_argument("--frame", type=_size, metavar="HEIGHTxWIDTH", help=frame)
    file.add_argument("--out", type=Path, metavar="FILE", help="(default: named after the weights, in this folder)")

    price = command("cost", _cost, "GFLOPs by the paper's rule, plain MACs and parameters, beside the paper's numbers.")
    price.add_argument("--row", help="one row, such as table_2.bga (default: all)")

    names = ", ".join(network.name for network in peers.NETWORKS)
    timed = command("bench", _bench, "Time our networks and others by the paper's protocol, and record the speeds.")
    timed.add_argument("--only", nargs="+", metavar="NAME", help=f"some of: {names} (default: all)")
    how_often = (
        f"how often each is timed (default: {ITERATIONS}, as in the paper; of training {training_steps.ITERATIONS})"
    )
    timed.add_argument("--iterations", type=int, help=how_often)
    timed.add_argument("--limit", type=float, metavar="SECONDS", help="stop each after this time (default: none)")
    engine_names = ", ".join((bench.EAGER, *engines.ENGINES))
    which = f"some of: {engine_names} (default: all that can be had here)"
    timed.add_argument("--engines", nargs="+", metavar="NAME", help=which)
    which = f"some of: {', '.join(bench.PRECISIONS)} (default: all that can be had here)"
    timed.add_argument("--precisions", nargs="+", metavar="NAME", help=which)
    timed.add_argument(
        "--weights", type=shipped, metavar="FILE", help="time the network of this file alone, half a side of the frame"
    )
    instead = timed.add_mutually_exclusive_group()
    ours = "instead: our own ways from frame to class map, in every engine and precision, in turn"
    instead.add_argument("--ours", action="store_true", help=ours)
    instead.add_argument(
        "--training", action="store_true", help="instead: our training step beside a plain loop, on the CPU"
    )
    return parser


def _add_setting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="streets", help=f"{', '.join(DATASETS)} (default: %(default)s)")
    scales = "smoke: seconds a row, short: minutes, long: an hour, paper: the paper's schedule"
    parser.add_argument("--scale", default="short", help=f"{scales} (default: %(default)s)")


def _add_data_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", help="folder with the files of the data set (default: data/DATASET)")


def _add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run of each row for each (default: 0)")
    parser.add_argument("--only", nargs="+", metavar="NOTEBOOK", help="only these, such as table_2 (default: all)")


def _add_execution(parser: argparse.ArgumentParser) -> None:
    for field in dataclasses.fields(Execution):
        help = f"{EXECUTION_HELP[field.name]} (default: %(default)s)"
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=field.default, help=help)


def _execution(arguments: argparse.Namespace) -> Execution:
    return Execution(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Execution)})


def _plan(arguments: argparse.Namespace) -> None:
    batch = _room("notebook.batch")
    paths = batch.notebooks(arguments.only)
    parameters = batch.Parameters(arguments.dataset, arguments.scale, arguments.seeds)
    needed = batch.needed_by(paths, parameters)
    forecast = batch.forecast(needed, parameters, paths, _execution(arguments))
    if forecast.seconds:
        print(forecast.table().to_string(index=False, col_space={"time on one device": 20, "GiB": 7}))
    print(f"{parameters.setting}: {forecast}")


def _room(module: str) -> Any:
    """The batch or the page, which need what the notebooks need."""
    try:
        return importlib.import_module(f"bisenet.{module}")
    except ImportError as error:
        raise CommandError(f"{error}; the notebooks need: pip install -e '.[notebooks]'") from error


def _reproduce(arguments: argparse.Namespace) -> None:
    batch = _room("notebook.batch")
    paths = batch.notebooks(arguments.only)
    given = [_absolute(path) for path in (arguments.data_root, arguments.weights and str(shipped(arguments.weights)))]
    parameters = batch.Parameters(arguments.dataset, arguments.scale, arguments.seeds, True, *given)
    if arguments.weights:
        load_for(arguments.weights, arguments.dataset)  # before anything is trained
    try:
        index = batch.reproduce(paths, parameters, _execution(arguments))
    except batch.NotebooksFailedError as error:
        raise CommandError(str(error)) from error
    print(f"index: {index}\nresults: {_room('report.page').build()}")


def _report(arguments: argparse.Namespace) -> None:
    print(f"results: {_room('report.page').build()}")


def _absolute(path: str | None) -> str:
    """Notebooks run in a folder of their own, so a relative path must not reach them."""
    return str(Path(path).resolve()) if path else ""


def _train(arguments: argparse.Namespace) -> None:
    run = plan(paper.row(arguments.row), arguments.dataset, arguments.scale, arguments.seed)
    if arguments.set:
        run = dataclasses.replace(run, scale="custom", training=_changed(run.training, arguments.set))
    if arguments.weights:
        training = dataclasses.replace(run.training, initial=fingerprint(arguments.weights))
        run = dataclasses.replace(run, scale="custom", training=training, base=None)
    where = {"data_root": arguments.data_root, "weights": arguments.weights}
    record = find_or_train(run, **where, execution=_execution(arguments), watch=print_progress)
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun the first one speaks
        print_scores(record.matrix, DATASETS[run.dataset].classes)
        print(f"weights: {yours().weights_path(run)}")


def _publish(arguments: argparse.Namespace) -> None:
    if arguments.ship and len(arguments.runs) > 1:
        raise CommandError(f"--ship takes one run, got {len(arguments.runs)}")
    for run in arguments.runs:
        path = ship(run, arguments.ship) if arguments.ship else publish(run, weights=arguments.weights)
        print(f"{path}: published")


def _changed(config: Any, changes: list[str]) -> Any:
    """`config` with FIELD=VALUE changes: a number, several as 0.5,1, true, false, or a size such as 256x512."""
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    values = {}
    for change in changes:
        name, _, text = change.partition("=")
        values[choose("field", name, fields)] = _value(text, change)
    return dataclasses.replace(config, **values)


def _value(text: str, change: str) -> Any:
    if text in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text]
    for parse in (int, float, lambda t: tuple(map(int, t.split("x"))), lambda t: tuple(map(float, t.split(",")))):
        try:
            return parse(text)
        except ValueError:
            continue
    if text.replace("+", "").replace("-", "").isalpha():
        return text  # the name of a split or a protocol
    raise ValueError(
        f"--set {change}: the value is no number (several: 0.5,1), true, false, none, name or size, 256x512"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    recipe = paper.recipe(arguments.dataset, arguments.scale)
    split, protocol = arguments.split or recipe.test_split, arguments.protocol or recipe.protocol
    recipe = dataclasses.replace(recipe, test_split=split, protocol=protocol)
    sized = protocol in ("paper", "padded")  # the others show a file's own pixels, or several sizes
    seen = f"protocol {protocol!r}" + (f", images seen at {recipe.test_size[0]}x{recipe.test_size[1]}" if sized else "")
    if arguments.predictions:
        if arguments.dataset != "cityscapes":
            raise CommandError(f"--predictions are for the test server of cityscapes, not for {arguments.dataset}")
        paths = predictions(arguments.weights, recipe, arguments.data_root, arguments.predictions)
        print(f"{len(paths)} class maps of label ids, {seen}: {arguments.predictions}")
    if (arguments.dataset, split) != ("cityscapes", "test"):  # whose labels the server keeps
        matrix = evaluate_file(arguments.weights, recipe, arguments.dataset, arguments.data_root)
        print_scores(matrix, DATASETS[arguments.dataset].classes)
        print(f"{arguments.dataset} {split}, {seen}")
    elif not arguments.predictions:
        raise CommandError("Cityscapes keeps the labels of test to itself: write --predictions and send them there")


def _predict(arguments: argparse.Namespace) -> None:
    files, others = photos.find(arguments.paths)
    photos.check(files, arguments.out, arguments.overlay)  # before the engines are tried, which takes half a minute
    options = {"size": arguments.size, "engine": arguments.engine, "precision": arguments.precision}
    segmenter = Segmenter(arguments.weights, **options)
    colours = palette(segmenter.num_classes)
    failed = photos.segment(files, segmenter, colours, arguments.out, arguments.overlay)
    ignored = f"; {others} that are no pictures or videos were passed over" if others else ""
    print(f"{len(files) - len(failed)} of {len(files)} files: {arguments.out}{ignored}")
    print(f"engine {segmenter.engine}, {segmenter.precision}")
    for path, reason in failed.items():
        print(f"{path}: {reason}", file=sys.stderr)
    if failed:
        raise CommandError(f"{len(failed)} of {len(files)} files failed, for the reasons above")


def _convert(arguments: argparse.Namespace) -> None:
    if (arguments.mean is None) != (arguments.std is None):
        raise CommandError("--mean and --std belong together: give both, or neither")
    normalisation = (tuple(arguments.mean), tuple(arguments.std)) if arguments.mean else None
    network, found = convert(arguments.checkpoint, arguments.classes, normalisation)
    path = arguments.out or Path(f"{arguments.checkpoint.stem}.safetensors")
    if path.exists():
        raise CommandError(f"{path} is there already; give --out another name, or move it away")
    network.save(path)
    print(f"{arguments.checkpoint}: {found}\n{path}: written")
    size = " --size 1024x2048" if network.classes == DATASETS["cityscapes"].classes else ""  # as in their evaluation
    print(f"to use it: {PROGRAM} predict PHOTOGRAPH --weights {path}{size}")


def _export(arguments: argparse.Namespace) -> None:
    export = importlib.import_module("bisenet.inference.export")
    form = export.FORMATS[choose("format", arguments.to, export.FORMATS)]
    network = BiSeNetV2.load(arguments.weights)
    size = arguments.size or network.seen_at or cost.PAPER_INPUT
    given = None if arguments.dynamic else arguments.frame or size
    seen = size if arguments.frame else arguments.size if arguments.dynamic else None
    graph = export.Graph(given, arguments.whole, seen)
    path = arguments.out or Path(arguments.weights.stem + form.suffix)
    try:
        difference = export.export(network, arguments.to, graph, path)
    except RuntimeError as error:
        raise CommandError(f"{path} was not written: {error}") from error
    print(f"{path}: {export.described(graph, network.config.num_classes)}")
    print(f"loaded again and compared with the network: a logit differs by at most {difference:.1e}")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 512x1024 (height x width)")
    return int(height), int(width)


def _rehearse(arguments: argparse.Namespace) -> None:
    what = (paper.row(arguments.row), arguments.dataset, arguments.scale, arguments.iterations)
    rehearse(*what, _execution(arguments))


def print_scores(matrix: Any, classes: tuple[str, ...]) -> None:
    for name, value in zip(classes, iou(matrix), strict=True):
        print(f"{name:>14}  {100 * value:6.2f}")
    print(f"{'mIoU':>14}  {miou(matrix):6.2f} %\n{'pixAcc':>14}  {pixel_accuracy(matrix):6.2f} %")


def _cost(arguments: argparse.Namespace) -> None:
    rows = [paper.row(arguments.row)] if arguments.row else [row for name in paper.TABLES for row in paper.table(name)]
    print(f"{'':28} GFLOPs: paper     ours    GMACs   parameters")
    for row in rows:
        ours = cost.variant_cost(row.model)
        printed, verdict = f"{row.gflops:.{row.gflops_decimals}f}", ablations.gflops_verdict(row, ours.gflops)
        if math.isnan(row.gflops):
            printed, verdict = "-", ""
        print(f"{row.id:28} {printed:>13} {ours.gflops:8.2f} {ours.gmacs:8.2f} {ours.parameters:12,}  {verdict}")


def _bench(arguments: argparse.Namespace) -> None:
    idle = ["limit"] * arguments.training + ["only", "engines", "precisions", "weights"] * (
        arguments.training or arguments.ours
    )
    if given := [f"--{name}" for name in idle if getattr(arguments, name) is not None]:
        which = "--training" if arguments.training else "--ours"
        raise CommandError(f"{which} does not take {', '.join(given)}: it times its own ways, all of them")
    usual = training_steps.ITERATIONS if arguments.training else ITERATIONS
    iterations = usual if arguments.iterations is None else arguments.iterations
    if arguments.training:
        print(timings.training(training_steps.compare(iterations=iterations)).to_string())
    elif arguments.ours:
        record = ways.compare(iterations=iterations, limit=arguments.limit)
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


if __name__ == "__main__":
    sys.exit(main())
