"""Features as pictures, of numbers that can be checked by hand."""

import numpy as np
import torch

from bisenet.looking import features


def test_strength_is_on_top_and_the_channels_that_vary_most_below():
    flat, steep = torch.full((4, 8), 3.0), torch.arange(32.0).reshape(4, 8)
    figure = features.panels({"a": torch.stack([flat, steep])[None], "b": torch.stack([steep, flat])[None]}, channels=1)
    titles = [[axes.get_title() for axes in line] for line in np.array(figure.axes).reshape(2, 2)]
    assert titles == [["a\n2 × 4 × 8", "b\n2 × 4 × 8"], ["channel 1", "channel 0"]]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    np.testing.assert_allclose(shown[0], ((9 + steep.numpy() ** 2) / 2) ** 0.5, rtol=1e-6)
    np.testing.assert_array_equal(shown[2], steep)
