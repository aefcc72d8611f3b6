"""Print the share of pixels as of the plain network, and what is said of the compiler."""

import warnings

import torch

from bisenet.data import streets
from bisenet.files import SHIPPED_WEIGHTS
from bisenet.inference import segmenter
from bisenet.model import BiSeNetV2

frame = torch.from_numpy(streets.render(3, (70, 130))[0])
network = BiSeNetV2.load(SHIPPED_WEIGHTS)
with warnings.catch_warnings(record=True) as caught, torch.no_grad():
    warnings.simplefilter("always")
    answer = segmenter.Segmenter(network, size=(64, 128), engine="compile")(frame)
    expected = segmenter.Plain(network, (64, 128))(frame[None])[0]
print((answer == expected).float().mean().item())
print(*[warning.message for warning in caught if "cannot compile" in str(warning.message)], sep="\n")
