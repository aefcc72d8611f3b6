"""Reading picture and label files, with errors that name the file, the rule and what to do.

Decoding PNGs is most of the work of a data pipeline. Where `pywuffs` is installed it decodes the common kinds, in half
the time and to the same pixels; what is uncommon or broken is left to Pillow, which knows all kinds and says what is
wrong.
"""

import contextlib
import math
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bisenet.config import Size
from bisenet.dataset import IGNORE, Pair

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # twice as many pixels are an error

try:
    from pywuffs import ImageDecoderQuirks, ImageDecoderType, PixelFormat
    from pywuffs.aux import ImageDecoder, ImageDecoderConfig
except ImportError:
    ImageDecoder = None

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")  # how names of pictures end
KINDS = {  # of pixels that are no class ids, by Pillow's names
    "RGB": "colours; replace each by the number of its class",
    "RGBA": "colours with transparency; replace each by the number of its class",
    "I;16": "16 bits; save it with 8",
    "1": "1 bit, so perhaps 0 and 255; save class ids",
}
LOSSY = ("JPEG", "MPO", "JPEG2000")  # by Pillow's names
FEW_BITS = 1 << 13  # what cameras of 12 bits leave of 16
GREY, RGB = 0, 2  # colour types of a PNG's header


def read_image(path: Path, upright: bool = False) -> np.ndarray:
    """A picture file as uint8 (H, W, 3) RGB; ValueError with the file's name if it cannot be read.

    16 bits become 8 by their higher byte; transparency is ignored. `upright` turns a photograph as its EXIF data say,
    which the labels of a data set do not follow.
    """
    if (pixels := _decode(path, RGB, upright)) is not None:
        return pixels
    with _open(path, upright) as picture:
        if picture.mode[0] in "IF":  # I;16, I;16B, I, F: what Pillow would not scale but clip
            return np.repeat(_higher_byte(picture, path)[..., None], 3, axis=2)
        opaque = picture.convert("RGBA") if picture.mode == "P" else picture  # or Pillow may warn of transparency
        return np.array(opaque.convert("RGB"))  # some of COCO's photographs are grey


def _higher_byte(picture: Image.Image, path: Path) -> np.ndarray:
    """A grey picture of 16 bits as uint8 (H, W)."""
    values = np.asarray(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(f"{path}: its values are no integers from 0 to {0xFFFF}; save it with 8 or 16 bits")
    if 0 < values.max() < FEW_BITS:
        warnings.warn(
            f"{path}: brightest of its 16 bits is {values.max()} of {0xFFFF}, so it is seen dark", stacklevel=3
        )
    return (values >> 8).astype(np.uint8)


def read_ids(path: Path) -> np.ndarray:
    """A label file as uint8 (H, W); ValueError if it does not hold one 8-bit id a pixel.

    Where there is a palette, the ids are its indices; but if all of its colours are grey, and those in use differ, the
    ids are the greys: so programs that make files smaller write grey pictures. The order of a palette of colours is
    trusted.
    """
    if (pixels := _decode(path, GREY)) is not None:
        return pixels[..., 0]
    with _open(path) as picture:
        if picture.format in LOSSY:
            raise ValueError(f"{path}: {picture.format} changes ids; save the labels as PNG, anew from their origin")
        if picture.mode not in ("L", "P"):
            held = KINDS.get(picture.mode, f"pixels of the kind {picture.mode}")
            raise ValueError(f"{path}: a label file holds one class id of 8 bits a pixel, this one has {held}")
        ids = np.array(picture)
        colours = np.array(picture.getpalette() or [], np.uint8).reshape(-1, 3)
    if len(colours) <= ids.max() or (colours != colours[:, :1]).any():
        return ids
    used = np.unique(ids)
    return colours[ids, 0] if len(np.unique(colours[used, 0])) == len(used) else ids


def _decode(path: Path, colour_type: int, upright: bool = False) -> np.ndarray | None:
    """Pixels (H, W, C) of a whole 8-bit PNG of a colour type; None for anything else."""
    if ImageDecoder is None or path.suffix != ".png" or not path.is_file():
        return None
    content = path.read_bytes()
    head = content[: content.find(b"IDAT")]
    if len(head) < 26 or head[24] != 8 or head[25] != colour_type or b"tRNS" in head:
        return None
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    if width * height > (Image.MAX_IMAGE_PIXELS or math.inf) or (upright and b"eXIf" in content):
        return None
    done = _decoder(colour_type).decode(content)
    return None if done.error_message else done.pixbuf


class _OfThread(threading.local):
    """The decoders of a thread by colour type: one that two threads use at a time crashes."""

    def __init__(self) -> None:
        self.by_type: dict[int, ImageDecoder] = {}


_decoders = _OfThread()


def _decoder(colour_type: int) -> ImageDecoder:
    if colour_type not in _decoders.by_type:
        _decoders.by_type[colour_type] = _new_decoder(colour_type)
    return _decoders.by_type[colour_type]


def _new_decoder(colour_type: int) -> ImageDecoder:
    config = ImageDecoderConfig()
    config.enabled_decoders = [ImageDecoderType.PNG]
    config.quirks = {ImageDecoderQuirks.IGNORE_CHECKSUM: 0}  # its default ignores them, and broken files with them
    config.pixel_format = PixelFormat.RGB if colour_type == RGB else PixelFormat.Y
    return ImageDecoder(config)


def _open(path: Path, upright: bool = False) -> Image.Image:
    with _told(path):
        picture = Image.open(path)
        picture.load()
        return ImageOps.exif_transpose(picture) if upright else picture


def size_of(path: Path) -> Size:
    """(height, width) of a picture file by its header; ValueError with the file's name if it cannot be read."""
    with _told(path), Image.open(path) as picture:
        return picture.height, picture.width


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Within, an error of Pillow becomes a ValueError that names the file and says what to do."""
    try:
        yield
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(f"{path}: it has more than {most:,} pixels; make it smaller, or cut it into parts") from error
    except Exception as error:  # a broken file can raise anything; so can one that is missing, or suspiciously large
        raise ValueError(f"{path}: cannot be read as a picture ({error}); replace the file") from error


def check_pair(
    image: np.ndarray, labels: np.ndarray, image_path: Path, label_path: Path, num_classes: int, more: str = ""
) -> Pair:
    """The pair itself, or ValueError: sizes must be equal and ids below `num_classes` or 255.

    `more` is said of the allowed ids, such as one that the reader has made 255.
    """
    check_sizes(image, labels, image_path, label_path)
    wrong = labels[(labels >= num_classes) & (labels != IGNORE)]
    if wrong.size:
        allowed = f"0 to {num_classes - 1}{more} and {IGNORE} (ignore)"
        advice = f"give its pixels ({np.count_nonzero(labels == wrong[0])}) the id of their class, or {IGNORE}"
        raise ValueError(f"{label_path}: label id {wrong[0]}, allowed are {allowed}; {advice}")
    return image, labels


def check_sizes(image: np.ndarray, labels: np.ndarray, image_path: Path, label_path: Path) -> None:
    """ValueError if the two are not of one size."""
    if image.shape[:2] != labels.shape:
        raise ValueError(
            f"sizes differ: {image_path} is {image.shape[0]}x{image.shape[1]}, "
            f"{label_path} is {labels.shape[0]}x{labels.shape[1]} (height x width); they must be of one size"
        )
