"""From disk to disk: `predict`, of a video beside the network alone, and how long it takes to start."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bisenet.config import Size
from bisenet.data import open_dataset, palette
from bisenet.inference import photos
from bisenet.inference.segmenter import Segmenter
from bisenet.speed.protocol import Way, rounded, time_in_turn, timing

FRAMES = 32  # of the video


def drive(path: Path, size: Size) -> None:
    """A video, (height, width): a window that moves over two drawn scenes side by side."""
    import av  # an extra

    scenes = open_dataset("streets", "val", size=size)
    wide = np.concatenate([scenes.load(number)[0] for number in range(2)], axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for left in np.linspace(0, size[1], FRAMES).astype(int):
            window = np.ascontiguousarray(wide[:, left : left + size[1]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(window, format="rgb24")))
        container.mux(stream.encode(None))


def time_video(segmenter: Segmenter, **effort: Any) -> dict[str, Any]:
    """Milliseconds a frame of a video of the size that the network sees: of the network alone, and from disk to disk.

    The two in turn; `effort` is that of `time_in_turn`, and once is all frames.
    """

    def whole(paths: list[Path]) -> None:
        if failed := photos.segment(paths, segmenter, colours, Path(folder, "out")):
            raise ValueError(f"the video was not segmented: {failed}")

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # bars of progress
        path, colours = Path(folder) / "drive.mp4", palette(segmenter.num_classes)
        drive(path, segmenter.size)
        seen = segmenter.seen(torch.from_numpy(next(photos.frames(path)).pixels)[None].to(segmenter.device))
        ways: dict[str, Way] = {
            "network": (seen, {"frames": lambda x: [segmenter.network_alone(x).cpu() for _ in range(FRAMES)]}),
            "disk to disk": ([path], {"frames": whole}),
        }
        seconds = time_in_turn(ways, **effort)
    return {"frames": FRAMES, **{name: rounded(timing(of_way[:, 0] / FRAMES)) for name, of_way in seconds.items()}}


def time_start(size: Size) -> dict[str, Any]:
    """Seconds of processes: one that imports PyTorch, and by engine those that segment a photograph, first and again.

    What engines keep is in a folder of its own, so that the first time is the first.
    """
    found: dict[str, Any] = {"import torch": _seconds([sys.executable, "-c", "import torch"], {})}
    with tempfile.TemporaryDirectory() as folder:
        photograph = Path(folder) / "photograph.jpg"
        Image.fromarray(open_dataset("streets", "val", size=size).load(0)[0]).save(photograph)
        words = ["predict", str(photograph), "--size", "x".join(map(str, size)), "--out", str(Path(folder, "out"))]
        for engine in ("torch", "auto"):
            command = [sys.executable, "-m", "bisenet", *words, "--engine", engine]
            own = Path(folder, engine)
            places = {"BISENET_ENGINES": str(own / "engines"), "TORCHINDUCTOR_CACHE_DIR": str(own / "compiled")}
            found[engine] = {again: _seconds(command, places) for again in ("first", "again")}
    return found


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
    return round(time.perf_counter() - began, 2)
