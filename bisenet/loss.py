"""Cross-entropy at the size of the labels, and online hard example mining.

Heads give logits at 1/4 to 1/32 of the input, and the loss is over every pixel of the labels. Enlarging the logits
of five heads and keeping them for the backward pass would take about half the time of a training step on a CPU, and
most of the memory on a GPU. So a few images at a time are enlarged, in one pass for the losses and in a second one for
the gradients. Bilinear interpolation is linear along either side: a product with one matrix for each.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from lightning_fabric import Fabric
from torch import Tensor

from bisenet.dataset import IGNORE
from bisenet.model import interpolation

# Bytes of enlarged logits at a time, an image at least; about three times as many are held. A GPU is busy with so many
# for much longer than a launch takes, a CPU is fastest with what its caches hold.
ENLARGED = {"cpu": 0, "cuda": 2**28}


@functools.lru_cache(maxsize=16)  # the same few in every step
def _matrices(height: int, width: int, size: torch.Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """For the rows and the columns of logits (height, width) that are enlarged to `size`."""
    return interpolation(height, size[0], device), interpolation(width, size[1], device)


def _in_parts(logits: Tensor, labels: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same images of each, as many at a time as may be enlarged."""
    limit = ENLARGED["cpu" if logits.device.type == "cpu" else "cuda"]
    images = max(1, limit // (4 * logits.shape[1] * labels[0].numel()))
    return zip(*(each.split(images) for each in (logits.float().contiguous(), labels, *others)), strict=True)


@torch.no_grad()
def pixel_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every pixel, float32 (N, H, W), 0 where ignored; no gradient flows through it.

    logits (N, K, h, w) of any float type, labels int64 (N, H, W).
    """
    rows, columns = _matrices(*logits.shape[2:], labels.shape[1:], logits.device)
    losses = torch.empty(labels.shape, device=logits.device)
    for some, truth, out in _in_parts(logits, labels, losses):
        full = rows @ (some @ columns.T)  # (n, K, H, W)
        out.copy_(F.cross_entropy(full, truth, ignore_index=IGNORE, reduction="none"))
    return losses


class _SumOfKept(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, losses: Tensor, kept: Tensor) -> Tensor:
        ctx.save_for_backward(logits, labels, kept)
        return (losses * kept).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        logits, labels, kept = ctx.saved_tensors
        rows, columns = _matrices(*logits.shape[2:], labels.shape[1:], logits.device)
        result = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
        for some, truth, keep, out in _in_parts(logits, labels, kept, result):
            slope = torch.softmax(rows @ (some @ columns.T), dim=1)  # (n, K, H, W): probability - truth, where kept
            truth = truth.where(keep, 0)[:, None]
            slope.scatter_add_(1, truth, slope.new_full((), -1.0).expand(truth.shape))
            slope *= (keep * gradients[0])[:, None]
            out.copy_((rows.T @ slope) @ columns)
        return result, None, None, None


def sum_of_kept(logits: Tensor, labels: Tensor, losses: Tensor, kept: Tensor) -> Tensor:
    """The sum of `losses` (from `pixel_losses`) over the pixels that are `kept`, boolean, none of them ignored.

    Its gradient is that of the cross-entropy of the enlarged logits, computed anew.
    """
    return cast(Tensor, _SumOfKept.apply(logits, labels, losses, kept))


def ohem(losses: Tensor, counted: Tensor, threshold: float, keep: float, fabric: Fabric) -> Tensor:
    """Which pixels of a mini-batch each head keeps: boolean, like `losses`, (heads, N, H, W), those of `pixel_losses`.

    Wu et al. (2016): a pixel is kept while the probability of its class is below `threshold`; if these are fewer
    than the fraction `keep` of the pixels that are `counted`, boolean (N, H, W), the hardest ones make up that
    fraction. The mini-batch is that of all devices.
    """
    kept = counted & (losses > -math.log(threshold))
    totals = over_devices(torch.stack([counted.sum(), *kept.flatten(1).sum(1)]), fabric)
    pixels, *hard = totals.tolist()  # the one time in a step that a GPU is waited for
    least = math.ceil(keep * pixels)
    for head in (number for number, found in enumerate(hard) if found < least):
        kept[head] = counted & (losses[head] >= _hardest(losses[head], counted, least, fabric))
    return kept


def _hardest(losses: Tensor, counted: Tensor, least: int, fabric: Fabric) -> Tensor:
    """The smallest of the `least` largest losses, over all devices."""
    candidates = losses.masked_fill(~counted, -math.inf).flatten()
    hardest = candidates.topk(min(least, len(candidates)), sorted=False).values
    if fabric.world_size > 1:  # each list filled up to the same length
        hardest = F.pad(hardest, (0, least - len(hardest)), value=-math.inf)
        hardest = cast(Tensor, fabric.all_gather(hardest)).flatten().topk(least, sorted=False).values
    return hardest.min()


def over_devices(counts: Tensor, fabric: Fabric) -> Tensor:
    """`counts`, which become sums over all devices; with Fabric's function the CPU would wait for its GPU each time."""
    if fabric.world_size > 1:
        torch.distributed.all_reduce(counts)
    return counts
