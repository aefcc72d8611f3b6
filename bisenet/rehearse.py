"""The whole way of a run, at its real size but for a few iterations, on a miniature of the data set.

What a user of the licensed data would meet after a day is met after minutes: too little memory, a disk that is full.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from bisenet import memory, paper, runs
from bisenet.data import miniature
from bisenet.train import Execution, print_progress

IMAGES = {"cityscapes": {"train": 4, "val": 2, "test": 2}, "camvid": {"train": 2, "val": 2, "test": 2}}
IMAGES["cocostuff"] = {"train": 4, "test": 2}


def rehearse(row: paper.Row, dataset: str, scale: str, iterations: int, execution: Execution) -> None:
    """Train, evaluate and, for Cityscapes, export; print what a step takes. Nothing is left behind.

    ValueError for several devices, each of which would take its share of the batch.
    """
    if execution.several:
        raise ValueError("a rehearsal is for one device; of several, each will take its share of the batch")
    run = runs.plan(row, dataset, scale, 0)
    run = dataclasses.replace(run, scale="rehearsal", training=_fitting(run, iterations, execution))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / dataset
        miniature.make(dataset, root, IMAGES[dataset])
        print(f"{dataset}: {sum(IMAGES[dataset].values())} embedded scenes in its layout")
        os.environ["BISENET_RESULTS"] = folder  # a rehearsal is no result
        warnings.filterwarnings("ignore", message=".* is not the whole data set")
        record = runs.get(run, data_root=root, execution=execution, watch=print_progress)
        _report(run, record, paper.recipe(dataset, scale).iterations)
        if dataset == "cityscapes":
            on_test = dataclasses.replace(run.training, test_split="test")
            paths = runs.predictions(runs.weights_path(run), on_test, root, Path(folder) / "predictions")
            print(f"for the test server: {', '.join(path.name for path in paths)}")


def _fitting(run: runs.Run, iterations: int, execution: Execution) -> paper.TrainConfig:
    """The recipe for a few iterations, the batch in as many parts as the memory of the device demands."""
    training, fabric = dataclasses.replace(run.training, iterations=iterations), execution.fabric()
    trial = memory.attempt(run.model, training, fabric)
    need = trial.need(1, 1)
    has = memory.free(fabric) or need
    parts = memory.fitting(trial, training.batch, 1, has)
    size = "x".join(map(str, training.input_size))
    print(f"a step of {training.batch} images of {size} should take {need / 2**30:.1f} GiB, ", end="")
    print(f"{has / 2**30:.1f} are free")
    if parts < 2:
        return training  # it fits; or nothing would, and the run says so
    print(f"so a batch passes in {parts} parts, as it will by: python -m bisenet train --set accumulation={parts} ...")
    return dataclasses.replace(training, accumulation=parts)


def _report(run: runs.Run, record: runs.Record, whole: int) -> None:
    seconds, done = record["seconds"], run.training.iterations
    print(f"{done} iterations in {seconds['train']:.0f} s, {record['images']['test']} images tested in ", end="")
    print(f"{seconds['evaluate']:.1f} s by protocol {run.training.protocol!r}")
    print(f"at this pace all {whole:,} iterations take {whole * seconds['train'] / done / 3600:,.0f} hours")
    print(f"peak memory: {_peak() / 2**30:.1f} GiB")


def _peak() -> float:
    """Bytes that this process had at most, on its GPU if it has one."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
