"""Weights put to the test: pixels near boundaries apart."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from bisenet.augment import MEAN, STD
from bisenet.runs.testing import evaluate_by_place


def test_pixels_near_a_boundary_are_counted_apart() -> None:
    """Two halves of 10 columns, the last line without labels; all is said to be of the left one."""
    labels = np.repeat([[0] * 10 + [1] * 10], 12, axis=0).astype(np.uint8)
    labels[11] = 255
    info = SimpleNamespace(classes=("a", "b", "c"))
    dataset = SimpleNamespace(info=info, load=lambda _: (np.zeros((12, 20, 3), np.uint8), labels))
    always_the_first = nn.Module()
    always_the_first.normalisation = (MEAN, STD)
    always_the_first.forward = lambda images, size: torch.eye(3)[0].reshape(1, 3, 1, 1).expand(1, 3, *size)
    near, far = evaluate_by_place(always_the_first, dataset, (6, 10), torch.device("cpu"), [0], "paper")
    five_columns_each = [[5 * 11, 0, 0], [5 * 11, 0, 0], [0, 0, 0]]  # at 0 to 4 pixels, and at 5 to 9
    assert near.tolist() == far.tolist() == five_columns_each
