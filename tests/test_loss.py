"""The loss against plain PyTorch, and the pixels that it keeps."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bisenet import loss, paper
from bisenet.dataset import IGNORE
from bisenet.execution import Execution
from bisenet.loss import ohem, pixel_losses, sum_of_kept
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.speed import training_steps
from bisenet.train import make_optimizer, step, total_loss

SMOKE = dataclasses.replace(paper.recipe("streets", "smoke"), ohem=False)
HERE = Execution(accelerator="cpu", precision="32-true", workers=0)


def naive_ohem(losses, counted, threshold, keep):
    """Sort the counted pixels by their probability; keep those below the threshold, or else the hardest share."""
    pixels = sorted((float(p), i) for i, p in enumerate(torch.exp(-losses.flatten())) if counted.flatten()[i])
    hard = [i for p, i in pixels if p < threshold]
    least = int(np.ceil(keep * len(pixels)))
    if len(hard) < least:
        hard = [i for p, i in pixels if p <= pixels[least - 1][0]]  # of equal ones all
    mask = torch.zeros(losses.numel(), dtype=torch.bool)
    mask[hard] = True
    return mask.view_as(losses)


def test_ohem_equals_naive_version():
    """Four heads at once: with few hard pixels, many equal ones at the limit, some, nearly all."""
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(4, 2, 9, 11, generator=generator) * torch.tensor([0.05, 0.3, 0.5, 5.0]).view(4, 1, 1, 1)
    losses[1] = losses[1].round(decimals=2)
    counted = torch.rand(2, 9, 11, generator=generator) > 0.3
    ours = ohem(losses, counted, 0.7, 1 / 16, HERE.fabric())
    for of_head, kept in zip(losses, ours, strict=True):
        assert torch.equal(kept, naive_ohem(of_head, counted, 0.7, 1 / 16))
    least = math.ceil(counted.sum() / 16)
    assert ours[0].sum() == least < ours[1].sum() < ours[3].sum()


def test_images_pass_alone_or_several_at_a_time_with_the_same_numbers(monkeypatch):
    """Bit for bit on a CPU: five images of 6 classes, one by one, and two at a time."""
    generator = torch.Generator().manual_seed(0)
    strides = {"head": 8, "stage2": 4, "stage5_4": 32}
    made = {p: 6 * torch.randn(5, 6, 64 // s, 96 // s, generator=generator) for p, s in strides.items()}
    labels = torch.randint(0, 6, (5, 64, 96), generator=generator)
    labels[0, :20] = IGNORE
    found = []
    for at_a_time in (1, 2):
        monkeypatch.setitem(loss.ENLARGED, "cpu", at_a_time * 4 * 6 * 64 * 96)
        logits = {position: value.clone().requires_grad_() for position, value in made.items()}
        parts = [len(some) for some, _ in loss._in_parts(logits["head"], labels)]
        assert parts == [1] * 5 if at_a_time == 1 else [2, 2, 1]
        total = total_loss(logits, labels, dataclasses.replace(SMOKE, ohem=True), HERE.fabric())
        found.append((total, *torch.autograd.grad(total, list(logits.values()))))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("coarse", [(3, 5), (12, 7), (48, 33)])  # of labels of 24x33: smaller, and larger too
def test_loss_and_gradient_are_those_of_enlarged_logits(coarse):
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(2, 6, *coarse, generator=generator).requires_grad_()
    plain = ours.detach().clone().requires_grad_()
    labels = torch.randint(0, 6, (2, 24, 33), generator=generator)
    labels[0, :5] = IGNORE
    kept = (labels != IGNORE) & (torch.rand(labels.shape, generator=generator) > 0.4)
    full = F.interpolate(plain, size=(24, 33), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(full, labels, ignore_index=IGNORE, reduction="none")
    losses = pixel_losses(ours, labels)
    torch.testing.assert_close(losses, expected.detach())
    (3 * sum_of_kept(ours, labels, losses, kept)).backward()
    (3 * expected[kept].sum()).backward()
    torch.testing.assert_close(ours.grad, plain.grad)


@pytest.mark.parametrize("changes", [{"ohem": False}, {"ohem": True}, {"ohem": True, "ohem_keep": 0.9}])
def test_loss_and_gradients_of_all_heads_are_those_of_the_plain_loop(changes):
    """No OHEM; the threshold decides; the share decides. The size is odd, and no multiple of what a head sees."""
    config = dataclasses.replace(SMOKE, **changes)
    torch.manual_seed(0)
    model = BiSeNetV2(ModelConfig(num_classes=5)).train()
    images, labels = torch.randn(3, 3, 67, 93), torch.randint(0, 5, (3, 67, 93))
    labels[0, :20] = IGNORE
    logits = {position: output.detach().requires_grad_() for position, output in model(images).items()}
    ours, plain = total_loss(logits, labels, config, HERE.fabric()), training_steps.plain_loss(logits, labels, config)
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=0)
    gradients = [torch.autograd.grad(total, list(logits.values())) for total in (ours, plain)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)


def test_ohem_on_pixels_that_are_all_ignored_keeps_none():
    labels = torch.full((1, 4, 4), IGNORE)
    total = total_loss({"head": torch.randn(1, 3, 4, 4)}, labels, paper.recipe("streets", "paper"), HERE.fabric())
    assert total.item() == 0.0


class Operations(TorchDispatchMode):
    """Counts what a step does on "meta", a device without numbers; asked for some, as a GPU is, it waits and answers.

    `hard`: of each head so many pixels, of a million that count.
    """

    def __init__(self, hard: int):
        super().__init__()
        self.hard, self.number, self.waits = hard, 0, []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.number += 1
        if operation is torch.ops.aten._local_scalar_dense.default:
            self.waits.append("item")
            return self.hard
        if operation is torch.ops.aten._to_copy.default and not kwargs.get("non_blocking"):
            source, target = args[0].device, kwargs.get("device") or args[0].device
            if source != target:
                self.waits.append(f"{source} to {target}")
                if source.type == "meta":
                    assert args[0].dtype == torch.int64 and args[0].dim() == 1
                    return torch.tensor([10**6, *[self.hard] * (len(args[0]) - 1)])
        return operation(*args, **kwargs)  # NotImplementedError for all that depends on numbers, such as `nonzero`


class NumbersOfPython(TorchFunctionMode):
    """Notes those that are given to the device: it waits for them, too."""

    def __init__(self, waits: list[str]):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        data = args[1] if function is torch.Tensor.new_tensor else args[0] if args else None
        if function in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor) and made.is_meta:
            self.waits += [] if isinstance(data, torch.Tensor) else [f"{function.__name__} of {data}"]
        return made


@pytest.mark.parametrize("hard", [10**6, 0])  # the threshold decides; the share decides
def test_the_loss_of_five_heads_waits_for_its_device_once(hard):
    """Whatever else would leave a GPU without work. One by one, sixteen images took 4,475 operations."""
    strides = {"head": 8, "stage2": 4, "stage3": 8, "stage4": 16, "stage5_4": 32}
    logits = {p: torch.zeros(16, 19, 128 // s, 256 // s, device="meta").requires_grad_() for p, s in strides.items()}
    labels = torch.zeros(16, 128, 256, dtype=torch.int64, device="meta")
    with Operations(hard) as operations, NumbersOfPython(operations.waits):
        total_loss(logits, labels, paper.recipe("cityscapes", "paper"), HERE.fabric()).backward()
    assert operations.waits == ["meta to cpu"]
    assert operations.number <= 474


def test_a_step_waits_for_its_device_once():
    fabric, config = HERE.fabric(), paper.recipe("cityscapes", "paper")
    with torch.device("meta"):
        model = BiSeNetV2(paper.row("table_2.detail").model).train()
        images, labels = (torch.zeros(4, 64, 128, *more, dtype=torch.uint8) for more in ((3,), ()))
    network, optimizer = fabric.setup(model, make_optimizer(model, config), move_to_device=False)
    with Operations(hard=10**6) as operations, NumbersOfPython(operations.waits):
        step(network, optimizer, images, labels, dataclasses.replace(config, ohem=True), fabric)
    assert operations.waits == ["meta to cpu"]
