"""A run that was interrupted goes on: everything that the next iteration depends on, in one file."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bisenet.files import read_safetensors, write_safetensors


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What training leaves beside the weights: the loss of every iteration, float32, and seconds in the loop.

    `processes` has one entry for each process (group) that took part, with `from`, the iteration it began with.
    """

    losses: np.ndarray
    seconds: float
    processes: list[dict[str, Any]]


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, fitted: Fitted, identity: Mapping[str, Any]
) -> None:
    """Everything that the next iteration depends on, in one safetensors file that is always whole."""
    tensors = {f"model.{name}": value.contiguous().cpu() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():  # momentum; of AdamW averages and steps
            tensors[f"optimizer.{key}.{name}"] = value.contiguous().cpu()
    tensors["losses"] = torch.from_numpy(fitted.losses)
    progress = {"iteration": len(fitted.losses), "seconds": fitted.seconds, "processes": fitted.processes}
    write_safetensors(path, tensors, {**progress, "identity": identity})


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    identity: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> Fitted:
    """Restore what `save_checkpoint` wrote; returns what was done so far.

    `defaults` are of fields that the identity in an older file does not have. ValueError if the file is truncated or
    belongs to another configuration.
    """
    tensors, metadata = read_safetensors(path)
    theirs = {name: defaults.get(name) for name in identity} | (metadata.get("identity") or {})
    if different := [key for key in sorted({*theirs, *identity}) if theirs.get(key) != identity.get(key)]:
        said = f"is a checkpoint of another configuration, {', '.join(different)} differ; move it away"
        raise ValueError(f"{path} {said} to begin anew")
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    parameters = dict(model.named_parameters())
    for place, value in tensors.items():
        if place.startswith("optimizer."):
            _, key, name = place.split(".", 2)
            parameter = parameters[name]  # a count of steps stays on the CPU, where AdamW keeps it
            optimizer.state[parameter][key] = value.to("cpu" if key == "step" else parameter.device).clone()
    return Fitted(tensors["losses"].numpy(), metadata["seconds"], metadata["processes"])
