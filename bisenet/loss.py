"""Cross-entropy at the size of the labels, and online hard example mining.

Heads give logits at 1/4 to 1/32 of the input, and the loss is over every pixel of the labels. Enlarging the logits
of five heads and keeping them for the backward pass would take about half the time of a training step on a CPU, and
most of the memory on a GPU. So an image at a time is enlarged, in one pass for the losses and in a second one for the
gradients. Bilinear interpolation is linear along either side: a product with one matrix for each.
"""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from lightning_fabric import Fabric
from torch import Tensor

from bisenet.dataset import IGNORE


def interpolation(inputs: int, outputs: int, device: torch.device) -> Tensor:
    """The matrix (outputs, inputs) that enlarges one side as `F.interpolate` does, linear, align_corners=False."""
    unit = torch.eye(inputs, device=device)[None]
    return F.interpolate(unit, size=outputs, mode="linear", align_corners=False)[0].T.contiguous()


def _matrices(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = (interpolation(logits.shape[side], labels.shape[side - 1], logits.device) for side in (2, 3))
    return rows, columns


@torch.no_grad()
def pixel_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every pixel, float32 (N, H, W), 0 where ignored; no gradient flows through it.

    logits (N, K, h, w) of any float type, labels int64 (N, H, W).
    """
    rows, columns = _matrices(logits, labels)
    losses = torch.empty(labels.shape, device=logits.device)
    for image, truth, out in zip(logits.float().contiguous(), labels, losses, strict=True):
        full = rows @ (image @ columns.T)  # (K, H, W)
        out.copy_(F.cross_entropy(full[None], truth[None], ignore_index=IGNORE, reduction="none")[0])
    return losses


class _SumOfKept(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, losses: Tensor, kept: Tensor) -> Tensor:
        ctx.save_for_backward(logits, labels, kept)
        return (losses * kept).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        logits, labels, kept = ctx.saved_tensors
        rows, columns = _matrices(logits, labels)
        result = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
        for n, image in enumerate(logits.float().contiguous()):
            slope = torch.softmax(rows @ (image @ columns.T), dim=0)  # (K, H, W): probability - truth, where kept
            truth = labels[n].where(kept[n], 0)[None]
            slope.scatter_add_(0, truth, slope.new_full((), -1.0).expand(truth.shape))
            slope *= kept[n] * gradients[0]
            result[n] = (rows.T @ slope) @ columns
        return result, None, None, None


def sum_of_kept(logits: Tensor, labels: Tensor, losses: Tensor, kept: Tensor) -> Tensor:
    """The sum of `losses` (from `pixel_losses`) over the pixels that are `kept`, boolean, none of them ignored.

    Its gradient is that of the cross-entropy of the enlarged logits, computed anew.
    """
    return cast(Tensor, _SumOfKept.apply(logits, labels, losses, kept))


def ohem(losses: Tensor, counted: Tensor, threshold: float, keep: float, fabric: Fabric) -> Tensor:
    """Which pixels of a mini-batch are kept: boolean, like `losses`, the cross-entropy of each pixel.

    Wu et al. (2016): a pixel is kept while the probability of its class is below `threshold`; if these are fewer
    than the fraction `keep` of the pixels that are `counted`, the hardest ones make up that fraction. The mini-batch
    is that of all devices.
    """
    hard = counted & (losses > -math.log(threshold))
    totals = over_devices(torch.stack([counted.sum(), hard.sum()]), fabric)
    least = math.ceil(keep * int(totals[0]))
    if int(totals[1]) >= least:
        return hard
    candidates = losses[counted]
    hardest = candidates.topk(min(least, len(candidates))).values
    if fabric.world_size > 1:  # the hardest of all devices, each list filled up to the same length
        hardest = F.pad(hardest, (0, least - len(hardest)), value=-math.inf)
        hardest = cast(Tensor, fabric.all_gather(hardest)).flatten().topk(least).values
    return counted & (losses >= hardest[-1])


def over_devices(counts: Tensor, fabric: Fabric) -> Tensor:
    """Sums over all devices."""
    return counts if fabric.world_size == 1 else cast(Tensor, fabric.all_reduce(counts, reduce_op="sum"))
