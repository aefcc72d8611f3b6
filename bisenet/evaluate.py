"""From images to class maps by a protocol, and from class maps to mIoU.

A protocol, the paper's or one of the usual others, takes a network in `eval()`, an image, uint8 (H, W, 3), and `size`,
(height, width), what the network sees at a time, and gives scores (1, K, H, W) at the image's own size. A table names
the protocol of its numbers. Scores are counted in integer confusion matrices over full-resolution labels.

No epsilon anywhere: a class that neither the labels nor the predictions hold has no IoU (NaN) and is left out.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor

from bisenet.augment import to_size, to_tensor
from bisenet.config import Size, choose
from bisenet.dataset import IGNORE, PairDataset
from bisenet.model import BiSeNetV2


def confusion(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """int64 (K, K), rows are labels and columns predictions; ignored pixels are not counted."""
    counted = labels != IGNORE
    pairs = num_classes * labels[counted].long() + predictions[counted]
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, float64 (K,) in [0, 1]; NaN for an absent class."""
    matrix = np.asarray(matrix, dtype=np.int64)
    intersection = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - intersection
    return np.divide(intersection, union, out=np.full(len(matrix), np.nan), where=union > 0)


def miou(matrix: np.ndarray) -> float:
    """Mean IoU over the classes that occur, in percent; NaN if none does."""
    values = iou(matrix)
    return 100 * float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else float("nan")


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Share of the counted pixels that are right, in percent; NaN if no pixel counts."""
    total = np.asarray(matrix).sum()
    return 100 * float(np.trace(matrix) / total) if total else float("nan")


def evaluate(
    model: BiSeNetV2,
    dataset: PairDataset,
    size: Size,
    device: torch.device,
    indices: Iterable[int],
    protocol: str = "paper",
) -> Tensor:
    """The confusion matrix, int64 (K, K) on `device`, over the images `indices` of a data set, by a protocol."""
    classes = len(dataset.info.classes)
    total = torch.zeros(classes, classes, dtype=torch.int64, device=device)
    for found, labels in class_maps(model, dataset, size, device, indices, protocol):
        total += confusion(found, torch.tensor(labels, device=device), classes)
    return total


@torch.inference_mode()
def class_maps(
    model: BiSeNetV2, dataset: PairDataset, size: Size, device: torch.device, indices: Iterable[int], protocol: str
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Of each image the class of every pixel, int64 (H, W) on `device`, and the labels; the network is in `eval()`."""
    was_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        for index in indices:
            image, labels = dataset.load(index)
            yield predict(model, image, size, device, protocol).argmax(1)[0], labels
    finally:
        for module in was_training:
            module.training = True


SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
STEP = 2 / 3  # of a window, at most, to the next one


def paper(model: BiSeNetV2, image: np.ndarray, size: Size, device: torch.device) -> Tensor:
    """Resize, run, resize the logits back; no tricks (Section 5, Inference)."""
    return _logits(model, to_size(image, size), image.shape[:2], device)


def padded(model: BiSeNetV2, image: np.ndarray, size: Size, device: torch.device) -> Tensor:
    """The image at its own size in the corner of mean colour (COCO-Stuff: "we pad the input into 640x640")."""
    height, width = image.shape[:2]
    if height > size[0] or width > size[1]:
        raise ValueError(f"an image of {height}x{width} cannot be padded to {size[0]}x{size[1]} (height x width)")
    return _logits(model, _pad(model, image, size), size, device)[..., :height, :width]


def full(model: BiSeNetV2, image: np.ndarray, size: Size, device: torch.device) -> Tensor:
    """The network sees the image at its own size; `size` says nothing."""
    return _logits(model, image, image.shape[:2], device)


def multiscale_flip(model: BiSeNetV2, image: np.ndarray, size: Size, device: torch.device) -> Tensor:
    """Mean of the probabilities at six scales, as it is and flipped; at scale 1 the image just fits into `size`."""
    total: Tensor | float = 0.0
    fit = min(limit / side for limit, side in zip(size, image.shape, strict=False))
    for scale in SCALES:
        height, width = (32 * max(1, round(scale * fit * side / 32)) for side in image.shape[:2])
        scaled = to_size(image, (height, width))
        total = total + _logits(model, scaled, image.shape[:2], device).softmax(1)
        total = total + _logits(model, scaled[:, ::-1], image.shape[:2], device).softmax(1).flip(3)
    return cast(Tensor, total) / (2 * len(SCALES))


def crop(model: BiSeNetV2, image: np.ndarray, size: Size, device: torch.device) -> Tensor:
    """Windows of `size` slide over the image at its own size; mean of the probabilities where they overlap."""
    height, width = image.shape[:2]
    large = _pad(model, image, (max(height, size[0]), max(width, size[1])))
    scores = counts = None
    for rows, columns in itertools.product(*map(_windows, large.shape[:2], size)):
        part = _logits(model, large[rows, columns], size, device).softmax(1)
        if scores is None or counts is None:
            scores = part.new_zeros((1, part.shape[1], *large.shape[:2]))
            counts = part.new_zeros(large.shape[:2])
        scores[..., rows, columns] += part
        counts[rows, columns] += 1
    assert scores is not None and counts is not None  # there is one window at least
    return (scores / counts)[..., :height, :width]


PROTOCOLS: dict[str, Callable[[BiSeNetV2, np.ndarray, Size, torch.device], Tensor]] = {
    "paper": paper,
    "padded": padded,
    "full": full,
    "multiscale-flip": multiscale_flip,
    "crop": crop,
}


@torch.inference_mode()
def predict(model: BiSeNetV2, image: np.ndarray, size: Size, device: torch.device, protocol: str = "paper") -> Tensor:
    """Scores (1, K, H, W) at the size of the image, uint8 (H, W, 3), by a protocol."""
    return PROTOCOLS[choose("protocol of evaluation", protocol, PROTOCOLS)](model, image, size, device)


def _logits(model: BiSeNetV2, seen: np.ndarray, size: Size, device: torch.device) -> Tensor:
    """Logits (1, K, *size) of what the network sees, uint8 (h, w, 3)."""
    pixels = torch.from_numpy(np.array(seen))[None].to(device)
    return cast(Tensor, model(to_tensor(pixels, model.normalisation), size=size))


def _pad(model: BiSeNetV2, image: np.ndarray, size: Size) -> np.ndarray:
    mean, _ = model.normalisation
    large = np.full((*size, 3), [round(255 * value) for value in mean], dtype=np.uint8)  # zero after normalisation
    large[: image.shape[0], : image.shape[1]] = image
    return large


def _windows(side: int, window: int) -> Iterator[slice]:
    """As few windows as cover a side in equal steps of at most `STEP`."""
    steps = math.ceil((side - window) / (STEP * window))
    for start in np.linspace(0, side - window, steps + 1).round().astype(int).tolist():
        yield slice(start, start + window)
