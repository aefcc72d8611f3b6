"""The pace of training: our step beside the loop that everybody writes, on the same CPU, weights and data.

That loop is plain PyTorch: float32, eager, contiguous, every head's logits enlarged to the size of the labels. Each
of the two has a process of its own, since what ours does to the allocator would help the other as well, and they take
turns, step by step: a machine that slows down for a while slows both.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bisenet import origin, paper
from bisenet.augment import to_tensor
from bisenet.config import Size
from bisenet.data import IGNORE
from bisenet.model import BiSeNetV2
from bisenet.train import Execution, Precision, TrainConfig, make_optimizer, prepare, step

WARM_UP = 2  # steps of each that are not counted
ROW, CLASSES = "table_2.ohem", 11  # the paper's final network and loss, the classes of CamVid

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
        loss = plain_loss(model(to_tensor(images).contiguous()), labels.long(), config)
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


def _serve(turns: Connection, ours: bool, batch: int, size: Size, precision: Precision, threads: int) -> None:
    """One of the two processes: for every word that it gets it takes a step and answers with seconds and loss."""
    torch.set_num_threads(threads)
    config = dataclasses.replace(paper.recipe("camvid", "short"), batch=batch, **paper.row(ROW).training)
    execution = Execution(accelerator="cpu", precision=precision)
    take, (images, labels) = our_loop(config, execution) if ours else plain_loop(config), _data(batch, size)
    while turns.recv():
        began = time.perf_counter()
        loss = take(images, labels).item()
        turns.send((time.perf_counter() - began, loss))


def measure(batch: int = 8, size: Size = (256, 320), rounds: int = 10, precision: Precision = "auto") -> dict[str, Any]:
    """Seconds of `rounds` steps of each, the losses of the first step, and what else can move a number.

    `times_as_fast` is the median over the rounds of plain / ours. `precision` is that of ours.
    """
    context, moment = multiprocessing.get_context("spawn"), _moment()
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    losses: dict[str, float] = {}
    lines = {}
    for name in seconds:
        lines[name], theirs = context.Pipe()
        what = (theirs, name == "ours", batch, size, precision, torch.get_num_threads())
        context.Process(target=_serve, args=what, daemon=True).start()
        theirs.close()  # so that a process that dies is an EOFError here
    for number in range(WARM_UP + rounds):
        for name, line in lines.items():
            line.send(True)
            taken, loss = line.recv()
            losses.setdefault(name, loss)
            if number >= WARM_UP:
                seconds[name].append(round(taken, 4))
    for line in lines.values():
        line.send(False)
    ratio = statistics.median(plain / ours for plain, ours in zip(*seconds.values(), strict=True))
    return {
        **{"row": ROW, "classes": CLASSES, "batch": batch, "size": list(size), "warm_up": WARM_UP},
        **{"seconds": seconds, "times_as_fast": round(ratio, 3), "losses": losses},
        "precision": {"plain": "32-true", "ours": Execution("cpu", precision=precision).resolved_precision},
        **{"engine": "eager", "threads": torch.get_num_threads(), **moment},
    }


def _moment() -> dict[str, Any]:
    return {
        "device": origin.describe_device(torch.device("cpu")),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,  # the minute before
        "versions": origin.versions(),
        "git": origin.git_state(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
