"""The machine that a speed was measured on: its device, what it does at best, and all that can move a number."""

import contextlib
import datetime
import importlib.metadata
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from bisenet.config import Size
from bisenet.inference.engines import DTYPES
from bisenet.runs import provenance
from bisenet.runs.clock import between, clock_of
from bisenet.runs.provenance import where_measured
from bisenet.speed.peers import CLASSES


def device_here() -> torch.device:
    """The GPU, or the CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def machine_peak(device: torch.device, precision: str = "fp32") -> dict[str, Any]:
    """What the device does at best here, of five tries each: `gflops` of a product of matrices, `gigabytes` of a copy.

    GFLOP/s in a precision, fp32, tf32, bf16 or fp16, and GB/s.
    """
    side, clock = (2048 if device.type == "cpu" else 8192), clock_of(device)
    a, b = torch.randn(2, side, side, device=device).to(DTYPES.get(precision, torch.float32))
    values = torch.zeros(2**26, device=device)
    target = torch.empty_like(values)

    def best(call: Callable[[], object]) -> float:
        call()
        moments = [clock()]
        for _ in range(5):
            call()
            moments.append(clock())
        return min(between(moments))

    of_process = torch.backends.cuda.matmul
    before, of_process.allow_tf32 = of_process.allow_tf32, precision == "tf32"
    try:
        product, copy = best(lambda: a @ b), best(lambda: target.copy_(values))
    finally:
        of_process.allow_tf32 = before
    found = {"gflops": round(2e-9 * side**3 / product, 1), "gigabytes": round(2e-9 * values.nbytes / copy, 1)}
    return {**found, "precision": precision}


def machine_of(device: torch.device, frame: Size) -> dict[str, Any]:
    """What all that one record holds has in common."""
    return {
        **{"device": provenance.describe_device(device), "threads": torch.get_num_threads()},
        **{"batch": 1, "frame": list(frame), "classes": CLASSES, "resize": "bilinear"},
    }


def title(record: Mapping[str, Any]) -> str:
    """A record in a few words: device, engine, precision."""
    return f"{where_measured(record)}, {record['engine']}, {record['precision']}"


def slug(text: str) -> str:
    """A text as the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def process_of(device: torch.device) -> dict[str, Any]:
    """What else can move a number; networks may be timed by several processes, so each has its own."""
    versions = provenance.versions()
    reading = ("pillow", "pywuffs", "opencv-python", "opencv-python-headless")
    for package in ("pytorchcv", "openvino", "onnxruntime", "nncf", "torch_tensorrt", *reading):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    on_device: dict[str, Any] = {"instructions": torch.backends.cpu.get_cpu_capability()}
    if device.type == "cuda":
        on_device = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        on_device |= {"cudnn_benchmark": True}
    return {
        "versions": versions,
        "git": provenance.git_state(),
        **on_device,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
    }


def moment() -> dict[str, Any]:
    """When a measurement began, and how busy the machine was the minute before."""
    return {
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
