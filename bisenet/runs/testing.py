"""A weights file put to the test: its score on a data set, and class maps for a test server."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bisenet.data import DATASETS, open_dataset
from bisenet.data.cityscapes import Cityscapes, label_ids
from bisenet.dataset import PairDataset
from bisenet.evaluate import evaluate, predict
from bisenet.model import BiSeNetV2
from bisenet.train import TrainConfig


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
    torch.backends.cudnn.allow_tf32 = False
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, classes = BiSeNetV2.load(weights).to(device), DATASETS[dataset].classes
    if model.config.num_classes != len(classes):
        raise ValueError(f"the network has {model.config.num_classes} classes, {dataset} has {len(classes)}")
    for number, pair in enumerate(zip(model.classes, classes, strict=False)):
        if pair[0].casefold() != pair[1].casefold():
            raise ValueError(f"class {number} of the network is {pair[0]!r}, that of {dataset} is {pair[1]!r}")
    return model, device
