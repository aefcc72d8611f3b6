"""A weights file put to the test: its score on a data set, and class maps for a test server."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bisenet.config import Size
from bisenet.data import DATASETS, open_dataset
from bisenet.data.cityscapes import Cityscapes, label_ids
from bisenet.dataset import IGNORE, PairDataset
from bisenet.evaluate import class_maps, confusion, evaluate, predict
from bisenet.execution import ONE_DEVICE
from bisenet.model import BiSeNetV2
from bisenet.runs.boundaries import near_boundary
from bisenet.train import TrainConfig


def evaluate_by_place(
    model: BiSeNetV2, dataset: PairDataset, size: Size, device: torch.device, indices: Iterable[int], protocol: str
) -> Tensor:
    """Two confusion matrices, int64 (2, K, K) on `device`: of the pixels near a boundary of the labels, and others.

    The arguments are those of `evaluate`, whose matrix is the sum of the two.
    """
    classes = len(dataset.info.classes)
    total = torch.zeros(2, classes, classes, dtype=torch.int64, device=device)
    for found, labels in class_maps(model, dataset, size, device, indices, protocol):
        near = near_boundary(labels)
        for place, mask in enumerate((near, ~near)):
            total[place] += confusion(found, torch.from_numpy(np.where(mask, labels, IGNORE)).to(device), classes)
    return total


def used_images(dataset: PairDataset, limit: int | None) -> int:
    return min(len(dataset), limit or len(dataset))


def evaluate_file(weights: Path, recipe: TrainConfig, dataset: str, data_root: str | Path | None) -> np.ndarray:
    """Confusion matrix of a weights file by the protocol of a recipe, on its test split.

    ValueError if the network has other classes than the data set.
    """
    model, device = load_for(weights, dataset)
    test_set = open_dataset(dataset, recipe.test_split, root=data_root, size=recipe.image_size)
    images = range(used_images(test_set, recipe.test_images))
    return evaluate(model, test_set, recipe.test_size, device, images, recipe.protocol).cpu().numpy()


@torch.inference_mode()
def export_predictions(weights: Path, recipe: TrainConfig, data_root: str | Path | None, folder: Path) -> list[Path]:
    """Class maps of a split of Cityscapes as PNGs of label *ids*, named as its test server and its scripts expect."""
    model, device = load_for(weights, "cityscapes")
    dataset = open_dataset("cityscapes", recipe.test_split, root=data_root)
    assert isinstance(dataset, Cityscapes)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{dataset.name(k).removesuffix(dataset.IMAGE)}.png" for k in range(len(dataset))]
    for index, path in enumerate(paths):
        scores = predict(model, dataset.load_image(index), recipe.test_size, device, recipe.protocol)
        Image.fromarray(label_ids()[scores.argmax(1)[0].cpu().numpy()]).save(path)
    return paths


def load_for(weights: str | Path, dataset: str) -> tuple[BiSeNetV2, torch.device]:
    """A network on the GPU, if there is one, and that device; ValueError if its classes are not those of a data set."""
    device = ONE_DEVICE.alone().device
    model, classes = BiSeNetV2.load(weights).to(device), DATASETS[dataset].classes
    if model.config.num_classes != len(classes):
        told = f"the network has {model.config.num_classes} classes, {dataset} has {len(classes)}"
        raise ValueError(f"{told}; name the data set of its classes by --dataset, or other weights than {weights}")
    for number, pair in enumerate(zip(model.classes, classes, strict=False)):
        if pair[0].casefold() != pair[1].casefold():
            told = f"class {number} of the network is {pair[0]!r}, that of {dataset} is {pair[1]!r}"
            raise ValueError(f"{told}; name the data set of its classes by --dataset, or other weights than {weights}")
    return model, device
