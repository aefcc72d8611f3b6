"""The whole way of a run, at its real size but for a few iterations, on a miniature of the data set.

What a user of the licensed data would meet after a day is met after minutes: too little memory, a disk that is full.
"""

import contextlib
import dataclasses
import math
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning_fabric import Fabric

from bisenet import paper
from bisenet.config import choose
from bisenet.data import miniature
from bisenet.execution import Execution
from bisenet.runs import memory
from bisenet.runs.plan import Run, plan
from bisenet.runs.record import Record
from bisenet.runs.store import yours
from bisenet.runs.testing import export_predictions
from bisenet.runs.training import find_or_train
from bisenet.train import Progress

IMAGES = {"cityscapes": {"train": 4, "val": 2, "test": 2}, "camvid": {"train": 2, "val": 2, "test": 2}}
IMAGES["cocostuff"] = {"train": 4, "test": 2}
# By type of device: an iteration on a CPU is slow, and shows all; on a GPU what was read ahead is to be used up first.
ITERATIONS = {"cpu": 2, "cuda": 60}
NEVER = 10**9  # no checkpoint is written in the time that is measured, but after it


def rehearse(row: paper.Row, dataset: str, scale: str, iterations: int | None, execution: Execution) -> None:
    """Train with the real batch, evaluate and, for Cityscapes, export; print what a step takes. Nothing is left behind.

    `iterations`: by default those of `ITERATIONS`.
    """
    choose("data set with a miniature", dataset, IMAGES)
    fabric = execution.fabric()
    if iterations is None:
        iterations = ITERATIONS.get(fabric.device.type, 2)
    if iterations < 2:
        raise ValueError(f"iterations is {iterations}, a rehearsal takes two at least: the first is slow")
    run = plan(row, dataset, scale, 0)
    training, whole = dataclasses.replace(run.training, iterations=iterations), run.training.iterations
    run = dataclasses.replace(run, scale="rehearsal", training=training)
    execution = _fitting(run, execution, fabric)
    with tempfile.TemporaryDirectory() as folder, _results_in(folder), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* is not the whole data set")
        miniature.make(dataset, Path(folder) / dataset, IMAGES[dataset])
        print(f"{dataset}: {sum(IMAGES[dataset].values())} embedded scenes in its layout")
        moments = {0: time.monotonic()}  # by iterations done; these have been waited for

        def watch(progress: Progress) -> None:
            moments[progress.done] = time.monotonic()

        memory.forget_peak(fabric.device)
        record = find_or_train(run, data_root=Path(folder) / dataset, execution=execution, watch=watch)
        if fabric.is_global_zero:
            _report(run, record, moments, whole, fabric.device)
            _export(run, Path(folder))


@contextlib.contextmanager
def _results_in(folder: str) -> Iterator[None]:
    """A rehearsal is no result: it goes to a folder of its own, and what it reads into no cache."""
    before = {name: os.environ.get(name, "") for name in ("BISENET_RESULTS", "BISENET_CACHE")}
    os.environ |= {"BISENET_RESULTS": folder, "BISENET_CACHE": ""}
    try:
        yield
    finally:
        os.environ |= before  # empty is not set


def _fitting(run: Run, execution: Execution, fabric: Fabric) -> Execution:
    """The execution with a batch in as many parts as the memory of the devices demands."""
    has, training, devices = memory.free(fabric), run.training, fabric.world_size
    trial = memory.attempt(run.model, training, fabric, devices * execution.accumulation)
    need = trial.need(devices * execution.accumulation)
    parts = memory.fitting(trial, training.batch // devices, devices, math.inf if has is None else has)
    del trial
    memory.let_go(fabric.device)
    share, size = training.batch // devices // execution.accumulation, "x".join(map(str, training.input_size))
    free = "" if has is None else f", {has / 2**30:.1f} are free"
    print(f"a step of {share} images of {size} should take {need / 2**30:.1f} GiB on each device{free}")
    execution = dataclasses.replace(execution, checkpoint_seconds=NEVER)
    if has is None or need <= has or not parts:
        return execution
    print(f"so a batch passes in {parts} parts: give --accumulation {parts} to train, plan and reproduce too")
    return dataclasses.replace(execution, accumulation=parts)


def pace_of(moments: dict[int, float]) -> tuple[int, float]:
    """Iterations done when the second half begins, never none, and seconds of each in it; moments by iterations."""
    done = max(moments)
    since = max(seen for seen in moments if seen <= max(1, done // 2))
    return since, (moments[done] - moments[since]) / (done - since)


def _report(run: Run, record: Record, moments: dict[int, float], whole: int, device: torch.device) -> None:
    done, (since, pace) = run.training.iterations, pace_of(moments)
    print(f"{done} iterations in {moments[done] - moments[0]:.0f} s, after {since} of them {pace:.2f} s each; ", end="")
    print(f"{record.images['test']} images tested in {record.seconds['evaluate']:.1f} s, ", end="")
    print(f"protocol {run.training.protocol!r}")
    print(f"at this pace the {whole:,} iterations of the recipe take {whole * pace / 3600:,.1f} hours")
    kept = f", {torch.cuda.max_memory_reserved(device) / 2**30:.1f} with what is kept" if device.type == "cuda" else ""
    print(f"peak memory: {memory.peak(device) / 2**30:.1f} GiB{kept}; {record.processes[0]['precision']}")


def _export(run: Run, folder: Path) -> None:
    if run.dataset == "cityscapes":
        on_test = dataclasses.replace(run.training, test_split="test")
        paths = export_predictions(yours().weights_path(run), on_test, folder / "cityscapes", folder / "predictions")
        print(f"for the test server: {', '.join(path.name for path in paths)}")
