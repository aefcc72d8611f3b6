"""From class maps to mIoU: integer confusion matrices over full-resolution labels, no tricks.

No epsilon anywhere: a class that neither the labels nor the predictions hold has no IoU (NaN) and is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from bisenet.boundaries import near_boundary
from bisenet.config import Size
from bisenet.data import IGNORE, PairDataset
from bisenet.data.cityscapes import Cityscapes, label_ids
from bisenet.model import BiSeNetV2
from bisenet.protocols import predict


def confusion(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """int64 (K, K), rows are labels and columns predictions; ignored pixels are not counted."""
    return multiclass_confusion_matrix(
        predictions, labels.long(), num_classes, ignore_index=IGNORE, validate_args=False
    )


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
    return evaluate_by_place(model, dataset, size, device, indices, protocol).sum(0)


@torch.inference_mode()
def evaluate_by_place(
    model: BiSeNetV2,
    dataset: PairDataset,
    size: Size,
    device: torch.device,
    indices: Iterable[int],
    protocol: str = "paper",
) -> Tensor:
    """Two confusion matrices, int64 (2, K, K): of the pixels near a boundary of the labels, and others.

    The arguments are those of `evaluate`, whose matrix is the sum of the two.
    """
    was_training = [module for module in model.modules() if module.training]
    model.eval()
    num_classes = len(dataset.info.classes)
    total = torch.zeros(2, num_classes, num_classes, dtype=torch.int64, device=device)
    try:
        for index in indices:
            image, labels = dataset.load(index)
            classes = predict(model, image, size, device, protocol).argmax(1)[0]
            near = near_boundary(labels)
            for place, mask in enumerate((near, ~near)):
                counted = torch.from_numpy(np.where(mask, labels, IGNORE)).to(device)
                total[place] += confusion(classes, counted, num_classes)
    finally:
        for module in was_training:
            module.training = True
    return total


@torch.inference_mode()
def export(
    model: BiSeNetV2, dataset: Cityscapes, size: Size, device: torch.device, folder: Path, protocol: str = "paper"
) -> list[Path]:
    """Class maps of a split of Cityscapes as PNGs of label *ids*, named as its test server and its scripts expect."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{dataset.name(k).removesuffix(dataset.IMAGE)}.png" for k in range(len(dataset))]
    for index, path in enumerate(paths):
        classes = predict(model, dataset.load_image(index), size, device, protocol).argmax(1)[0]
        Image.fromarray(label_ids()[classes.cpu().numpy()]).save(path)
    return paths
