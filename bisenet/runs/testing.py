"""A weights file put to the test: its score on a data set, and class maps for a test server."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bisenet.config import Size
from bisenet.data import DATASETS, open_dataset
from bisenet.data.cityscapes import Cityscapes, label_ids
from bisenet.dataset import PairDataset
from bisenet.evaluate import evaluate, predict
from bisenet.model import BiSeNetV2
from bisenet.train import TrainConfig


@torch.inference_mode()
def export_class_maps(
    model: BiSeNetV2, dataset: Cityscapes, size: Size, device: torch.device, folder: Path, protocol: str = "paper"
) -> list[Path]:
    """Class maps of a split of Cityscapes as PNGs of label *ids*, named as its test server and its scripts expect."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{dataset.name(k).removesuffix(dataset.IMAGE)}.png" for k in range(len(dataset))]
    for index, path in enumerate(paths):
        classes = predict(model, dataset.load_image(index), size, device, protocol).argmax(1)[0]
        Image.fromarray(label_ids()[classes.cpu().numpy()]).save(path)
    return paths


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


def export_predictions(weights: Path, recipe: TrainConfig, data_root: str | Path | None, folder: Path) -> list[Path]:
    """Write the class maps of a split of Cityscapes for its test server (`export_class_maps`)."""
    model, device = load_for(weights, "cityscapes")
    dataset = open_dataset("cityscapes", recipe.test_split, root=data_root)
    assert isinstance(dataset, Cityscapes)
    return export_class_maps(model, dataset, recipe.test_size, device, folder, recipe.protocol)


def load_for(weights: str | Path, dataset: str) -> tuple[BiSeNetV2, torch.device]:
    """A network on the GPU, if there is one, and that device; ValueError if its classes are not those of a data set."""
    torch.backends.cudnn.allow_tf32 = False
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, classes = BiSeNetV2.load(weights).to(device), DATASETS[dataset].classes
    if model.config.num_classes != len(classes):
        told = f"the network has {model.config.num_classes} classes, {dataset} has {len(classes)}"
        raise ValueError(f"{told}; name the data set of its classes by --dataset, or other weights than {weights}")
    for number, pair in enumerate(zip(model.classes, classes, strict=False)):
        if pair[0].casefold() != pair[1].casefold():
            told = f"class {number} of the network is {pair[0]!r}, that of {dataset} is {pair[1]!r}"
            raise ValueError(f"{told}; name the data set of its classes by --dataset, or other weights than {weights}")
    return model, device
