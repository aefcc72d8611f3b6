"""What a network costs, without running it: GFLOPs by the paper's rule, plain MACs, parameters.

The paper's rule (that of its authors' toolbox), per operation at batch 1: a convolution costs one for each
multiply-accumulate and one per output element if it has a bias; batch normalisation two per element; ReLU and
sigmoid one per element; pooling one per *input* element; nothing else, so interpolation is free. Matrix products, which
this network does not have, count like convolutions.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from bisenet.model import BiSeNetV2, ModelConfig

aten = torch.ops.aten

# The network sees 1024x512; a frame, to whose size its logits are enlarged, has 2048x1024 (Section 5, Inference).
PAPER_INPUT = (512, 1024)
PAPER_FRAME = (1024, 2048)


@dataclasses.dataclass(frozen=True)
class Cost:
    """`gflops` by the paper's rule, `gmacs` of convolutions and matrix products, `parameters`; inference only.

    `by_module` holds the GFLOPs of every submodule that runs at inference by its qualified name, "" for the whole.
    """

    gflops: float
    gmacs: float
    parameters: int
    by_module: dict[str, float]


def _convolution(x: Any, weight: Any, bias: Any, *more: Any, out_val: Any, **_: Any) -> tuple[int, int]:
    transposed = more[3]  # after stride, padding, dilation
    macs = conv_flop_count(x.shape, weight.shape, out_val.shape, transposed) // 2
    return macs, (out_val.numel() if bias is not None else 0)


def _product(*operands: Any, out_val: Any, **_: Any) -> tuple[int, int]:
    left, biased = operands[-2], len(operands) > 2  # what is added comes before the factors
    return left.shape[-1] * out_val.numel(), biased * out_val.numel()


def _per_input(factor: int) -> Callable[..., int]:
    return lambda x, *_, **__: factor * x.numel()


def _raw(rule: Callable[..., int]) -> Callable[..., int]:
    """Let torch's counter hand the rule the tensors themselves; its default is their shapes."""
    rule._get_raw = True  # type: ignore[attr-defined]
    return rule


# Multiply-accumulates, and what the bias adds.
PRODUCTS: dict[Any, Callable[..., tuple[int, int]]] = {
    aten.convolution: _convolution,
    aten.mm: _product,
    aten.bmm: _product,
    aten.addmm: _product,
}

# Everything else the rule counts; what an operation that is in neither costs is nothing.
ELEMENTWISE = {
    aten._native_batch_norm_legit_no_training: _raw(_per_input(2)),
    aten.native_batch_norm: _raw(_per_input(2)),
    **dict.fromkeys(
        (
            *(aten.relu, aten.relu_, aten.hardtanh, aten.hardtanh_, aten.sigmoid, aten.sigmoid_),
            *(aten.max_pool2d_with_indices, aten.avg_pool2d, aten._adaptive_avg_pool2d, aten.adaptive_max_pool2d),
            aten.mean,  # what global average pooling becomes
        ),
        _raw(_per_input(1)),
    ),
}


def paper_cost(model: nn.Module) -> Cost:
    """The cost as the paper states it, of an image of 1024x512."""
    return count(model, PAPER_INPUT)


@functools.cache
def variant_cost(config: ModelConfig) -> Cost:
    """`paper_cost` of the network of a configuration, which is built without memory for its weights."""
    with torch.device("meta"):
        return paper_cost(BiSeNetV2(config))


def count(model: nn.Module, input_size: tuple[int, int]) -> Cost:
    """The cost of any network on one image of `input_size`, (height, width), at inference.

    The network runs on the "meta" device: no activation is allocated, and the given model is left alone. Booster heads
    are not counted.
    """
    ghost = copy.deepcopy(model).to("meta").eval()
    image = torch.empty(1, 3, *input_size, device="meta")
    macs: list[int] = []
    rule = ELEMENTWISE | {operation: _noting(macs, product) for operation, product in PRODUCTS.items()}
    with _ShapeOfNorm(), FlopCounterMode(display=False, custom_mapping=rule) as by_rule:
        ghost(image)
    parameters = sum(each.numel() for name, each in ghost.named_parameters() if not name.startswith("booster."))
    counts = {name: sum(ops.values()) / 1e9 for name, ops in by_rule.get_flop_counts().items()}
    root = type(model).__name__
    by_module = {name.removeprefix(root).removeprefix("."): value for name, value in counts.items() if name != "Global"}
    return Cost(counts.get("Global", 0.0), sum(macs) / 1e9, parameters, by_module)


def _noting(macs: list[int], product: Callable[..., tuple[int, int]]) -> Callable[..., int]:
    """The rule of a product, which notes its plain multiply-accumulates on the way: one pass counts both."""

    def rule(*operands: Any, **more: Any) -> int:
        multiplications, additions = product(*operands, **more)
        macs.append(multiplications)
        return multiplications + additions

    return _raw(rule)


class _ShapeOfNorm(TorchDispatchMode):
    """Batch normalisation gives what has the shape of its input: PyTorch finds that out by a third of all the time."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operation is aten.native_batch_norm.default:
            return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
        return operation(*args, **(kwargs or {}))
