"""Memory that a step of training takes, noticed before the first one.

On a GPU the step itself is made and its peak measured. Elsewhere a small step of the same recipe is made and what
autograd holds of it counted; that grows with the pixels.
"""

import contextlib
import ctypes
import dataclasses
import gc
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

from bisenet.execution import Execution, at_a_time
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.train import TrainConfig, prepare, step

# At most so many pixels go into a small step, or, of several processes, into that of each.
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

    def need(self, parts: int) -> float:
        """Bytes on a device at a time, when a batch of all devices passes in `parts`."""
        return self.activations / parts + self.weights


def attempt(model_config: ModelConfig, training: TrainConfig, fabric: Fabric, parts: int = 1) -> Trial:
    """Make a network and a step or two of what passes at a time of a batch in `parts`, of all devices, or of less.

    One GPU takes the real one, or, where it does not fit, half of its images, and so on; of several processes one
    could run out of memory alone, and leave the others waiting. OutOfMemoryError if two images are too many.
    """
    most = math.inf if _on_gpu(fabric) and fabric.world_size == 1 else PIXELS["cuda" if _on_gpu(fabric) else "cpu"]
    batch, height, width = _size(training, parts, most)
    while True:
        try:
            return _attempt(model_config, training, fabric, (batch, height, width))
        except torch.OutOfMemoryError:
            if batch == 2:
                raise
        batch = max(2, batch // 2)
        let_go(fabric.device)


def _attempt(model_config: ModelConfig, training: TrainConfig, fabric: Fabric, shape: tuple[int, int, int]) -> Trial:
    before = torch.cuda.memory_allocated(fabric.device) if _on_gpu(fabric) else 0
    model = BiSeNetV2(model_config)
    parts = prepare(model, training, fabric)[1:]
    images = torch.randint(256, (*shape, 3), dtype=torch.uint8, device=fabric.device)
    labels = torch.randint(model_config.num_classes, shape, device=fabric.device)
    weights = {parameter.untyped_storage().data_ptr(): parameter.nbytes for parameter in model.parameters()}
    held: dict[int, int] = {}  # by the autograd graph, bytes of each storage
    scale = fabric.strategy.precision.state_dict()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _held(tensor, held), lambda tensor: tensor):
        step(*parts, images, labels, training, fabric)
    averages = [value.nbytes for state in parts[1].state.values() for value in state.values()]
    of_weights = 2.0 * sum(weights.values()) + sum(averages)  # with gradients
    activations: float = sum(size for storage, size in held.items() if storage not in weights)
    if _on_gpu(fabric):  # with what autograd does not know of; the first step tries algorithms, and has no averages yet
        forget_peak(fabric.device)
        step(*parts, images, labels, training, fabric)
        activations = torch.cuda.max_memory_allocated(fabric.device) - before - of_weights
    fabric.strategy.precision.load_state_dict(scale)  # of a loss in float16, for the training that follows
    factor = training.batch * math.prod(training.input_size) / math.prod(shape)
    return Trial(model, training, fabric, parts, images, labels, factor, factor * activations, of_weights)


def _on_gpu(fabric: Fabric) -> bool:
    return fabric.device.type == "cuda"


def let_go(device: torch.device) -> None:
    """Make the memory of what nobody uses any more free, before something else is measured or trained."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def check(model_config: ModelConfig, training: TrainConfig, accumulation: int, fabric: Fabric) -> None:
    """NotEnoughMemoryError, in all processes alike, if a step of a large batch will not fit."""
    if training.batch * math.prod(training.input_size) <= 4 * PIXELS.get(fabric.device.type, 0):
        return
    if (has := free(fabric)) is None:
        return
    devices = fabric.world_size
    trial = attempt(model_config, training, fabric, devices * accumulation)
    need, way_out = trial.need(devices * accumulation), _way_out(trial, training, devices, has)
    del trial
    let_go(fabric.device)
    if need <= has:
        return
    share, (height, width) = training.batch // devices // accumulation, training.input_size
    raise NotEnoughMemoryError(
        f"a step of {share} images of {height}x{width} takes about {need / 2**30:.1f} GiB on each device, "
        f"{has / 2**30:.1f} are free; {way_out}"
    )


SHARED = Path("/dev/shm")  # through which processes that read hand over their samples
AHEAD = 2  # batches that each of them prepares


def workers_within(training: TrainConfig, fabric: Fabric, execution: Execution) -> int:
    """How many processes read for a device: as asked, or else as many as cores and shared memory allow.

    OSError if the batches that they prepare do not fit into shared memory, as in small containers.
    """
    workers = execution.resolved_workers
    if not workers or not SHARED.is_dir():
        return workers
    sample = 4 * math.prod(training.input_size)  # three bytes of image and one of label a pixel
    machines = getattr(fabric.strategy, "num_nodes", 1)  # the processes of each share its memory
    batch, place = sample * (training.batch // machines), os.statvfs(SHARED)
    has = min(place.f_bavail, place.f_blocks // at_a_time()) * place.f_frsize  # others may be about to take theirs
    if execution.workers < 0:
        workers = max(1, min(workers, (has // batch - 1) // AHEAD))
    need = (AHEAD * workers + 1) * batch
    if need > has:
        share = f"free, or for each of {at_a_time()} runs" if at_a_time() > 1 else "free"
        raise OSError(
            f"{SHARED} has {has / 2**20:.0f} MiB {share}, {workers} reading processes need about {need / 2**20:.0f}; "
            "give the container more (docker: --shm-size=1g), or read in the training process itself: --workers 0"
        )
    return workers


def _way_out(trial: Trial, training: TrainConfig, devices: int, has: float) -> str:
    if parts := fitting(trial, training.batch // devices, devices, has):
        return f"use more devices, or --accumulation {parts}: batch normalisation and OHEM then see part of a batch"
    return "use a device with more memory"


def fitting(trial: Trial, share: int, devices: int, has: float) -> int:
    """In how few parts of two images or more a device's share of a batch fits; 0 if in none."""
    possible = [parts for parts in range(1, share // 2 + 1) if share % parts == 0]
    return next((parts for parts in possible if trial.need(devices * parts) <= has), 0)


def free(fabric: Fabric) -> float | None:
    """Bytes that a step may take on each device, the least of all processes; None where that cannot be asked."""
    let_go(fabric.device)
    if _on_gpu(fabric):
        has = float(torch.cuda.mem_get_info(fabric.device)[0])
    elif (of_machine := _free_on_this_machine()) is None:
        return None
    else:
        has = of_machine / (fabric.world_size / max(1, getattr(fabric.strategy, "num_nodes", 1)))
    least = fabric.all_reduce(torch.tensor(has, dtype=torch.float64, device=fabric.device), reduce_op="min")
    return float(cast(Tensor, least))


def forget_peak(device: torch.device) -> None:
    """What was taken until now does not count in `peak`; of a CPU's process it does."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


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


def _size(training: TrainConfig, parts: int, most: float) -> tuple[int, int, int]:
    """Batch, height and width of a step of at most so many pixels: a part of the recipe's, but two images at least."""
    height, width = training.input_size
    shrink = min(1.0, math.sqrt(most / 2 / (height * width)))
    height, width = (max(32, 32 * round(side * shrink / 32)) if shrink < 1 else side for side in (height, width))
    return max(2, int(min(training.batch // parts, most // (height * width)))), height, width


def _held(tensor: Tensor, held: dict[int, int]) -> Tensor:
    storage = tensor.untyped_storage()
    held[storage.data_ptr()] = storage.nbytes()
    return tensor
