"""The paper's augmentation (Section 5, Training), each sample resampled once from the source pixels.

Scaling, cropping and the final resize are one geometric map, so only the region that the network will see is
computed, and nothing is interpolated twice. Image and labels follow the same map.

Readings, where the paper is silent: images are normalised by ImageNet's statistics; shrinking is antialiased, in
training as in evaluation; where a scaled image is smaller than the crop, it lies at a random place of the crop, and the
rest is mean colour and ignored; labels in training are those at the size that the network sees.
"""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image, ImageOps
from torch import Tensor

from bisenet.config import Size
from bisenet.dataset import IGNORE, Pair

Colour = tuple[float, float, float]  # red, green, blue in [0, 1]
Normalisation = tuple[Colour, Colour]  # mean and standard deviation: (x - mean) / std
# ImageNet's statistics; the paper does not name its own.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
PADDING = tuple(round(255 * m) for m in MEAN)  # zero after normalisation
SCALES = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random flip, random scale, random crop, resize; sizes are (height, width).

    `image_size`: the size of the image at scale 1 (Cityscapes: 1024x2048); files of another size are brought to it,
    unless it is None.
    `crop`: cut from the scaled image, padded where that is smaller. `input_size`: what the network sees of a crop.
    """

    image_size: Size | None
    crop: Size
    input_size: Size
    scales: tuple[float, ...] = SCALES
    flip: bool = True

    def __post_init__(self) -> None:
        largest = tuple(round(max(self.scales) * side) for side in self.image_size or ())
        if largest and (self.crop[0] > largest[0] or self.crop[1] > largest[1]):
            raise ValueError(
                f"crop {self.crop} is larger than the image {self.image_size} at its largest scale, {largest}: "
                "every sample would be padded; make the crop smaller or the image larger"
            )

    def __call__(self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        """One random sample of a pair, at `input_size`."""
        scale = float(rng.choice(self.scales))
        corner = rng.random(2)
        flip = self.flip and rng.random() < 0.5
        height, width = self.image_size or image.shape[:2]
        rows = _axis(image.shape[0], height * scale, self.crop[0], self.input_size[0], corner[0])
        columns = _axis(image.shape[1], width * scale, self.crop[1], self.input_size[1], corner[1])
        return resample(image, labels, rows, columns, self.input_size, flip)


@dataclasses.dataclass(frozen=True)
class Axis:
    """Along one axis: source pixels [start, stop) land on the output pixels [first, last)."""

    start: float
    stop: float
    first: int
    last: int


def _axis(source: int, scaled: float, crop: int, output: int, position: float) -> Axis:
    """Where a crop of a scaled axis lies in the source; `position` in [0, 1) slides it over the free play."""
    if scaled >= crop:
        start = position * (scaled - crop)
        return Axis(start * source / scaled, (start + crop) * source / scaled, 0, output)
    covered = max(1, round(scaled * output / crop))  # the rest of the crop is padding
    first = int(position * (output - covered + 1))
    return Axis(0.0, float(source), first, first + covered)


def resample(image: np.ndarray, labels: np.ndarray, rows: Axis, columns: Axis, size: Size, flip: bool) -> Pair:
    """Image (bilinear, antialiased when shrunk) and labels (nearest) over the same region; padding outside."""
    box = (columns.start, rows.start, columns.stop, rows.stop)
    extent = (columns.last - columns.first, rows.last - rows.first)

    def seen(pixels: np.ndarray, filter: Image.Resampling, outside: int | tuple[int, ...]) -> np.ndarray:
        part = Image.fromarray(pixels).resize(extent, filter, box)
        whole = Image.new(part.mode, size[::-1], outside)
        whole.paste(part, (columns.first, rows.first))
        return np.array(ImageOps.mirror(whole) if flip else whole)  # NumPy flips in five times the time

    return seen(image, Image.Resampling.BILINEAR, PADDING), seen(labels, Image.Resampling.NEAREST, IGNORE)


def to_size(image: np.ndarray, size: Size) -> np.ndarray:
    """The whole image, uint8 (H, W, 3), at (height, width), bilinear and antialiased."""
    if image.shape[:2] == tuple(size):
        return image
    return resized(torch.from_numpy(np.require(image, requirements=["C", "W"]))[None], size)[0].numpy()


def resized(images: Tensor, size: Size) -> Tensor:
    """uint8 (N, H, W, 3) -> uint8 (N, *size, 3), bilinear and antialiased: Pillow's pixels to one grey level."""
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    exact = images if images.device.type == "cpu" else images.float()  # in uint8 PyTorch has it on a CPU only
    return resampled(exact, size).round().to(torch.uint8)


def resampled(images: Tensor, size: Size) -> Tensor:
    """(N, H, W, 3) -> (N, *size, 3) of the same type; float is not rounded."""
    planes = images.permute(0, 3, 1, 2)
    small = F.interpolate(planes, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)
    return small.permute(0, 2, 3, 1)


def to_tensor(images: Tensor, normalisation: Normalisation | Tensor = (MEAN, STD)) -> Tensor:
    """uint8 (N, H, W, 3) -> normalised float32 (N, 3, H, W), channels-last in memory.

    `normalisation` belongs to the weights that will see them (`BiSeNetV2.normalisation`); a GPU does not have to be
    waited for where it is there already, (2, 3).
    """
    mean, std = (torch.as_tensor(value, device=images.device) * 255 for value in normalisation)
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)
