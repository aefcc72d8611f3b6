"""Where a number comes from: the device, the versions of packages, the state of the code."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bisenet.data.places import CLONED, REPOSITORY


def describe_device(device: torch.device) -> dict[str, Any]:
    """The processor in general words: CPU model and cores, and the GPU's name if it was used."""
    described: dict[str, Any] = {"cpu": _cpu_model(), "cores": os.cpu_count()}
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def where_measured(record: Mapping[str, Any]) -> str:
    """On what something ran, in general words: the device of a record, or of a process of one, as described."""
    device = record["device"]
    return device.get("gpu") or f"{device['cpu']}, {record['threads']} threads"


DRIVER = Path("/proc/driver/nvidia/version")  # there where a driver for NVIDIA's GPUs is loaded


def unused_gpu() -> str:
    """Why a GPU that is there is not used by this PyTorch, or nothing."""
    built = f"PyTorch {torch.__version__}"
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        oldest = min(
            (int(name[3:].rstrip("af")) for name in torch.cuda.get_arch_list() if name.startswith("sm_")), default=0
        )
        too_old = 10 * major + minor < oldest
        reason = f"{built} has no code for {torch.cuda.get_device_name()} (sm_{major}{minor})" if too_old else ""
    elif not (DRIVER.exists() or shutil.which("nvidia-smi")) or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        reason = ""
    elif torch.version.cuda is None:
        reason = f"there is a GPU, and {built} is built without CUDA"
    else:
        reason = f"there is a GPU, and {built} cannot use it: its CUDA {torch.version.cuda} may need a newer driver"
    return reason and f"{reason}; other builds: docs/devices.md"


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
        "lightning": importlib.metadata.version("lightning-fabric"),
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
