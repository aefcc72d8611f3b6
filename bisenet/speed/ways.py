"""Our network's ways from a frame to a class map, side by side: the `Segmenter` in every engine, and the usual way.

The usual, "straightforward" way is one graph: a normalised frame is resized, the network gives logits at the size that
it sees, they are enlarged to the frame (F.interpolate), and the largest is taken (argmax). The public implementations'
networks go this way, too. With "one enlargement" the network's logits, at an eighth of what it sees, are enlarged to
the frame at once: less work, and not quite the same answer. Ours, the "segmenter", answers like that one; it begins
with the pixels, and so has more to do.
"""

import dataclasses
import functools
import importlib.util
import multiprocessing
import statistics
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
from bisenet.dataset import PairDataset
from bisenet.evaluate import confusion, miou
from bisenet.files import SHIPPED_SIZE, SHIPPED_WEIGHTS, shipped, write_json
from bisenet.inference import engines
from bisenet.inference.segmenter import Plain, Segmenter, class_map
from bisenet.model import BiSeNetV2, upsample
from bisenet.runs.clock import between, clock_of
from bisenet.runs.memory import let_go, peak
from bisenet.speed import bench
from bisenet.speed.bench import EAGER
from bisenet.speed.disk import FRAMES, time_start, time_video
from bisenet.speed.layers import layers
from bisenet.speed.machine import device_here, machine_of, machine_peak, moment, process_of, slug, where_measured
from bisenet.speed.peers import FRAME, public
from bisenet.speed.protocol import (
    ITERATIONS,
    WAY_STAGES,
    SpeedRecord,
    Way,
    check,
    resize,
    rounded,
    time_in_turn,
    timing,
)

BATCHES = (1, 2, 4, 8)
CALIBRATION = 64  # embedded scenes, of the training split
TESTED = 100  # embedded scenes, of the validation split; of CamVid all test images
PUBLIC = ("coincheung", "mmsegmentation")  # readings of the public implementations

# What a notebook's word `scale` means, as in `bench.EFFORT`.
LITTLE: dict[str, Any] = {"tested": 1, "batches": (), "alone": False, "disk": False}
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
    """A way of a kind, in an engine and a precision.

    Kinds: "segmenter", "straightforward", "one enlargement", or of a public implementation "straightforward NAME".
    """

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
    usual += [Kind(f"straightforward {reading}", "openvino") for reading in PUBLIC]
    supported = {(name, p) for name, engine in engines.ENGINES.items() for of in engine.precisions.values() for p in of}
    return [kind for kind in ours if (kind.engine, kind.precision) in supported] + usual


@torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)  # of PyTorch as it is; engines set theirs
def time_ways(
    *,
    iterations: int = ITERATIONS,
    limit: float | None = None,
    frame: Size = FRAME,
    tested: int = TESTED,
    batches: Sequence[int] = BATCHES,
    alone: bool = True,
    disk: bool = True,
    camvid: Path | None = None,
    folder: Path | None = None,
) -> SpeedRecord:
    """Time all ways in turn, on the GPU or else on the CPU, print them and record them in `results/speed/ways/`.

    Each for `limit` seconds, or `iterations` times. Beside time there are, of each engine and precision: milliseconds
    a frame in batches; mIoU on `tested` embedded scenes, and with the folder of `camvid` also on its test images, with
    the weights shipped for it; of a process `alone` its memory, and its seconds to load what this one has loaded
    before; from `disk` to disk a video (`disk.time_video`). And how long a process takes to start.
    """
    check(iterations, limit)
    images = {"streets": Pictures("streets", "val", tested)}
    if camvid:
        images["camvid"] = Pictures("camvid", "test", root=camvid)
    device, size = device_here(), (frame[0] // 2, frame[1] // 2)
    folder = folder or bench.speed_folder() / "ways"
    check_writable(folder)
    machine = machine_of(device, frame)
    record: SpeedRecord = {**machine, "size": list(size), "built": "bisenet table_2.ohem", **moment()}
    record |= {"process": {"iterations_asked": iterations, "limit": limit, **process_of(device)}}
    path = folder / f"{slug(where_measured(record))}.json"
    possible = [kind for kind in kinds() if not kind.problem]
    record |= _limits(device, size, possible)
    segmenters = {kind: _segmenter(kind, size) for kind in possible if kind.kind == "segmenter"}
    ways = _ways(possible, segmenters, frame, size, device)
    seconds = time_in_turn(ways, iterations=iterations, limit=limit, clock=clock_of(device))
    record["ways"] = {str(kind): _entry(kind, seconds) for kind in possible}
    for kind, segmenter in segmenters.items():
        way = record["ways"][str(kind)]
        way["batches"] = _batches(segmenter, frame, batches)
        if alone:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                way |= pool.submit(_alone, kind, size).result()
        if disk and importlib.util.find_spec("av"):
            way["video"] = time_video(segmenter, iterations=max(1, iterations // FRAMES), limit=limit)
        write_json(path, record)
    if disk:
        record["start"] = time_start(size)
        write_json(path, record)
    print("timed; what comes now is the answers, and the machine need not be quiet", flush=True)
    for kind in segmenters:
        record["ways"][str(kind)]["answers"] = {name: _answers(kind, of) for name, of in images.items()}
        write_json(path, record)
        let_go(device)
    return record


def _limits(device: torch.device, size: Size, possible: list[Kind]) -> dict[str, Any]:
    """What the device can do at best, and what the network asks of it, in all and layer by layer."""
    floats = dict.fromkeys(kind.precision for kind in possible if kind.precision != "int8")
    peaks = {precision: machine_peak(device, precision) for precision in floats}
    gflop = 2 * cost.count(BiSeNetV2.load(SHIPPED_WEIGHTS), size).gmacs
    of_device = {"peaks": peaks, "int8_instructions": cpu_multiplies_int8(device)}
    return {**of_device, "gflop": gflop, "layers": layers(size, device)}


def cpu_multiplies_int8(device: torch.device) -> bool:
    """Whether this is a CPU with instructions for products of 8 bits, VNNI or AMX."""
    names = ("_is_vnni_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in names)


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Images on which answers are scored, all or the first `tested`, with the weights shipped for their data set."""

    dataset: str
    split: str
    tested: int | None = None
    root: Path | None = None

    def open(self, split: str, size: Size) -> PairDataset:
        """`size`: of what is drawn."""
        return open_dataset(self.dataset, split, root=self.root, size=size)


SCENES = Pictures("streets", "val")


def _segmenter(kind: Kind, size: Size, pictures: Pictures = SCENES) -> Segmenter:
    return Segmenter(shipped(pictures.dataset), **_options(kind, size, pictures))


def _options(kind: Kind, size: Size, pictures: Pictures = SCENES) -> dict[str, Any]:
    """Of a `Segmenter`."""
    train = pictures.open("train", size)
    calibration = [train.load(number)[0] for number in range(CALIBRATION)] if kind.precision == "int8" else []
    return {"size": size, "engine": kind.engine, "precision": kind.precision, "calibration": calibration}


def _ways(
    possible: list[Kind],
    segmenters: dict[Kind, Segmenter],
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
        segmenter = segmenters[kind]
        stages = (segmenter.seen, segmenter.network_alone, lambda logits: class_map(logits[0], frame))
        ways[str(kind)] = picture, {"whole": segmenter}
        ways[f"{kind}, stages"] = pixels, dict(zip(WAY_STAGES, stages, strict=True))
    return ways


def _straightforward(kind: Kind, example: Tensor, size: Size) -> Callable[[Tensor], Tensor]:
    reading = kind.kind.partition("straightforward ")[2]
    plain = BiSeNetV2(public(reading)) if reading else BiSeNetV2.load(SHIPPED_WEIGHTS)
    network = Straightforward(plain, size, kind.kind == "one enlargement").eval().to(example.device)
    return network if kind.engine == EAGER else engines.prepare(network, example, kind.engine)


def _entry(kind: Kind, seconds: dict[str, np.ndarray]) -> dict[str, Any]:
    whole = timing(seconds[str(kind)].sum(1))
    entry: dict[str, Any] = {**dataclasses.asdict(kind), "whole": rounded(whole)}
    if kind.kind == "segmenter":
        stages = zip(WAY_STAGES, seconds[f"{kind}, stages"].T, strict=True)
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


def _alone(kind: Kind, size: Size) -> dict[str, Any]:
    """What this process, one of its own, takes to load a segmenter and use it once: seconds, and bytes at most."""
    options, began = _options(kind, size), time.perf_counter()
    segmenter = Segmenter(**options)
    again = time.perf_counter() - began
    segmenter(np.zeros((2 * size[0], 2 * size[1], 3), np.uint8))
    return {"load again": round(again, 2), "memory": int(peak(segmenter.device))}


def _answers(kind: Kind, pictures: Pictures) -> dict[str, float]:
    """mIoU at the size that the weights know, percent; of the pixels the share that the plain network sees alike."""
    plain = BiSeNetV2.load(shipped(pictures.dataset))
    size, classes = plain.seen_at or SHIPPED_SIZE, plain.config.num_classes
    segmenter, dataset = _segmenter(kind, size, pictures), pictures.open(pictures.split, size)
    matrix, same, images = torch.zeros(classes, classes, dtype=torch.int64), [], pictures.tested or len(dataset)
    for number, expected in zip(range(images), _plain_maps(pictures, size), strict=False):
        image, labels = dataset.load(number)
        found = segmenter(image)
        matrix += confusion(torch.from_numpy(found), torch.from_numpy(labels.copy()), classes)
        same.append(float((found == expected).mean()))
    return {"miou": round(miou(matrix.numpy()), 3), "same": statistics.mean(same), "images": images}


@functools.cache
@torch.inference_mode()
def _plain_maps(pictures: Pictures, size: Size) -> list[np.ndarray]:
    """The class maps of the plain network, which sees every image at `size`."""
    device, dataset = device_here(), pictures.open(pictures.split, size)
    network = Plain(BiSeNetV2.load(shipped(pictures.dataset)), size).to(device)
    images = [dataset.load(number)[0] for number in range(pictures.tested or len(dataset))]
    return [network(torch.from_numpy(image.copy())[None].to(device))[0].cpu().numpy() for image in images]
