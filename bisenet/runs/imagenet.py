"""ImageNet weights for the backbones of Table 6: torchvision's files, found on this machine and put into a branch."""

import hashlib
import os
from pathlib import Path

import torch
from torch import nn

from bisenet.backbones import BACKBONES, torchvision_models


def weights_folder() -> Path:
    """Where ImageNet weights are looked for: BISENET_IMAGENET, or else the cache of `torch.hub`."""
    named = os.environ.get("BISENET_IMAGENET")
    return Path(named).expanduser().resolve() if named else Path(torch.hub.get_dir()) / "checkpoints"


def imagenet_weights(name: str) -> Path:
    """The file with torchvision's ImageNet weights of a network; nothing is ever downloaded.

    FileNotFoundError if it is not there, ValueError if it is not the published file.
    """
    published = [known for known in BACKBONES if not known.endswith("_released")]
    if name not in published:
        raise ValueError(f"no ImageNet weights for the backbone {name!r}, only for {', '.join(published)}")
    url = torchvision_models().get_model_weights(name).IMAGENET1K_V1.url
    path = weights_folder() / url.rpartition("/")[2]
    if not path.is_file():
        raise FileNotFoundError(
            f"ImageNet weights of {name} not found: looked for {path.name} in {path.parent}; get it from {url}, "
            "or set BISENET_IMAGENET to the folder that holds it"
        )
    begin = path.stem.rpartition("-")[2]  # of the file's SHA-256: how torchvision names its weights
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(begin):
        raise ValueError(f"{path} is not the published file (its SHA-256 does not begin with {begin}); get it anew")
    return path


def load_imagenet(branch: nn.Module, name: str) -> None:
    """Put torchvision's ImageNet weights into a branch whose first children are the stages of `stages_of`."""
    network = torchvision_models().get_model(name, weights=None)
    network.load_state_dict(torch.load(imagenet_weights(name), map_location="cpu", weights_only=True))
    for stage, modules in zip(branch.children(), BACKBONES[name][1](network), strict=False):  # and then our own block
        for own, published in zip(stage.children(), modules, strict=True):
            own.load_state_dict(published.state_dict())
