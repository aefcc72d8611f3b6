"""Reading picture and label files, with errors that name the file, the rule and what to do.

Decoding PNGs is most of the work of a data pipeline. Where `pywuffs` is installed it decodes the common kinds, in half
the time and to the same pixels; what is uncommon or broken is left to Pillow, which knows all kinds and says what is
wrong.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from bisenet.data.info import IGNORE, Pair

try:
    from pywuffs import ImageDecoderQuirks, ImageDecoderType, PixelFormat
    from pywuffs.aux import ImageDecoder, ImageDecoderConfig
except ImportError:
    ImageDecoder = None

GREY, RGB = 0, 2  # colour types of a PNG's header


def read_image(path: Path) -> np.ndarray:
    """A picture file as uint8 (H, W, 3) RGB; ValueError with the file's name if it cannot be read."""
    if (pixels := _decode(path, RGB)) is not None:
        return pixels
    with _open(path) as picture:
        return np.array(picture.convert("RGB"))  # some of COCO's photographs are grey


def read_ids(path: Path) -> np.ndarray:
    """A label file as uint8 (H, W); ValueError if it does not hold one 8-bit id a pixel."""
    if (pixels := _decode(path, GREY)) is not None:
        return pixels[..., 0]
    with _open(path) as picture:
        if picture.mode not in ("L", "P"):
            raise ValueError(f"{path}: a label file holds one 8-bit class id a pixel, this one has mode {picture.mode}")
        return np.array(picture)


def _decode(path: Path, colour_type: int) -> np.ndarray | None:
    """Pixels (H, W, C) of a whole 8-bit PNG of a colour type; None for anything else."""
    if ImageDecoder is None or path.suffix != ".png" or not path.is_file():
        return None
    content = path.read_bytes()
    head = content[: content.find(b"IDAT")]
    if len(head) < 26 or head[24] != 8 or head[25] != colour_type or b"tRNS" in head:
        return None
    done = _decoder(colour_type).decode(content)
    return None if done.error_message else done.pixbuf


@functools.cache
def _decoder(colour_type: int) -> ImageDecoder:
    config = ImageDecoderConfig()
    config.enabled_decoders = [ImageDecoderType.PNG]
    config.quirks = {ImageDecoderQuirks.IGNORE_CHECKSUM: 0}  # its default ignores them, and broken files with them
    config.pixel_format = PixelFormat.RGB if colour_type == RGB else PixelFormat.Y
    return ImageDecoder(config)


def _open(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except (OSError, SyntaxError) as error:  # truncated, unidentified or missing; Pillow has SyntaxError for bad PNGs
        raise ValueError(f"{path}: cannot be read as a picture ({error}); replace the file") from error
    return picture


def check_pair(image: np.ndarray, labels: np.ndarray, image_path: Path, label_path: Path, num_classes: int) -> Pair:
    """The pair itself, or ValueError: sizes must be equal and ids below `num_classes` or 255."""
    check_sizes(image, labels, image_path, label_path)
    wrong = labels[(labels >= num_classes) & (labels != IGNORE)]
    if wrong.size:
        raise ValueError(f"{label_path}: label id {wrong[0]}, allowed are 0 to {num_classes - 1} and {IGNORE} (ignore)")
    return image, labels


def check_sizes(image: np.ndarray, labels: np.ndarray, image_path: Path, label_path: Path) -> None:
    """ValueError if the two are not of one size."""
    if image.shape[:2] != labels.shape:
        raise ValueError(
            f"sizes differ: {image_path} is {image.shape[0]}x{image.shape[1]}, "
            f"{label_path} is {labels.shape[0]}x{labels.shape[1]} (height x width)"
        )
