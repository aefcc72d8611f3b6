"""The paper's measurement of speed (Section 5, Inference): a frame of 2048x1024 in, logits of 2048x1024 out, batch 1.

In the timer: the frame is resized to what the network sees, the network runs, its logits are resized to the frame.
"The time of resizing is included", says the paper, and names nothing else: the frame is on the device already, in
float and normalised, and the class of each pixel is not taken; here it is, in a timer of its own. All networks go this
same way, ours too, whose own way is `bisenet.speed.ways`. The paper repeats 5,000 times; so do we, unless a time limit
ends it. On a GPU stages follow each other without a pause, and their times are those of its events. Engines are those
of `bisenet.inference.engines`, and "eager", the network as PyTorch runs it unasked.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bisenet.config import Size
from bisenet.model import upsample
from bisenet.runs.clock import between

ITERATIONS = 5_000  # Section 5, Inference
WARM_UP = 20

SpeedRecord = dict[str, Any]  # as it is written: timings by name, and all that can move them

# What goes in, and the stages that it passes, each timed by itself.
Way = tuple[Any, Mapping[str, Callable[[Any], Any]]]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds of a frame: the median, and `low` and `high`, the 5th and 95th percentiles, over `iterations`."""

    iterations: int
    median: float
    low: float
    high: float

    @property
    def fps(self) -> float:
        """Frames per second, by the median."""
        return 1000 / self.median


def timing(seconds: np.ndarray) -> Timing:
    """Of the seconds of each iteration, (n,)."""
    low, median, high = (float(value) for value in 1000 * np.percentile(seconds, (5, 50, 95)))
    return Timing(len(seconds), median, low, high)


@torch.inference_mode()
def time_in_turn(
    ways: Mapping[str, Way],
    *,
    iterations: int = ITERATIONS,
    limit: float | None = None,
    clock: Callable[[], Any] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Seconds of every stage of every way, float64 (iterations, stages) by way; on a GPU by its events.

    The ways take turns, so that whatever else the machine does meets them all alike. After `limit` seconds for each of
    them no other iteration begins, but one is always made. The warm-up, as many iterations at most, is not returned and
    is held to a tenth of the limit.
    """
    _repeat(ways, min(WARM_UP, iterations), limit and limit / 10, clock)
    return _repeat(ways, iterations, limit, clock)


def _repeat(
    ways: Mapping[str, Way], times: int, limit: float | None, clock: Callable[[], Any]
) -> dict[str, np.ndarray]:
    seconds: dict[str, list[list[float]]] = {name: [] for name in ways}
    began = clock()
    for done in range(times):
        if done and limit is not None and sum(between([began, clock()])) >= limit * len(ways):
            break
        for name, (value, stages) in ways.items():
            moments = [clock()]
            for stage in stages.values():
                value = stage(value)
                moments.append(clock())
            seconds[name].append(between(moments))
    return {name: np.array(of_way) for name, of_way in seconds.items()}


STAGES = ("resize", "network", "upsample", "argmax")
PLAIN = "plain, 32-true"  # the loop that others of `training_steps` are compared with
WAY_STAGES = ("resize", "network", "classes")  # of this package's own, where the class is found in one pass


def through(network: Callable[[Tensor], Tensor], frame: Tensor, size: Size) -> Way:
    """What is timed: frame (1, 3, H, W) -> images (1, 3, *size) -> logits (1, K, h, w) -> (1, K, H, W) -> classes."""
    enlarge = functools.partial(resize, size=(frame.shape[2], frame.shape[3]))
    stages = (functools.partial(resize, size=size), network, enlarge, functools.partial(torch.argmax, dim=1))
    return frame, dict(zip(STAGES, stages, strict=True))


def resize(x: Tensor, size: Size) -> Tensor:
    """Bilinear; what has the size already is left alone."""
    return x if tuple(x.shape[2:]) == size else upsample(x, size)


def check(iterations: int, limit: float | None) -> None:
    """ValueError if nothing would be measured."""
    if iterations < 1 or not (limit is None or limit > 0):
        raise ValueError(f"iterations is {iterations} and limit {limit}: at least 1, and more than 0 seconds")


def rounded(of: Timing) -> dict[str, Any]:
    """A timing for a record."""
    return {key: round(value, 4) for key, value in dataclasses.asdict(of).items()}


def timing_of(entry: Mapping[str, Any]) -> Timing:
    """The timing of one network of a record, by the paper's protocol."""
    return Timing(**{field.name: entry["timing"][field.name] for field in dataclasses.fields(Timing)})


def share_of_peak(entry: Mapping[str, Any], precision: str) -> float:
    """What the network alone, of one entry of a record, reaches of the peak in its precision, percent.

    NaN if that is not known: the peaks of older records are those in fp32, without a word.
    """
    if "gflop" not in entry or (peak := entry["process"]["peak"]).get("precision", "fp32") != precision:
        return math.nan
    return percent_of_peak(entry["gflop"], entry["stages"]["network"]["median"], peak)


def percent_of_peak(gflop: float, ms: float, peak: Mapping[str, Any]) -> float:
    """What so much arithmetic in so many milliseconds is of a peak (`machine.machine_peak`)."""
    return 100_000 * float(gflop / ms / peak["gflops"])
