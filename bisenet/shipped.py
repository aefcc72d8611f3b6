"""The weights that came with the package, by name; `weights/README.md` says how they came about."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
SHIPPED_WEIGHTS = FOLDER / "streets.safetensors"
SHIPPED_SIZE = (256, 512)  # of the scenes on which those were tested, and at which the network saw them


def shipped(weights: str | os.PathLike[str]) -> Path:
    """The file of a name such as "streets"; anything else is a path already."""
    names = {path.stem: path for path in FOLDER.glob("*.safetensors")}
    return names.get(str(weights), Path(weights))
