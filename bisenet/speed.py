"""The paper's measurement of speed (Section 5, Inference): a frame of 2048x1024 in, logits of 2048x1024 out, batch 1.

In the timer: the frame is resized to what the network sees, the network runs, its logits are resized to the frame.
"The time of resizing is included", says the paper, and names nothing else: the frame is on the device already, in
float and normalised, and the class of each pixel (argmax) is not taken. All networks go this same way, ours too, where
`protocols.predict` spares an interpolation. The paper repeats 5,000 times; so do we, unless a time limit ends it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import importlib.metadata
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bisenet import origin, peers, runs
from bisenet.config import Size
from bisenet.files import write_json
from bisenet.model import upsample
from bisenet.peers import CLASSES, FRAME, Network

ITERATIONS = 5_000  # Section 5, Inference
WARM_UP = 20
ENGINE, PRECISION = "eager", "32-true"

# What a notebook's word `scale` means for a timing.
EFFORT: dict[str, dict[str, Any]] = {"smoke": {"iterations": 1}, "short": {"limit": 10.0}, "paper": {}}


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds of a frame: the median, and `low` and `high`, the 5th and 95th percentiles, over `iterations`."""

    iterations: int
    warm_up: int  # iterations before those, not counted
    median: float
    low: float
    high: float

    @property
    def fps(self) -> float:
        """Frames per second, by the median."""
        return 1000 / self.median


def through(network: nn.Module, frame: Tensor, size: Size) -> Tensor:
    """All that is timed: frame (1, 3, H, W) -> images (1, 3, *size) -> logits (1, K, h, w) -> (1, K, H, W)."""
    return _resized(network(_resized(frame, size)), (frame.shape[2], frame.shape[3]))


def _resized(x: Tensor, size: Size) -> Tensor:
    """Bilinear; what has the size already is left alone."""
    return x if tuple(x.shape[2:]) == size else upsample(x, size)


@torch.inference_mode()
def measure(
    network: nn.Module,
    frame: Tensor,
    size: Size,
    *,
    iterations: int = ITERATIONS,
    limit: float | None = None,
    clock: Callable[[], float] | None = None,
) -> Timing:
    """Time a network on a frame (1, 3, H, W) that it sees at `size`: `iterations` times, each by itself.

    After `limit` seconds no other iteration begins, but one is always made. The warm-up, as many iterations at most,
    is held to a tenth of the limit.
    """
    clock = clock or functools.partial(_now, frame.device)
    call = functools.partial(through, network, frame, size)
    warm_up = _repeat(call, min(WARM_UP, iterations), limit and limit / 10, clock)
    seconds = _repeat(call, iterations, limit, clock)
    low, median, high = (float(value) for value in 1000 * np.percentile(seconds, (5, 50, 95)))
    return Timing(len(seconds), len(warm_up), median, low, high)


def _repeat(call: Callable[[], object], times: int, limit: float | None, clock: Callable[[], float]) -> list[float]:
    """Seconds of each call."""
    moments = [clock()]
    while len(moments) == 1 or (len(moments) <= times and (limit is None or moments[-1] - moments[0] < limit)):
        call()
        moments.append(clock())
    return np.diff(moments).tolist()


def _now(device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def bench(
    names: Sequence[str] | None = None,
    *,
    iterations: int = ITERATIONS,
    limit: float | None = None,
    folder: Path | None = None,
) -> list[str]:
    """Time networks (`peers.NETWORKS`, by name, or all) on the GPU, or else on the CPU, and print and record each.

    The record is written after each network, to `results/speed/` or `folder`, beside what it held already. Returns the
    names of those that failed, such as for want of memory or of a package. ValueError for an unknown name, or for a
    number or limit that leaves nothing to do.
    """
    networks = peers.chosen(names)
    if iterations < 1 or not (limit is None or limit > 0):
        raise ValueError(f"iterations is {iterations} and limit {limit}: at least 1, and more than 0 seconds")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder, machine = folder or runs.results_folder() / "speed", _machine(device)
    runs.check_writable(folder)
    path = folder / f"{_name(machine)}.json"
    record = _begun(path, machine)
    print(f"{title(machine)}\n{'':16} {'sees':>9} {'ms':>9} {'5 %':>9} {'95 %':>9} {'FPS':>8} iterations", flush=True)
    process, failed = {"iterations_asked": iterations, "limit": limit, **_process(device)}, []
    for network in networks:
        moment = _moment()
        try:
            timing = _timed(network, device, iterations, limit)
        except (ImportError, RuntimeError) as error:  # out of memory is a RuntimeError
            reason = str(error).partition("\n")[0]
            print(f"{network.name:16} failed: {reason}", flush=True)
            failed.append(network.name)
        else:
            record["networks"][network.name] = _entry(network, timing, {**process, **moment})
            write_json(path, record)
            print(_line(network, timing), flush=True)
    return failed


def _begun(path: Path, machine: dict[str, Any]) -> runs.Record:
    """The record to go on with; one that was made in another way is not."""
    record = json.loads(path.read_text()) if path.exists() else {}
    return record if {**record, **machine} == record else {**machine, "networks": {}}


def _timed(network: Network, device: torch.device, iterations: int, limit: float | None) -> Timing:
    torch.manual_seed(0)
    model = peers.build(network, network.input_size).to(device)
    frame = torch.randn(1, 3, *FRAME, device=device)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        return measure(model, frame, network.input_size, iterations=iterations, limit=limit)


def _machine(device: torch.device) -> dict[str, Any]:
    """What all networks of one record have in common."""
    return {
        **{"device": origin.describe_device(device), "threads": torch.get_num_threads()},
        **{"engine": ENGINE, "precision": PRECISION},
        **{"batch": 1, "frame": list(FRAME), "classes": CLASSES, "resize": "bilinear", "memory_format": "contiguous"},
    }


def title(record: runs.Record) -> str:
    """A record in a few words: device, engine, precision."""
    device = record["device"]
    where = device.get("gpu") or f"{device['cpu']}, {record['threads']} threads"
    return f"{where}, {record['engine']}, {record['precision']}"


def _name(record: runs.Record) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title(record).lower()).strip("-")


def _process(device: torch.device) -> dict[str, Any]:
    """What else can move a number; networks may be timed by several processes, so each has its own."""
    versions = origin.versions()
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions["pytorchcv"] = importlib.metadata.version("pytorchcv")
    on_device: dict[str, Any] = {"instructions": torch.backends.cpu.get_cpu_capability()}
    if device.type == "cuda":
        on_device = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        on_device |= {"cudnn_benchmark": True, "tf32_convolutions": True}  # by cudnn.flags in `_timed`
    return {
        "versions": versions,
        "git": origin.git_state(),
        **on_device,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
    }


def _moment() -> dict[str, Any]:
    return {
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,  # what else ran, the minute before
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _entry(network: Network, timing: Timing, process: dict[str, Any]) -> dict[str, Any]:
    return {
        "built": f"{network.package} {network.builder}",
        "input_size": list(network.input_size),
        "timing": {key: round(value, 4) for key, value in dataclasses.asdict(timing).items()},
        "process": process,
    }


def timing_of(entry: dict[str, Any]) -> Timing:
    """The timing of one network of a record."""
    return Timing(**entry["timing"])


def _line(network: Network, timing: Timing) -> str:
    seen = "x".join(str(side) for side in reversed(network.input_size))
    numbers = f"{timing.median:9.2f} {timing.low:9.2f} {timing.high:9.2f} {timing.fps:8.2f}"
    return f"{network.name:16} {seen:>9} {numbers} {timing.iterations:10}"


def shipped_folder() -> Path:
    """Records that came with the repository."""
    return runs.records_folder() / "speed"


def records(folder: Path) -> dict[str, runs.Record]:
    """The records of a folder by their titles, those of a GPU first."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return {title(record): record for record in sorted(found, key=lambda record: "gpu" not in record["device"])}
