"""Our network's ways from a frame to a class map, side by side: the `Segmenter` in every engine, and the usual way.

The usual, "straightforward" way is one graph: a normalised frame is resized, the network gives logits at the size that
it sees, they are enlarged to the frame (F.interpolate), and the largest is taken (argmax). With "one enlargement" the
network's logits, at an eighth of what it sees, are enlarged to the frame at once: less work, and not quite the same
answer. Ours, the "segmenter", answers like that one; it begins with the pixels, and so has more to do.
"""

import dataclasses
import functools
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bisenet import cost
from bisenet.config import Size
from bisenet.data import open_dataset
from bisenet.data.places import check_writable
from bisenet.evaluate import confusion, miou
from bisenet.files import SHIPPED_SIZE, SHIPPED_WEIGHTS, write_json
from bisenet.inference import engines
from bisenet.inference.segmenter import FromPixels, Plain, Segmenter, class_map, folded
from bisenet.model import BiSeNetV2, upsample
from bisenet.runs.memory import peak
from bisenet.speed import bench
from bisenet.speed.bench import EAGER
from bisenet.speed.machine import device_here, machine_of, machine_peak, moment, process_of, slug, where_measured
from bisenet.speed.peers import FRAME
from bisenet.speed.protocol import ITERATIONS, SpeedRecord, Way, check, clock_of, resize, rounded, time_in_turn, timing

BATCHES = (1, 2, 4, 8)
CALIBRATION = 64  # embedded scenes, of the training split
TESTED = 100  # of the validation split

# What a notebook's word `scale` means, as in `bench.EFFORT`.
LITTLE: dict[str, Any] = {"tested": 1, "batches": (), "memory": False}
EFFORT: dict[str, dict[str, Any]] = bench.EFFORT | {"smoke": bench.EFFORT["smoke"] | LITTLE}


class Straightforward(nn.Module):
    """A normalised frame, float32 (1, 3, H, W) -> classes (1, H, W), as it is written down first."""

    def __init__(self, network: BiSeNetV2, size: Size, once: bool):
        super().__init__()
        self.network, self.size, self.once = network, size, once

    def forward(self, frame: Tensor) -> Tensor:
        images, size = resize(frame, self.size), (frame.shape[2], frame.shape[3])
        logits = self.network(images, size=size) if self.once else upsample(self.network(images), size)
        return logits.argmax(1)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way of a kind, "segmenter", "straightforward" or "one enlargement", in an engine and a precision."""

    kind: str
    engine: str
    precision: str = "fp32"

    def __str__(self) -> str:
        return f"{self.kind}, {self.engine}, {self.precision}"

    @property
    def problem(self) -> str:
        """Why it cannot be had here, or nothing."""
        if self.engine == EAGER:
            return ""
        return engines.why_not(self.engine, self.precision, device_here())


def kinds() -> list[Kind]:
    """All that is compared."""
    ours = [Kind("segmenter", name, precision) for name in engines.ENGINES for precision in bench.PRECISIONS]
    graphs = (EAGER, "compile", "openvino", "onnxruntime", "tensorrt")
    usual = [Kind(kind, name) for kind in ("straightforward", "one enlargement") for name in graphs]
    supported = {(name, p) for name, engine in engines.ENGINES.items() for of in engine.precisions.values() for p in of}
    return [kind for kind in ours if (kind.engine, kind.precision) in supported] + usual


def time_ways(
    *,
    iterations: int = ITERATIONS,
    limit: float | None = None,
    frame: Size = FRAME,
    tested: int = TESTED,
    batches: Sequence[int] = BATCHES,
    memory: bool = True,
    folder: Path | None = None,
) -> SpeedRecord:
    """Time all ways in turn, on the GPU or else on the CPU, print them and record them in `results/speed/ways/`.

    Each for `limit` seconds, or `iterations` times. Beside time there are, of each engine and precision: seconds to
    load, milliseconds a frame in batches, mIoU on `tested` embedded scenes, and the memory of a process of its own.
    """
    check(iterations, limit)
    device, size = device_here(), (frame[0] // 2, frame[1] // 2)
    folder = folder or bench.speed_folder() / "ways"
    check_writable(folder)
    machine = machine_of(device, frame)
    record: SpeedRecord = {**machine, "size": list(size), "built": "bisenet table_2.ohem", **moment()}
    record |= {"process": {"iterations_asked": iterations, "limit": limit, **process_of(device)}}
    record |= {"peak": machine_peak(device), "gflop": 2 * cost.count(BiSeNetV2.load(SHIPPED_WEIGHTS), size).gmacs}
    record["layers"] = layers(size, device)
    possible = [kind for kind in kinds() if not kind.problem]
    segmenters: dict[Kind, tuple[Segmenter, float]] = {}
    for kind in (kind for kind in possible if kind.kind == "segmenter"):
        began = time.perf_counter()
        segmenters[kind] = _segmenter(kind, size), time.perf_counter() - began
    ways = _ways(possible, segmenters, frame, size, device)
    seconds = time_in_turn(ways, iterations=iterations, limit=limit, clock=clock_of(device))
    record["ways"] = {str(kind): _entry(kind, seconds) for kind in possible}
    for kind, (segmenter, load) in segmenters.items():
        record["ways"][str(kind)] |= {"load": round(load, 1), "batches": _batches(segmenter, frame, batches)}
        record["ways"][str(kind)] |= _answers(kind, tested)
        if memory:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                record["ways"][str(kind)]["memory"] = pool.submit(_peak_of, kind, size).result()
        write_json(folder / f"{slug(where_measured(record))}.json", record)
    return record


def _segmenter(kind: Kind, size: Size) -> Segmenter:
    scenes = open_dataset("streets", "train", size=size)
    calibration = [scenes.load(number)[0] for number in range(CALIBRATION)] if kind.precision == "int8" else []
    return Segmenter(size=size, engine=kind.engine, precision=kind.precision, calibration=calibration)


def _ways(
    possible: list[Kind],
    segmenters: dict[Kind, tuple[Segmenter, float]],
    frame: Size,
    size: Size,
    device: torch.device,
) -> dict[str, Way]:
    """The call as a user makes it, and its stages; and the straightforward graphs."""
    picture = open_dataset("streets", "val", size=frame).load(0)[0]
    pixels, normalised = torch.from_numpy(picture.copy())[None].to(device), torch.randn(1, 3, *frame, device=device)
    ways: dict[str, Way] = {}
    for kind in possible:
        if kind.kind != "segmenter":
            ways[str(kind)] = normalised, {"whole": _straightforward(kind, normalised, size)}
            continue
        segmenter, _ = segmenters[kind]
        stages: dict[str, Callable[[Any], Any]] = {"resize": segmenter.seen, "network": segmenter.network_alone}
        ways[str(kind)] = picture, {"whole": segmenter}
        ways[f"{kind}, stages"] = pixels, stages | {"classes": lambda logits: class_map(logits[0], frame)}
    return ways


def _straightforward(kind: Kind, example: Tensor, size: Size) -> Callable[[Tensor], Tensor]:
    network = Straightforward(BiSeNetV2.load(SHIPPED_WEIGHTS), size, kind.kind == "one enlargement")
    network = network.eval().to(example.device)
    return network if kind.engine == EAGER else engines.prepare(network, example, kind.engine)


def _entry(kind: Kind, seconds: dict[str, np.ndarray]) -> dict[str, Any]:
    whole = timing(seconds[str(kind)].sum(1))
    entry: dict[str, Any] = {**dataclasses.asdict(kind), "whole": rounded(whole)}
    if kind.kind == "segmenter":
        stages = zip(("resize", "network", "classes"), seconds[f"{kind}, stages"].T, strict=True)
        entry["stages"] = {name: rounded(timing(of_stage)) for name, of_stage in stages}
    print(f"{kind!s:36} {whole.median:9.1f} ms ({whole.low:.1f} to {whole.high:.1f})", flush=True)
    return entry


def _batches(segmenter: Segmenter, frame: Size, batches: Sequence[int]) -> dict[str, float]:
    """Milliseconds a frame, in batches of several: the better of two after one that warms up."""
    scenes, best = open_dataset("streets", "val", size=frame), {}
    clock = clock_of(segmenter.device)
    for batch in batches:
        frames = np.stack([scenes.load(number)[0] for number in range(batch)])
        moments = [clock()]
        for _ in range(3):
            segmenter(frames)
            moments.append(clock())
        best[str(batch)] = round(1000 * float(np.diff(moments)[1:].min()) / batch, 2)
    return best


def _peak_of(kind: Kind, size: Size) -> int:
    """Bytes that this process, one of its own, has at most when it loads a segmenter and uses it once."""
    segmenter = _segmenter(kind, size)
    segmenter(np.zeros((2 * size[0], 2 * size[1], 3), np.uint8))
    return int(peak(segmenter.device))


def _answers(kind: Kind, tested: int) -> dict[str, float]:
    """mIoU on embedded scenes of the size that the weights know, percent, and of the pixels the share as the plain."""
    segmenter = _segmenter(kind, SHIPPED_SIZE)
    plain, scenes = _plain(), open_dataset("streets", "val", size=SHIPPED_SIZE)
    matrix, same = torch.zeros(19, 19, dtype=torch.int64), 0
    for number in range(tested):
        image, labels = scenes.load(number)
        classes = segmenter(image)
        matrix += confusion(torch.from_numpy(classes), torch.from_numpy(labels.copy()), 19)
        same += int((classes == plain(number)).sum())
    return {"miou": round(miou(matrix.numpy()), 3), "same": same / (tested * SHIPPED_SIZE[0] * SHIPPED_SIZE[1])}


@functools.cache
def _plain() -> Callable[[int], np.ndarray]:
    """Class maps of the plain network, of validation scenes by their number."""
    device = device_here()
    network = Plain(BiSeNetV2.load(SHIPPED_WEIGHTS)).to(device)
    scenes = open_dataset("streets", "val", size=SHIPPED_SIZE)

    @functools.cache
    @torch.inference_mode()
    def of_scene(number: int) -> np.ndarray:
        return network(torch.from_numpy(scenes.load(number)[0].copy())[None].to(device))[0].cpu().numpy()

    return of_scene


def layers(size: Size, device: torch.device) -> list[dict[str, Any]]:
    """Every convolution of the network in PyTorch, not compiled: GFLOP, bytes that it reads and writes, milliseconds.

    The best of five runs, on one image, batch normalisation folded, channels last.
    """
    network = FromPixels(folded(BiSeNetV2.load(SHIPPED_WEIGHTS))).to(device).to(memory_format=torch.channels_last)
    found: dict[str, dict[str, Any]] = {}
    began, clock = [0.0], clock_of(device)

    def before(module: nn.Module, inputs: Any) -> None:
        began[0] = clock()

    def after(name: str, module: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        ms = 1000 * (clock() - began[0])
        flop = 2 * module.weight[0].numel() * output.numel()
        moved = inputs[0].nbytes + module.weight.nbytes + output.nbytes
        line = found.setdefault(name, {"layer": name, "gflop": flop / 1e9, "bytes": moved, "ms": ms})
        line["ms"] = round(min(line["ms"], ms), 4)

    for name, module in network.network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(before)
            module.register_forward_hook(functools.partial(after, name))
    with torch.inference_mode():
        for _ in range(6):
            network(torch.zeros(1, *size, 3, dtype=torch.uint8, device=device))
    return list(found.values())
