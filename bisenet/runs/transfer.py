"""Pretraining across data sets (Table 8, rows marked *): begin with another run's weights, all but the classifiers."""

import hashlib
from pathlib import Path

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
