"""The other answers to what the paper leaves open, as changes to a network, so that each can be counted.

The readings themselves, and why we chose them, are listed in `bisenet.model`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from bisenet.cost import paper_cost
from bisenet.model import BiSeNetV2, ContextEmbedding, ConvBN, GatherExpansion, ModelConfig, SegmentationHead, Stem


def narrow_gather(network: BiSeNetV2) -> None:
    """The gather layer keeps C channels; the first depth-wise convolution expands to eC."""
    for layer in _all(network, GatherExpansion):
        gather, first = layer.main[0][0], layer.main[1][0]
        inputs, kernel = gather.in_channels, first.kernel_size[0]
        layer.main[0] = ConvBN(inputs, inputs, gather.kernel_size[0], relu=True)
        layer.main[1] = ConvBN(inputs, gather.out_channels, kernel, first.stride[0], groups=inputs)


def relu_after_depthwise(network: BiSeNetV2) -> None:
    """A ReLU after every depth-wise convolution of the gather-and-expansion layers' main path."""
    for layer in _all(network, GatherExpansion):
        for convolution in list(layer.main)[1:-1]:
            convolution.append(nn.ReLU(inplace=True))


def stem_3x3(network: BiSeNetV2) -> None:
    """The convolution after the concatenation is 3x3."""
    for stem in _all(network, Stem):
        fuse = stem.fuse[0]
        stem.fuse = ConvBN(fuse.in_channels, fuse.out_channels, 3, relu=True)


def context_with_norm(network: BiSeNetV2) -> None:
    """The last convolution of the context embedding block is followed by batch normalisation and ReLU."""
    for block in _all(network, ContextEmbedding):
        block.out = ConvBN(block.out.in_channels, block.out.out_channels, 3, relu=True)


def wide_head(network: BiSeNetV2) -> None:
    """C_t = 1024 in the segmentation head."""
    inputs = next(network.head.parameters()).shape[1]
    network.head = SegmentationHead(inputs, 1024, network.config.num_classes)


ALTERNATIVES: dict[str, Callable[[BiSeNetV2], None]] = {
    "gather C -> C, depth-wise expands": narrow_gather,
    "ReLU after depth-wise": relu_after_depthwise,
    "stem ends in 3x3": stem_3x3,
    "context block: norm and ReLU": context_with_norm,
    "head of 1024 channels": wide_head,
}


def recount(config: ModelConfig, *changes: Callable[[BiSeNetV2], None]) -> float:
    """GFLOPs by the paper's rule of the network of a configuration, with changes as those of `ALTERNATIVES`."""
    with torch.device("meta"):
        network = BiSeNetV2(config)
        for change in changes:
            change(network)
    return paper_cost(network).gflops


def _all(network: nn.Module, kind: type) -> list:
    return [module for module in network.modules() if isinstance(module, kind)]
