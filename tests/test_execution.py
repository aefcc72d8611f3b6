"""How a machine runs a step of training, by its hardware."""

from types import SimpleNamespace

import pytest
import torch
from lightning_fabric.plugins import MixedPrecision, Precision
from torch import nn

from bisenet.execution import Execution, StridedDepthwise, fast, memory_format

GPU = torch.device("cuda")


@pytest.mark.parametrize(
    ("bf16", "capability", "expected"),
    [(True, (9, 0), "bf16-mixed"), (False, (7, 0), "16-mixed"), (False, (6, 1), "32-true")],  # H100, V100, 1080 Ti
)
def test_precision_is_the_fastest_that_a_gpu_computes_in(bf16, capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert Execution().resolved_precision == expected


def test_float16_is_refused_on_a_cpu():
    """Fabric would take bfloat16 instead, and the record would say float16."""
    with pytest.raises(ValueError, match="precision is '16-mixed', that is for GPUs"):
        Execution("cpu", precision="16-mixed").fabric()


def test_more_devices_than_a_process_sees(monkeypatch):
    """As in a task of Slurm with a GPU of its own; Fabric says it in two lines, with no way out."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    told = "asked for 4 devices, this process sees 1 GPUs; under Slurm .*: --gres=gpu:4, without --gpus-per-task"
    with pytest.raises(ValueError, match=told):
        Execution("cuda", devices=4).fabric()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_on_a_gpu_channels_are_last_where_tensor_cores_compute(precision):
    plugin = Precision() if precision == "32-true" else MixedPrecision(precision, "cuda")
    fabric = SimpleNamespace(device=GPU, strategy=SimpleNamespace(precision=plugin))
    assert (memory_format(fabric) == torch.contiguous_format) is (precision == "32-true")


def test_kernels_are_tried_on_a_gpu_within_a_step_only(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    with fast(GPU):
        assert torch.backends.cudnn.benchmark and torch.backends.cudnn.enabled and not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark and isinstance(fast(torch.device("cpu")), StridedDepthwise)


@pytest.mark.parametrize(("groups", "stride", "whole"), [(8, 2, True), (8, 1, False), (1, 2, False)])
def test_depthwise_convolution_with_a_stride_is_float32_when_the_others_are_bfloat16(groups, stride, whole):
    convolution = nn.Conv2d(8, 8, 3, stride, 1, groups=groups, bias=False)
    images = torch.randn(2, 8, 16, 16).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16), StridedDepthwise():
        outputs = convolution(images)
    (gradient,) = torch.autograd.grad(outputs.float().square().sum(), convolution.weight)
    exact = convolution(images.float()).bfloat16()  # weights that are not rounded
    (plain,) = torch.autograd.grad(exact.float().square().sum(), convolution.weight)
    assert outputs.dtype == torch.bfloat16
    assert (torch.equal(outputs, exact), torch.equal(gradient, plain)) == (whole, whole)
