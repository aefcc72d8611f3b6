"""Where a number comes from: the device, the versions of packages, the state of the code."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import torch

from bisenet.files import CLONED, REPOSITORY


def describe_device(device: torch.device) -> dict[str, Any]:
    """The processor in general words: CPU model and cores, and the GPU's name if it was used."""
    described: dict[str, Any] = {"cpu": _cpu_model(), "cores": os.cpu_count()}
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def _cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """The model's name; where a virtual machine hides its number, with what tells generations apart instead."""
    lines = [line.partition(":") for line in info.read_text().splitlines()] if info.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in lines}  # of the last core
    name = facts.get("model name") or platform.processor() or platform.machine()
    if any(character.isdigit() for character in name) or "cpu family" not in facts:
        return name
    return f"{name} (family {facts['cpu family']}, model {facts.get('model', '?')})"


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": importlib.metadata.version("torchvision"),
        "lightning": lightning_fabric.__version__,
        "numpy": np.__version__,
    }


def git_state() -> dict[str, Any]:
    """Commit and whether the package differs from it; both None outside a clone."""
    if not CLONED:  # the folder may belong to another repository
        return {"commit": None, "dirty": None}

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", "bisenet")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}
