"""Pretraining across data sets (Table 8, rows marked *): begin with another run's weights, all but the classifiers."""

from __future__ import annotations

import hashlib
from pathlib import Path

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

    ValueError if anything else is missing, left over or of another shape: then it is another network.
    """
    theirs = {name: tensor for name, tensor in read_safetensors(path)[0].items() if ".classifier." not in name}
    ours = {name: tensor for name, tensor in model.state_dict().items() if ".classifier." not in name}
    if odd := sorted({*theirs} ^ {*ours} | {k for k in {*theirs} & {*ours} if theirs[k].shape != ours[k].shape}):
        raise ValueError(f"{path} is of another network: {', '.join(odd[:3])}{' ...' if len(odd) > 3 else ''} differ")
    fresh = [name for name in model.state_dict() if name not in ours]
    model.load_state_dict(theirs, strict=False)
    return f"loaded {len(theirs)} tensors; drawn anew, for {model.config.num_classes} classes: {', '.join(fresh)}"
