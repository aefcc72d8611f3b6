"""Our network's ways from a frame to a class map, side by side: the `Segmenter` in every engine, and the usual way.

The usual, "straightforward" way is one graph: a normalised frame is resized, the network gives logits at the size that
it sees, they are enlarged to the frame (F.interpolate), and the largest is taken (argmax). With "one enlargement" the
network's logits, at an eighth of what it sees, are enlarged to the frame at once: less work, and not quite the same
answer. Ours, the "segmenter", answers like that one; it begins with the pixels, and so has more to do.
"""

import dataclasses
import functools
import math
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
from bisenet.evaluate import confusion, miou
from bisenet.files import SHIPPED_SIZE, SHIPPED_WEIGHTS, write_json
from bisenet.inference import engines
from bisenet.inference.segmenter import FromPixels, Plain, Segmenter, class_map, folded
from bisenet.model import BiSeNetV2, upsample
from bisenet.runs.clock import between, clock_of
from bisenet.runs.memory import let_go, peak
from bisenet.runs.store import check_writable
from bisenet.speed import bench
from bisenet.speed.bench import EAGER
from bisenet.speed.machine import device_here, machine_of, machine_peak, moment, process_of, slug, where_measured
from bisenet.speed.peers import FRAME, chosen
from bisenet.speed.protocol import ITERATIONS, SpeedRecord, Way, check, resize, rounded, time_in_turn, timing

BATCHES = (1, 2, 4, 8)
CALIBRATION = 64  # embedded scenes, of the training split
TESTED = 100  # of the validation split

# What a notebook's word `scale` means, as in `bench.EFFORT`.
EFFORT: dict[str, dict[str, Any]] = {
    "smoke": {**bench.EFFORT["smoke"], "tested": 1, "batches": (), "memory": False},
    "short": bench.EFFORT["short"],
    "long": bench.EFFORT["long"],
    "paper": bench.EFFORT["paper"],
}


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


def seconds_of(scale: str) -> float:
    """Seconds that `time_ways` takes at a scale, about; segmenters are loaded and timed twice."""
    names = [kind.engine for kind in kinds() if not kind.problem for _ in range(2 if kind.kind == "segmenter" else 1)]
    return bench.seconds_of(chosen(["BiSeNetV2"]), names, scale)


@torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)  # of PyTorch as it is; engines set theirs
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
    possible = [kind for kind in kinds() if not kind.problem]
    floats = dict.fromkeys(kind.precision for kind in possible if kind.precision != "int8")
    record["peaks"] = {precision: machine_peak(device, precision) for precision in floats}
    record |= {"peak": record["peaks"]["fp32"], "gflop": 2 * cost.count(_Alone(), size).gmacs}
    record["layers"] = layers(size, device)
    segmenters = {kind: _loaded(kind, size) for kind in possible if kind.kind == "segmenter"}
    ways = _ways(possible, segmenters, frame, size, device)
    seconds = time_in_turn(ways, iterations=iterations, limit=limit, clock=clock_of(device))
    record["ways"] = {str(kind): _entry(kind, seconds) for kind in possible}
    for kind, (segmenter, load) in segmenters.items():
        record["ways"][str(kind)] |= {"load": round(load, 1), "batches": _batches(segmenter, frame, batches)}
        record["ways"][str(kind)] |= _answers(kind, tested) | ({"memory": _memory(kind, size)} if memory else {})
        write_json(folder / f"{slug(where_measured(record))}.json", record)
        let_go(device)
    return record


class _Alone(nn.Module):
    """The network from normalised images to small logits: what "the network alone" costs."""

    def __init__(self) -> None:
        super().__init__()
        self.network = FromPixels(BiSeNetV2.load(SHIPPED_WEIGHTS))

    def forward(self, images: Tensor) -> Tensor:
        return self.network.from_images(images)


def _loaded(kind: Kind, size: Size) -> tuple[Segmenter, float]:
    """A segmenter and the seconds that it took to load."""
    began = time.perf_counter()
    return _segmenter(kind.engine, kind.precision, size), time.perf_counter() - began


def _segmenter(engine: str, precision: str, size: Size) -> Segmenter:
    scenes = open_dataset("streets", "train", size=size)
    calibration = [scenes.load(number)[0] for number in range(CALIBRATION)] if precision == "int8" else []
    return Segmenter(size=size, engine=engine, precision=precision, calibration=calibration)


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
        classes = functools.partial(_first_map, size=frame)
        ways[str(kind)] = picture, {"whole": segmenter}
        ways[f"{kind}, stages"] = (
            pixels,
            {"resize": segmenter.seen, "network": segmenter.network_alone, "classes": classes},
        )
    return ways


def _first_map(logits: Tensor, size: Size) -> Tensor:
    return class_map(logits[0], size)


def _straightforward(kind: Kind, example: Tensor, size: Size) -> Callable[[Tensor], Tensor]:
    network = (
        Straightforward(BiSeNetV2.load(SHIPPED_WEIGHTS), size, kind.kind == "one enlargement").eval().to(example.device)
    )
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
        best[str(batch)] = round(1000 * min(between(moments)[1:]) / batch, 2)
    return best


def _memory(kind: Kind, size: Size) -> int:
    """Bytes that a process has at most which loads a segmenter and uses it once, a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_of, kind.engine, kind.precision, size).result()


def _peak_of(engine: str, precision: str, size: Size) -> int:
    segmenter = _segmenter(engine, precision, size)
    segmenter(np.zeros((2 * size[0], 2 * size[1], 3), np.uint8))
    return int(peak(segmenter.device))


def _answers(kind: Kind, tested: int) -> dict[str, float]:
    """mIoU on embedded scenes of the size that the weights know, percent, and of the pixels the share as the plain."""
    segmenter = _segmenter(kind.engine, kind.precision, SHIPPED_SIZE)
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
    moments: dict[str, list[Any]] = {}
    clock = clock_of(device)

    def before(name: str, module: nn.Module, inputs: Any) -> None:
        moments[name] = [clock()]

    def after(name: str, module: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        moments[name].append(clock())
        flop = 2 * module.weight[0].numel() * output.numel()
        moved = inputs[0].nbytes + module.weight.nbytes + output.nbytes
        found.setdefault(name, {"layer": name, "gflop": flop / 1e9, "bytes": moved, "ms": math.inf})

    for name, module in network.network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(functools.partial(before, name))
            module.register_forward_hook(functools.partial(after, name))
    with torch.inference_mode():
        for _ in range(6):
            network(torch.zeros(1, *size, 3, dtype=torch.uint8, device=device))
            for name, line in found.items():
                line["ms"] = round(min(line["ms"], 1000 * sum(between(moments[name]))), 4)
    return list(found.values())


def records(folder: Path) -> dict[str, SpeedRecord]:
    """The records of `time_ways` in a folder, by where they were measured, those of a GPU first."""
    return {where_measured(record): record for record in bench.read_records(folder / "ways")}
