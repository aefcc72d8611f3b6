"""Other networks as Semantic Branch (Table 6): torchvision's, cut into stages at 1/4, 1/8, 1/16 and 1/32.

Readings, where the paper is silent, by its GFLOPs: the networks are whole but for the classifier of ImageNet, the 1x1
convolution before it included; our context embedding block brings what they end with to 512 channels, the width of the
Detail Branch's last stage in these rows.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

Cut = Callable[[Any], list[list[nn.Module]]]


def _shufflenet(net: Any) -> list[list[nn.Module]]:
    return [[net.conv1, net.maxpool], [net.stage2], [net.stage3], [net.stage4, net.conv5]]


# The output channels of each stage, and how a network is cut, by the names of its children.
BACKBONES: dict[str, tuple[tuple[int, ...], Cut]] = {
    "shufflenet_v2_x1_5": ((24, 176, 352, 1024), _shufflenet),
    "mobilenet_v2": (
        (24, 32, 96, 1280),
        lambda net: [list(net.features[first:last]) for first, last in ((0, 4), (4, 7), (7, 14), (14, 19))],
    ),
    "resnet18": (
        (64, 128, 256, 512),
        lambda net: [[net.conv1, net.bn1, net.relu, net.maxpool, net.layer1], [net.layer2], [net.layer3], [net.layer4]],
    ),
    "shufflenet_v2_x1_5_released": ((24, 176, 352, 1024), _shufflenet),
}


def stages_of(name: str) -> list[tuple[nn.Sequential, int]]:
    """The four stages of a network with their output channels, at 1/4, 1/8, 1/16 and 1/32 of the input."""
    channels, cut = BACKBONES[name]
    return [(nn.Sequential(*modules), outputs) for modules, outputs in zip(cut(_network(name)), channels, strict=True)]


def _network(name: str) -> nn.Module:
    """torchvision's network; of ShuffleNetV2 also as its authors released it, for which there are no weights here."""
    network = torchvision_models().get_model(name.removesuffix("_released"), weights=None)
    if name.endswith("_released"):
        for unit in [module for module in network.modules() if hasattr(module, "branch2") and module.stride == 2]:
            _as_released(unit)
    return network


def torchvision_models() -> Any:
    """Its models, which take seconds to load and which most networks do without."""
    from torchvision import models

    return models


def _as_released(unit: Any) -> None:
    """In a unit with stride 2 the shortcut keeps its channels, and the main path gives the others.

    In torchvision's, as in the paper of ShuffleNetV2, each gives half of the outputs.
    """
    inputs, middle = unit.branch2[0].in_channels, unit.branch2[0].out_channels
    shortcut, main = unit.branch1, unit.branch2
    shortcut[2], shortcut[3] = nn.Conv2d(inputs, inputs, 1, bias=False), nn.BatchNorm2d(inputs)
    main[5], main[6] = nn.Conv2d(middle, 2 * middle - inputs, 1, bias=False), nn.BatchNorm2d(2 * middle - inputs)
