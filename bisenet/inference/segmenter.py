"""From a frame to a class map, fast, with the answer of the plain network.

What is spared, and what it changes: batch normalisation is folded into the convolutions (nothing but rounding); and
the class of a pixel is found while its logits are interpolated, class by class, so that logits at the frame's size are
never stored.
"""

import copy
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bisenet.augment import resized, to_tensor
from bisenet.config import Size
from bisenet.cost import PAPER_INPUT
from bisenet.data import read_image
from bisenet.files import SHIPPED_WEIGHTS
from bisenet.inference import engines, kept
from bisenet.inference.compiler import compiled
from bisenet.model import BiSeNetV2, interpolation, upsample

Frame = np.ndarray | Tensor | str | os.PathLike[str]


class FromPixels(nn.Module):
    """A network from pixels, uint8 (N, h, w, 3), to its logits before they are enlarged, (N, K, h/8, w/8)."""

    def __init__(self, network: BiSeNetV2):
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        images = to_tensor(pixels, self.network.normalisation)
        images = images.to(self.network.head.classifier.weight.dtype)
        return self.network.head(self.network.features(images)["refinement"])


class Plain(nn.Module):
    """The path without any of this: frames, uint8 (N, H, W, 3), seen at `size`, to class maps, uint8 (N, H, W)."""

    def __init__(self, network: BiSeNetV2, size: Size):
        super().__init__()
        self.network, self.size = network, size

    def forward(self, frames: Tensor) -> Tensor:
        images = to_tensor(resized(frames, self.size), self.network.normalisation)
        return self.network(images, size=(frames.shape[1], frames.shape[2])).argmax(1).to(torch.uint8)


def folded(network: BiSeNetV2) -> BiSeNetV2:
    """A copy for inference: without booster heads, batch normalisation folded into the convolution before it."""
    network = copy.deepcopy(network).eval()
    network.booster = nn.ModuleDict()
    for block in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place, (first, second) in enumerate(itertools.pairwise(list(block))):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                block[place], block[place + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return network


# --- the class of every pixel, while the logits are enlarged --------------------------------------------------------

CLASSES_AT_A_TIME = 32  # of a compiled pass, which is written out class by class
# Floats between the rows of two classes: with rows of 2,048 all classes would lie in the same few places of a cache.
GAP = 16
COLUMNS_AT_A_TIME = 256

Rows = tuple[Tensor, Tensor, Tensor]


def _values(wide: Tensor, lower: Tensor, upper: Tensor, share: Tensor) -> Iterator[Tensor]:
    """Of each class the logits (H, W) that bilinear interpolation gives, from logits (h, K, W + GAP)."""
    for number in range(wide.shape[1]):
        plane = wide[:, number, :-GAP]
        above = plane[lower]
        yield above + (plane[upper] - above) * share[:, None]


def _largest(*given: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit of every pixel, (H, W), and its class, uint8; of equal ones the first class."""
    values = _values(*given)
    best = next(values)
    place = torch.zeros_like(best)
    for number, value in enumerate(values, start=1):
        better = value > best
        best, place = torch.where(better, value, best), torch.where(better, float(number), place)
    return best, place.to(torch.uint8)


def _class(*given: Tensor) -> Tensor:
    return _largest(*given)[1]


def _exponentials(wide: Tensor, lower: Tensor, upper: Tensor, share: Tensor, best: Tensor) -> Tensor:
    """The sum over classes of exp(logit - best), (H, W)."""
    total = torch.zeros_like(best)
    for value in _values(wide, lower, upper, share):
        total = total + torch.exp(value - best)
    return total


class _Module(nn.Module):
    """A function as a module, which is what can be compiled ahead of time."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *given: Tensor) -> Any:
        return self.function(*given)


@functools.cache
def _compiled(function: Callable[..., Any], classes: int, device: torch.device) -> Callable[..., Any]:
    """One of the three above for any size and this number of classes."""
    shapes = [(10, classes, 200 + GAP), (72,), (72,), (72,), (72, 200)]
    kinds = [torch.float32, torch.int32, torch.int32, torch.float32, torch.float32]
    count = 5 if function is _exponentials else 4
    # A tensor for each: what comes in twice would be taken for one, always.
    example = [torch.zeros(shape, dtype=kind, device=device) for shape, kind in zip(shapes, kinds, strict=True)][:count]

    def sizes() -> Any:
        least = {"height": 2, "rows": 1, "width": GAP + 2}
        height, rows, width = (torch.export.Dim(name, min=side, max=1 << 16) for name, side in least.items())
        return (({0: height, 2: width}, *3 * ({0: rows},), {0: rows, 1: width - GAP})[:count],)

    return compiled(_Module(function), tuple(example), kept.hash_of(function.__name__, classes), sizes)


@functools.lru_cache(maxsize=32)
def _rows(inputs: int, outputs: int, device: torch.device) -> Rows:
    """Between which two rows each of `outputs` lies, and the share of the second: as `F.interpolate` has it."""
    scale = torch.tensor(inputs / outputs, dtype=torch.float32, device=device)
    place = ((torch.arange(outputs, device=device) + 0.5) * scale - 0.5).clamp(min=0)
    lower = place.floor().int().clamp(max=inputs - 1)
    return lower, (lower + 1).clamp(max=inputs - 1), place - lower


@functools.lru_cache(maxsize=32)
def _columns(inputs: int, outputs: int, device: torch.device) -> list[tuple[slice, slice, Tensor]]:
    """Horizontal interpolation as products with small matrices: some columns, those they come from, and the shares."""
    lower, upper, _ = _rows(inputs, outputs, torch.device("cpu"))
    whole, parts = interpolation(inputs, outputs, device).T, []
    for first in range(0, outputs, COLUMNS_AT_A_TIME):
        last = min(first + COLUMNS_AT_A_TIME, outputs)
        source, target = slice(int(lower[first]), int(upper[last - 1]) + 1), slice(first, last)
        parts.append((source, target, whole[source, target].contiguous()))
    return parts


def _widened(logits: Tensor, size: Size) -> tuple[Tensor, ...]:
    """Logits (K, h, w) enlarged horizontally, (h, K, W + GAP), and what the vertical pass needs."""
    if logits.shape[1] == 1:
        logits = logits.repeat(1, 2, 1)  # of one row the compiler makes a case of its own, for minutes
    classes, height, width = logits.shape
    lines = logits.float().transpose(0, 1).reshape(-1, width)  # (h K, w)
    wide = lines.new_empty(len(lines), size[1] + GAP)
    for source, target, shares in _columns(width, size[1], logits.device):
        torch.mm(lines[:, source], shares, out=wide[:, target])
    return wide.unflatten(0, (height, classes)), *_rows(height, size[0], logits.device)


def _run(function: Callable[..., Any], wide: Tensor, *given: Tensor) -> Any:
    return _compiled(function, wide.shape[1], wide.device)(wide, *given)


@torch.inference_mode()
def class_map(logits: Tensor, size: Size) -> Tensor:
    """The class of every pixel, uint8 (H, W), of logits (K, h, w) enlarged to `size`, (H, W): bilinear, then argmax."""
    if len(logits) <= CLASSES_AT_A_TIME:
        return _run(_class, *_widened(logits, size))
    return _in_groups(_widened(group, size) for group in logits.split(CLASSES_AT_A_TIME))[1]


@torch.inference_mode()
def class_map_and_confidence(logits: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """`class_map`, and the softmax probability of that class, float32 (H, W)."""
    groups = [_widened(group, size) for group in logits.split(CLASSES_AT_A_TIME)]
    best, place = _in_groups(groups)
    totals = [_run(_exponentials, *group, best) for group in groups]
    return place, 1 / torch.stack(totals).sum(0)


def _in_groups(groups: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """`_largest` of any number of classes."""
    groups = iter(groups)
    best, place = _run(_largest, *next(groups))
    for number, group in enumerate(groups, start=1):
        value, member = _run(_largest, *group)
        place = torch.where(value > best, member + number * CLASSES_AT_A_TIME, place).to(torch.uint8)
        best = torch.maximum(best, value)
    return best, place


# --- the whole path -------------------------------------------------------------------------------------------------


class Segmenter:
    """A network ready to segment frames of any size, each seen at `size`, (height, width).

    `weights` is a file of `BiSeNetV2.save`, or the name of one that came with the package ("streets", the default: it
    knows the embedded scenes), or a network. `size` is by default what they were tested at, otherwise the paper's
    512x1024.
    `engine` is one of `engines.ENGINES`, or "auto": the fastest here of the runtimes that are installed and answer as
    the network does, otherwise "compile" or, where that does not start, "torch". It runs on the GPU if there is one.
    Precision "int8" needs `calibration`, frames as they will come.

    Several threads may call it; the network runs for one at a time (on a GPU "compile" answers only the thread that
    loaded it). Loading compiles and warms up: seconds to a minute, the first time. ValueError for an engine or
    precision that cannot be had here.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | BiSeNetV2 = SHIPPED_WEIGHTS,
        *,
        size: Size | None = None,
        engine: str = "auto",
        precision: str = "fp32",
        calibration: Iterable[Frame] = (),
    ):
        network = weights if isinstance(weights, BiSeNetV2) else BiSeNetV2.load(weights)
        self.size = size or network.seen_at or PAPER_INPUT
        if min(self.size) < 1:
            raise ValueError(f"size is {self.size}, it must be (height, width), both at least 1")
        self.num_classes, self.classes = network.config.num_classes, network.classes
        self.precision = precision
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = FromPixels(folded(network)).to(self.device)
        self._calibration = [self.seen(self._frames(frame)) for frame in calibration]
        values = itertools.chain(*self.network.state_dict().items())
        own = type(network) is BiSeNetV2  # no name has the code of others
        self._identity = kept.hash_of(network.config, str(self.network), *values) if own else ""
        noise = np.random.default_rng(0).integers(0, 256, (*self.size, 3), np.uint8)  # no engine may answer by chance
        example = self._frames(noise)
        self.chosen = ""  # why this engine, if that was left open
        if engine == "auto":
            how = precision, self._calibration, self._identity
            self.engine, runner, self.chosen = engines.choose_fastest(self.network, example, *how)
        else:
            self.engine, runner = engine, self._prepare(example, engine)
        self._runners = {1: runner}  # by batch
        class_map(torch.zeros(self.num_classes, 1, 1, device=self.device), self.size)  # compiles it
        for _ in range(2 if self.device.type == "cuda" else 0):
            self(noise)

    @overload
    def __call__(self, frame: Tensor) -> Tensor: ...

    @overload
    def __call__(self, frame: np.ndarray | str | os.PathLike[str]) -> np.ndarray: ...

    def __call__(self, frame: Frame) -> np.ndarray | Tensor:
        """Class ids, uint8 (H, W), of a frame, uint8 (H, W, 3) RGB: an array, a tensor or a file.

        Of a batch of frames (N, H, W, 3) it is (N, H, W). An array for an array or a file, a tensor for a tensor.
        """
        frames = self._frames(frame)
        maps = [class_map(logits, _size(frames)) for logits in self.small_logits(frames)]
        return self._as_given(maps, frame)

    def with_confidence(self, frame: Frame) -> tuple[np.ndarray | Tensor, np.ndarray | Tensor]:
        """Class ids, and the softmax probability of each, float32, of the same shape."""
        frames = self._frames(frame)
        pairs = [class_map_and_confidence(logits, _size(frames)) for logits in self.small_logits(frames)]
        maps, confidences = zip(*pairs, strict=True)
        return self._as_given(maps, frame), self._as_given(confidences, frame)

    def logits(self, frame: Frame) -> np.ndarray | Tensor:
        """Logits at the frame's size, float32 (K, H, W), or (N, K, H, W) of a batch."""
        frames = self._frames(frame)
        return self._as_given(upsample(self.small_logits(frames), _size(frames)).unbind(), frame)

    def small_logits(self, frames: Tensor) -> Tensor:
        """Logits (N, K, h/8, w/8), of what the network sees at h x w, of frames uint8 (N, H, W, 3) on the device."""
        return self.network_alone(self.seen(frames))

    def network_alone(self, seen: Tensor) -> Tensor:
        """Logits (N, K, h/8, w/8) of what the network sees, uint8 (N, h, w, 3); an engine for each size of batch."""
        with engines.ONE_AT_A_TIME:
            if (batch := len(seen)) not in self._runners:
                self._runners[batch] = self._prepare(seen, self.engine)
            return self._runners[batch](seen)

    def seen(self, frames: Tensor) -> Tensor:
        """Frames as the network sees them, uint8 (N, *size, 3)."""
        return resized(frames, self.size).contiguous()

    def _prepare(self, example: Tensor, engine: str) -> engines.Runner:
        how = self.precision, self._calibration, self._identity
        return engines.prepare(self.network, example, engine, *how)

    def _frames(self, frame: Frame) -> Tensor:
        if isinstance(frame, (str, os.PathLike)):
            frame = read_image(Path(frame), upright=True)
        frames = frame if isinstance(frame, Tensor) else torch.from_numpy(np.require(frame, requirements=["C", "W"]))
        if frames.dtype != torch.uint8 or frames.ndim not in (3, 4) or frames.shape[-1] != 3 or not frames.numel():
            raise ValueError(
                f"a frame is {frames.dtype}, {tuple(frames.shape)}: it must be uint8 RGB, (H, W, 3) or (N, H, W, 3)"
            )
        return (frames if frames.ndim == 4 else frames[None]).to(self.device)

    @staticmethod
    def _as_given(of_frames: Sequence[Tensor], frame: Frame) -> np.ndarray | Tensor:
        """One result, or those of a batch as one: a tensor where the frame was one."""
        single = isinstance(frame, (str, os.PathLike)) or frame.ndim == 3
        values = of_frames[0] if single else torch.stack(tuple(of_frames))
        return values if isinstance(frame, Tensor) else values.cpu().numpy()


def _size(frames: Tensor) -> Size:
    return frames.shape[1], frames.shape[2]
