"""By hand, as root: train and reproduce on disks that fill up at ten places, then make each larger and go on.

    python tests/scripts/small_disks.py

Each time one line says what happened, nothing half-written stays under its own name, and what was done is kept.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from bisenet.files import read_safetensors

TRAIN = ["train", "--row", "table_2.bga", "--scale", "smoke", "--checkpoint-seconds", "0", "--workers", "0"]
REPRODUCE = ["reproduce", "--only", "table_1", "--scale", "smoke"]
# A lock, a probe, a checkpoint, the next beside it, weights, a record; a probe, a notebook, the index, pages.
DISKS = [(TRAIN, size) for size in (0.01, 0.5, 20, 60, 90, 104)]
DISKS += [(REPRODUCE, size) for size in (0.5, 1.5, 2, 3)]


def run(command: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BISENET_RESULTS": folder}
    words = [sys.executable, "-m", "bisenet", *command]
    return subprocess.run(words, env=environment, capture_output=True, text=True)


def check_whole(folder: Path) -> None:
    """Every file that bears its own name can be read to its end."""
    for path in folder.rglob("*.safetensors"):
        read_safetensors(path)
    for path in folder.rglob("*.png"):
        Image.open(path).load()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for command, size in DISKS:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={round(size * 1024)}k", "tmpfs", folder], check=True)
            try:
                full = run(command, folder)
                left = sorted(path.name for path in Path(folder).rglob("*") if path.is_file())
                print(f"{command[0]}, {size} MB: exit {full.returncode}, left {left}: {full.stderr[-300:]}", flush=True)
                assert "Traceback" not in full.stderr
                check_whole(Path(folder))
                subprocess.run(["mount", "-o", "remount,size=1g", folder], check=True)
                again = run(command, folder)
                assert again.returncode == 0, again.stdout + again.stderr
                check_whole(Path(folder))
            finally:
                subprocess.run(["umount", folder], check=True)


if __name__ == "__main__":
    main()
