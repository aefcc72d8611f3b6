"""Scenes as pictures."""

import numpy as np

from bisenet.data import DATASETS, open_dataset
from bisenet.looking import gallery
from bisenet.report.verdict import NOT_RUN


def test_examples_without_a_network_say_so():
    scenes = open_dataset("streets", "val", size=(64, 128))
    images, labels = zip(*(scenes.load(k) for k in range(2)), strict=True)
    figure = gallery.examples(images, labels, {"here": labels, "absent": []}, scenes.info)
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said == [[], [], [], [NOT_RUN]] * 2


def test_classes_of_a_picture_can_be_told_apart():
    """Every two colours of the scenes' classes differ by a tenth of the range, in the mean of the channels, or more."""
    palette = gallery.readable(DATASETS["streets"]).astype(int)
    apart = np.abs(palette[:, None] - palette[None]).mean(axis=2) + 256 * np.eye(len(palette))
    assert apart.min() >= 25, np.argwhere(apart < 25)


def test_maps_lie_over_the_picture_and_are_clear_where_they_are_zero():
    picture, each = np.tile(np.array([200, 100, 50], np.uint8), (4, 8, 1)), np.zeros((4, 8))
    each[1, 2] = 1
    figure = gallery.activations(["image", "map"], [("a", picture, [each])], "0 to 1")
    grey, over = figure.axes[1].images
    assert over.cmap(0)[3] == 0 and over.cmap(255)[3] == 1 and np.array_equal(over.get_array(), each)
    assert not np.ptp(np.asarray(grey.get_array()), axis=2).any()
