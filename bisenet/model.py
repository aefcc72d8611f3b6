"""BiSeNet V2, in the order of the paper: Sections 4.1 to 4.4, Table 1, Figures 3 to 7.

Readings: points that the paper's text leaves open, what we chose, why, and the alternative. The figures that
settle a point are GFLOPs by the paper's counting rule (`bisenet.cost`); the notebook `table_1_architecture`
recounts each alternative.

1. *Gather layer.* The 3x3 convolution itself expands, C -> eC, and the depth-wise convolutions keep eC.
   Evidence: Table 3c grows by 0.673 GFLOPs per unit of e, ours by 0.675. Alternative: gather C -> C, the
   depth-wise convolution expands; the slope would be a tenth of that.
2. *After the depth-wise convolutions* there is batch normalisation and no ReLU. Evidence: weak. What a deeper
   branch costs more (Table 5b, d = 3 against 1) allows ours and not the alternative, a ReLU as in MobileNetV2;
   but single figures of GFLOPs meet more printed digits with it (notebook `gflops_ledger`).
3. *Stem.* The convolution after the concatenation is 1x1. Evidence: Table 3a (lambda). Alternative: 3x3.
4. *lambda* scales the stem (64 lambda) and stage 3 (128 lambda); stages 4 and 5 keep 64 and 128. Evidence:
   the caption of Table 3a and its GFLOPs.
5. *Depth multiplier d* multiplies the number of GE layers of each stage (2, 2, 4). Evidence: Table 5b.
6. *Without double depth-wise* a stride-2 GE layer has one 5x5 depth-wise convolution. Evidence: Table 3b.
7. *Sum and concat, single branches.* Each branch goes through one separable layer (depth-wise 3x3, 1x1, each
   with batch normalisation) first; sum and concat end in one 3x3 convolution. Evidence: Table 2.
8. *Segmentation head.* C_t = 64 and, in the paper's order, the classifier works at full resolution.
   Evidence: what Table 2 leaves for the head is no round C_t in any other order. The network may classify
   first and upsample after (bilinear weights sum to one, so both orders give the same logits).
9. *Context embedding block.* The last 3x3 convolution is bare (with a bias), as drawn in Figure 4.
   Alternative: followed by batch normalisation and ReLU; too cheap for the GFLOPs to tell.
10. *Initialisation.* "kaiming normal" in fan-in mode, for depth-wise convolutions the only one of the two
    modes that keeps the variance.
11. *Booster heads* have the same C_t as the segmentation head. The paper does not say.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody knows
from torch import Tensor, nn

from bisenet.backbones import BACKBONES, stages_of
from bisenet.config import Size, settle
from bisenet.files import read_safetensors, write_safetensors

# Weights trained on the embedded scenes; `weights/README.md` says how, and how good they are.
SHIPPED_WEIGHTS = Path(__file__).parent / "weights" / "streets.safetensors"
SHIPPED_SIZE = (256, 512)  # of the scenes on which they were tested, and at which the network saw them

AGGREGATIONS = ("bga", "sum", "concat", "none")
BOOSTER_POSITIONS = ("stage2", "stage3", "stage4", "stage5_4", "stage5_5")

# Table 1, Detail Branch: stage, output channels c, layers (the first has stride 2).
DETAIL_STAGES = (("stage1", 64, 2), ("stage2", 64, 3), ("stage3", 128, 3))
# Table 1, Semantic Branch: channels of the stem at lambda = 1; then stage, output channels c at lambda = 1, whether
# they follow lambda (reading 4), GE layers (the first has stride 2).
STEM_CHANNELS = 64
SEMANTIC_STAGES = (("stage3", 128, True, 2), ("stage4", 64, False, 2), ("stage5_4", 128, False, 4))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Every knob of the paper's ablations; the defaults are BiSeNet V2 as in the last row of Table 2.

    Raises ValueError where a value or a combination means nothing.
    """

    num_classes: int = 19
    detail: bool = True  # Table 2
    semantic: bool = True  # Table 2
    aggregation: str = "bga"  # Table 2: bga, sum, concat; "none" with a single branch
    booster: tuple[str, ...] = ("stage2", "stage3", "stage4", "stage5_4")  # Table 4
    channel_ratio: float = 0.25  # lambda, Table 3a
    expansion: int = 6  # epsilon, Table 3c
    gather_kernel: int = 3  # Table 3b: 3, or 1 for the row without gather layer
    double_depthwise: bool = True  # Table 3b
    context: bool = True  # Table 3b: the context embedding block
    width: float = 1.0  # alpha, Table 5a
    depth: int = 1  # d, Table 5b
    head_channels: int = 64  # C_t, Figure 7
    backbone: str = "own"  # Table 6: the Semantic Branch, "own" or one of `backbones.BACKBONES`

    def __post_init__(self) -> None:
        settle(self)
        for problem in self._problems():
            raise ValueError(f"ModelConfig: {problem}")

    def _problems(self) -> list[str]:
        both = self.detail and self.semantic
        rules = [
            (self.detail or self.semantic, "at least one of detail and semantic must be True"),
            (
                self.aggregation in AGGREGATIONS,
                f"aggregation is {self.aggregation!r}, not one of {AGGREGATIONS}",
            ),
            (
                both == (self.aggregation != "none"),
                f"aggregation is {self.aggregation!r} with detail={self.detail}, semantic={self.semantic}: "
                "two branches need 'bga', 'sum' or 'concat', a single branch needs 'none'",
            ),
            (
                set(self.booster) <= set(BOOSTER_POSITIONS) and len(set(self.booster)) == len(self.booster),
                f"booster is {self.booster}, each position must be one of {BOOSTER_POSITIONS}, once",
            ),
            (self.semantic or not self.booster, "booster heads sit on the Semantic Branch, which is off"),
            (self.context or "stage5_5" not in self.booster, "booster at stage5_5 needs context=True"),
            (self.gather_kernel in (1, 3), f"gather_kernel is {self.gather_kernel}, not 1 or 3"),
            (0 < self.channel_ratio <= 1, f"channel_ratio (lambda) is {self.channel_ratio}, not in (0, 1]"),
            (self.width > 0, f"width (alpha) is {self.width}, it must be positive"),
            (
                self.backbone in ("own", *BACKBONES),
                f"backbone is {self.backbone!r}, not one of {('own', *BACKBONES)}",
            ),
            (
                self.backbone == "own" or (self.semantic and not self._own_knobs()),
                f"backbone {self.backbone!r} is the whole Semantic Branch: semantic must be True, and "
                f"{', '.join(self._own_knobs()) or 'the knobs of our own branch'} as by default",
            ),
        ]
        for name in ("num_classes", "expansion", "depth", "head_channels"):
            value = getattr(self, name)
            rules.append(
                (
                    isinstance(value, int) and value >= 1,
                    f"{name} is {value!r}, it must be an integer of at least 1",
                )
            )
        return [message for holds, message in rules if not holds]

    def _own_knobs(self) -> list[str]:
        """Those knobs of our own Semantic Branch that are not at their default."""
        own = ("channel_ratio", "expansion", "gather_kernel", "double_depthwise", "depth")
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return [name for name in own if getattr(self, name) != defaults[name]]

    def channels(self, base: int, follows_ratio: bool = False) -> int:
        """Channels of a layer that has `base` of them at lambda = alpha = 1; even, since the stem halves."""
        exact = base * self.width * (self.channel_ratio if follows_ratio else 1.0)
        return max(2, 2 * round(exact / 2))


class ConvBN(nn.Sequential):
    """Convolution and batch normalisation, and ReLU if asked: x -> relu(bn(conv(x))); "same" padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = False):
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def depthwise(channels: int, kernel: int = 3, stride: int = 1) -> ConvBN:
    """Depth-wise convolution and batch normalisation, no ReLU (reading 2)."""
    return ConvBN(channels, channels, kernel, stride, groups=channels)


def upsample(x: Tensor, size: Size | torch.Size) -> Tensor:
    """Bilinear interpolation to (height, width)."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def stage_by_stage(branch: nn.Module, x: Tensor, prefix: str = "") -> dict[str, Tensor]:
    """Run the children of a branch one after the other; the output of each by its name."""
    features = {}
    for stage, stage_module in branch.named_children():
        features[prefix + stage] = x = stage_module(x)
    return features


class DetailBranch(nn.Module):
    """Section 4.1: three VGG-like stages of wide channels, (N, 3, H, W) -> (N, 128, H/8, W/8)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        inputs = 3
        for stage, base, layers in DETAIL_STAGES:
            outputs = config.channels(base)
            first = ConvBN(inputs, outputs, 3, stride=2, relu=True)
            rest = [ConvBN(outputs, outputs, 3, relu=True) for _ in range(layers - 1)]
            self.add_module(stage, nn.Sequential(first, *rest))
            inputs = outputs
        self.out_channels = inputs

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features by stage: `detail.stage1` (1/2), `detail.stage2` (1/4), `detail.stage3` (1/8)."""
        return stage_by_stage(self, images, "detail.")


class Stem(nn.Module):
    """Figure 4a: conv s2, then (1x1 -> 3x3 s2) || max-pool s2, concat, 1x1: (N, 3, H, W) -> (N, C, H/4, W/4)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = ConvBN(3, channels, 3, stride=2, relu=True)
        self.left = nn.Sequential(
            ConvBN(channels, channels // 2, 1, relu=True),
            ConvBN(channels // 2, channels, 3, stride=2, relu=True),
        )
        self.right = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = ConvBN(2 * channels, channels, 1, relu=True)  # reading 3

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)  # (N, C, H/2, W/2)
        return self.fuse(torch.cat([self.left(x), self.right(x)], dim=1))  # (N, C, H/4, W/4)


class GatherExpansion(nn.Module):
    """Figure 5: relu(shortcut(x) + project(depth-wise(gather(x)))), the gather layer expands C to eC.

    With stride 2 there are two depth-wise 3x3 convolutions (or one 5x5) and a separable shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, config: ModelConfig):
        super().__init__()
        expanded = inputs * config.expansion
        if stride == 1:
            spatial = [depthwise(expanded)]
            self.shortcut: nn.Module = nn.Identity()
        else:
            double = config.double_depthwise
            spatial = [depthwise(expanded, 3, 2), depthwise(expanded)] if double else [depthwise(expanded, 5, 2)]
            self.shortcut = nn.Sequential(depthwise(inputs, 3, 2), ConvBN(inputs, outputs, 1))
        self.main = nn.Sequential(
            ConvBN(inputs, expanded, config.gather_kernel, relu=True),  # gather, reading 1
            *spatial,
            ConvBN(expanded, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.main(x))


class ContextEmbedding(nn.Module):
    """Figure 4b: conv3x3(x + relu(bn(conv1x1(bn(global average of x))))), shape unchanged."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.embed = ConvBN(channels, channels, 1, relu=True)
        self.out = nn.Conv2d(channels, channels, 3, padding=1)  # reading 9

    def forward(self, x: Tensor) -> Tensor:
        context = F.adaptive_avg_pool2d(x, 1)  # (N, C, 1, 1)
        return self.out(x + self.embed(self.norm(context)))


class SemanticBranch(nn.Module):
    """Section 4.2: narrow and deep, (N, 3, H, W) -> (N, 128, H/32, W/32)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        inputs = config.channels(STEM_CHANNELS, follows_ratio=True)
        self.channels = {"stage2": inputs}
        self.stage2 = Stem(inputs)
        for stage, base, follows_ratio, layers in SEMANTIC_STAGES:
            outputs = config.channels(base, follows_ratio)
            first = GatherExpansion(inputs, outputs, 2, config)
            rest = [GatherExpansion(outputs, outputs, 1, config) for _ in range(layers * config.depth - 1)]
            self.add_module(stage, nn.Sequential(first, *rest))
            self.channels[stage] = inputs = outputs
        if config.context:
            self.stage5_5 = ContextEmbedding(inputs)
            self.channels["stage5_5"] = inputs
        self.out_channels = inputs

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features by stage: `stage2` (1/4), `stage3` (1/8), `stage4` (1/16), `stage5_4`, `stage5_5` (1/32)."""
        return stage_by_stage(self, images)


class BackboneBranch(nn.Module):
    """Table 6: another network as Semantic Branch, with the same outputs (readings in `bisenet.backbones`)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        names, (stages, channels) = BOOSTER_POSITIONS[:4], zip(*stages_of(config.backbone), strict=True)
        outputs = config.channels(SEMANTIC_STAGES[-1][1])
        for name, stage in zip(names, stages, strict=True):
            self.add_module(name, stage)
        stages[-1].append(ConvBN(channels[-1], outputs, 1, relu=True))
        self.channels = dict(zip(names, (*channels[:-1], outputs), strict=True))
        self.out_channels = outputs
        if config.context:
            self.stage5_5 = ContextEmbedding(outputs)
            self.channels["stage5_5"] = outputs

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features by stage, at the same resolutions as those of `SemanticBranch`."""
        return stage_by_stage(self, images)


def separable(channels: int) -> nn.Sequential:
    """Depth-wise 3x3 and 1x1, each with batch normalisation (reading 7)."""
    return nn.Sequential(depthwise(channels), ConvBN(channels, channels, 1))


class BilateralGuidedAggregation(nn.Module):
    """Section 4.3, Figure 6: each branch is gated by the other one, at 1/8 and at 1/32, and both are summed.

    detail (N, C, H/8, W/8), semantic (N, C, H/32, W/32) -> (N, C, H/8, W/8)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.detail_keep = nn.Sequential(depthwise(channels), nn.Conv2d(channels, channels, 1, bias=False))
        self.detail_down = nn.Sequential(ConvBN(channels, channels, 3, stride=2), nn.AvgPool2d(3, stride=2, padding=1))
        self.semantic_up = ConvBN(channels, channels, 3)
        self.semantic_keep = nn.Sequential(depthwise(channels), nn.Conv2d(channels, channels, 1, bias=False))
        self.out = ConvBN(channels, channels, 3)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        detail_gate, semantic_gate = self.gates(semantic, detail.shape[2:])
        guided_detail = self.detail_keep(detail) * detail_gate
        guided_semantic = self.detail_down(detail) * semantic_gate  # (N, C, H/32, W/32)
        return self.out(guided_detail + upsample(guided_semantic, detail.shape[2:]))

    def gates(self, semantic: Tensor, fine: Size | torch.Size) -> tuple[Tensor, Tensor]:
        """What the Detail Branch is multiplied with at 1/8, whose size is `fine`, and at 1/32: in (0, 1)."""
        detail_gate = torch.sigmoid(upsample(self.semantic_up(semantic), fine))  # (N, C, H/8, W/8)
        return detail_gate, torch.sigmoid(self.semantic_keep(semantic))  # (N, C, H/32, W/32)


class NaiveAggregation(nn.Module):
    """The baselines of Table 2, sum and concat: 3x3 conv of (separable(detail), upsampled separable(semantic))."""

    def __init__(self, channels: int, how: str):
        super().__init__()
        self.how = how
        self.detail = separable(channels)
        self.semantic = separable(channels)
        self.out = ConvBN(channels if how == "sum" else 2 * channels, channels, 3)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        fine, context = self.detail(detail), upsample(self.semantic(semantic), detail.shape[2:])
        return self.out(fine + context if self.how == "sum" else torch.cat([fine, context], dim=1))


class SegmentationHead(nn.Module):
    """Figure 7: 3x3 conv to C_t, bilinear upsampling, 1x1 classifier: (N, C, h, w) -> (N, K, H, W).

    `classify_first` exchanges the last two, which commute (reading 8): the same logits for far fewer operations.
    Without a size the upsampling is left to the caller: (N, K, h, w).
    """

    def __init__(self, inputs: int, channels: int, num_classes: int):
        super().__init__()
        self.conv = ConvBN(inputs, channels, 3, relu=True)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor, size: Size | None = None, classify_first: bool = True) -> Tensor:
        x = self.conv(x)
        if size is None:
            return self.classifier(x)
        return upsample(self.classifier(x), size) if classify_first else self.classifier(upsample(x, size))


class BiSeNetV2(nn.Module):
    """The whole network (Figure 3): images (N, 3, H, W) -> logits (N, K, H, W); H and W may be odd.

    In `eval()` the output is one tensor. In training it is a dictionary of logits, `head` first and then one
    entry for each booster head by its position; they have the resolution of the features, and the loss enlarges them
    (`bisenet.loss`). The booster heads take no part in inference (Section 4.4).
    """

    def __init__(self, config: ModelConfig | None = None):
        super().__init__()
        self.config = config = config or ModelConfig()
        self.detail = DetailBranch(config) if config.detail else None
        branch = SemanticBranch if config.backbone == "own" else BackboneBranch
        self.semantic = branch(config) if config.semantic else None
        channels = (self.detail or self.semantic).out_channels  # type: ignore[union-attr]
        if config.aggregation == "bga":
            self.aggregation: nn.Module = BilateralGuidedAggregation(channels)
        elif config.aggregation == "none":
            self.aggregation = separable(channels)
        else:
            self.aggregation = NaiveAggregation(channels, config.aggregation)
        self.head = SegmentationHead(channels, config.head_channels, config.num_classes)
        self.booster = nn.ModuleDict(
            {p: SegmentationHead(self._width(p), config.head_channels, config.num_classes) for p in config.booster}
        )
        self.apply(_initialise)

    @classmethod
    def large(cls, **changes: Any) -> BiSeNetV2:
        """BiSeNetV2-Large (Section 5.2): alpha = 2, d = 3, C_t = 256."""
        return cls(dataclasses.replace(ModelConfig(width=2.0, depth=3, head_channels=256), **changes))

    def _width(self, position: str) -> int:
        assert self.semantic is not None  # ModelConfig allows boosters with a Semantic Branch only
        return self.semantic.channels[position]

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Named intermediates: `detail.stage1` to `detail.stage3`, `stage2` to `stage5_5`, `aggregation`."""
        features = self.detail(images) if self.detail else {}
        detail = features.get("detail.stage3")
        if self.semantic is None:
            features["aggregation"] = self.aggregation(detail)
            return features
        features |= self.semantic(images)
        semantic = features["stage5_5" if self.config.context else "stage5_4"]
        if detail is None:
            fine = features["stage3"].shape[2:]  # 1/8, where the Detail Branch would end
            features["aggregation"] = upsample(self.aggregation(semantic), fine)
        else:
            features["aggregation"] = self.aggregation(detail, semantic)
        return features

    def forward(
        self, images: Tensor, size: Size | None = None, classify_first: bool = True
    ) -> Tensor | dict[str, Tensor]:
        """Logits at `size`, (height, width), by default that of the images; training has no use for `size`."""
        features = self.features(images)
        if self.training:
            boosters = {position: head(features[position]) for position, head in self.booster.items()}
            return {"head": self.head(features["aggregation"]), **boosters}
        return self.head(features["aggregation"], size or (images.shape[2], images.shape[3]), classify_first)

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
        """Write weights and configuration to one safetensors file, atomically.

        Parameters are stored as `dtype`; the statistics of batch normalisation keep their range.
        """
        parameters = dict(self.named_parameters())
        tensors = {
            name: (value.to(dtype) if name in parameters else value).contiguous().cpu()
            for name, value in self.state_dict().items()
        }
        write_safetensors(path, tensors, {"config": dataclasses.asdict(self.config)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BiSeNetV2:
        """The network of a file that `save` wrote, in `eval()`; ValueError if it is no such file."""
        tensors, metadata = read_safetensors(path)
        try:
            model = cls(ModelConfig(**metadata["config"]))
            model.load_state_dict(tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{path} was not written by BiSeNetV2.save: {error}") from error
        return model.eval()


def _initialise(module: nn.Module) -> None:
    """ "Kaiming normal" for convolutions (Section 5, Training; reading 10)."""
    if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # without memory there is nothing to fill
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
