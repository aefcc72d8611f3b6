"""By hand: kill a training at random times until it is done, then compare its weights with those of one left alone.

python tests/scripts/kill_times.py [KILLS]
"""

import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = ["-m", "bisenet", "train", "--row", "table_2.bga", "--scale", "smoke", "--set", "iterations=60"]
TRAIN += ["--checkpoint-seconds", "0", "--workers", "1"]


def start(folder: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "BISENET_RESULTS": folder}
    return subprocess.Popen([sys.executable, *TRAIN], env=environment, stdout=subprocess.DEVNULL)


def weights(folder: str) -> str:
    (path,) = Path(folder).glob("runs/*/weights.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(kills: int) -> None:
    with tempfile.TemporaryDirectory() as alone, tempfile.TemporaryDirectory() as killed:
        began = time.monotonic()
        assert start(alone).wait() == 0
        whole, chosen, done = time.monotonic() - began, random.Random(0), 0
        while done < kills:
            process, wait = start(killed), chosen.uniform(0, whole)
            try:
                assert process.wait(wait) == 0
                print(f"done before a kill after {wait:.1f} s; begun anew", flush=True)
                assert weights(killed) == weights(alone), "the weights differ"
                subprocess.run(["rm", "-r", f"{killed}/runs"], check=True)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                done += 1
                left = sorted(path.name for path in Path(killed).glob("runs/*/*"))
                print(
                    f"kill {done} after {wait:.1f} of {whole:.1f} s; left: {', '.join(left) or 'nothing'}", flush=True
                )
        assert start(killed).wait() == 0
        assert weights(killed) == weights(alone), "the weights differ"
        print(f"{kills} kills, the same weights: {weights(alone)[:12]}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 20)
