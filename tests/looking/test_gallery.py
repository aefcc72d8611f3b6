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


def test_aggregations_are_lines_below_the_image():
    image, labels = open_dataset("streets", "val", size=(64, 128)).load(0)
    strengths = {"a": np.ones((8, 16), np.float32), "b": np.full((8, 16), 2, np.float32)}
    figure = gallery.aggregations(image, labels, {"a": labels, "b": 0 * labels}, strengths, DATASETS["streets"])
    panels = figure.axes[:9]
    assert [axes.get_ylabel() for axes in panels[::3]] == ["", "a", "b"]
    assert {axes.images[0].norm.vmax for axes in panels[3::3]} == {2}  # one scale for all
    orange = [(np.asarray(axes.images[0].get_array()) == (213, 94, 0)).all(-1) for axes in panels[5::3]]
    assert not orange[0].any() and np.array_equal(orange[1], (labels != 0) & (labels != 255))
