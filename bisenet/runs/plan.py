"""What a run is: a row of a table, a data set, a scale, a seed; and the hash of all that defines its numbers."""

import dataclasses
import hashlib
import json
from typing import Any, Self

from bisenet import paper
from bisenet.config import plain
from bisenet.data import DATASETS
from bisenet.model import ModelConfig
from bisenet.train import TrainConfig

# Part of every run's identity; raised when a change of the code makes runs differ that are configured alike.
FORMAT = 3


@dataclasses.dataclass(frozen=True)
class Run:
    """One row x data set x scale x seed, and `base`, the run with whose weights it begins, if any."""

    row: str
    dataset: str
    scale: str
    seed: int
    model: ModelConfig
    training: TrainConfig
    base: "Run | None" = None

    @property
    def identity(self) -> dict[str, Any]:
        """What two runs share if and only if they are the same experiment."""
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "seed": self.seed,
            "model": plain(self.model),
            "training": plain(self.training),
        }

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        return f"{self.row}-{self.dataset}-{self.scale}-seed{self.seed}-{self.hash}"

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Self:
        """A run from what `config.plain` made of it."""
        parts = {"model": ModelConfig(**content["model"]), "training": TrainConfig(**content["training"])}
        return cls(**{**content, **parts, "base": cls.of_json(content["base"]) if content["base"] else None})


def plan(row: paper.Row, dataset: str, scale: str, seed: int) -> Run:
    """The run of a row; ValueError for an unknown data set or scale, or a negative seed.

    A row with a base (Table 8, marked *) begins with the weights of that row's run at the same scale and seed. Its
    hash holds that of the other run, not of a file: its record is found where the weights are not.
    """
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed is {seed}, it must not be negative, and have 63 bits at most")
    base = plan(paper.row(row.base), row.pretrained_on, scale, seed) if row.base else None
    changes = {**row.training, "initial": base.hash if base else ""}
    training = dataclasses.replace(paper.recipe(dataset, scale), **changes)
    model = dataclasses.replace(row.model, num_classes=len(DATASETS[dataset].classes))
    return Run(row.id, dataset, scale, seed, model, training, base)


def words(run: Run) -> list[str]:
    """The words after `python -m bisenet` that train a run of a row."""
    return ["train", "--row", run.row, "--dataset", run.dataset, "--scale", run.scale, "--seed", str(run.seed)]
