"""The pace of training: our step beside the loop that everybody writes, on the same CPU, weights and data.

That loop is plain PyTorch: float32, eager, contiguous, every head's logits enlarged to the size of the labels. Each
has a process of its own, since what ours does to the allocator would help the others as well, and they take turns, step
by step: a machine that slows down for a while slows all.
"""

import dataclasses
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bisenet import paper
from bisenet.augment import to_tensor
from bisenet.config import Size
from bisenet.data.places import check_writable
from bisenet.dataset import IGNORE
from bisenet.execution import Execution, Precision
from bisenet.files import write_json
from bisenet.model import BiSeNetV2
from bisenet.runs import provenance
from bisenet.speed import bench
from bisenet.speed.machine import moment, process_of, slug, where_measured
from bisenet.speed.protocol import PLAIN, SpeedRecord, check, rounded, timing
from bisenet.train import TrainConfig, make_optimizer, prepare, step

ITERATIONS, WARM_UP = 20, 2  # of each; those that warm up are not counted
ROW, CLASSES = "table_2.ohem", 11  # the paper's final network and loss, the classes of CamVid

# What a notebook's word `scale` means, as in `bench.EFFORT`.
EFFORT: dict[str, dict[str, Any]] = {
    "smoke": {"iterations": 1, "batch": 2, "size": (64, 64)},
    "short": {"iterations": 5},
    "long": {"iterations": 10},
    "paper": {},
}

Step = Callable[[Tensor, Tensor], Tensor]  # uint8 images (N, H, W, 3), uint8 labels (N, H, W) -> loss


def plain_loss(logits: dict[str, Tensor], labels: Tensor, config: TrainConfig) -> Tensor:
    """What `train.total_loss` computes on one device with boosters of weight 1, written down as it is defined."""
    total = torch.zeros(())
    for output in logits.values():
        full = F.interpolate(output, size=labels.shape[1:], mode="bilinear", align_corners=False)
        losses = F.cross_entropy(full, labels, ignore_index=IGNORE, reduction="none")[labels != IGNORE]
        if config.ohem:
            hard = losses[losses > -math.log(config.ohem_threshold)]
            least = math.ceil(config.ohem_keep * len(losses))
            losses = hard if len(hard) >= least else losses.topk(least).values
        total = total + losses.mean()
    return total


def plain_loop(config: TrainConfig) -> Step:
    """The loop that everybody writes; BiSeNetV2 with the weights of seed 0."""
    model = _model()
    optimizer = make_optimizer(model, config)

    def take(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = plain_loss(model(to_tensor(images, model.normalisation).contiguous()), labels.long(), config)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return take


def our_loop(config: TrainConfig, execution: Execution) -> Step:
    """The step of `train.fit`, from the same weights."""
    fabric = execution.fabric()
    _, network, optimizer = prepare(_model(), config, fabric)
    return lambda images, labels: step(network, optimizer, images, labels, config, fabric)


def _model() -> BiSeNetV2:
    torch.manual_seed(0)
    return BiSeNetV2(dataclasses.replace(paper.row(ROW).model, num_classes=CLASSES)).train()


def _data(batch: int, size: Size) -> tuple[Tensor, Tensor]:
    """Images of noise and labels by chance, the upper tenth ignored: what a step costs hangs on neither."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (batch, *size, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(CLASSES, (batch, *size), dtype=torch.uint8, generator=generator)
    labels[:, : size[0] // 10] = IGNORE
    return images, labels


def _serve(turns: Connection, precision: Precision | None, batch: int, size: Size, threads: int) -> None:
    """A process, without a precision of the plain loop: for every word it takes a step, answers with time and loss."""
    torch.set_num_threads(threads)
    config = dataclasses.replace(paper.recipe("camvid", "paper"), batch=batch, lr=2.5e-2, **paper.row(ROW).training)
    take = our_loop(config, Execution("cpu", precision=precision)) if precision else plain_loop(config)
    images, labels = _data(batch, size)
    while turns.recv():
        began = time.perf_counter()
        loss = take(images, labels).item()
        turns.send((time.perf_counter() - began, loss))


def time_steps(
    *, batch: int = 8, size: Size = (256, 320), iterations: int = ITERATIONS, folder: Path | None = None
) -> SpeedRecord:
    """Time steps of each loop on the CPU, ours in fp32 and in what "auto" chooses, and record them.

    The record goes to `results/speed/pace/`. Of each loop it has a timing, the loss of the first step, and how many
    times as fast it is as the plain one, the median over rounds in which each took a step. ValueError for none.
    """
    check(iterations, limit=None)
    folder = folder or bench.speed_folder() / "pace"
    check_writable(folder)
    device = torch.device("cpu")
    record: SpeedRecord = {"device": provenance.describe_device(device), "threads": torch.get_num_threads()}
    record |= {"row": ROW, "classes": CLASSES, "batch": batch, "size": list(size), "warm_up": WARM_UP}
    record |= {**moment(), "process": process_of(device)}
    auto = Execution("cpu").resolved_precision
    loops: dict[str, Precision | None] = {PLAIN: None, "ours, 32-true": "32-true", f"ours, {auto}": auto}
    seconds, losses = _in_turn(loops, batch, size, iterations)
    record["loops"] = {
        name: {
            "timing": rounded(timing(np.array(of_loop))),
            "loss": losses[name],
            "times_as_fast": statistics.median(p / o for p, o in zip(seconds[PLAIN], of_loop, strict=True)),
        }
        for name, of_loop in seconds.items()
    }
    write_json(folder / f"{slug(where_measured(record))}.json", record)
    return record


def _in_turn(
    loops: dict[str, Precision | None], batch: int, size: Size, iterations: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of the steps, and the loss of the first one, by loop."""
    context = multiprocessing.get_context("spawn")
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    losses: dict[str, float] = {}
    lines = {}
    for name, precision in loops.items():
        lines[name], theirs = context.Pipe()
        given = (theirs, precision, batch, size, torch.get_num_threads())
        context.Process(target=_serve, args=given, daemon=True).start()
        theirs.close()  # so that a process that dies is an EOFError here
    for number in range(WARM_UP + iterations):
        for name, line in lines.items():
            line.send(True)
            taken, loss = line.recv()
            losses.setdefault(name, loss)
            if number >= WARM_UP:
                seconds[name].append(taken)
    for line in lines.values():
        line.send(False)
    return seconds, losses
