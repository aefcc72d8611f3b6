"""What a reproduction will cost, before it starts: distinct runs, hours and memory, from a few timed steps here.

On a GPU a network is timed at the batch and size of its recipe. On a CPU, where that would take long, it is timed at
fewer pixels, and the time is taken to grow with them; the forecast says so. Reading the data is not timed: it holds if
they keep up.
"""

import dataclasses
import heapq
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from bisenet.data import DATASETS
from bisenet.evaluate import predict
from bisenet.execution import Execution
from bisenet.runs.clock import between, clock_of
from bisenet.runs.memory import attempt, let_go
from bisenet.runs.plan import Run
from bisenet.runs.provenance import describe_device, where_measured
from bisenet.runs.store import yours
from bisenet.runs.training import lacks


@dataclasses.dataclass(frozen=True)
class Forecast:
    """`runs` are all, `seconds` (on one device) and `memory` (bytes of a training step on each device) by name those
    that are still to be trained.
    """

    runs: list[Run]
    recorded: int
    lacking: int  # the weights that they begin with are not on this machine
    seconds: dict[str, float]
    memory: dict[str, float]
    overhead: float  # seconds beside the runs: notebooks, processes, and the forecast itself
    device: str
    devices: int = 1  # that train one run together
    processes: int = 1  # runs at a time

    @property
    def hours(self) -> float:
        busy = [0.0] * self.processes  # for how long, until all runs are done, the longest of which begins first
        for seconds in sorted(self.seconds.values(), reverse=True):
            heapq.heapreplace(busy, busy[0] + seconds / self.devices)
        return (max(busy) + self.overhead) / 3600

    def __str__(self) -> str:
        line = f"{len(self.runs)} distinct runs, {self.recorded} recorded, {len(self.seconds)} to train"
        if self.lacking:
            line += f", {self.lacking} without the weights that they begin with"
        if not self.seconds:
            return line
        widest = max(self.memory, key=lambda name: self.memory[name])
        number = self.devices * self.processes
        many = f"{number} times " if number > 1 else ""
        line += f"; if the data keep up about {_duration(self.hours)} on {many}{self.device}"
        return f"{line}; about {self.memory[widest] / 2**30:.1f} GiB for a step of {widest}"

    def table(self) -> pd.DataFrame:
        """One line for each run that is still to be trained."""
        lines = [(name, _duration(s / 3600), f"{self.memory[name] / 2**30:.1f}") for name, s in self.seconds.items()]
        return pd.DataFrame(lines, columns=["run", "time on one device", "GiB"])


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} hours"
    return f"{60 * hours:.1f} minutes" if 60 * hours >= 1 else f"{3600 * hours:.1f} seconds"


def forecast_runs(
    runs: list[Run],
    execution: Execution,
    *,
    notebooks: int,
    reading: float,
    start: Callable[[], float],
    processes: int = 1,
) -> Forecast:
    """Time the runs that have no record of yours, on one device.

    `notebooks` is how many will be started, `start` times that of one in seconds, `reading` are the seconds that their
    cells take beside training, `processes` is how many runs are trained at a time.
    """
    began = time.perf_counter()
    missing = [run for run in runs if not yours().find(run)]
    able = [run for run in missing if not lacks(run)]
    devices = execution.devices * execution.num_nodes
    fabric, parts = execution.alone(), devices * execution.accumulation
    timings = {key: _timed(run, fabric, parts) for key, run in {_kind(run): run for run in able}.items()}
    let_go(fabric.device)
    device = where_measured({"device": describe_device(fabric.device), "threads": torch.get_num_threads()})
    how = "" if all(timing.whole for timing in timings.values()) else ", timed at fewer pixels"
    starts = notebooks + (len(able) / processes if processes > 1 else 0)  # each run then has a process of its own
    overhead = starts * start() + reading + time.perf_counter() - began if able else 0.0
    return Forecast(
        runs=runs,
        recorded=len(runs) - len(missing),
        lacking=len(missing) - len(able),
        seconds={run.name: timings[_kind(run)].seconds for run in able},
        memory={run.name: timings[_kind(run)].memory for run in able},
        overhead=overhead,
        device=f"{device}, {execution.resolved_precision}{how}",
        devices=devices,
        processes=processes,
    )


def _kind(run: Run) -> tuple[object, object]:
    return run.model, run.training


@dataclasses.dataclass(frozen=True)
class _Timing:
    """Of one run: seconds of all of it on one device, bytes of a step on each, and whether that was the real one."""

    seconds: float
    memory: float
    whole: bool


def _timed(run: Run, fabric: Fabric, parts: int) -> _Timing:
    """Time some steps of a batch in `parts`, and a test."""
    let_go(fabric.device)  # the network before
    training, clock = run.training, clock_of(fabric.device)
    began = clock()
    trial = attempt(run.model, training, fabric, parts)
    first = sum(between([began, clock()]))
    a_step = _seconds(trial.step, fabric)
    picture = np.zeros((*(training.image_size or training.test_size), 3), dtype=np.uint8)
    model, how = trial.model.eval(), (training.test_size, fabric.device, training.protocol)
    a_test = _seconds(lambda: predict(model, picture, *how).argmax(1), fabric)
    tests = training.test_images or DATASETS[run.dataset].splits[training.test_split]
    seconds = first + trial.factor * a_step * (training.iterations - 1) + a_test * tests
    return _Timing(seconds, trial.need(parts), trial.factor <= parts)


def _seconds(call: Callable[[], object], fabric: Fabric) -> float:
    """Seconds of a call, the better of two tries; a GPU is not waited for between the calls, as in training."""
    clock, found = clock_of(fabric.device), []
    calls = 1 if fabric.device.type == "cpu" else 5
    for _ in range(2):
        began = clock()
        for _ in range(calls):
            call()
        found.append(sum(between([began, clock()])) / calls)
    return min(found)
