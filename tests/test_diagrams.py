"""Architecture pictures: what they say is what the network has, and it can be read."""

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from bisenet import diagrams
from bisenet.model import BiSeNetV2, ModelConfig

FIGURES = (
    diagrams.overview,
    diagrams.stem_and_context,
    diagrams.gather_expansion,
    diagrams.guided_aggregation,
    diagrams.heads,
)
LARGE = {"width": 2.0, "depth": 3, "head_channels": 256}


def network(**changes: Any) -> BiSeNetV2:
    with torch.device("meta"):  # no numbers are needed
        return BiSeNetV2(dataclasses.replace(ModelConfig(), **changes))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_overview_says_what_table_1_says() -> None:
    said = texts(diagrams.overview(network()))
    for shape in ("256×512×64, 1/2", "64×128×128, 1/8", "128×256×16, 1/4", "32×64×64, 1/16", "16×32×128, 1/32"):
        assert shape in said
    for stage in ("stage1\n2 × conv 3×3", "stage3\n3 × conv 3×3", "stage2\nstem", "stage5_4\n4 × GE\nexpansion 6"):
        assert stage in said
    assert said.count("booster head\n64 channels") == 4


@pytest.mark.parametrize(
    ("draw", "changes", "come"),
    [
        (diagrams.overview, {"depth": 3}, "stage4\n6 × GE\nexpansion 6"),
        (diagrams.overview, {"width": 2.0}, "64×128×256, 1/8"),
        (diagrams.overview, {"aggregation": "sum"}, "sum"),
        (diagrams.overview, {"backbone": "resnet18"}, "stage3\n2 × basic block"),
        (diagrams.stem_and_context, {"channel_ratio": 0.5}, "256×512×32"),
        (diagrams.gather_expansion, {"expansion": 4}, "64×128×64"),
        (diagrams.gather_expansion, {"gather_kernel": 1}, "conv 1×1\nbatch norm, ReLU"),
        (diagrams.gather_expansion, {"double_depthwise": False}, "depth-wise conv 5×5, stride 2\nbatch norm"),
        (diagrams.guided_aggregation, {"width": 0.5}, "32×64×64"),
        (diagrams.heads, {"num_classes": 11}, "512×1024×11"),
        (diagrams.heads, {"booster": ("stage5_5",)}, "booster head at stage5_5"),
    ],
)
def test_another_configuration_another_picture(draw: Any, changes: dict[str, Any], come: str) -> None:
    assert come in texts(draw(network(**changes)))
    assert come not in texts(draw(network()))


@pytest.mark.parametrize(
    ("draw", "changes"),
    [*itertools.product(FIGURES, ({}, LARGE)), (diagrams.overview, {"backbone": "mobilenet_v2"})],
)
def test_texts_lie_in_their_boxes_and_apart(draw: Any, changes: dict[str, Any]) -> None:
    figure = draw(network(**changes))
    figure.draw_without_rendering()
    extents = [text.get_window_extent() for text in figure.findobj(Text) if text.get_text()]
    assert all(figure.bbox.count_contains(extent.corners()) == 4 for extent in extents)
    assert not any(one.overlaps(two) for one, two in itertools.combinations(extents, 2))
    for patch in figure.axes[0].patches:
        box = patch.get_window_extent()
        (text,) = [extent for extent in extents if extent.overlaps(box)]
        assert box.count_contains(text.corners()) == 4


def test_what_a_network_does_not_have_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="no BilateralGuidedAggregation, so there is nothing to draw"):
        diagrams.guided_aggregation(network(aggregation="sum"))
