"""mIoU against a naive loop, scikit-learn and arithmetic by hand; evaluation at the labels' resolution."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import Tensor, nn

from bisenet.evaluate import confusion, evaluate, iou, miou, pixel_accuracy, predict

CPU = torch.device("cpu")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def naive(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> list[list[int]]:
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for predicted, truth in zip(predictions.ravel().tolist(), labels.ravel().tolist(), strict=True):
        if truth != 255:
            matrix[truth][predicted] += 1
    return matrix


def random_pair(seed: int, num_classes: int, absent: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that are right more often than not, labels with a tenth ignored."""
    rng = np.random.default_rng(seed)
    present = [k for k in range(num_classes) if k not in absent]
    labels, noise = (rng.choice(present, (23, 31)).astype(np.uint8) for _ in range(2))
    predictions = np.where(rng.random(labels.shape) < 0.6, labels, noise)
    labels[rng.random(labels.shape) < 0.1] = 255
    return predictions, labels


@pytest.mark.parametrize(("seed", "absent"), [(0, ()), (1, (0,)), (2, (3, 6))])
def test_confusion_is_the_naive_loop(seed: int, absent: tuple[int, ...]) -> None:
    predictions, labels = random_pair(seed, 7, absent)
    matrix = confusion(torch.from_numpy(predictions).long(), torch.from_numpy(labels), 7)
    assert matrix.dtype == torch.int64
    assert matrix.tolist() == naive(predictions, labels, 7)
    assert not any(matrix[k].any() or matrix[:, k].any() for k in absent)


@pytest.mark.parametrize(("seed", "absent"), [(3, ()), (4, (2,))])
def test_iou_is_that_of_scikit_learn(seed: int, absent: tuple[int, ...]) -> None:
    """Absent classes are NaN here and zero there, so only the others are compared."""
    predictions, labels = random_pair(seed, 5, absent)
    counted = labels != 255
    theirs = jaccard_score(labels[counted], predictions[counted], labels=range(5), average=None, zero_division=0)
    ours = iou(np.array(naive(predictions, labels, 5)))
    present = [k for k in range(5) if k not in absent]
    np.testing.assert_allclose(ours[present], theirs[present], rtol=1e-6)
    assert np.isnan(ours).nonzero()[0].tolist() == list(absent)
    assert miou(np.array(naive(predictions, labels, 5))) == pytest.approx(100 * theirs[present].mean())


def test_by_hand() -> None:
    """Class 0: 3 of 3 + 1 + 2 pixels; class 1: 4 of 4 + 1 + 2."""
    matrix = np.array([[3, 1], [2, 4]])
    np.testing.assert_allclose(iou(matrix), [3 / 6, 4 / 7])
    assert miou(matrix) == pytest.approx(100 * (1 / 2 + 4 / 7) / 2)
    assert pixel_accuracy(matrix) == pytest.approx(70)


def test_absent_classes_are_left_out_and_missed_ones_are_not() -> None:
    """Class 1 is nowhere; class 2 is labelled but never found; class 3 is only predicted: both count as 0."""
    matrix = np.array([[6, 0, 0, 2], [0, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(iou(matrix), [0.6, np.nan, 0, 0])
    assert miou(matrix) == pytest.approx(20)
    assert pixel_accuracy(matrix) == pytest.approx(60)


def test_all_ignored_is_nan() -> None:
    matrix = confusion(torch.zeros(4, 4, dtype=torch.long), torch.full((4, 4), 255), 3)
    assert matrix.sum() == 0
    assert np.isnan(iou(matrix.numpy())).all()
    assert math.isnan(miou(matrix.numpy())) and math.isnan(pixel_accuracy(matrix.numpy()))


class FakeDataset:
    """Grey images whose level is their index, with random labels of 3 classes in fine grain."""

    info = SimpleNamespace(classes=("a", "b", "c"))

    def __len__(self) -> int:
        return 4

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image = np.full((12, 20, 3), 50 * index, np.uint8)
        labels = random_pair(index, 3)[1][:12, :20].copy()
        image.flags.writeable = labels.flags.writeable = False  # as those of rendered scenes
        return image, labels


class FakeModel(nn.Module):
    """Knows the answer for every image, a class map of full resolution; finds it by the grey level."""

    normalisation = IMAGENET

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    @staticmethod
    def answer(index: int) -> np.ndarray:
        return np.random.default_rng(100 + index).integers(0, 3, (12, 20))

    def forward(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        self.seen.append((*images.shape, *size))
        grey = (images[0, 0, 0, 0].item() * 0.229 + 0.485) * 255  # undoes ImageNet's normalisation
        index = round(grey / 50)
        return 3.0 * nn.functional.one_hot(torch.from_numpy(self.answer(index)), 3).permute(2, 0, 1)[None] - 1


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_compares_at_the_resolution_of_the_labels(training: bool) -> None:
    model, dataset = FakeModel().train(training), FakeDataset()
    matrix = evaluate(model, dataset, (6, 10), CPU, [3, 1])
    expected = sum(np.array(naive(FakeModel.answer(k), dataset.load(k)[1], 3)) for k in (3, 1))
    assert matrix.dtype == torch.int64 and np.array_equal(matrix.numpy(), expected)
    assert model.seen == [(1, 3, 6, 10, 12, 20)] * 2
    assert model.training is training


def test_nothing_evaluated_is_an_empty_matrix() -> None:
    assert evaluate(FakeModel(), FakeDataset(), (6, 10), CPU, []).tolist() == [[0] * 3] * 3


def test_predict_brings_an_image_of_any_size_to_the_network() -> None:
    model = FakeModel().eval()
    logits = predict(model, FakeDataset().load(2)[0], (6, 10), CPU)
    assert logits.argmax(1)[0].tolist() == model.answer(2).tolist()


class Sees(nn.Module):
    """Scores of two classes: the red of a pixel, and 100; and what it was shown."""

    normalisation = IMAGENET

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        self.seen.append((*images.shape[2:], *size))
        red = nn.functional.interpolate((images[:, :1] * 0.229 + 0.485) * 255, size)
        return torch.cat([red, torch.full_like(red, 100)], 1)


@pytest.mark.parametrize(
    ("protocol", "seen"),
    [
        ("paper", [(16, 32, 40, 70)]),
        ("full", [(40, 70, 40, 70)]),
        ("padded", [(64, 96, 64, 96)]),
        ("crop", [(16, 32, 16, 32)] * 4 * 3),  # of 40 rows 4 windows of 16, of 70 columns 3 of 32
        # 20x35 to 70x122 twice as large, each side the nearest multiple of 32
        ("multiscale-flip", [(32 * h, 32 * w, 40, 70) for h, w in [(1, 2), (2, 3), (2, 4), (3, 5), (4, 7), (4, 8)]]),
    ],
)
def test_protocols_say_of_each_pixel_what_is_there(protocol: str, seen: list[tuple[int, ...]]) -> None:
    """Four plain quarters: whatever is resized, cut, flipped or padded on the way, each stays in its place."""
    image = np.zeros((40, 70, 3), np.uint8)
    image[:20, 35:] = image[20:, :35] = 255
    sizes = {"padded": (64, 96), "multiscale-flip": (80, 200)}
    model = Sees().eval()
    scores = predict(model, image, sizes.get(protocol, (16, 32)), CPU, protocol)
    assert scores.shape == (1, 2, 40, 70)
    away = np.ones((40, 70), bool)  # from the borders of the quarters, where resizing blurs
    away[16:24] = away[:, 31:39] = False
    assert np.array_equal((scores[0, 0] > scores[0, 1]).numpy()[away], image[..., 0][away] > 100)
    shown = model.seen[::2] if protocol == "multiscale-flip" else model.seen
    assert shown == seen


def test_an_image_larger_than_its_padding_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"an image of 12x20 cannot be padded to 12x16"):
        predict(Sees(), np.zeros((12, 20, 3), np.uint8), (12, 16), CPU, "padded")
    with pytest.raises(ValueError, match=r"unknown protocol of evaluation 'papers': did you mean 'paper'"):
        predict(Sees(), np.zeros((12, 20, 3), np.uint8), (12, 16), CPU, "papers")
