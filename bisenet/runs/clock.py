"""Moments on a device, and the seconds between them. A GPU has its own: events in the order of its work."""

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch


def clock_of(device: torch.device) -> Callable[[], Any]:
    """What gives moments for `between`: on a GPU it does not wait, so that the next work is there when it is done."""
    if device.type == "cuda":
        return _event
    return time.perf_counter if device.type == "cpu" else functools.partial(_now, device)


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _now(device: torch.device) -> float:
    torch.accelerator.synchronize(device)
    return time.perf_counter()


def between(moments: Sequence[Any]) -> list[float]:
    """Seconds from each moment to the next one; waits until a GPU has reached the last."""
    if isinstance(moments[-1], float):
        return [second - first for first, second in itertools.pairwise(moments)]
    moments[-1].synchronize()
    return [first.elapsed_time(second) / 1000 for first, second in itertools.pairwise(moments)]  # from milliseconds
