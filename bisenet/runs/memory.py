"""Memory that a step of training takes, noticed before the first one.

A small step of the same recipe is made and what autograd holds of it counted; that grows with the pixels.
"""

import contextlib
import ctypes
import dataclasses
import math
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.train import TrainConfig, prepare, step

# At most so many pixels go into a small step.
PIXELS = {"cpu": 2 * 256 * 512, "cuda": 2 * 512 * 1024}


class NotEnoughMemoryError(RuntimeError):
    """A step would not fit into the memory of the device; the message has the numbers and the way out."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A network with a small batch of its recipe, after one step. `factor`: how many times larger a batch is."""

    model: BiSeNetV2
    training: TrainConfig
    fabric: Fabric
    parts: tuple[Any, Any]  # network and optimizer
    images: Tensor
    labels: Tensor
    factor: float
    activations: float  # bytes for a whole batch at once
    weights: float  # bytes of weights, gradients and the optimizer's averages

    def step(self) -> None:
        step(*self.parts, self.images, self.labels, self.training, self.fabric)

    def need(self, devices: int, accumulation: int) -> float:
        """Bytes on each of `devices`, when a batch passes in `accumulation` parts."""
        return self.activations / (devices * accumulation) + self.weights


def attempt(model_config: ModelConfig, training: TrainConfig, fabric: Fabric) -> Trial:
    """Make a network and one small step."""
    batch, height, width = _size(training, PIXELS["cuda" if fabric.device.type == "cuda" else "cpu"])
    factor = training.batch * math.prod(training.input_size) / (batch * height * width)
    model = BiSeNetV2(model_config)
    parts = prepare(model, training, fabric)[1:]
    images = torch.randint(256, (batch, height, width, 3), dtype=torch.uint8, device=fabric.device)
    labels = torch.randint(model_config.num_classes, (batch, height, width), device=fabric.device)
    weights = {parameter.untyped_storage().data_ptr(): parameter.nbytes for parameter in model.parameters()}
    held: dict[int, int] = {}  # by the autograd graph, bytes of each storage
    scale = fabric.strategy.precision.state_dict()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _held(tensor, held), lambda tensor: tensor):
        step(*parts, images, labels, training, fabric)
    fabric.strategy.precision.load_state_dict(scale)  # of a loss in float16, for the training that follows
    activations = factor * sum(size for storage, size in held.items() if storage not in weights)
    averages = [value.nbytes for state in parts[1].state.values() for value in state.values()]
    of_weights = 2.0 * sum(weights.values()) + sum(averages)  # with gradients
    return Trial(model, training, fabric, parts, images, labels, factor, activations, of_weights)


def check(model_config: ModelConfig, training: TrainConfig, accumulation: int, fabric: Fabric) -> None:
    """NotEnoughMemoryError, in all processes alike, if a step of a large batch will not fit."""
    if training.batch * math.prod(training.input_size) <= 4 * PIXELS.get(fabric.device.type, 0):
        return
    if (has := free(fabric)) is None:
        return
    trial = attempt(model_config, training, fabric)
    if (need := trial.need(fabric.world_size, accumulation)) <= has:
        return
    share, (height, width) = training.batch // fabric.world_size // accumulation, training.input_size
    raise NotEnoughMemoryError(
        f"a step of {share} images of {height}x{width} takes about {need / 2**30:.1f} GiB on each device, "
        f"{has / 2**30:.1f} are free; {_way_out(trial, training, fabric.world_size, has)}"
    )


SHARED = Path("/dev/shm")  # through which processes that read hand over their samples
AHEAD = 2  # batches that each of them prepares


def check_shared(training: TrainConfig, fabric: Fabric, workers: int) -> None:
    """OSError if the batches that reading processes prepare do not fit into shared memory, as in small containers."""
    if not workers or not SHARED.is_dir():
        return
    sample = 4 * math.prod(training.input_size)  # three bytes of image and one of label a pixel
    machines = getattr(fabric.strategy, "num_nodes", 1)  # the processes of each share its memory
    need = (AHEAD * workers + 1) * sample * (training.batch // machines)
    place = os.statvfs(SHARED)
    if need > (has := place.f_bavail * place.f_frsize):
        raise OSError(
            f"{SHARED} has {has / 2**20:.0f} MiB free, {workers} reading processes need about {need / 2**20:.0f}; give "
            "the container more (docker: --shm-size=1g), or read in the training process itself: --workers 0"
        )


def _way_out(trial: Trial, training: TrainConfig, devices: int, has: float) -> str:
    if parts := fitting(trial, training.batch // devices, devices, has):
        return f"use more devices, or --accumulation {parts}: batch normalisation and OHEM then see part of a batch"
    return "use a device with more memory"


def fitting(trial: Trial, share: int, devices: int, has: float) -> int:
    """In how few parts of two images or more a device's share of a batch fits; 0 if in none."""
    possible = [parts for parts in range(1, share // 2 + 1) if share % parts == 0]
    return next((parts for parts in possible if trial.need(devices, parts) <= has), 0)


def free(fabric: Fabric) -> float | None:
    """Bytes that a step may take on each device, the least of all processes; None where that cannot be asked."""
    if fabric.device.type == "cuda":
        torch.cuda.empty_cache()  # of what was trained before
        has = float(torch.cuda.mem_get_info(fabric.device)[0])
    elif (of_machine := _free_on_this_machine()) is None:
        return None
    else:
        has = of_machine / (fabric.world_size / max(1, getattr(fabric.strategy, "num_nodes", 1)))
    least = fabric.all_reduce(torch.tensor(has, dtype=torch.float64, device=fabric.device), reduce_op="min")
    return float(cast(Tensor, least))


def peak(device: torch.device) -> float:
    """Bytes that this process had at most, on its GPU if it used one."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError):  # getrusage would count a process that started this one, too
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _free_on_this_machine() -> float | None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # what was freed, but kept (`keep_freed_memory`), would count as taken
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    (available,) = [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    group = Path("/sys/fs/cgroup")
    if not (group / "memory.max").is_file() or (limit := (group / "memory.max").read_text().strip()) == "max":
        return available
    # A container may have less than its machine; files that are only cached can be dropped.
    cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
    return min(available, float(limit) - float((group / "memory.current").read_text()) + float(cached))


def _size(training: TrainConfig, most: int) -> tuple[int, int, int]:
    """Batch, height and width of a small step: the recipe's, or smaller, but two images at least."""
    height, width = training.input_size
    shrink = min(1.0, math.sqrt(most / 2 / (height * width)))
    height, width = (max(32, 32 * round(side * shrink / 32)) if shrink < 1 else side for side in (height, width))
    return max(2, min(training.batch, most // (height * width))), height, width


def _held(tensor: Tensor, held: dict[int, int]) -> Tensor:
    storage = tensor.untyped_storage()
    held[storage.data_ptr()] = storage.nbytes()
    return tensor
