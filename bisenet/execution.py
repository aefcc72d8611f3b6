"""How machines run training: device, precision, layout, the memory that is kept, and several processes as one."""

import ctypes
import dataclasses
import inspect
import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar, get_args

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from PIL import Image
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from bisenet.config import choose, cpu_computes_in_bf16

MOST_WORKERS = 16  # for a device, if nobody says otherwise
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc, malloc.h


def keep_freed_memory(_: int = 0) -> None:
    """From now on memory that this process (a worker, by its number) frees stays with it; where there is glibc."""
    Image.core.set_blocks_max(16)  # of 16 MiB each, what PILLOW_BLOCKS_MAX does from outside
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            libc.mallopt(parameter, value)


def at_a_time() -> int:
    """How many runs share this machine (`bisenet.runs.many`)."""
    return int(os.environ.get("BISENET_AT_A_TIME", 1))


def cores() -> int:
    """How many this process may use: on a cluster or in a container often fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


T = TypeVar("T")
STARTED: list[list[Any]] = []  # processes that Fabric started from this one, `bisenet.runs.together.leave`
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclasses.dataclass(frozen=True)
class Execution:
    """How it is run; recorded with the run, but no part of its identity. The first five are Fabric's."""

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Precision = "auto"  # `resolved_precision`
    accumulation: int = 1  # parts of a device's share of a batch; batch normalisation and OHEM see one at a time
    workers: int = -1  # processes that read and augment, for each device; 0: none, -1: `resolved_workers`
    checkpoint_seconds: int = 60  # from one checkpoint to the next; 0: as often as training is looked at

    def __post_init__(self) -> None:
        least_of = {"workers": -1, "checkpoint_seconds": 0, "devices": 1, "num_nodes": 1, "accumulation": 1}
        for name, least in least_of.items():
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} is {value}, it must be at least {least}")
        choose("precision", self.precision, get_args(Precision))
        choose("accelerator", self.accelerator, ("auto", "cpu", "cuda", "mps"))

    @property
    def several(self) -> bool:
        """Whether more than one process takes part."""
        return int(os.environ.get("WORLD_SIZE", self.devices * self.num_nodes)) > 1

    def alone(self) -> Fabric:
        """Fabric on one device for this process by itself, even where it is one of several."""
        return self._launched(devices=1, plugins=LightningEnvironment())

    def fabric(self) -> Fabric:
        """Fabric with these settings, launched; under `torchrun` its numbers of devices and nodes count.

        ValueError if fewer GPUs are seen or other processes take part than were asked for, as in one task of Slurm.
        """
        if not self.several:  # tasks of Slurm are no group then
            return self._launched(devices=1, strategy=self.strategy, plugins=LightningEnvironment())
        devices = int(os.environ.get("LOCAL_WORLD_SIZE", self.devices))
        if self.resolved_accelerator == "cuda" and devices > (seen := torch.cuda.device_count()):
            asked = f"asked for {devices} devices, this process sees {seen} GPUs; under Slurm each task must see all"
            raise ValueError(f"{asked} of a machine: --gres=gpu:{devices}, without --gpus-per-task")
        nodes = int(os.environ.get("WORLD_SIZE", devices * self.num_nodes)) // devices
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(devices))  # Fabric insists, `srun --ntasks` does not set it
        strategy = data_parallel() if self.strategy in ("auto", "ddp") else self.strategy
        fabric = self._launched(devices=devices, num_nodes=nodes, strategy=strategy)
        if fabric.world_size != devices * nodes:
            asked = f"asked for {devices} devices on {nodes} machines, there are {fabric.world_size} processes"
            raise ValueError(f"{asked}; under Slurm start a task for each: srun --ntasks-per-node {devices}")
        return fabric

    def _launched(self, **how: Any) -> Fabric:
        torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32, in training and in evaluation
        fabric = Fabric(accelerator=self.resolved_accelerator, precision=self.resolved_precision, **how)
        STARTED.append(getattr(fabric.strategy.launcher, "procs", []))
        fabric.launch()
        return fabric

    @property
    def resolved_accelerator(self) -> str:
        """ "auto" is CUDA or the CPU; anything else has to be asked for."""
        if self.accelerator != "auto":
            return self.accelerator
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def resolved_precision(self) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
        """ "auto" is bf16-mixed where the hardware computes in it, or else on a GPU with Tensor Cores 16-mixed."""
        on_gpu = self.resolved_accelerator == "cuda"
        if self.precision == "16-mixed" and not on_gpu:
            raise ValueError("precision is '16-mixed', that is for GPUs; here use 'bf16-mixed' or '32-true'")
        if self.precision != "auto":
            return self.precision
        if torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_computes_in_bf16():
            return "bf16-mixed"
        return "16-mixed" if on_gpu and torch.cuda.get_device_capability() >= (7, 0) else "32-true"

    @property
    def resolved_workers(self) -> int:
        """-1 is one on a CPU, where training needs the cores; for a GPU its share of them, but one to train with."""
        if self.workers >= 0:
            return self.workers
        if self.resolved_accelerator == "cpu":
            return 1
        devices = at_a_time() * int(os.environ.get("LOCAL_WORLD_SIZE", self.devices))
        return min(max(1, cores() // devices - 1), MOST_WORKERS)


def data_parallel() -> DDPStrategy:
    """Statistics of batch normalisation are not sent in each step: they are synchronised, or else shared at the end."""
    known, new = inspect.signature(DistributedDataParallel).parameters, "forward_sync_buffers"
    options: dict[str, Any] = {new if new in known else "broadcast_buffers": False}
    return DDPStrategy(**options)


ONE_DEVICE = Execution()  # the GPU if there is one, or the CPU


def synchronises(fabric: Fabric) -> bool:
    """Whether batch normalisation is over all devices; PyTorch has this for GPUs only."""
    return fabric.world_size > 1 and fabric.device.type == "cuda"


def memory_format(fabric: Fabric) -> torch.memory_format:
    """How images and weights lie in memory: channels last, but for processors with no more than AVX2, and GPUs in fp32.

    The former have no fast kernel for the gradients of weights that way: a large convolution takes three times as long.
    On GPUs channels last is the layout of Tensor Cores, which fp32 does without.
    """
    if fabric.device.type == "cpu":
        slow = torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2")
    else:
        slow = fabric.strategy.precision.precision == "32-true"
    return torch.contiguous_format if slow else torch.channels_last


def fast(device: torch.device) -> AbstractContextManager[Any]:
    """What a step runs in, for its convolutions: a GPU tries which kernels are fast, which pays since sizes recur."""
    if device.type == "cpu":
        return StridedDepthwise()
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=torch.backends.cudnn.allow_tf32)


class StridedDepthwise(TorchFunctionMode):
    """Within it, on a CPU, a depth-wise convolution of bfloat16 with a stride computes in float32.

    oneDNN has no fast kernel for the gradient of its input in bfloat16: it takes ten times as long or more.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d and args[0].dtype == torch.bfloat16:
            inputs, _, _, stride, _, _, groups = args
            if groups > 1 and max(stride) > 1:
                with torch.autocast("cpu", enabled=False):
                    return func(inputs.float(), *args[1:]).to(inputs.dtype)
        return func(*args, **(kwargs or {}))


class SaidByFirstError(Exception):
    """An error that the first process of the group tells."""


def first_decides(fabric: Fabric, act: Callable[[], T]) -> T:
    """What `act` gives the first process; its error, too, is one of all."""
    done, error = None, None
    if fabric.is_global_zero:
        try:
            done = act()
        except Exception as problem:
            error = problem
    if fabric.world_size > 1:
        done, failed = fabric.broadcast((done, error is not None))
        if failed and not error:
            raise SaidByFirstError
    if error:
        raise error
    return done  # type: ignore[return-value]
