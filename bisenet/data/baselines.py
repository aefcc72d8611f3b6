"""How far a data set is solved without seeing shapes: classifiers of single pixels by colour, and of small patches.

A network that is worth its name must be far ahead of both.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn

from bisenet.dataset import Pair
from bisenet.evaluate import confusion

SIDE = 7  # of a patch, pixels
EACH = 4000  # patches of an image


def by_colour(taught: Sequence[Pair], asked: Sequence[Pair], num_classes: int) -> np.ndarray:
    """Confusion matrix (K, K) on the pairs `asked`: each of 4,096 colours is its most frequent class in `taught`."""
    (colours, labels), (others, truth) = _pixels(taught, num_classes), _pixels(asked, num_classes)
    votes = np.bincount(colours * num_classes + labels, minlength=4096 * num_classes)
    guesses = votes.reshape(4096, num_classes).argmax(1)[others]
    return confusion(torch.from_numpy(guesses), torch.from_numpy(truth), num_classes).numpy()


def _pixels(pairs: Sequence[Pair], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of colours, four bits a channel, and classes of all counted pixels."""
    codes = np.concatenate([(image.reshape(-1, 3) // 16).astype(int) @ [256, 16, 1] for image, _ in pairs])
    labels = np.concatenate([labels.ravel() for _, labels in pairs]).astype(int)
    return codes[labels < num_classes], labels[labels < num_classes]


def by_patch(taught: Sequence[Pair], asked: Sequence[Pair], num_classes: int) -> np.ndarray:
    """Confusion matrix (K, K) on random patches of `asked`, of a network of two layers that sees 7x7 pixels.

    It is trained on `EACH` random patches of every pair in `taught`, with seed 0.
    """
    rng = np.random.default_rng(0)
    (seen, labels), (others, truth) = (_patches(pairs, num_classes, rng) for pairs in (taught, asked))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3 * SIDE**2, 128), nn.ReLU(), nn.Linear(128, num_classes))
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        for _ in range(600):
            chosen = torch.randint(len(seen), (2048,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(seen[chosen]), labels[chosen]).backward()
            optimizer.step()
    with torch.no_grad():
        return confusion(network(others).argmax(1), truth, num_classes).numpy()


def _patches(pairs: Sequence[Pair], num_classes: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random patches (N, 3 * 7 * 7) in [-0.5, 0.5] whose middle counts, and the class there (N,)."""
    patches, classes = [], []
    for image, labels in pairs:
        y, x = (rng.integers(side - SIDE + 1, size=EACH) for side in labels.shape)
        patches.append(sliding_window_view(image, (SIDE, SIDE), (0, 1))[y, x].reshape(EACH, -1))
        classes.append(labels[y + SIDE // 2, x + SIDE // 2])
    counted = np.concatenate(classes) < num_classes
    seen = np.concatenate(patches)[counted].astype(np.float32) / 255 - 0.5
    return torch.from_numpy(seen), torch.from_numpy(np.concatenate(classes)[counted].astype(int))
