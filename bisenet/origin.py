"""Where a number comes from: the device, the versions of packages, the state of the code."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import torchvision

REPOSITORY = Path(__file__).resolve().parent.parent


def describe_device(device: torch.device) -> dict[str, Any]:
    """The processor in general words: CPU model and cores, and the GPU's name if it was used."""
    described: dict[str, Any] = {"cpu": _cpu_model(), "cores": os.cpu_count()}
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "lightning": lightning.__version__,
        "numpy": np.__version__,
    }


def git_state() -> dict[str, Any]:
    """Commit and whether the package differs from it; both None outside a repository."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", "bisenet")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}
