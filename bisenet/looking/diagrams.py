"""Figures 3 to 7 of the paper, drawn from a network: another `ModelConfig`, another picture.

Kernels, strides, channels, repeats and sizes are read from the modules and from one pass on the "meta" device, where
tensors have shapes and no numbers. Written down here is only what a module does not tell: how the arrows run, and the
operations that are functions and no modules (sums, products, sigmoids, upsampling). Shapes are height x width x
channels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch
from torch import nn

from bisenet.looking import architecture
from bisenet.looking.architecture import BLOCK, COLOURS, POINTWISE, RESAMPLE, Shape, Traced, expansion_of, shape_text
from bisenet.model import BilateralGuidedAggregation, BiSeNetV2, ContextEmbedding, GatherExpansion, Stem

# --- how it is drawn ------------------------------------------------------------------------------------------------

PITCH = 0.75  # inches from a box to the next one below
DARK = "#444444"

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Box:
    """Where a box is: its centre and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> Point:
        return self.x, self.y - self.height / 2

    @property
    def bottom(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def left(self) -> Point:
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        return self.x + self.width / 2, self.y


class Sheet:
    """A sheet of paper, in inches from its upper left corner, with boxes and arrows; at the bottom what colours say."""

    def __init__(self, width: float, height: float):
        self.figure, self.axes = plt.subplots(figsize=(width, height))
        self.figure.subplots_adjust(0, 0, 1, 1)
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")
        self.kinds: set[str] = set()

    def box(self, x: float, y: float, text: str, kind: str, width: float = 1.75, height: float = 0.4) -> Box:
        style: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.06", "edgecolor": DARK, "linewidth": 0.8}
        corner = (x - width / 2, y - height / 2)
        self.axes.add_patch(FancyBboxPatch(corner, width, height, facecolor=COLOURS[kind], **style))
        self.kinds.add(kind)
        self.text(x, y, text)
        return Box(x, y, width, height)

    def sign(self, x: float, y: float, text: str) -> Box:
        """A small box for a sum or a product."""
        return self.box(x, y, text, POINTWISE, 0.3, 0.3)

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        self.axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 7.5, **style})

    def start(self, x: float, title: str, shape: Shape) -> Box:
        """A title, and below it the shape that comes in, where arrows begin."""
        self.text(x, 0.25, title, fontweight="bold")
        self.text(x, 0.45, shape_text(shape))
        return Box(x, 0.45, 0, 0.2)

    def end(self, last: Box, shape: Shape) -> None:
        """An arrow to the shape that comes out."""
        self.line(last.bottom, (last.x, last.y + 0.55))
        self.text(last.x, last.y + 0.65, shape_text(shape))

    def line(self, *points: Point, label: str = "", style: str = "-") -> None:
        """An arrow along some points, with a label beside its last stretch."""
        self.axes.plot(*zip(*points, strict=True), color=DARK, linewidth=0.9, linestyle=style)
        head = {"arrowstyle": "-|>", "color": DARK, "linewidth": 0, "shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", points[-1], points[-2], arrowprops=head)
        (x, y), (_, above) = points[-1], points[-2]
        self.text(x + 0.06, (y + above) / 2, label, ha="left", fontsize=6.5, color=DARK)

    def elbow(self, above: Box, below: Box, label: str = "", turn: float = 0.17) -> None:
        """An arrow from the bottom of one box to the top of another; it turns that far above the latter."""
        level = below.top[1] - turn
        bends = [] if above.x == below.x else [(above.x, level), (below.x, level)]
        self.line(above.bottom, *bends, below.top, label=label)

    def column(self, above: Box, x: float, y: float, steps: Sequence[architecture.Step], turn: float = 0.17) -> Box:
        """Boxes below each other at x, the first at y, with an arrow from `above`; gives the last."""
        for text, kind, shape in steps:
            below = self.box(x, y, text, kind)
            self.elbow(above, below, shape_text(shape) if above.width else "", turn)  # a start has its shape
            above, y = below, y + PITCH
        return above

    def done(self) -> Figure:
        handles = [Patch(facecolor=COLOURS[kind], edgecolor=DARK, label=kind) for kind in COLOURS if kind in self.kinds]
        self.figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=7.5, frameon=False)
        plt.close(self.figure)  # a notebook shows what a cell returns, and would show an open figure again
        return self.figure


# --- the figures ----------------------------------------------------------------------------------------------------

AGGREGATION = {
    "bga": "bilateral guided\naggregation",
    "sum": "sum",
    "concat": "concatenation",
    "none": "separable layer",
}


def overview(model: BiSeNetV2) -> Figure:
    """Figure 3: the branches stage by stage, where they meet, and the heads; dotted is what serves training only."""
    traced = architecture.trace(model)
    ghost = traced.model
    sheet = Sheet(10.5 if len(ghost.refinement) else 9.3, 4.0)
    sheet.text(0.45, 1.5, f"image\n{shape_text(traced.inputs[ghost])}")
    meet = sheet.box(7.5, 1.5, _meeting(traced), BLOCK, 1.05, 0.6)
    for title, branch, y in (("Detail Branch", ghost.detail, 0.75), ("Semantic Branch", ghost.semantic, 2.25)):
        if branch is not None:
            sheet.text(1.04, y - 0.45, title, ha="left", fontweight="bold")
            last = _branch(sheet, traced, branch, y)
            sheet.line(last.right, (meet.x, y), meet.top if y < meet.y else meet.bottom)
    _behind(sheet, traced, meet)
    return sheet.done()


def _meeting(traced: Traced) -> str:
    """What the box says where the branches meet; what the Semantic Branch alone ends with is enlarged there."""
    small, large = traced.outputs[traced.model.aggregation], traced.inputs[traced.model.head]
    text = AGGREGATION[traced.model.config.aggregation]
    return text if small == large else f"{text}\n{_upsample(small, large)[0]}"


def _behind(sheet: Sheet, traced: Traced, meet: Box) -> None:
    """What follows where the branches meet: the layers before the head, if there are any, and the head."""
    ghost, shape = traced.model, traced.inputs[traced.model.head]
    sheet.text(meet.x + 0.08, meet.y + 0.42, _ratio(traced, shape), ha="left", fontsize=6.5)
    last = meet
    if len(ghost.refinement):
        text, _ = architecture.stage_steps(ghost.refinement)
        last = sheet.box(meet.x + 1.25, meet.y, f"refinement\n{text}", BLOCK, 1.02, 0.6)
        sheet.line(meet.right, last.left)
    head = sheet.box(last.x + 1.2, meet.y, _head(ghost.head), BLOCK, 0.9, 0.6)
    sheet.line(last.right, head.left)
    sheet.line(head.bottom, (head.x, head.y + 0.6))
    sheet.text(head.x, head.y + 0.78, f"logits\n{shape_text(traced.outputs[ghost])}")


def _branch(sheet: Sheet, traced: Traced, branch: nn.Module, y: float) -> Box:
    """One line of the overview, at y, from the image on; gives its last stage."""
    booster: Any = traced.model.booster if branch is traced.model.semantic else {}
    points: tuple[Point, ...] = ((0.45, 1.35 if y < 1.5 else 1.65), (0.45, y))
    for place, (name, stage) in enumerate(branch.named_children()):
        text, kind = architecture.stage_steps(stage)
        box = sheet.box(1.55 + 1.18 * place, y, f"{name}\n{text}", kind, 1.02, 0.6)
        sheet.line(*points, box.left)
        points = (box.right,)
        sheet.text(box.x, y + 0.4, _ratio(traced, traced.outputs[stage]), fontsize=6.5)
        if name in booster:
            head = sheet.box(box.x, y + 1.1, f"booster {_head(booster[name])}", BLOCK, 1.02, 0.5)
            sheet.line((box.x, y + 0.5), head.top, style=":")
    return box


def _ratio(traced: Traced, shape: Shape) -> str:
    """A shape, and its part of the image's side."""
    return f"{shape_text(shape)}, 1/{traced.inputs[traced.model][1] / shape[1]:g}"


def _head(head: Any) -> str:
    return f"head\n{head.classifier.in_channels} channels"


def stem_and_context(model: BiSeNetV2) -> Figure:
    """Figure 4: the stem (a) and the context embedding block (b)."""
    traced, sheet = architecture.trace(model), Sheet(9.6, 5.3)
    name, stem = traced.of_kind(Stem)[0]
    image = sheet.start(2.4, f"(a) stem: {name}", traced.inputs[stem])
    conv = sheet.column(image, 2.4, 1.1, traced.steps(stem.conv))
    joined = sheet.box(2.4, 3.3, "concatenate", POINTWISE, height=0.3)
    for x, path in ((1.35, stem.left), (3.45, stem.right)):
        sheet.elbow(sheet.column(conv, x, 1.1 + PITCH, traced.steps(path)), joined)
    sheet.end(sheet.column(joined, 2.4, 4.0, traced.steps(stem.fuse)), traced.outputs[stem])

    name, block = traced.of_kind(ContextEmbedding)[0]
    above = sheet.start(7.0, f"(b) context embedding: {name}", traced.inputs[block])
    pool = ("global average pool", RESAMPLE, traced.inputs[block])
    embedded = sheet.column(above, 7.0, 1.1, [pool, *traced.steps(block.norm, block.embed)])
    total = sheet.sign(7.0, 3.3, "+")
    sheet.elbow(embedded, total, shape_text(traced.outputs[block.embed]))
    sheet.line(above.bottom, (7.0, 0.72), (8.4, 0.72), (8.4, total.y), total.right)
    sheet.end(sheet.column(total, 7.0, 4.0, traced.steps(block.out)), traced.outputs[block])
    return sheet.done()


def gather_expansion(model: BiSeNetV2) -> Figure:
    """Figure 5, b and c: the first gather-and-expansion layers with stride 1 and with stride 2, where it has them."""
    traced, sheet = architecture.trace(model), Sheet(9.6, 6.1)
    layers = traced.of_kind(GatherExpansion)
    for x, title, identity in ((1.5, "(b) stride 1", True), (5.9, "(c) stride 2", False)):
        found = [pair for pair in layers if isinstance(pair[1].shortcut, nn.Identity) == identity]
        if found:
            name, layer = found[0]
            above = sheet.start(x, f"{title}, expansion {expansion_of(layer)}: {name}", traced.inputs[layer])
            _gathered(sheet, traced, above, layer)
    return sheet.done()


def _gathered(sheet: Sheet, traced: Traced, above: Box, layer: Any) -> None:
    """One gather-and-expansion layer, below its title."""
    x, shape = above.x, traced.outputs[layer]
    last = sheet.column(above, x, 1.1, traced.steps(layer.main))
    total = sheet.sign(x, last.y + PITCH, "+")
    sheet.elbow(last, total, shape_text(traced.outputs[layer.main]))
    if isinstance(layer.shortcut, nn.Identity):
        sheet.line(above.bottom, (x, 0.72), (x + 1.3, 0.72), (x + 1.3, total.y), total.right)
    else:
        short = sheet.column(above, x + 2.3, 1.1, traced.steps(layer.shortcut))
        sheet.line(short.bottom, (short.x, total.y), total.right)
    sheet.end(sheet.column(total, x, total.y + 0.6, [("ReLU", POINTWISE, shape)]), shape)


def guided_aggregation(model: BiSeNetV2) -> Figure:
    """Figure 6: Bilateral Guided Aggregation; left at the resolution of the details, right at that of the semantics."""
    traced, sheet = architecture.trace(model), Sheet(9.6, 6.9)
    _, bga = traced.of_kind(BilateralGuidedAggregation)[0]
    fine, coarse = traced.outputs[bga.detail_keep], traced.outputs[bga.semantic_keep]
    upsample = _upsample(coarse, fine, bga.upsampling)
    sigmoid = [("sigmoid", POINTWISE, shape) for shape in (fine, coarse)]
    detail = sheet.start(1.2, "Detail Branch", traced.inputs[bga.detail_keep])
    semantic = sheet.start(8.4, "Semantic Branch", traced.inputs[bga.semantic_keep])
    paths = [
        (detail, 1.2, traced.steps(bga.detail_keep)),
        (semantic, 3.6, [*traced.steps(bga.semantic_up), upsample, sigmoid[0]]),
        (detail, 6.0, traced.steps(bga.detail_down)),
        (semantic, 8.4, [*traced.steps(bga.semantic_keep), sigmoid[1]]),
    ]
    ends = [sheet.column(above, x, 1.4, steps, 0.4 if above is detail else 0.25) for above, x, steps in paths]
    products = [sheet.sign(x, 3.7, "×") for x in (2.4, 7.2)]
    for end, product in zip(ends, [p for p in products for _ in "ab"], strict=True):
        sheet.elbow(end, product)
    larger = sheet.column(products[1], 7.2, 4.45, [upsample])
    total = sheet.sign(4.8, 5.1, "+")
    for part in (products[0], larger):
        sheet.line(part.bottom, (part.x, total.y), total.left if part.x < total.x else total.right)
    sheet.end(sheet.column(total, total.x, 5.75, traced.steps(bga.out)), traced.outputs[bga])
    return sheet.done()


def heads(model: BiSeNetV2) -> Figure:
    """Figure 7: the segmentation head, and those of the booster; in training the last step of each is the loss's."""
    traced = architecture.trace(model)
    ghost, (_, *size) = traced.model, traced.inputs[traced.model]
    before = "refinement" if len(ghost.refinement) else "aggregation"
    named: dict[str, Any] = {before: ghost.head, **ghost.booster}
    chains = [_head_steps(traced, head) for head in named.values()]
    sheet = Sheet(2 * len(named), 1.65 + PITCH * (1 + max(map(len, chains))))
    for place, ((position, head), steps) in enumerate(zip(named.items(), chains, strict=True)):
        title = "head" if head is ghost.head else "booster head"
        above = sheet.start(1 + 2 * place, f"{title} at {position}", traced.inputs[head])
        small = traced.outputs[head.classifier]
        large = (small[0], *size)
        sheet.end(sheet.column(above, above.x, 1.1, [*steps, _upsample(small, large)]), large)
    return sheet.done()


def _head_steps(traced: Traced, head: Any) -> list[architecture.Step]:
    """The boxes of a head up to its classifier."""
    if not hasattr(head, "conv2"):  # which those of the public implementations have
        return traced.steps(head.conv, head.classifier)
    small, large = traced.outputs[head.conv], traced.inputs[head.conv2]
    between = [_upsample(small, large, "nearest")] if small != large else []
    return [*traced.steps(head.conv), *between, *traced.steps(head.conv2, head.classifier)]


def _upsample(small: Shape, large: Shape, mode: str = "bilinear") -> architecture.Step:
    return f"{mode}, ×{large[1] / small[1]:g}", RESAMPLE, small
