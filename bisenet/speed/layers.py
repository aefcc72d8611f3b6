"""The network layer by layer: what each convolution computes and moves, and how long it takes."""

import functools
import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from bisenet.config import Size
from bisenet.files import SHIPPED_WEIGHTS
from bisenet.inference import engines
from bisenet.inference.segmenter import FromPixels, folded
from bisenet.model import BiSeNetV2
from bisenet.runs.clock import between, clock_of

RUNS = 6  # of which the best counts


def layers(size: Size, device: torch.device) -> list[dict[str, Any]]:
    """Every convolution on one image: `layer, gflop, bytes` that it reads and writes, `ms` in PyTorch, not compiled.

    Batch normalisation is folded, channels are last. `openvino_ms` is there where that engine is, but not of layers
    that it merges with others.
    """
    network = FromPixels(folded(BiSeNetV2.load(SHIPPED_WEIGHTS))).to(device).to(memory_format=torch.channels_last)
    pixels = torch.zeros(1, *size, 3, dtype=torch.uint8, device=device)
    found = _in_pytorch(network, pixels)
    if not engines.why_not("openvino", "fp32", device):
        for name, ms in _in_openvino(network, pixels).items():
            found[name]["openvino_ms"] = ms
    return list(found.values())


def _in_pytorch(network: FromPixels, pixels: Tensor) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    moments: dict[str, list[Any]] = {}
    clock = clock_of(pixels.device)

    def before(name: str, module: nn.Module, inputs: Any) -> None:
        moments[name] = [clock()]

    def after(name: str, module: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        moments[name].append(clock())
        flop = 2 * module.weight[0].numel() * output.numel()
        moved = inputs[0].nbytes + module.weight.nbytes + output.nbytes
        found.setdefault(name, {"layer": name, "gflop": flop / 1e9, "bytes": moved, "ms": math.inf})

    handles = []
    for name, module in network.network.named_modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_pre_hook(functools.partial(before, name)))
            handles.append(module.register_forward_hook(functools.partial(after, name)))
    with torch.inference_mode():
        for _ in range(RUNS):
            network(pixels)
            for name, line in found.items():
                line["ms"] = round(min(line["ms"], 1000 * sum(between(moments[name]))), 4)
    for handle in handles:
        handle.remove()
    return found


def _in_openvino(network: FromPixels, pixels: Tensor) -> dict[str, float]:
    """Milliseconds of each convolution and of what is merged into it, by layer."""
    nodes = engines.openvino_profile(network, pixels, RUNS)
    named = {re.match(r"__module\.network\.(.+)/aten::_convolution", node): ms for node, ms in nodes.items() if ms}
    return {name[1]: round(ms, 4) for name, ms in named.items() if name}
