"""Weights that a run begins with: another run's, all but the classifiers (rows * of Table 8); ImageNet's (Table 6)."""

import hashlib
import os
from pathlib import Path

import torch
from torch import nn

from bisenet.backbones import BACKBONES, torchvision_models
from bisenet.config import plain
from bisenet.files import read_safetensors
from bisenet.model import BiSeNetV2


def fingerprint(path: str | Path) -> str:
    """What identifies a weights file in the record of a run that begins with it: `TrainConfig.initial`."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise ValueError(f"cannot read the weights {path} ({error.strerror})") from error


def carry_over(model: BiSeNetV2, path: str | Path) -> str:
    """Load into `model` what a weights file has but the classifiers, and say what was loaded and what was not.

    ValueError if anything else is missing, left over or of another shape, or if the file has another reading, mean or
    deviation: then it is another network.
    """
    tensors, metadata = read_safetensors(path)
    config, wanted = metadata.get("config", {}), plain(model.config)
    for what in ("reading", "mean", "std"):  # which no name and no shape of a tensor need tell
        if config.get(what, wanted[what]) != wanted[what]:
            raise ValueError(f"{path} is of another network: its {what} is {config[what]}, here {wanted[what]}")
    theirs = {name: tensor for name, tensor in tensors.items() if ".classifier." not in name}
    ours = {name: tensor for name, tensor in model.state_dict().items() if ".classifier." not in name}
    if odd := sorted({*theirs} ^ {*ours} | {k for k in {*theirs} & {*ours} if theirs[k].shape != ours[k].shape}):
        raise ValueError(f"{path} is of another network: {', '.join(odd[:3])}{' ...' if len(odd) > 3 else ''} differ")
    fresh = [name for name in model.state_dict() if name not in ours]
    model.load_state_dict(theirs, strict=False)
    return f"loaded {len(theirs)} tensors; drawn anew, for {model.config.num_classes} classes: {', '.join(fresh)}"


def imagenet_weights(name: str) -> Path:
    """The file with torchvision's ImageNet weights of a network; nothing is ever downloaded.

    It is looked for in the folder that BISENET_IMAGENET names, or else in the cache of `torch.hub`. FileNotFoundError
    if it is not there, ValueError if it is not the published file.
    """
    published = [known for known in BACKBONES if not known.endswith("_released")]
    if name not in published:
        raise ValueError(f"no ImageNet weights for the backbone {name!r}, only for {', '.join(published)}")
    url = torchvision_models().get_model_weights(name).IMAGENET1K_V1.url
    named = os.environ.get("BISENET_IMAGENET")
    folder = Path(named).expanduser().resolve() if named else Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rpartition("/")[2]
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
