"""The compiler of PyTorch, TorchInductor: for a CPU ahead of time, into a file; on a GPU at the first call."""

import functools
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bisenet.files import first_line
from bisenet.inference import kept

ONE_AT_A_TIME = threading.RLock()  # engines have places of their own for what goes in and comes out

# Settings of TorchInductor. Weights are constants, laid out as the convolutions want them; and a value that is used
# often is computed again instead of stored, which keeps a pass over many classes in one loop.
ON_CPU = {"freezing": True, "realize_opcount_threshold": 10**6, "realize_reads_threshold": 10**6}
# Engines of one process, for several sizes or networks, share the code of `forward`, of which the compiler would leave
# all but the first eight uncompiled.
MANY = {"recompile_limit": 10**3, "accumulated_recompile_limit": 10**4}


def compiled(
    module: nn.Module, example: tuple[Tensor, ...], file: str = "", sizes: Callable[[], Any] | None = None
) -> Callable[..., Any]:
    """A module for inputs like the example, compiled; where no C++ compiler works the module itself, with a warning.

    `sizes` gives the sides that may differ from those of the example, as `torch.export` wants them. What was
    compiled for a CPU is kept as `file`.
    """
    if example[0].device.type == "cuda":
        return _compiled_on_gpu(module, captured=not sizes)

    def make(path: Path) -> None:
        program = torch.export.export(module, example, dynamic_shapes=sizes and sizes())
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=dict(ON_CPU))

    with ONE_AT_A_TIME:
        if not ((file and kept.find(file, ".pt2")) or _compiler_works()):
            return module
        try:
            run = kept.through_file(file, ".pt2", make, _package)
        except Exception as error:  # of many kinds
            reason = f"PyTorch cannot compile ahead of time here ({first_line(error)}), so this runs uncompiled"
            warnings.warn(reason, stacklevel=2)
            return module

    def call(*values: Tensor) -> Any:
        if not sizes and _kinds(values) != _kinds(example):  # the compiled code would read beyond them
            raise ValueError(f"it was compiled for {_kinds(example)} and got {_kinds(values)}; compile it for those")
        with ONE_AT_A_TIME:
            results = run([value.contiguous() for value in values])
        return results[0] if len(results) == 1 else results

    return call


def _kinds(values: tuple[Tensor, ...]) -> list[tuple[Any, ...]]:
    return [(value.dtype, *value.shape) for value in values]


def _package(path: Path) -> Callable[[list[Tensor]], list[Tensor]]:
    """What runs a file of AOTInductor."""
    try:
        return torch._C._aoti.AOTIModelPackageLoader(str(path)).run
    except TypeError:  # of older versions; what loads it there imports the compiler, for seconds
        return torch._inductor.aoti_load_package(str(path)).loader.run


def _compiled_on_gpu(module: nn.Module, captured: bool) -> Callable[..., Any]:
    """`torch.compile`; `captured` in a CUDA graph, which belongs to this thread: RuntimeError in another."""
    home = threading.current_thread()
    fast = torch.compile(module, dynamic=not captured, mode="reduce-overhead" if captured else None)

    def call(*values: Tensor) -> Any:
        if not _compiler_works():
            return module(*values)
        if captured and threading.current_thread() is not home:
            raise RuntimeError(
                "engine 'compile' answers in the thread that loaded it; load one in each, or use 'torch'"
            )
        with ONE_AT_A_TIME, torch._dynamo.config.patch(MANY):
            result = fast(*values)
        return result.clone() if captured else result  # a graph writes to the same place each time

    return call


@functools.cache
def _compiler_works() -> bool:
    """Compile one line, once in a process; a warning if that fails."""
    try:
        torch.compile(torch.neg)(torch.ones(8, device="cuda" if torch.cuda.is_available() else "cpu"))
    except Exception as error:  # of many kinds: no compiler, no headers, a folder that cannot be written
        warnings.warn(
            f"PyTorch cannot compile here ({first_line(error)}), so everything runs uncompiled, at half the speed; "
            "it needs a C++ compiler (g++ or clang++) and Python's headers",
            stacklevel=2,
        )
        return False
    return True
