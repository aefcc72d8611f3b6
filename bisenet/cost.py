"""What a network costs, without running it: GFLOPs by the paper's rule, plain MACs, parameters.

The paper's rule (that of its authors' toolbox), per operation at batch 1: a convolution costs one for each
multiply-accumulate and one per output element if it has a bias; batch normalisation two per element; ReLU and
sigmoid one per element; pooling one per *input* element; interpolation one per *output* element; nothing else.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten

# The network sees 1024x512; its logits are at 2048x1024 (Section 5, Inference).
PAPER_INPUT = (512, 1024)
PAPER_OUTPUT = (1024, 2048)


@dataclasses.dataclass(frozen=True)
class Cost:
    """`gflops` by the paper's rule, `gmacs` of convolutions and matrix products, `parameters`; inference only.

    `by_module` holds the GFLOPs of every submodule by its qualified name, "" for the whole.
    """

    gflops: float
    gmacs: float
    parameters: int
    by_module: dict[str, float]


def _convolution_macs(x: torch.Size, weight: torch.Size, out: torch.Size) -> int:
    return out.numel() * weight[1:].numel()


def _paper_convolution(x: Any, weight: Any, bias: Any, *_: Any, out_val: Any, **__: Any) -> int:
    return _convolution_macs(x.shape, weight.shape, out_val.shape) + (out_val.numel() if bias is not None else 0)


def _per_input(factor: int) -> Callable[..., int]:
    return lambda x, *_, **__: factor * x.numel()


def _per_output(*_: Any, out_val: Any, **__: Any) -> int:
    return out_val.numel()


def _raw(rule: Callable[..., int]) -> Callable[..., int]:
    """Let torch's counter hand the rule the tensors themselves; its default is their shapes."""
    rule._get_raw = True  # type: ignore[attr-defined]
    return rule


# Everything the rule counts; what an operation that is not here costs is nothing.
PAPER_RULE = {
    aten.convolution: _raw(_paper_convolution),
    aten._native_batch_norm_legit_no_training: _raw(_per_input(2)),
    aten.native_batch_norm: _raw(_per_input(2)),
    aten.relu: _raw(_per_input(1)),
    aten.relu_: _raw(_per_input(1)),
    aten.sigmoid: _raw(_per_input(1)),
    aten.max_pool2d_with_indices: _raw(_per_input(1)),
    aten.avg_pool2d: _raw(_per_input(1)),
    aten.mean: _raw(_per_input(1)),  # what global average pooling becomes
    aten._adaptive_avg_pool2d: _raw(_per_input(1)),
    aten.upsample_bilinear2d: _raw(_per_output),
}


@contextlib.contextmanager
def _on_meta(model: nn.Module) -> Iterator[nn.Module]:
    """A copy of the model in eval mode without data: nothing is allocated, the given model is left alone."""
    with torch.no_grad():
        yield copy.deepcopy(model).to("meta").eval()


def paper_cost(model: nn.Module) -> Cost:
    """The cost as the paper states it: 1024x512 in, 2048x1024 out, classified at full resolution."""
    return measure(model, PAPER_INPUT, size=PAPER_OUTPUT, classify_first=False)


def measure(model: nn.Module, input_size: tuple[int, int], **forward: Any) -> Cost:
    """The cost of any network on one image of `input_size`, (height, width), at inference.

    `forward` goes to the model's forward. Parameters of submodules that take no part (booster heads) are not
    counted.
    """
    with _on_meta(model) as ghost:
        used: set[nn.Module] = set()
        hooks = [m.register_forward_hook(lambda module, *_: used.add(module)) for m in ghost.modules()]
        image = torch.empty(1, 3, *input_size, device="meta")
        with FlopCounterMode(display=False, custom_mapping=PAPER_RULE) as by_rule:
            ghost(image, **forward)
        with FlopCounterMode(display=False) as plain:
            ghost(image, **forward)
        for hook in hooks:
            hook.remove()
        parameters = sum(p.numel() for module in used for p in module.parameters(recurse=False))
    counts = {name: sum(ops.values()) / 1e9 for name, ops in by_rule.get_flop_counts().items()}
    root = type(model).__name__
    by_module = {name.removeprefix(root).removeprefix("."): value for name, value in counts.items() if name != "Global"}
    return Cost(counts["Global"], plain.get_total_flops() / 2e9, parameters, by_module)
