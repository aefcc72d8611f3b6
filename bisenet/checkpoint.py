"""A run that was interrupted goes on: everything that the next iteration depends on, in one file."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric.plugins import Precision
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


@dataclasses.dataclass
class Checkpoint:
    """The file of a run, safetensors that are always whole, and what goes into it; without a path nothing is kept."""

    path: Path | None
    model: nn.Module
    optimizer: torch.optim.Optimizer
    precision: Precision  # in float16 with a scale of the loss that changes as it goes
    identity: Mapping[str, Any]
    written: float = dataclasses.field(default_factory=time.monotonic)  # when; at first, when this process began

    def save(self, fitted: Fitted) -> None:
        """OSError where the file cannot be written; the one before is then still whole."""
        self.written = time.monotonic()
        if not self.path:
            return
        tensors = {f"model.{name}": value.contiguous().cpu() for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():  # momentum; of AdamW averages and steps
                tensors[f"optimizer.{key}.{name}"] = value.contiguous().cpu()
        tensors["losses"] = torch.from_numpy(fitted.losses)
        progress = {"iteration": len(fitted.losses), "seconds": fitted.seconds, "processes": fitted.processes}
        progress |= {"scaler": self.precision.state_dict(), "identity": self.identity}
        write_safetensors(self.path, tensors, progress)

    def load(self, defaults: Mapping[str, Any]) -> Fitted:
        """Restore what was saved, if there is a file; returns what was done so far.

        `defaults` are of fields that the identity in an older file does not have. ValueError if the file is truncated
        or belongs to another configuration.
        """
        if not self.path or not self.path.is_file():
            return Fitted(np.empty(0, np.float32), 0.0, [])
        tensors, metadata = read_safetensors(self.path)
        theirs = {name: defaults.get(name) for name in self.identity} | (metadata.get("identity") or {})
        names = sorted({*theirs, *self.identity})
        if different := [name for name in names if theirs.get(name) != self.identity.get(name)]:
            said = f"is a checkpoint of another configuration, {', '.join(different)} differ"
            raise ValueError(f"{self.path} {said}; move it away to begin anew")
        self.model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        parameters = dict(self.model.named_parameters())
        for place, value in tensors.items():
            if place.startswith("optimizer."):
                _, key, name = place.split(".", 2)
                parameter = parameters[name]  # averages lie as it does; a count of steps stays on the CPU, as in AdamW
                restored = value.clone() if key == "step" else torch.empty_like(parameter).copy_(value)
                self.optimizer.state[parameter][key] = restored
        if scaler := metadata.get("scaler"):
            self.precision.load_state_dict(scaler)
        return Fitted(tensors["losses"].numpy(), metadata["seconds"], metadata["processes"])
