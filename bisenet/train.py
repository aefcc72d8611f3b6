"""Training as in Section 5 of the paper: settings, loss, schedule, one loop, and a checkpoint to go on from.

Every sample is a pure function of (seed, sample number), so a run that was interrupted goes on with the samples
it would have seen, and on a CPU ends with the same weights, bit for bit.

Readings, where the paper is silent; each is a field of `TrainConfig` or a line below:

1. Every booster head has weight 1 and the same loss as the segmentation head, OHEM included.
2. OHEM keeps at least 1/16 of the pixels of a batch. Wu et al. ask for "a reasonable number"; the paper names none.
3. The loss of a head is the mean over the pixels that are kept, in the whole batch.
4. No warm-up of the learning rate; batch normalisation has PyTorch's momentum, 0.1.
5. A shorter run has a batch, an optimizer, a learning rate and a warm-up of its own (`bisenet.paper`).
"""

import dataclasses
import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from bisenet.augment import SCALES, Augmentation, to_tensor
from bisenet.checkpoint import Checkpoint, Fitted
from bisenet.config import Size, choose, plain, settle
from bisenet.dataset import IGNORE, PairDataset
from bisenet.evaluate import PROTOCOLS
from bisenet.execution import ONE_DEVICE, Execution, fast, first_decides, keep_freed_memory, memory_format, synchronises
from bisenet.loss import ohem, over_devices, pixel_losses, sum_of_kept
from bisenet.model import BiSeNetV2
from bisenet.samples import Samples, make_loader

# Fabric announces its precision, and every process of several, at every start; the record says it.
logging.getLogger("lightning_fabric.utilities").setLevel(logging.WARNING)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What is trained: everything that defines a run but the network and the data set. Sizes are (height, width)."""

    iterations: int
    image_size: Size | None  # of an image at scale 1; None: each file's own
    crop: Size
    input_size: Size  # what the network sees of a crop
    test_size: Size  # what it sees of an image in evaluation
    train_split: str = "train"
    test_split: str = "val"
    train_images: int | None = None  # only the first so many images; None: all
    test_images: int | None = None
    batch: int = 16  # over all devices
    optimizer: str = "sgd"  # the paper's; or "adamw", which learns more in few iterations
    lr: float = 5e-2
    warmup: int = 0  # so many iterations raise the learning rate to its schedule
    power: float = 0.9  # of the "poly" schedule
    momentum: float = 0.9  # of SGD
    weight_decay: float = 5e-4  # on the weights of convolutions only
    scales: tuple[float, ...] = SCALES
    flip: bool = True
    ohem: bool = True  # on the segmentation head and every booster head
    ohem_threshold: float = 0.7
    ohem_keep: float = 1 / 16  # at least this fraction of the counted pixels is kept
    booster_weight: float = 1.0
    pretrained: bool = False  # Table 6: a Semantic Branch from torchvision begins with its ImageNet weights
    protocol: str = "paper"  # of evaluation, `bisenet.evaluate`
    initial: str = ""  # hash of the weights file, or of the run, that the network begins with, all but the classifiers

    def __post_init__(self) -> None:
        settle(self)
        least = dict.fromkeys(("iterations", "batch", "train_images", "test_images"), 1)
        least |= dict.fromkeys(("warmup", "power", "momentum", "weight_decay", "booster_weight"), 0)
        for name, bound in least.items():
            if (value := getattr(self, name)) is not None and value < bound:
                raise ValueError(f"TrainConfig: {name} is {value}, it must be at least {bound}")
        sizes = (*(self.image_size or ()), *self.crop, *self.input_size, *self.test_size)
        if not self.scales or min((self.lr, *self.scales, *sizes)) <= 0:
            given = f"lr {self.lr}, scales {self.scales} (one or more), sizes {sizes}"
            raise ValueError(f"TrainConfig: all of these must be positive: {given}")
        choose("protocol of evaluation", self.protocol, PROTOCOLS)
        choose("optimizer", self.optimizer, ("sgd", "adamw"))
        if not (0 < self.ohem_threshold < 1 and 0 < self.ohem_keep <= 1 and self.momentum < 1):
            shares = f"ohem_threshold is {self.ohem_threshold}, ohem_keep {self.ohem_keep}, momentum {self.momentum}"
            raise ValueError(f"TrainConfig: {shares}; they must be in (0, 1), (0, 1] and [0, 1)")

    @property
    def augmentation(self) -> Augmentation:
        """ValueError if the crop does not fit the image."""
        return Augmentation(self.image_size, self.crop, self.input_size, self.scales, self.flip)


def total_loss(logits: dict[str, Tensor], labels: Tensor, config: TrainConfig, fabric: Fabric) -> Tensor:
    """Cross-entropy of the segmentation head plus that of every booster head, each a mean over the pixels that count.

    logits (N, K, h, w) of any float type and size by head, labels (N, H, W) int64. With several devices each sum is
    divided by the pixels of all, so that averaging gradients, as DDP does, gives those of one device with the whole
    batch.
    """
    counted = labels != IGNORE
    losses = torch.stack([pixel_losses(output, labels) for output in logits.values()])  # (heads, N, H, W)
    kept = counted.expand_as(losses)
    if config.ohem:
        kept = ohem(losses, counted, config.ohem_threshold, config.ohem_keep, fabric)
    of_heads = zip(logits.values(), losses, kept, strict=True)
    sums = torch.stack([sum_of_kept(output, labels, *of_head) for output, *of_head in of_heads])
    means = sums * fabric.world_size / over_devices(kept.flatten(1).sum(1), fabric).clamp(min=1)
    weights = torch.tensor([1.0 if position == "head" else config.booster_weight for position in logits])
    return (means * weights.to(means.device, non_blocking=True)).sum()


def learning_rate(iteration: int, config: TrainConfig) -> float:
    """The "poly" schedule, lr * (1 - iteration / iterations) ** power, reached in a line from zero by the warm-up."""
    rise = min(1.0, (iteration + 1) / max(1, config.warmup))
    return rise * config.lr * (1 - iteration / config.iterations) ** config.power


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW; weight decay on the weights of convolutions only (Section 5, Training)."""
    decayed = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    chosen = set(map(id, decayed))
    others = [p for p in model.parameters() if id(p) not in chosen]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)


# --- the loop ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a watcher gets after the first iteration and every tenth: how far it is, losses, seconds an iteration."""

    done: int
    iterations: int
    losses: np.ndarray
    pace: float

    @property
    def seconds_left(self) -> float:
        return self.pace * (self.iterations - self.done)


Watcher = Callable[[Progress], None]


class LossNotFiniteError(RuntimeError):
    """The loss became NaN or infinite; the message names the iteration."""


def prepare(model: BiSeNetV2, config: TrainConfig, fabric: Fabric) -> tuple[nn.Module, Any, Any]:
    """The network on its device, ready to train: bare, as Fabric runs it, and its optimizer."""
    if fabric.device.type == "cpu":
        keep_freed_memory()
    bare: nn.Module = model.train().to(fabric.device).to(memory_format=memory_format(fabric))
    if synchronises(fabric):
        bare = nn.SyncBatchNorm.convert_sync_batchnorm(bare)
    network, optimizer = fabric.setup(bare, make_optimizer(bare, config))
    return bare, network, optimizer


def step(
    network: Any,
    optimizer: Any,
    images: Tensor,
    labels: Tensor,
    config: TrainConfig,
    fabric: Fabric,
    accumulation: int = 1,
) -> Tensor:
    """One iteration on uint8 images (N, H, W, 3) and labels (N, H, W); returns the loss.

    With `accumulation` the batch passes in parts, and the loss is the mean of theirs.
    """
    optimizer.zero_grad()
    layout = memory_format(fabric)
    normalisation = torch.tensor(network.normalisation).to(images.device, non_blocking=True)
    parts = list(zip(images.chunk(accumulation), labels.chunk(accumulation), strict=True))
    losses = []
    for number, (some_images, some_labels) in enumerate(parts, start=1):
        last = number == len(parts)  # when devices meet
        with fast(fabric.device), fabric.no_backward_sync(network, enabled=not last):
            logits = network(to_tensor(some_images, normalisation).contiguous(memory_format=layout))
            loss = total_loss(logits, some_labels.long(), config, fabric) / len(parts)
            fabric.backward(loss)
            losses.append(loss.detach())
    optimizer.step()
    return torch.stack(losses).sum()


def fit(
    model: BiSeNetV2,
    dataset: PairDataset,
    config: TrainConfig,
    *,
    seed: int = 0,
    execution: Execution = ONE_DEVICE,
    fabric: Fabric | None = None,
    checkpoint: Path | None = None,
    watch: Watcher | None = None,
    process: dict[str, Any] | None = None,
) -> Fitted:
    """Train `model` in place on a data set; `process` describes this process for the record.

    With `checkpoint` the run is resumable: the file is written every `execution.checkpoint_seconds` or so, and if it
    exists, training goes on from there. LossNotFiniteError stops a run that diverged, OSError one whose checkpoint
    cannot be written.
    """
    fabric = fabric or execution.fabric()
    identity = _identity(model, dataset, config, seed)
    _check_batch(model, config, execution, fabric)
    bare, network, optimizer = prepare(model, config, fabric)
    saved = Checkpoint(checkpoint, bare, optimizer.optimizer, fabric.strategy.precision, identity)
    before = saved.load({field.name: field.default for field in dataclasses.fields(TrainConfig)} | {"files": ""})
    first = seen = len(before.losses)
    processes = [*before.processes, {"from": first, **(process or {})}]
    losses = torch.from_numpy(np.pad(before.losses, (0, config.iterations - first))).to(fabric.device)
    samples = Samples(dataset, config.augmentation, seed, config.train_images)
    batches = iter(make_loader(samples, config.batch, range(first, config.iterations), fabric, execution))
    began = time.monotonic()
    for done in range(first + 1, config.iterations + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(done - 1, config)
        images, labels = next(batches)
        losses[done - 1] = step(network, optimizer, images, labels, config, fabric, execution.accumulation)
        if done % 10 == 0 or done in (first + 1, config.iterations):  # looking each time would make a GPU wait
            losses[seen:done] = cast(Tensor, fabric.all_reduce(losses[seen:done], reduce_op="mean"))
            so_far, spent = losses[:done].cpu().numpy(), time.monotonic() - began
            fitted = Fitted(so_far, before.seconds + spent, processes)
            progress = Progress(done, config.iterations, so_far, spent / (done - first))
            look = functools.partial(_look, progress, seen, watch, saved, fitted, execution.checkpoint_seconds)
            first_decides(fabric, look)
            seen = done
    _share_statistics(bare, fabric)
    return Fitted(losses.cpu().numpy(), before.seconds + time.monotonic() - began, processes)


def _identity(model: BiSeNetV2, dataset: PairDataset, config: TrainConfig, seed: int) -> dict[str, Any]:
    """What a checkpoint must share with the run that goes on from it."""
    of_data = {"dataset": dataset.info.name, "source": dataset.source, "files": getattr(dataset, "fingerprint", "")}
    return {**plain(config), "model": plain(model.config), **of_data, "seed": seed}


def _check_batch(model: BiSeNetV2, config: TrainConfig, execution: Execution, fabric: Fabric) -> None:
    alone = config.batch == fabric.world_size * execution.accumulation
    if alone and model.config.context and not synchronises(fabric):
        raise ValueError("one image at a time: the context embedding normalises a global average, it needs two or more")


def _share_statistics(model: nn.Module, fabric: Fabric) -> None:
    """Statistics of batch normalisation that are not synchronised: those of the first process."""
    if fabric.world_size > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)


def _look(
    progress: Progress, seen: int, watch: Watcher | None, checkpoint: Checkpoint, fitted: Fitted, interval: int
) -> None:
    """Are the losses from `seen` on finite? Tell the watcher, and write a checkpoint if it is time."""
    if len(bad := np.flatnonzero(~np.isfinite(progress.losses[seen:]))):
        iteration = seen + int(bad[0])
        raise LossNotFiniteError(
            f"loss is {progress.losses[iteration]} at iteration {iteration}; lower the learning rate, or use "
            "precision 32-true and remove the run's checkpoint"
        )
    if watch:
        watch(progress)
    if progress.done == progress.iterations or time.monotonic() - checkpoint.written >= interval:
        # The loss of a step says nothing about the weights that the step leaves.
        if not torch.stack([torch.isfinite(each).all() for each in checkpoint.model.parameters()]).all():
            after = f"after iteration {progress.done - 1}"
            raise LossNotFiniteError(f"weights are no longer finite {after}; lower the learning rate")
        checkpoint.save(fitted)
