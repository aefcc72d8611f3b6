"""The paper's measurement of speed (Section 5, Inference): a frame of 2048x1024 in, logits of 2048x1024 out, batch 1.

In the timer: the frame is resized to what the network sees, the network runs, its logits are resized to the frame.
"The time of resizing is included", says the paper, and names nothing else: the frame is on the device already, in
float and normalised, and the class of each pixel is not taken; here it is, in a timer of its own. All networks go this
same way, ours too, whose own way is `bisenet.ways`. The paper repeats 5,000 times; so do we, unless a time limit ends
it. Engines are those of `bisenet.engines`, and "eager", the network as PyTorch runs it when nothing is asked of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import importlib.metadata
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bisenet import engines, origin, peers, runs
from bisenet.config import Size
from bisenet.data import choose
from bisenet.files import write_json
from bisenet.model import upsample
from bisenet.peers import CLASSES, FRAME, Network

ITERATIONS = 5_000  # Section 5, Inference
WARM_UP = 20
EAGER = "eager"
PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "int8")

# What a notebook's word `scale` means for a timing; "smoke" shows that everything runs, on frames that cost nothing.
EFFORT: dict[str, dict[str, Any]] = {
    "smoke": {"iterations": 1, "frame": (128, 256)},
    "short": {"limit": 10.0},
    "long": {"limit": 30.0},
    "paper": {},
}

# Seconds in which an engine is made of a network, about: on two slow cores, where nothing was compiled before.
LOADING = {EAGER: 1.5, "torch": 1.5, "compile": 35.0, "openvino": 5.0, "onnxruntime": 10.0, "tensorrt": 60.0}

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
def measure(
    ways: Mapping[str, Way],
    *,
    iterations: int = ITERATIONS,
    limit: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Seconds of every stage of every way, float64 (iterations, stages) by way.

    The ways take turns, so that whatever else the machine does meets them all alike. After `limit` seconds for each of
    them no other iteration begins, but one is always made. The warm-up, as many iterations at most, is not returned and
    is held to a tenth of the limit.
    """
    _repeat(ways, min(WARM_UP, iterations), limit and limit / 10, clock)
    return _repeat(ways, iterations, limit, clock)


def _repeat(
    ways: Mapping[str, Way], times: int, limit: float | None, clock: Callable[[], float]
) -> dict[str, np.ndarray]:
    seconds: dict[str, list[list[float]]] = {name: [] for name in ways}
    began = clock()
    for done in range(times):
        if done and limit is not None and clock() - began >= limit * len(ways):
            break
        for name, (value, stages) in ways.items():
            moments = [clock()]
            for stage in stages.values():
                value = stage(value)
                moments.append(clock())
            seconds[name].append(np.diff(moments).tolist())
    return {name: np.array(of_way) for name, of_way in seconds.items()}


def clock_of(device: torch.device) -> Callable[[], float]:
    """A clock that waits for the device each time."""
    return time.perf_counter if device.type == "cpu" else functools.partial(_now, device)


def _now(device: torch.device) -> float:
    torch.accelerator.synchronize(device)
    return time.perf_counter()


STAGES = ("resize", "network", "upsample", "argmax")


def through(network: Callable[[Tensor], Tensor], frame: Tensor, size: Size) -> Way:
    """What is timed: frame (1, 3, H, W) -> images (1, 3, *size) -> logits (1, K, h, w) -> (1, K, H, W) -> classes."""
    enlarge = functools.partial(resize, size=(frame.shape[2], frame.shape[3]))
    stages = (functools.partial(resize, size=size), network, enlarge, functools.partial(torch.argmax, dim=1))
    return frame, dict(zip(STAGES, stages, strict=True))


def resize(x: Tensor, size: Size) -> Tensor:
    """Bilinear; what has the size already is left alone."""
    return x if tuple(x.shape[2:]) == size else upsample(x, size)


def bench(
    names: Sequence[str] | None = None,
    *,
    more: Sequence[Network] = (),
    engine: str = EAGER,
    precision: str = "fp32",
    iterations: int = ITERATIONS,
    limit: float | None = None,
    frame: Size = FRAME,
    folder: Path | None = None,
) -> list[str]:
    """Time networks (`peers.NETWORKS`, by name, or all; and `more`) on the GPU or the CPU; print and record each.

    The record is written after each network, to `results/speed/` or `folder`, beside what it held already. Returns the
    names of those that failed, such as for want of memory or of a package. ValueError for an unknown name, for an
    engine that cannot do that here (`why_not`), or for a number or limit that leaves nothing to do.
    """
    networks, device = [*peers.chosen(names), *more], device_here()
    check(iterations, limit)
    if problem := why_not(engine, precision):
        raise ValueError(problem)
    folder, machine = folder or speed_folder(), {**machine_of(device, frame), "engine": engine, "precision": precision}
    runs.check_writable(folder)
    path = folder / f"{_name(machine)}.json"
    record = _begun(path, machine)
    print(
        f"{title(machine)}\n{'':16} {'sees':>9} {'ms':>9} {'5 %':>9} {'95 %':>9} {'FPS':>8} {'% peak':>6}", flush=True
    )
    process: dict[str, Any] = {"iterations_asked": iterations, "limit": limit, "peak": machine_peak(device)}
    process |= process_of(device)
    failed = []
    for network in networks:
        began = moment()
        try:
            seconds = _timed(network, device, machine, iterations, limit)
        except (ImportError, RuntimeError) as error:  # out of memory is a RuntimeError
            record["failed"][network.name] = str(error).partition("\n")[0]
            print(f"{network.name:16} failed: {record['failed'][network.name]}", flush=True)
            failed.append(network.name)
            write_json(path, record)
        else:
            record["networks"][network.name] = _entry(network, frame, seconds, {**process, **began})
            record["failed"].pop(network.name, None)
            write_json(path, record)
            print(_line(network, record["networks"][network.name]), flush=True)
    return failed


def combinations(names: Sequence[str] | None = None, precisions: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Engines and precisions that can be had here, of these names or of all.

    ValueError with near matches for an unknown name, and with a reason where one that is named leaves nothing.
    """
    known = (EAGER, *engines.ENGINES)
    found: list[tuple[str, str]] = []
    for engine in [choose("engine", name, known) for name in names or known]:
        problems = {of: why_not(engine, choose("precision", of, PRECISIONS)) for of in precisions or PRECISIONS}
        found += [(engine, precision) for precision, problem in problems.items() if not problem]
        if names and all(problems.values()):
            raise ValueError(next(iter(problems.values())))
    if not found:
        raise ValueError(f"nothing here computes in {' or '.join(precisions or PRECISIONS)}; fp32 is everywhere")
    return found


def why_not(engine: str, precision: str) -> str:
    """Why networks cannot be timed in an engine and precision here, or nothing."""
    if engine == EAGER:
        return "" if precision == "fp32" else f"engine {EAGER!r} is the network as it is, in fp32, not in {precision!r}"
    if precision == "int8":
        return "int8 needs frames from which it learns its ranges; it is measured for our own network only"
    return engines.why_not(engine, precision, device_here())


def check(iterations: int, limit: float | None) -> None:
    """ValueError if nothing would be measured."""
    if iterations < 1 or not (limit is None or limit > 0):
        raise ValueError(f"iterations is {iterations} and limit {limit}: at least 1, and more than 0 seconds")


def device_here() -> torch.device:
    """The GPU, or the CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def machine_peak(device: torch.device) -> dict[str, float]:
    """What the device does at best here: GFLOP/s of a product of matrices in fp32, GB/s of a copy; five tries each."""
    side, clock = (2048 if device.type == "cpu" else 8192), clock_of(device)
    a, b = torch.randn(2, side, side, device=device)
    values = torch.zeros(2**26, device=device)
    target = torch.empty_like(values)

    def best(call: Callable[[], object]) -> float:
        call()
        moments = [clock()]
        for _ in range(5):
            call()
            moments.append(clock())
        return float(np.diff(moments).min())

    product, copy = best(lambda: a @ b), best(lambda: target.copy_(values))
    return {"gflops": round(2e-9 * side**3 / product, 1), "gigabytes": round(2e-9 * values.nbytes / copy, 1)}


def speed_folder() -> Path:
    """Where your records go."""
    return runs.results_folder() / "speed"


def shipped_folder() -> Path:
    """Records that came with the repository."""
    return runs.records_folder() / "speed"


def _begun(path: Path, machine: dict[str, Any]) -> runs.Record:
    """The record to go on with; one that was made in another way is not."""
    record = json.loads(path.read_text()) if path.exists() else {}
    return {"failed": {}, **record} if {**record, **machine} == record else {**machine, "networks": {}, "failed": {}}


def _timed(
    network: Network, device: torch.device, machine: dict[str, Any], iterations: int, limit: float | None
) -> np.ndarray:
    torch.manual_seed(0)
    frame = torch.randn(1, 3, *machine["frame"], device=device)
    size = network.seen_of(tuple(machine["frame"]))
    model: Any = peers.build(network, size).to(device)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        if machine["engine"] != EAGER:
            with torch.inference_mode():
                example = resize(frame, size)
            model = engines.prepare(model, example, machine["engine"], machine["precision"])
        ways = {network.name: through(model, frame, size)}
        return measure(ways, iterations=iterations, limit=limit, clock=clock_of(device))[network.name]


def forecast(networks: Sequence[Network], ways: Sequence[str], scale: str) -> float:
    """Seconds that it takes to time networks at a scale, each in some ways; at least, where there is no limit.

    A way is given by its engine.
    """
    timed = 1.1 * EFFORT[scale].get("limit", 0.0)  # with the warm-up
    total = len(networks) * sum(LOADING[engine] + timed for engine in ways)
    if scale == "paper":
        flop = 2e9 * sum(peers.cost(network).gmacs for network in networks)
        total += ITERATIONS * len(ways) * flop / (1e9 * machine_peak(device_here())["gflops"])
    return total


def machine_of(device: torch.device, frame: Size) -> dict[str, Any]:
    """What all that one record holds has in common."""
    return {
        **{"device": origin.describe_device(device), "threads": torch.get_num_threads()},
        **{"batch": 1, "frame": list(frame), "classes": CLASSES, "resize": "bilinear"},
    }


def title(record: Mapping[str, Any]) -> str:
    """A record in a few words: device, engine, precision."""
    return f"{place(record)}, {record['engine']}, {record['precision']}"


def place(record: Mapping[str, Any]) -> str:
    """Where it was measured."""
    device = record["device"]
    return device.get("gpu") or f"{device['cpu']}, {record['threads']} threads"


def _name(record: Mapping[str, Any]) -> str:
    return slug(title(record))


def slug(text: str) -> str:
    """A text as the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def process_of(device: torch.device) -> dict[str, Any]:
    """What else can move a number; networks may be timed by several processes, so each has its own."""
    versions = origin.versions()
    for package in ("pytorchcv", "openvino", "onnxruntime", "nncf", "torch_tensorrt"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    on_device: dict[str, Any] = {"instructions": torch.backends.cpu.get_cpu_capability()}
    if device.type == "cuda":
        on_device = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        on_device |= {"cudnn_benchmark": True}
    return {
        "versions": versions,
        "git": origin.git_state(),
        **on_device,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
    }


def moment() -> dict[str, Any]:
    """When a measurement began, and how busy the machine was the minute before."""
    return {
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def rounded(of: Timing) -> dict[str, Any]:
    """A timing for a record."""
    return {key: round(value, 4) for key, value in dataclasses.asdict(of).items()}


def _entry(network: Network, frame: Size, seconds: np.ndarray, process: dict[str, Any]) -> dict[str, Any]:
    """`timing` is that of the paper's protocol, which ends with logits; `with_argmax` goes on to the classes.

    `gflop` is the arithmetic of the network alone, two for each multiply-accumulate.
    """
    return {
        "built": network.built,
        "input_size": list(network.seen_of(frame)),
        "gflop": 2 * peers.cost(network, frame).gmacs,
        "timing": rounded(timing(seconds[:, :3].sum(1))),
        "with_argmax": rounded(timing(seconds.sum(1))),
        "stages": {stage: rounded(timing(of_stage)) for stage, of_stage in zip(STAGES, seconds.T, strict=True)},
        "process": process,
    }


def timing_of(entry: Mapping[str, Any]) -> Timing:
    """The timing of one network of a record, by the paper's protocol."""
    return read_timing(entry["timing"])


def share_of_peak(entry: Mapping[str, Any]) -> float:
    """What the network alone, of one entry of a record, reaches of the fp32 peak, percent; NaN if that is not known."""
    if "gflop" not in entry:
        return math.nan
    return 100_000 * float(entry["gflop"] / entry["stages"]["network"]["median"] / entry["process"]["peak"]["gflops"])


def read_timing(numbers: Mapping[str, Any]) -> Timing:
    """A timing of a record."""
    return Timing(**{field.name: numbers[field.name] for field in dataclasses.fields(Timing)})


def _line(network: Network, entry: Mapping[str, Any]) -> str:
    seen, of = "x".join(str(side) for side in reversed(entry["input_size"])), timing_of(entry)
    spread = f"{of.median:9.2f} {of.low:9.2f} {of.high:9.2f}"
    return f"{network.name:16} {seen:>9} {spread} {of.fps:8.2f} {share_of_peak(entry):6.1f}"


def records(folder: Path) -> dict[str, runs.Record]:
    """The records of a folder by their titles, those of a GPU first."""
    return {title(record): record for record in read_records(folder)}


def read_records(folder: Path) -> list[runs.Record]:
    """The records of a folder, those of a GPU first."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda record: "gpu" not in record["device"])
