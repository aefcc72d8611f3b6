"""Table 1 and the architecture pictures: what they say is what the network has, and it can be read."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from bisenet.cost import paper_cost
from bisenet.looking import architecture, diagrams
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.readings import PAPER

FIGURES = (
    diagrams.overview,
    diagrams.stem_and_context,
    diagrams.gather_expansion,
    diagrams.guided_aggregation,
    diagrams.heads,
)
LARGE = {"width": 2.0, "depth": 3}
BARE = {"reading": dataclasses.replace(PAPER, refinement=0)}
NARROW = {"reading": dataclasses.replace(PAPER, gather="keeps")}
COINCHEUNG, MMSEGMENTATION = {"reading": "coincheung"}, {"reading": "mmsegmentation"}
# Table 1 of the paper: opr, k, c, e, s, r.
TABLE_1 = {
    "detail.stage1": ["Conv2d 3 64 - 2 1", "Conv2d 3 64 - 1 1"],
    "detail.stage2": ["Conv2d 3 64 - 2 1", "Conv2d 3 64 - 1 2"],
    "detail.stage3": ["Conv2d 3 128 - 2 1", "Conv2d 3 128 - 1 2"],
    "stage2": ["Stem 3 16 - 4 1"],
    "stage3": ["GE 3 32 6 2 1", "GE 3 32 6 1 1"],
    "stage4": ["GE 3 64 6 2 1", "GE 3 64 6 1 1"],
    "stage5_4": ["GE 3 128 6 2 1", "GE 3 128 6 1 3"],
    "stage5_5": ["CE 3 128 - 1 1"],
}
BEHIND = {  # what follows in the network and not in that table
    "aggregation": ["BGA 3 128 - 1 1"],
    "refinement": ["GE 3 128 1 1 2"],
    "head": ["Conv2d 3 64 - 1 1", "convolution 1 19 - 1 1"],
}


@functools.cache
def network(**changes: Any) -> BiSeNetV2:
    with torch.device("meta"):  # no numbers are needed
        return BiSeNetV2(dataclasses.replace(ModelConfig(), **changes))


@pytest.fixture(scope="module", autouse=True)
def traced_once() -> Iterator[None]:
    """What is drawn of one network shares its trace, which drawing only reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architecture, "trace", functools.cache(architecture.trace))
        yield


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_table_1() -> None:
    table = architecture.table(network())
    layers = table[["opr", "k", "c", "e", "s", "r"]].astype(str).agg(" ".join, axis=1)
    assert layers.groupby(level=0, sort=False).agg(list).to_dict() == TABLE_1 | BEHIND
    assert table["output size"].groupby(level=0).last()["stage5_5"] == "16×32"


@pytest.mark.parametrize(
    "changes",
    [{}, LARGE, COINCHEUNG, {"backbone": "mobilenet_v2"}, {"detail": False, "aggregation": "none", "booster": ()}],
)
def test_the_table_adds_up_to_the_cost(changes: dict[str, Any]) -> None:
    table, cost = architecture.table(network(**changes)), paper_cost(network(**changes))
    assert table["GFLOPs"].sum() == pytest.approx(cost.gflops, rel=1e-12)
    assert table["parameters"].sum() == cost.parameters


def test_overview_says_what_table_1_says() -> None:
    said = texts(diagrams.overview(network()))
    for shape in ("256×512×64, 1/2", "64×128×128, 1/8", "128×256×16, 1/4", "32×64×64, 1/16", "16×32×128, 1/32"):
        assert shape in said
    for stage in ("stage1\n2 × conv 3×3", "stage3\n3 × conv 3×3", "stage2\nstem", "stage5_4\n4 × GE\nexpansion 6"):
        assert stage in said
    assert said.count("booster head\n64 channels") == 4
    assert "refinement\n2 × GE\nexpansion 1" in said


def test_a_network_without_layers_before_the_head_has_none_in_its_pictures() -> None:
    said = texts(diagrams.overview(network(**BARE))) + texts(diagrams.heads(network(**BARE)))
    assert not any("refinement" in text for text in said)
    assert "head at aggregation" in said


def steps_of(figure: Figure, title: str) -> list[str]:
    """What stands below a title, from top to bottom; its first line, without labels of arrows."""
    written = [text for text in figure.axes[0].texts if text.get_text()]
    (above,) = [text for text in written if text.get_text() == title]
    below = [text for text in written if text.get_position()[0] == above.get_position()[0]]
    return [text.get_text().partition("\n")[0] for text in sorted(below, key=lambda text: text.get_position()[1])][1:]


def test_heads_classify_and_then_enlarge() -> None:
    figure = diagrams.heads(network())
    chain = ["conv 3×3", "conv 1×1"]
    assert steps_of(figure, "head at refinement") == ["64×128×128", *chain, "bilinear, ×8", "512×1024×19"]
    assert steps_of(figure, "booster head at stage2") == ["128×256×16", *chain, "bilinear, ×4", "512×1024×19"]


@pytest.mark.parametrize(
    ("changes", "between", "last"),
    [(COINCHEUNG, ["nearest, ×2"], "bilinear, ×8"), (MMSEGMENTATION, [], "bilinear, ×16")],
)
def test_booster_heads_of_the_public_implementations(changes: dict[str, Any], between: list[str], last: str) -> None:
    figure = diagrams.heads(network(**changes))
    steps = ["conv 3×3", *between, "conv 3×3", "conv 1×1", last]
    assert steps_of(figure, "booster head at stage4") == ["32×64×64", *steps, "512×1024×19"]
    main = ["64×128×128", "conv 3×3", "conv 1×1", "bilinear, ×8", "512×1024×19"]
    assert steps_of(figure, "head at aggregation") == main


def test_expansion_is_the_same_wherever_it_happens() -> None:
    """The gather layer widens 32 channels to 192, or the depth-wise convolution behind it does."""
    for changes, widened in (({}, 2), (NARROW, 1)):
        said = texts(diagrams.gather_expansion(network(**changes)))
        assert "(b) stride 1, expansion 6: semantic.stage3.1" in said
        assert said.count("64×128×192") == widened


def test_where_only_layers_with_stride_1_are_only_those_are_drawn() -> None:
    said = texts(diagrams.gather_expansion(network(backbone="resnet18")))
    assert [text for text in said if "stride" in text] == ["(b) stride 1, expansion 1: refinement.0"]


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
        (diagrams.overview, {"detail": False, "aggregation": "none"}, "separable layer\nbilinear, ×4"),
        (diagrams.stem_and_context, COINCHEUNG, "conv 3×3\nbatch norm, ReLU"),
        (diagrams.guided_aggregation, {"width": 0.5}, "32×64×64"),
        (diagrams.guided_aggregation, COINCHEUNG, "nearest, ×4"),
        (diagrams.guided_aggregation, MMSEGMENTATION, "conv 1×1\nbias"),
        (diagrams.heads, {"num_classes": 11}, "512×1024×11"),
        (diagrams.heads, {"booster": ("stage5_5",)}, "booster head at stage5_5"),
    ],
)
def test_another_configuration_another_picture(draw: Any, changes: dict[str, Any], come: str) -> None:
    assert come in texts(draw(network(**changes)))
    assert come not in texts(draw(network()))


@pytest.mark.parametrize(
    ("draw", "changes"),
    [
        *itertools.product(FIGURES, ({}, LARGE, COINCHEUNG)),
        *itertools.product((diagrams.overview, diagrams.heads), (BARE, MMSEGMENTATION, {"backbone": "mobilenet_v2"})),
        (diagrams.overview, {"backbone": "resnet18"}),
        (diagrams.overview, {"detail": False, "aggregation": "none"}),
    ],
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
