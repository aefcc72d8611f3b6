"""Commands that train and test: one run, many, and the page of what came out."""

import argparse
import dataclasses
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, get_type_hints

from bisenet import paper
from bisenet.commands.common import (
    Command,
    CommandError,
    add_batch,
    add_data_root,
    add_execution,
    add_setting,
    execution_of,
    is_first,
    path_of,
    print_scores,
    weights_of,
)
from bisenet.commands.results import write_results
from bisenet.config import choose
from bisenet.data import DATASETS
from bisenet.data.miniature import SIZES as MINIATURES
from bisenet.evaluate import PROTOCOLS
from bisenet.runs.plan import plan
from bisenet.runs.publish import publish, ship
from bisenet.runs.rehearse import ITERATIONS, rehearse
from bisenet.runs.store import yours
from bisenet.runs.testing import evaluate_file, export_predictions, load_for
from bisenet.runs.training import find_or_train, print_progress
from bisenet.runs.transfer import fingerprint
from bisenet.train import TrainConfig


def _reproduce_flags(parser: argparse.ArgumentParser) -> None:
    add_setting(parser)
    add_data_root(parser)
    add_batch(parser)
    parser.add_argument(
        "--weights", type=weights_of, metavar="FILE", help="a network to look at in the quickstart and Figures 8 to 10"
    )
    add_execution(parser)


def _reproduce(arguments: argparse.Namespace) -> None:
    batch = _room("notebook.batch")
    paths = batch.notebooks(arguments.only)
    given = [_absolute(path) for path in (arguments.data_root, arguments.weights)]
    parameters = batch.Parameters(arguments.dataset, arguments.scale, arguments.seeds, True, *given)
    if arguments.weights:
        load_for(arguments.weights, arguments.dataset)  # before anything is trained
    try:
        index = batch.reproduce(paths, parameters, execution_of(arguments))
    except batch.NotebooksFailedError as error:
        raise CommandError(str(error)) from error
    print(f"index: {index}\nresults: {_room('report.page').build()}")


def _workflow_flags(parser: argparse.ArgumentParser) -> None:
    add_setting(parser)
    add_data_root(parser)
    add_batch(parser)
    add_execution(parser)
    after = "after --, such as: -- --dry-run, -- --executor slurm --jobs 32 (default: --cores all)"
    parser.add_argument("snakemake", nargs="*", metavar="SNAKEMAKE", help=f"arguments of Snakemake {after}")


def _workflow(arguments: argparse.Namespace) -> None:
    if not importlib.util.find_spec("snakemake"):
        raise CommandError("Snakemake is not installed: pip install -c constraints.txt -e '.[cluster]'")
    batch, workflow = _room("notebook.batch"), _room("notebook.workflow")
    paths, data_root = batch.notebooks(arguments.only), _absolute(arguments.data_root)
    parameters = batch.Parameters(arguments.dataset, arguments.scale, arguments.seeds, True, data_root)
    words = workflow.command(paths, parameters, execution_of(arguments, here=False), arguments.snakemake)
    sys.stdout.flush()
    os.execv(words[0], words)  # so that signals and the exit code are Snakemake's


def _plan_flags(parser: argparse.ArgumentParser) -> None:
    add_setting(parser)
    add_data_root(parser)
    add_batch(parser)
    add_execution(parser)


def _plan(arguments: argparse.Namespace) -> None:
    batch = _room("notebook.batch")
    paths = batch.notebooks(arguments.only)
    parameters = batch.Parameters(arguments.dataset, arguments.scale, arguments.seeds)
    needed = batch.needed_by(paths, parameters)
    forecast = batch.forecast(needed, parameters, paths, execution_of(arguments))
    if forecast.seconds:
        print(forecast.table().to_string(index=False, col_space={"time on one device": 20, "GiB": 7}))
    print(f"{parameters.setting}: {forecast}")


def _report(arguments: argparse.Namespace) -> None:
    print(f"results: {_room('report.page').build()}\nrecords: {write_results()}")


def _train_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--row", default="table_2.ohem", help="the variant (default: %(default)s, the paper's final one)"
    )
    add_setting(parser)
    add_data_root(parser)
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    fields = ", ".join(field.name for field in dataclasses.fields(TrainConfig))
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help=f"change the recipe, sizes as 256x512, several numbers as 0.5,1; fields: {fields}",
    )
    parser.add_argument("--weights", type=weights_of, help="begin with this file, all but its classifiers")
    add_execution(parser)


def _train(arguments: argparse.Namespace) -> None:
    run = plan(paper.row(arguments.row), arguments.dataset, arguments.scale, arguments.seed)
    if arguments.set:
        run = dataclasses.replace(run, scale="custom", training=_changed(run.training, arguments.set))
    if arguments.weights:
        training = dataclasses.replace(run.training, initial=fingerprint(arguments.weights))
        run = dataclasses.replace(run, scale="custom", training=training, base=None)
    found, execution = yours().find(run), execution_of(arguments)
    how: dict[str, Any] = {"data_root": arguments.data_root, "weights": arguments.weights, "watch": print_progress}
    record = find_or_train(run, execution=execution, **how)
    if is_first(execution):
        print_scores(record.matrix, DATASETS[run.dataset].classes)
        if found:
            print(f"found, not trained again: recorded on {found.date[:10]}")
        print(f"weights: {yours().weights_path(run)}")


def _publish_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a folder with record.json, or a name in results/runs/")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--weights", action="store_true", help="the networks too, in half precision")
    shipping = "instead: the network of one run becomes bisenet/weights/NAME.safetensors, its record beside it"
    how.add_argument("--ship", metavar="NAME", help=shipping)


def _publish(arguments: argparse.Namespace) -> None:
    if arguments.ship and len(arguments.runs) > 1:
        raise CommandError(f"--ship takes one run, got {len(arguments.runs)}")
    for run in arguments.runs:
        path = ship(run, arguments.ship) if arguments.ship else publish(run, weights=arguments.weights)
        print(f"{path}: published")


def _rehearse_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--row", default="table_2.ohem", help="the variant (default: %(default)s)")
    parser.add_argument("--dataset", default="cityscapes", help=f"{', '.join(MINIATURES)} (default: %(default)s)")
    parser.add_argument("--scale", default="paper", help="(default: %(default)s)")
    how_many = f"(default: {ITERATIONS['cpu']} on a CPU, {ITERATIONS['cuda']} on a GPU)"
    parser.add_argument("--iterations", type=int, help=how_many)
    add_execution(parser)


def _rehearse(arguments: argparse.Namespace) -> None:
    row = paper.row(arguments.row)
    rehearse(row, arguments.dataset, arguments.scale, arguments.iterations, execution_of(arguments))


def _evaluate_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", type=weights_of, help="a .safetensors file that a run or BiSeNetV2.save wrote")
    add_setting(parser)
    add_data_root(parser)
    parser.add_argument("--split", help="(default: that of the recipe)")
    parser.add_argument("--protocol", help=f"{', '.join(PROTOCOLS)} (default: that of the recipe)")
    parser.add_argument(
        "--predictions", type=path_of, metavar="FOLDER", help="Cityscapes: write PNGs for its test server"
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
        paths = export_predictions(arguments.weights, recipe, arguments.data_root, arguments.predictions)
        print(f"{len(paths)} class maps of label ids, {seen}: {arguments.predictions}")
    if (arguments.dataset, split) != ("cityscapes", "test"):  # whose labels the server keeps
        matrix = evaluate_file(arguments.weights, recipe, arguments.dataset, arguments.data_root)
        print_scores(matrix, DATASETS[arguments.dataset].classes)
        print(f"{arguments.dataset} {split}, {seen}")
    elif not arguments.predictions:
        raise CommandError("Cityscapes keeps the labels of test to itself: write --predictions and send them there")


def _room(module: str) -> Any:
    """The batch or the page, which need what the notebooks need."""
    try:
        return importlib.import_module(f"bisenet.{module}")
    except ImportError as error:
        raise CommandError(f"{error}; the notebooks need: pip install -e '.[notebooks]'") from error


def _absolute(path: str | Path | None) -> str:
    """Notebooks run in a folder of their own, so a relative path must not reach them."""
    return str(Path(path).expanduser().resolve()) if path else ""


def _changed(config: TrainConfig, changes: list[str]) -> TrainConfig:
    """A recipe with FIELD=VALUE changes (`paper.from_text`)."""
    kinds, values = get_type_hints(TrainConfig), {}
    for change in changes:
        given, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"--set takes FIELD=VALUE, without spaces, got {change!r}")
        name = choose("field", given, kinds)
        values[name] = paper.from_text(text, kinds[name])
    try:
        return dataclasses.replace(config, **values)
    except ValueError as error:
        raise ValueError(f"{error}; sizes are written 256x512, several numbers 0.5,1, nothing none") from error


def _no_flags(parser: argparse.ArgumentParser) -> None:
    pass


COMMANDS: dict[str, Command] = {
    "reproduce": (
        "Execute the notebooks, train what is missing, write tables and an index.",
        _reproduce_flags,
        _reproduce,
    ),
    "workflow": ("The same as jobs of a cluster, or on plain cores, by Snakemake.", _workflow_flags, _workflow),
    "plan": ("Say what a reproduction would cost: distinct runs, hours, memory; trains nothing.", _plan_flags, _plan),
    "report": ("Write all results as one page: tables beside the paper's, figures, provenance.", _no_flags, _report),
    "train": ("Train one row of a table and record it; an interrupted run goes on.", _train_flags, _train),
    "publish": ("Check records of yours and copy them into results/records/.", _publish_flags, _publish),
    "rehearse": ("A few iterations of a recipe at its real size on a miniature data set.", _rehearse_flags, _rehearse),
    "evaluate": ("Evaluate a weights file by the protocol of a data set and scale.", _evaluate_flags, _evaluate),
}
