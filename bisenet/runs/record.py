"""The record of a run: its scores as counts, and all that can move them."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Self

import numpy as np

from bisenet.evaluate import miou
from bisenet.files import write_json
from bisenet.model import ModelConfig
from bisenet.runs.boundaries import RADIUS
from bisenet.train import TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One run, as it was written when it ended; fields that older files do not have are at their defaults."""

    hash: str
    row: str
    scale: str
    format: int
    dataset: str
    seed: int
    model: ModelConfig
    training: TrainConfig
    initial: str  # what was carried over from a weights file, in words; empty for random weights
    source: str  # which kind of files, and how many if not all
    files: str = ""  # fingerprint of those of both sets (`FilePairs.fingerprint`), "" where none are read
    images: dict[str, int]  # "train" and "test": how many of each were used
    confusion: list[list[int]]  # (K, K): rows are labels, columns predictions
    near_boundaries: dict[str, Any] = dataclasses.field(default_factory=dict)  # "radius", and "confusion" within it
    losses: dict[str, list[float]]  # "iteration" and "loss": means over stretches
    seconds: dict[str, float]  # "train" and "evaluate"
    processes: list[dict[str, Any]]  # one for each that took part: device, versions, commit
    date: str

    @classmethod
    def load(cls, path: Path) -> Self:
        """ValueError for a file that is no record."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            model, training = ModelConfig(**content.pop("model")), TrainConfig(**content.pop("training"))
            return cls(**content, model=model, training=training)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} is no record of a run ({error})") from error

    def save(self, path: Path) -> None:
        write_json(path, dataclasses.asdict(self))

    @property
    def matrix(self) -> np.ndarray:
        """The confusion matrix, int64 (K, K)."""
        return np.array(self.confusion)

    @property
    def miou(self) -> float:
        """In percent."""
        return miou(self.matrix)

    @property
    def by_place(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Confusion matrices near boundaries, within today's `RADIUS`, and elsewhere; None if they are not counted."""
        if self.near_boundaries.get("radius") != RADIUS:
            return None
        near = np.array(self.near_boundaries["confusion"])
        return near, self.matrix - near
