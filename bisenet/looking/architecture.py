"""A network taken apart: its operations, traced as it runs, and Table 1 of the paper from them."""

import copy
import dataclasses
import itertools
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from bisenet.config import Size
from bisenet.cost import PAPER_INPUT, paper_cost
from bisenet.model import BiSeNetV2, ConvBN, GatherExpansion

# Tints of Okabe and Ito's colours, told apart by colour-blind readers too; the same kind has the same in every figure.
CONV, DEPTHWISE, RESAMPLE = "convolution", "depth-wise", "resampling"
POINTWISE, BLOCK = "element by element", "block of layers"
COLOURS = {CONV: "#A6D5F2", DEPTHWISE: "#8FD1BE", RESAMPLE: "#F6D08A", POINTWISE: "#E4E4E4", BLOCK: "#E8BFD5"}

Shape = tuple[int, ...]  # (C, H, W)
Step = tuple[str, str, Shape]  # what stands in a box, its kind, the shape that comes in


# --- what the network says ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Traced:
    """A network on the "meta" device, and the shape of the first input and of the output of modules with one output."""

    model: BiSeNetV2
    inputs: dict[nn.Module, Shape]
    outputs: dict[nn.Module, Shape]

    def of_kind(self, kind: type) -> list[tuple[str, Any]]:
        """The modules of a kind with their names; ValueError if there is none."""
        found = [(name, module) for name, module in self.model.named_modules() if isinstance(module, kind)]
        if not found:
            raise ValueError(f"this network has no {kind.__name__}, so there is nothing to draw: {self.model.config}")
        return found

    def steps(self, *modules: nn.Module) -> list[Step]:
        """A box for each step of a chain of modules, and the shape that comes into it."""
        return [(*_step(layer), self.inputs[layer]) for module in modules for layer in _layers(module)]


def trace(model: BiSeNetV2, size: Size = PAPER_INPUT) -> Traced:
    """Run a copy of a network, and its booster heads, on an image of (height, width)."""
    ghost = copy.deepcopy(model).to("meta").eval()
    traced = Traced(ghost, {}, {})

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            traced.inputs[module], traced.outputs[module] = tuple(inputs[0].shape[1:]), tuple(output.shape[1:])

    for module in ghost.modules():
        module.register_forward_hook(note)
    images = torch.empty(1, 3, *size, device="meta")
    ghost(images)
    features = ghost.features(images)
    for position, head in ghost.booster.items():
        head(features[position])
    return traced


POOLING = (nn.MaxPool2d, nn.AvgPool2d)
NAMES = {
    "Conv2d": "conv",
    "BatchNorm2d": "batch norm",
    "MaxPool2d": "max pool",
    "AvgPool2d": "average pool",
    "Stem": "stem",
    "ContextEmbedding": "context\nembedding",
    "InvertedResidual": "inverted\nresidual",  # of the backbones, like the next one
    "BasicBlock": "basic block",
}


def _named(module: nn.Module) -> str:
    depthwise = isinstance(module, nn.Conv2d) and module.groups > 1  # as all grouped ones here
    return "depth-wise conv" if depthwise else NAMES.get(type(module).__name__, type(module).__name__)


def _layers(module: nn.Module) -> list[nn.Module]:
    """What a chain consists of; a convolution with nothing but its normalisation and ReLU is one."""
    if not isinstance(module, nn.Sequential):
        return [module]
    parts = list(module)
    after = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6)
    if parts and isinstance(parts[0], nn.Conv2d) and all(isinstance(part, after) for part in parts[1:]):
        return [module]
    return [layer for part in parts for layer in _layers(part)]


def _step(layer: nn.Module) -> tuple[str, str]:
    """One of `_layers` as a box: its text and its kind."""
    first, *after = layer if isinstance(layer, nn.Sequential) else [layer]
    stride = getattr(first, "stride", 1)
    stride = max(stride) if isinstance(stride, tuple) else stride
    text = _brief(first) + (f", stride {stride}" if stride > 1 else "")
    if isinstance(first, nn.Conv2d):
        below = ", ".join([*(["bias"] if first.bias is not None else []), *map(_named, after)])
        return "\n".join(filter(None, [text, below])), CONV if first.groups == 1 else DEPTHWISE
    return text, RESAMPLE if isinstance(first, POOLING) else POINTWISE


def stage_steps(module: nn.Module) -> tuple[str, str]:
    """A whole stage as one box: its layers, equal ones counted."""
    layers = [layer for layer in _layers(module) if not isinstance(layer, (nn.BatchNorm2d, nn.ReLU))]
    runs = [(text, len(list(run))) for text, run in itertools.groupby(map(_brief, layers))]
    plain = all(isinstance(layer, nn.Sequential) for layer in layers)
    return "\n".join(f"{n} × {text}" if n > 1 else text for text, n in runs), CONV if plain else BLOCK


def _brief(layer: nn.Module) -> str:
    """What a layer is, and not its stride."""
    first = next(layer.children()) if isinstance(layer, nn.Sequential) else layer
    if isinstance(first, GatherExpansion):
        return f"GE\nexpansion {expansion_of(first)}"
    if not isinstance(first, (nn.Conv2d, *POOLING)):
        return _named(first)
    kernel = max(first.kernel_size) if isinstance(first.kernel_size, tuple) else first.kernel_size
    return f"{_named(first)} {kernel}×{kernel}"


def expansion_of(layer: Any) -> int:
    """By how much the channels of a gather-and-expansion layer grow before its projection."""
    gather, projection = layer.main[0][0], layer.main[-1][0]
    return projection.in_channels // gather.in_channels


def shape_text(shape: Shape) -> str:
    channels, height, width = shape
    return f"{height}×{width}×{channels}"


def receptive_field(chain: nn.Module) -> int:
    """Pixels along one side that an output depends on, of a chain of convolutions such as the Detail Branch."""
    field, stride = 1, 1
    for layer in chain.modules():
        if isinstance(layer, nn.Conv2d):
            field += (max(layer.kernel_size) - 1) * stride
            stride *= max(layer.stride)
    return field


# --- Table 1 --------------------------------------------------------------------------------------------------------

COLUMNS = ["stage", "opr", "k", "c", "e", "s", "r", "output size", "parameters", "GFLOPs"]
OPERATIONS = {  # as the paper names them; "Conv2d" there has batch normalisation and ReLU behind it
    "ConvBN": "Conv2d",
    "Conv2d": "convolution",
    "GatherExpansion": "GE",
    "ContextEmbedding": "CE",
    "BilateralGuidedAggregation": "BGA",
}


def table(model: BiSeNetV2) -> pd.DataFrame:
    """Table 1 of the paper, to the end of the network and with its cost: one line for layers in a row that are equal.

    Operation, largest kernel k in it, output channels c, expansion e, stride s, repeats r. Booster heads have no line,
    and neither has interpolation, which costs nothing: the lines add up to the network's cost at inference.
    """
    traced, cost = trace(model), paper_cost(model).by_module
    names = {module: name for name, module in traced.model.named_modules()}
    lines = []
    head = traced.model.head
    for stage, module in [*stages(traced.model).items(), ("head", head.conv), ("head", head.classifier)]:
        for (*layer, size), equal in itertools.groupby(_layers(module), lambda each: _line(traced, each)):
            run = list(equal)
            parameters = sum(parameter.numel() for each in run for parameter in each.parameters())
            gflops = sum(cost.get(names[each], 0.0) for each in run)
            lines.append((stage, *layer, len(run), size, parameters, gflops))
    return pd.DataFrame(lines, columns=COLUMNS).set_index("stage")


def stages(model: BiSeNetV2) -> dict[str, nn.Module]:
    """The stages that take part in inference, but the head, by their names in `BiSeNetV2.features`."""
    detail = {} if model.detail is None else {f"detail.{name}": m for name, m in model.detail.named_children()}
    semantic = {} if model.semantic is None else dict(model.semantic.named_children())
    return {**detail, **semantic, "aggregation": model.aggregation, "refinement": model.refinement}


def _line(traced: Traced, layer: Any) -> tuple[str | int, ...]:
    """Operation, k, c, e, s and output size of a layer."""
    name = type(layer).__name__
    convolutions = [each for each in layer.modules() if isinstance(each, nn.Conv2d)]
    bare = isinstance(layer, ConvBN) and not isinstance(layer[-1], nn.ReLU)
    operation = "convolution" if bare else OPERATIONS.get(name, name)
    if isinstance(layer, ConvBN) and convolutions[0].groups > 1:
        operation = f"depth-wise {operation}"
    kernel = max((max(each.kernel_size) for each in convolutions), default="-")
    expansion = expansion_of(layer) if isinstance(layer, GatherExpansion) else "-"
    (_, before, _), (channels, height, width) = traced.inputs[layer], traced.outputs[layer]
    return operation, kernel, channels, expansion, before // height, f"{height}×{width}"


# Each answer to an open point (`bisenet.readings`) but the paper's, alone, as a change to the reading of the paper:
ALTERNATIVES = {
    "gather C -> C, depth-wise expands": {"gather": "keeps"},
    "stem ends in 3x3": {"stem_kernel": 3},
    "ReLU after the last depth-wise": {"depthwise_relu": True},
    "context block: norm and ReLU": {"context_norm": True},
    "aggregation ends in ReLU": {"aggregation_relu": True},
    "aggregation: 1x1 with bias": {"aggregation_bias": True},
    "no layers before the head": {"refinement": 0},
    "head of 1024 channels": {"head_channels": 1024, "wide_head_channels": 1024},
}
