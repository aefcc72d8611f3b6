"""What an interrupted run goes on from is all that the next iteration depends on."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import nn

from bisenet import paper
from bisenet.checkpoint import Checkpoint, Fitted
from bisenet.data import open_dataset
from bisenet.execution import Execution
from bisenet.files import read_safetensors
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.train import fit, make_optimizer, prepare, step

SIZES = dict.fromkeys(("image_size", "crop", "input_size"), (64, 64))
SMOKE = dataclasses.replace(paper.recipe("streets", "smoke"), batch=2, **SIZES)
DETAIL = ModelConfig(num_classes=2, semantic=False, aggregation="none", booster=())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_averages_lie_in_memory_as_their_weights_do(optimizer, tmp_path):
    """Where they do not, each step on a GPU is several kernels for every weight, instead of one for many."""

    def begun():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
        parts = model, make_optimizer(model, dataclasses.replace(SMOKE, optimizer=optimizer))
        return Checkpoint(tmp_path / "c.safetensors", *parts, Fabric(accelerator="cpu").strategy.precision, {})

    def step_of(run):
        run.optimizer.zero_grad()
        images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        run.model(images.contiguous(memory_format=torch.channels_last)).square().sum().backward()
        run.optimizer.step()
        averages = [value for p in run.model.parameters() for _, value in sorted(run.optimizer.state[p].items())]
        return [*run.model.parameters(), *averages]

    whole, again = begun(), begun()
    step_of(whole)
    whole.save(Fitted(torch.zeros(1).numpy(), 0.0, []))
    again.load({})
    for one, other in zip(step_of(whole), step_of(again), strict=True):
        assert torch.equal(one, other) and one.stride() == other.stride()


def in_float16() -> Fabric:
    """As on a GPU without bfloat16; the scale of the loss doubles with every second step."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    return Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", "cpu", scaler))


def test_the_scale_of_the_loss_goes_on_where_it_was(tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(2, (2, 32, 32), generator=generator)

    def begun():
        torch.manual_seed(0)
        fabric = in_float16()
        bare, *parts = prepare(BiSeNetV2(DETAIL), SMOKE, fabric)
        saved = Checkpoint(tmp_path / "c.safetensors", bare, parts[1].optimizer, fabric.strategy.precision, {})
        return saved, lambda: step(*parts, images, labels, SMOKE, fabric)

    whole, step_of_whole = begun()
    for _ in range(3):
        step_of_whole()
    assert whole.precision.state_dict()["scale"] == 2.0**11
    whole.save(Fitted(torch.zeros(3).numpy(), 0.0, []))
    again, step_of_again = begun()
    again.load({})
    assert torch.equal(step_of_again(), step_of_whole())
    assert again.precision.state_dict() == whole.precision.state_dict()
    assert whole.precision.state_dict()["scale"] == 2.0**12  # the count of steps went on, too
    for one, other in zip(whole.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)


class Grey:
    """A data set of one image of one class."""

    info, source, labelled = SimpleNamespace(name="grey"), "made here", True

    def __len__(self) -> int:
        return 1

    def load(self, index):
        return np.full((64, 64, 3), 128, dtype=np.uint8), np.zeros((64, 64), dtype=np.uint8)


@pytest.mark.parametrize(("seconds", "there"), [(0, [None, 1, 10]), (60, [None, None, None])])
def test_a_checkpoint_is_written_when_it_is_time_and_at_the_end(seconds, there, tmp_path):
    """What is there when training is looked at: after iterations 1, 10 and 11, the last."""
    path, found = tmp_path / "c.safetensors", []

    def watch(progress):
        found.append(read_safetensors(path)[1]["iteration"] if path.is_file() else None)

    execution = Execution("cpu", precision="32-true", workers=0, checkpoint_seconds=seconds)
    training = dataclasses.replace(SMOKE, iterations=11, scales=(1.0,))
    fit(BiSeNetV2(DETAIL), Grey(), training, execution=execution, checkpoint=path, watch=watch)
    assert found == there and read_safetensors(path)[1]["iteration"] == 11


def test_an_interrupted_sgd_ends_bit_for_bit_like_one_left_alone(tmp_path):
    """AdamW is in test_train, in a process that is killed."""
    scenes, path = open_dataset("streets", "train", size=(64, 128)), tmp_path / "c.safetensors"
    execution = Execution("cpu", precision="32-true", workers=0, checkpoint_seconds=0)
    training = dataclasses.replace(SMOKE, iterations=12)

    def trained(**more):
        torch.manual_seed(0)
        model = BiSeNetV2(dataclasses.replace(DETAIL, num_classes=19))
        losses = fit(model, scenes, training, execution=execution, **more).losses
        return [torch.from_numpy(losses), *model.state_dict().values()]

    def interrupt(progress):
        if progress.done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=path, watch=interrupt)
    assert read_safetensors(path)[1]["iteration"] == 10
    assert all(map(torch.equal, trained(checkpoint=path), trained()))
