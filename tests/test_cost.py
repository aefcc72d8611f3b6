"""The counter against arithmetic by hand, the paper's GFLOPs columns, and torchvision's own figures."""

import copy
import math

import pytest
import torch
from torch import nn
from torchvision import models

from bisenet.cost import measure, paper_cost, variant_cost
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.paper import TABLES, Row, table
from bisenet.report import gflops_verdict

ROWS = [row for name in TABLES for row in table(name)]
OPEN = {"table_3b.no_glayer", "table_6.shufflenet", "table_6.mobilenet", "table_6.resnet"}  # see gflops_ledger
NEAR = {"table_5a.alpha_125", "table_5a.alpha_150", "table_5a.alpha_175"}  # C_t is unknown


@pytest.mark.parametrize("row", [row for row in ROWS if not math.isnan(row.gflops)], ids=lambda row: row.id)
def test_gflops_are_the_printed_ones(row: Row) -> None:
    with torch.device("meta"):
        ours = paper_cost(BiSeNetV2(row.model)).gflops
    if row.id in OPEN:
        assert abs(ours / row.gflops - 1) > 0.1  # if one of them fits one day, the ledger has to say so
    else:
        assert ours == pytest.approx(row.gflops, rel=0.04 if row.id in NEAR else 1e-3)


def test_29_of_36_printed_figures_agree() -> None:
    printed = [row for row in ROWS if not math.isnan(row.gflops)]
    verdicts = [gflops_verdict(row, variant_cost(row.model).gflops) for row in printed]
    assert len(verdicts) == 36
    assert sum(not verdict.startswith("open") for verdict in verdicts) == 29


@pytest.mark.parametrize("row", {row.model: row for row in ROWS}.values(), ids=lambda row: row.id)
def test_every_row_runs_forward_and_backward(row: Row) -> None:
    model = BiSeNetV2(row.model)
    outputs = model(torch.randn(2, 3, 64, 128))
    assert list(outputs) == ["head", *row.model.booster]
    sum(output.mean() for output in outputs.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.eval()(torch.randn(1, 3, 64, 128)).shape == (1, 19, 64, 128)


def test_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),  # 8x10 out: 4*80 outputs of 27 products, and a bias each
        nn.BatchNorm2d(4),  # 2 an element
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),  # 1 an *input* element: 320; 4x5 out
        nn.Conv2d(4, 6, (3, 1), stride=2, padding=(1, 0), groups=2, bias=False),  # 2x3 out: 36 outputs of 2*3
        nn.Sigmoid(),
        nn.Upsample(scale_factor=4, mode="bilinear"),  # 1 an *output* element; 8x12 out
        nn.AvgPool2d(4),  # 2x3 out
        nn.AdaptiveAvgPool2d((1, 2)),  # 6 x 2x3 in
        nn.AdaptiveAvgPool2d(1),
    )
    costs = {
        "0": 4 * 80 * 27 + 320,
        "1": 2 * 320,
        "2": 320,
        "3": 320,
        "4": 36 * 6,
        "5": 36,
        "6": 6 * 96,
        "7": 6 * 96,
        "8": 36,
        "9": 12,
    }
    cost = measure(model, (8, 10))
    assert {name: round(gflops * 1e9, 3) for name, gflops in cost.by_module.items() if name} == costs
    assert cost.by_module[""] == cost.gflops
    assert cost.gflops * 1e9 == pytest.approx(11_692, abs=1e-3) and sum(costs.values()) == 11_692
    assert cost.gmacs * 1e9 == pytest.approx(8_640 + 216, abs=1e-3)
    assert cost.parameters == (108 + 4) + (4 + 4) + 36


def test_booster_heads_cost_nothing_at_inference() -> None:
    with torch.device("meta"):
        with_heads, without = BiSeNetV2(), BiSeNetV2(ModelConfig(booster=()))
    assert sum(p.numel() for p in with_heads.parameters()) > sum(p.numel() for p in without.parameters())
    ours, plain = measure(with_heads, (64, 128)), measure(without, (64, 128))
    assert (ours.gflops, ours.gmacs, ours.parameters) == (plain.gflops, plain.gmacs, plain.parameters)
    assert plain.parameters == sum(p.numel() for p in without.parameters())


def test_classifying_first_saves_what_the_arithmetic_says() -> None:
    """19 classes from 64 channels and the bilinear upsampling, at 1024x2048 or at 64x128."""
    with torch.device("meta"):
        model = BiSeNetV2()
    full, eighth = 1024 * 2048, 64 * 128
    cheap = measure(model, (512, 1024), size=(1024, 2048))
    saved = (full - eighth) * (64 * 19 + 19) + full * (64 - 19)
    assert (paper_cost(model).gflops - cheap.gflops) * 1e9 == pytest.approx(saved, abs=1)


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_model_alone(training: bool) -> None:
    model = BiSeNetV2(ModelConfig(num_classes=3, width=0.125, head_channels=4)).train(training)
    before = copy.deepcopy(model.state_dict())
    measure(model, (64, 96))
    assert all(module.training is training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(after[k].device.type == "cpu" and torch.equal(after[k], v) for k, v in before.items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_any_module_torchvision_says_the_same(name: str) -> None:
    with torch.device("meta"):
        model = models.get_model(name)
    published = models.get_model_weights(name).DEFAULT.meta
    cost = measure(model, (224, 224))
    assert cost.parameters == published["num_params"]
    assert cost.gmacs == pytest.approx(published["_ops"], abs=6e-4)  # printed with three decimals


def test_linear_and_transposed_layers_and_shared_weights() -> None:
    linear = measure(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)), (4, 4))
    assert linear.by_module["2"] == pytest.approx((3 * 10 + 10) / 1e9)
    transposed = measure(nn.ConvTranspose2d(3, 4, 2, stride=2, bias=False), (8, 8))
    assert transposed.gflops == pytest.approx(8 * 8 * 3 * 4 * 4 / 1e9) == transposed.gmacs
    layer = nn.Conv2d(3, 3, 1)
    assert measure(nn.Sequential(layer, layer), (8, 8)).parameters == 12
    assert measure(nn.Identity(), (8, 8)).gflops == 0
