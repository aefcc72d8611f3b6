"""BiSeNet V2, in the order of the paper: Sections 4.1 to 4.4, Table 1, Figures 3 to 7.

Points that the paper's text leaves open are fields of a `Reading` (`bisenet.readings`, with the evidence for each).
"""

import dataclasses
import os
from typing import Any, Self

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody knows
from torch import Tensor, nn

from bisenet.augment import MEAN, STD, Colour, Normalisation
from bisenet.backbones import BACKBONES, stages_of
from bisenet.config import Size, settle
from bisenet.files import read_safetensors, shipped, write_safetensors
from bisenet.readings import PAPER, Reading, named

AGGREGATIONS = ("bga", "sum", "concat", "none")
STRIDES = {"stage2": 4, "stage3": 8, "stage4": 16, "stage5_4": 32, "stage5_5": 32}  # of the Semantic Branch
BOOSTER_POSITIONS = tuple(STRIDES)

# Table 1, Detail Branch: stage, output channels c, layers (the first has stride 2).
DETAIL_STAGES = (("stage1", 64, 2), ("stage2", 64, 3), ("stage3", 128, 3))
BACKBONE_WIDTH = 512  # Table 6, other networks as Semantic Branch: of the Detail Branch's last stage, up to the head
# Table 1, Semantic Branch: channels of the stem at lambda = 1; then stage, output channels c at lambda = 1, whether
# they follow lambda, GE layers (the first has stride 2).
STEM_CHANNELS = 64
SEMANTIC_STAGES = (("stage3", 128, True, 2), ("stage4", 64, False, 2), ("stage5_4", 128, False, 4))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Every knob of the paper's ablations; the defaults are BiSeNet V2 as in the last row of Table 2.

    `reading` may be given by its name. ValueError where a value or a combination means nothing.
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
    backbone: str = "own"  # Table 6: the Semantic Branch, "own" or one of `backbones.BACKBONES`
    reading: Reading = PAPER  # of what the paper leaves open
    mean: Colour = MEAN  # what the weights were trained on: images are (x - mean) / std
    std: Colour = STD

    def __post_init__(self) -> None:
        if isinstance(self.reading, str):
            object.__setattr__(self, "reading", named(self.reading))
        settle(self)
        for problem in self._problems():
            raise ValueError(f"ModelConfig: {problem}")

    def _problems(self) -> list[str]:
        merged, booster, backbones = self.aggregation, self.booster, ("own", *BACKBONES)
        two = f"with detail={self.detail}, semantic={self.semantic}: two branches need 'bga', 'sum' or 'concat'"
        knobs = ", ".join(self._own_knobs()) or "the knobs of our own branch"
        in_range = min(self.mean) >= 0 and min(self.std) > 0 and max(*self.mean, *self.std) <= 1
        both, whole = self.detail and self.semantic, self.backbone == "own" or (self.semantic and not self._own_knobs())
        once = set(booster) <= set(BOOSTER_POSITIONS) and len(set(booster)) == len(booster)
        rules = [
            (self.detail or self.semantic, "at least one of detail and semantic must be True"),
            (merged in AGGREGATIONS, f"aggregation is {merged!r}, not one of {AGGREGATIONS}"),
            (both == (merged != "none"), f"aggregation is {merged!r} {two}, a single branch needs 'none'"),
            (once, f"booster is {booster}, each position must be one of {BOOSTER_POSITIONS}, once"),
            (self.semantic or not booster, "booster heads sit on the Semantic Branch, which is off"),
            (self.context or "stage5_5" not in booster, "booster at stage5_5 needs context=True"),
            (self.gather_kernel in (1, 3), f"gather_kernel is {self.gather_kernel}, not 1 or 3"),
            (0 < self.channel_ratio <= 1, f"channel_ratio (lambda) is {self.channel_ratio}, not in (0, 1]"),
            (self.width > 0, f"width (alpha) is {self.width}, it must be positive"),
            (in_range, f"mean {self.mean} and std {self.std} must be of values in 0 to 1, std above 0: divide by 255"),
            (self.backbone in backbones, f"backbone is {self.backbone!r}, not one of {backbones}"),
            (whole, f"backbone {self.backbone!r} is the Semantic Branch, which must be on, {knobs} as by default"),
        ]
        counts = {name: getattr(self, name) for name in ("num_classes", "expansion", "depth")}
        rules += [(value >= 1, f"{name} is {value}, it must be at least 1") for name, value in counts.items()]
        return [message for holds, message in rules if not holds]

    def _own_knobs(self) -> list[str]:
        """Those knobs of our own Semantic Branch that are not at their default."""
        own = ("channel_ratio", "expansion", "gather_kernel", "double_depthwise", "depth", "context")
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return [name for name in own if getattr(self, name) != defaults[name]]

    @property
    def head_channels(self) -> int:
        """C_t of Figure 7."""
        return self.reading.wide_head_channels if self.width > 1 else self.reading.head_channels

    @property
    def aggregated(self) -> int:
        """Channels of the Detail Branch's last stage, of the aggregation, and of what enters the head."""
        return self.channels(DETAIL_STAGES[-1][1] if self.backbone == "own" else BACKBONE_WIDTH)

    def channels(self, base: int, follows_ratio: bool = False) -> int:
        """Channels of a layer that has `base` of them at lambda = alpha = 1; even, since the stem halves."""
        exact = base * self.width * (self.channel_ratio if follows_ratio else 1.0)
        return max(2, 2 * round(exact / 2))


class ConvBN(nn.Sequential):
    """Convolution and batch normalisation, and ReLU if asked: x -> relu(bn(conv(x))); "same" padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = False):
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), *([nn.ReLU(inplace=True)] if relu else []))


def depthwise(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, relu: bool = False) -> ConvBN:
    """Depth-wise convolution, whose outputs may be a multiple of its inputs, and batch normalisation."""
    return ConvBN(inputs, outputs, kernel, stride, groups=inputs, relu=relu)


def upsample(x: Tensor, size: Size | torch.Size, mode: str = "bilinear") -> Tensor:
    """Interpolation to (height, width)."""
    return F.interpolate(x, size=tuple(size), mode=mode, align_corners=False if mode == "bilinear" else None)


def interpolation(inputs: int, outputs: int, device: torch.device) -> Tensor:
    """The matrix (outputs, inputs) that enlarges one side as `upsample` does."""
    unit = torch.eye(inputs, device=device)[None]
    return F.interpolate(unit, size=outputs, mode="linear", align_corners=False)[0].T.contiguous()


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
            outputs = config.aggregated if stage == DETAIL_STAGES[-1][0] else config.channels(base)
            first = ConvBN(inputs, outputs, 3, stride=2, relu=True)
            rest = [ConvBN(outputs, outputs, 3, relu=True) for _ in range(layers - 1)]
            self.add_module(stage, nn.Sequential(first, *rest))
            inputs = outputs

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features by stage: `detail.stage1` (1/2), `detail.stage2` (1/4), `detail.stage3` (1/8)."""
        return stage_by_stage(self, images, "detail.")


class Stem(nn.Module):
    """Figure 4a: conv s2, then (1x1 -> 3x3 s2) || max-pool s2, concat, 1x1 (or 3x3, by the reading).

    (N, 3, H, W) -> (N, C, H/4, W/4)
    """

    def __init__(self, channels: int, config: ModelConfig):
        super().__init__()
        self.conv = ConvBN(3, channels, 3, stride=2, relu=True)
        self.left = nn.Sequential(
            ConvBN(channels, channels // 2, 1, relu=True),
            ConvBN(channels // 2, channels, 3, stride=2, relu=True),
        )
        self.right = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = ConvBN(2 * channels, channels, config.reading.stem_kernel, relu=True)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)  # (N, C, H/2, W/2)
        return self.fuse(torch.cat([self.left(x), self.right(x)], dim=1))  # (N, C, H/4, W/4)


class GatherExpansion(nn.Module):
    """Figure 5: relu(shortcut(x) + project(depth-wise(gather(x)))), C -> eC -> eC -> C'.

    With stride 2 there are two depth-wise 3x3 convolutions (or one 5x5) and a separable shortcut. A reading may leave
    the gather layer at C -> C; then the first depth-wise convolution expands.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, config: ModelConfig):
        super().__init__()
        expanded, relu = inputs * expansion, config.reading.depthwise_relu
        gathered = expanded if config.reading.gather == "expands" else inputs
        if stride == 1:
            spatial = [depthwise(gathered, expanded, relu=relu)]
            self.shortcut: nn.Module = nn.Identity()
        else:
            double = [depthwise(gathered, expanded, 3, 2), depthwise(expanded, expanded, relu=relu)]
            spatial = double if config.double_depthwise else [depthwise(gathered, expanded, 5, 2, relu)]
            self.shortcut = nn.Sequential(depthwise(inputs, inputs, 3, 2), ConvBN(inputs, outputs, 1))
        gather = ConvBN(inputs, gathered, config.gather_kernel, relu=True)
        self.main = nn.Sequential(gather, *spatial, ConvBN(expanded, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.main(x))


class ContextEmbedding(nn.Module):
    """Figure 4b: conv3x3(x + relu(bn(conv1x1(bn(global average of x))))), (N, C, h, w) -> (N, C', h, w)."""

    def __init__(self, inputs: int, outputs: int, config: ModelConfig):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.embed = ConvBN(inputs, inputs, 1, relu=True)
        bare = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.out = ConvBN(inputs, outputs, 3, relu=True) if config.reading.context_norm else bare

    def forward(self, x: Tensor) -> Tensor:
        context = F.adaptive_avg_pool2d(x, 1)  # (N, C, 1, 1)
        return self.out(x + self.embed(self.norm(context)))


class SemanticBranch(nn.Module):
    """Section 4.2: narrow and deep, (N, 3, H, W) -> (N, 128, H/32, W/32). `channels`: those of each stage."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        inputs = config.channels(STEM_CHANNELS, follows_ratio=True)
        self.channels = {"stage2": inputs}
        self.stage2 = Stem(inputs, config)
        for stage, base, follows_ratio, layers in SEMANTIC_STAGES:
            outputs = config.channels(base, follows_ratio)
            first = GatherExpansion(inputs, outputs, 2, config.expansion, config)
            others = layers * config.depth - 1
            rest = [GatherExpansion(outputs, outputs, 1, config.expansion, config) for _ in range(others)]
            self.add_module(stage, nn.Sequential(first, *rest))
            self.channels[stage] = inputs = outputs
        if config.context:
            self.stage5_5 = ContextEmbedding(inputs, inputs, config)
            self.channels["stage5_5"] = inputs

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features by stage: `stage2` (1/4), `stage3` (1/8), `stage4` (1/16), `stage5_4`, `stage5_5` (1/32)."""
        return stage_by_stage(self, images)


class BackboneBranch(nn.Module):
    """Table 6: another network as Semantic Branch, (N, 3, H, W) -> (N, 512, H/32, W/32)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.channels = {}
        for name, (stage, outputs) in zip(BOOSTER_POSITIONS, stages_of(config.backbone), strict=False):
            self.add_module(name, stage)
            self.channels[name] = outputs
        self.stage5_5 = ContextEmbedding(outputs, config.aggregated, config)
        self.channels["stage5_5"] = config.aggregated

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features by stage, at the same resolutions as those of `SemanticBranch`."""
        return stage_by_stage(self, images)


def separable(channels: int) -> nn.Sequential:
    """Depth-wise 3x3 and 1x1, each with batch normalisation."""
    return nn.Sequential(depthwise(channels, channels), ConvBN(channels, channels, 1))


class BilateralGuidedAggregation(nn.Module):
    """Section 4.3, Figure 6: the Semantic Branch gates the Detail Branch at 1/8 and at 1/32, and both are summed.

    detail (N, C, H/8, W/8), semantic (N, C, H/32, W/32) -> (N, C, H/8, W/8)
    """

    def __init__(self, channels: int, reading: Reading = PAPER):
        super().__init__()
        self.upsampling, bias = reading.aggregation_upsampling, reading.aggregation_bias
        self.detail_keep = nn.Sequential(depthwise(channels, channels), nn.Conv2d(channels, channels, 1, bias=bias))
        self.detail_down = nn.Sequential(ConvBN(channels, channels, 3, stride=2), nn.AvgPool2d(3, stride=2, padding=1))
        self.semantic_up = ConvBN(channels, channels, 3)
        self.semantic_keep = nn.Sequential(depthwise(channels, channels), nn.Conv2d(channels, channels, 1, bias=bias))
        self.out = ConvBN(channels, channels, 3, relu=reading.aggregation_relu)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        detail_gate, semantic_gate = self.gates(semantic, detail.shape[2:])
        guided_detail = self.detail_keep(detail) * detail_gate
        guided_semantic = self.detail_down(detail) * semantic_gate  # (N, C, H/32, W/32)
        return self.out(guided_detail + upsample(guided_semantic, detail.shape[2:], self.upsampling))

    def gates(self, semantic: Tensor, fine: Size | torch.Size) -> tuple[Tensor, Tensor]:
        """What the Detail Branch is multiplied with at 1/8, whose size is `fine`, and at 1/32: in (0, 1)."""
        detail_gate = torch.sigmoid(upsample(self.semantic_up(semantic), fine, self.upsampling))  # (N, C, H/8, W/8)
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
    """Figure 7: 3x3 conv to C_t, 1x1 classifier, bilinear upsampling: (N, C, h, w) -> (N, K, *size).

    Without a size the upsampling is left to the caller: (N, K, h, w).
    """

    def __init__(self, inputs: int, channels: int, num_classes: int):
        super().__init__()
        self.conv = ConvBN(inputs, channels, 3, relu=True)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor, size: Size | None = None) -> Tensor:
        logits = self.classifier(self.conv(x))
        return logits if size is None else upsample(logits, size)


class PublicBoosterHead(nn.Module):
    """Booster head of the two public implementations: 3x3 conv, another to stride^2 channels, 1x1 classifier.

    "coincheung" enlarges twofold in between: (N, C, h, w) -> (N, K, 2h, 2w); "mmsegmentation" does not.
    """

    def __init__(self, inputs: int, stride: int, num_classes: int, kind: str):
        super().__init__()
        self.enlarge = 2 if kind == "coincheung" else 1
        middle = 128 if kind == "coincheung" else stride**2
        self.conv = ConvBN(inputs, middle, 3, relu=True)
        self.conv2 = ConvBN(middle, stride**2, 3, relu=True)
        self.classifier = nn.Conv2d(stride**2, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.conv2(F.interpolate(self.conv(x), scale_factor=self.enlarge)))


class BiSeNetV2(nn.Module):
    """The whole network (Figure 3): images (N, 3, H, W) -> logits (N, K, H, W); H and W may be odd.

    In `eval()` the output is one tensor. In training it is a dictionary of logits, `head` first and then one
    entry for each booster head by its position; they have the resolution of the features, and the loss enlarges them
    (`bisenet.loss`). The booster heads take no part in inference (Section 4.4).

    `classes` are the names of the K classes, or () if nobody named them; `seen_at` is the size, (height, width), of
    the images that it was tested at, if it was.
    """

    def __init__(self, config: ModelConfig | None = None):
        super().__init__()
        self.config = config = config or ModelConfig()
        self.classes: tuple[str, ...] = ()
        self.seen_at: Size | None = None
        self.detail = DetailBranch(config) if config.detail else None
        branch = SemanticBranch if config.backbone == "own" else BackboneBranch
        self.semantic = branch(config) if config.semantic else None
        channels = config.aggregated
        if config.aggregation == "bga":
            self.aggregation: nn.Module = BilateralGuidedAggregation(channels, config.reading)
        else:
            single = config.aggregation == "none"
            self.aggregation = separable(channels) if single else NaiveAggregation(channels, config.aggregation)
        layers = [GatherExpansion(channels, channels, 1, 1, config) for _ in range(config.reading.refinement)]
        self.refinement = nn.Sequential(*layers)
        self.head = SegmentationHead(channels, config.head_channels, config.num_classes)
        self.booster = nn.ModuleDict({position: self._booster_head(position) for position in config.booster})
        self.apply(_initialise)

    @classmethod
    def large(cls, **changes: Any) -> Self:
        """BiSeNetV2-Large (Section 5.2): alpha = 2, d = 3."""
        return cls(dataclasses.replace(ModelConfig(width=2.0, depth=3), **changes))

    def _booster_head(self, position: str) -> nn.Module:
        assert self.semantic is not None  # ModelConfig allows boosters with a Semantic Branch only
        inputs, config = self.semantic.channels[position], self.config
        if config.reading.booster_head == "paper":
            return SegmentationHead(inputs, config.head_channels, config.num_classes)
        return PublicBoosterHead(inputs, STRIDES[position], config.num_classes, config.reading.booster_head)

    @property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the images, in [0, 1], that the network was trained on."""
        return self.config.mean, self.config.std

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Named intermediates: `detail.stage1` to `stage3`, `stage2` to `stage5_5`, `aggregation`, `refinement`.

        The last one, (N, C, H/8, W/8), is what the head takes.
        """
        detail, semantic = ({} if branch is None else branch(images) for branch in (self.detail, self.semantic))
        features = {**detail, **semantic}
        ends = ("detail.stage3", "stage5_5" if self.config.context else "stage5_4")
        merged = self.aggregation(*[features[stage] for stage in ends if stage in features])
        if self.detail is None:
            merged = upsample(merged, features["stage3"].shape[2:])  # to 1/8, where the Detail Branch would end
        return {**features, "aggregation": merged, "refinement": self.refinement(merged)}

    def forward(self, images: Tensor, size: Size | None = None) -> Tensor | dict[str, Tensor]:
        """Logits at `size`, (height, width), by default that of the images; training has no use for `size`."""
        features = self.features(images)
        if self.training:
            boosters = {position: head(features[position]) for position, head in self.booster.items()}
            return {"head": self.head(features["refinement"]), **boosters}
        return self.head(features["refinement"], size or (images.shape[2], images.shape[3]))

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
        """Write weights, configuration and class names to one safetensors file, atomically.

        Parameters are stored as `dtype`; the statistics of batch normalisation keep their range.
        """
        parameters = dict(self.named_parameters())
        state = {k: value.to(dtype) if k in parameters else value for k, value in self.state_dict().items()}
        tensors = {name: value.contiguous().cpu() for name, value in state.items()}
        config = {**dataclasses.asdict(self.config), "classes": self.classes, "seen_at": self.seen_at}
        write_safetensors(path, tensors, {"config": config})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The network of a file that `save` wrote, or of a name that is `shipped`, in `eval()`; else ValueError."""
        tensors, metadata = read_safetensors(shipped(path))
        try:
            config = metadata["config"]
            classes, size = tuple(config.pop("classes", ())), config.pop("seen_at", None)
            model = cls(ModelConfig(**config))
            model.load_state_dict(tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            said = f"is no network that this version of BiSeNetV2.save writes ({reason})"
            raise ValueError(f"{path} {said}; give a file that train, convert or save wrote") from error
        if len(classes) not in (0, model.config.num_classes):
            raise ValueError(f"{path} names {len(classes)} classes, its network has {model.config.num_classes}")
        model.classes, model.seen_at = classes, size and tuple(size)
        return model.eval()


def _initialise(module: nn.Module) -> None:
    """ "Kaiming normal" for convolutions (Section 5, Training)."""
    if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # without memory there is nothing to fill
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
