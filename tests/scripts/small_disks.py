"""By hand, as root: reproduce on disks that fill up at ten places, then make each larger and go on.

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

MEGABYTES = (0.5, 2, 12, 24, 32, 45, 55, 60, 64, 68)  # with what a run needs: a lock, a checkpoint, weights, a page
COMMAND = ["-m", "bisenet", "reproduce", "--only", "table_4", "--scale", "smoke"]


def run(folder: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BISENET_RESULTS": folder}
    return subprocess.run([sys.executable, *COMMAND], env=environment, capture_output=True, text=True)


def check_whole(folder: Path) -> None:
    """Every file that bears its own name can be read to its end."""
    for path in folder.rglob("*.safetensors"):
        read_safetensors(path)
    for path in folder.rglob("*.png"):
        Image.open(path).load()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for size in MEGABYTES:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={round(size * 1024)}k", "tmpfs", folder], check=True)
            try:
                full = run(folder)
                said = [line for line in (full.stdout + full.stderr).splitlines() if "rror" in line or "cannot" in line]
                assert "Traceback" not in full.stderr, full.stderr
                check_whole(Path(folder))
                print(f"{size} MB: exit {full.returncode}; {said[0][:200] if said else full.stderr[-200:]}", flush=True)
                subprocess.run(["mount", "-o", "remount,size=1g", folder], check=True)
                again = run(folder)
                assert again.returncode == 0, again.stdout + again.stderr
                check_whole(Path(folder))
            finally:
                subprocess.run(["umount", folder], check=True)


if __name__ == "__main__":
    main()
