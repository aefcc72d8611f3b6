"""The counter against arithmetic by hand, the paper's GFLOPs columns, and torchvision's own figures."""

import copy
import dataclasses
import math
import random
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from bisenet.cost import Cost, count, variant_cost
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.paper import TABLES, Row, table
from bisenet.report import ledger
from bisenet.report.ablations import gflops_verdict

ROWS = [row for name in TABLES for row in table(name)]
PRINTED = [row for row in ROWS if not math.isnan(row.gflops)]
OFF = {"table_3a.lambda_16": 0.0052, "table_3c.epsilon_1": 0.0072}  # by how much, in GFLOPs; see gflops_ledger


def counted(row: Row) -> Cost:
    """In Table 6 with ShuffleNetV2 as its authors released it, not as torchvision has it."""
    return variant_cost(ledger.network(row))


def test_34_of_36_printed_figures_are_met_to_the_last_digit() -> None:
    here = {row.id: counted(row).gflops for row in PRINTED}
    assert len(here) == 36
    off = [row for row in PRINTED if gflops_verdict(row, here[row.id]) != "to the last digit"]
    assert {row.id: row.gflops - here[row.id] for row in off} == pytest.approx(OFF, abs=1e-4)
    distinct = {dataclasses.replace(row.model, booster=()): row.id in OFF for row in PRINTED}
    assert (len(distinct), sum(distinct.values())) == (26, 2)


def test_with_torchvision_s_shufflenet_the_row_is_off_by_0_03() -> None:
    (row,) = [row for row in ROWS if row.id == "table_6.shufflenet"]
    assert variant_cost(row.model).gflops == pytest.approx(128.6742, abs=1e-4)
    assert gflops_verdict(row, variant_cost(row.model).gflops) == "within 0.1 %"


PARTS = ("detail", "semantic", "aggregation", "refinement", "head.conv", "head.classifier")
# GFLOPs of each part, worked out apart from this code; of Table 6 the Semantic Branch is trunk and context embedding.
BY_PART = {
    "table_2.ohem": (11.7808, 4.2848, 1.7444, 2.7200, 0.6056, 0.0101),
    "table_3b.no_glayer": (11.7808, 1.0636, 1.7444, 0.5725, 0.6056, 0.0101),
    "table_5a.alpha_125": (18.3121, 6.6405, 2.7206, 4.2389, 3.0262, 0.0400),
    "table_5a.alpha_150": (26.2778, 9.5100, 3.9127, 6.0933, 3.6302, 0.0400),
    "table_5a.alpha_175": (35.6781, 12.8933, 5.3208, 8.2832, 4.2341, 0.0400),
    "table_5a.alpha_200": (46.5127, 16.7905, 6.9450, 10.8087, 4.8381, 0.0400),
    "table_6.large": (46.5127, 49.3676, 6.9450, 10.8087, 4.8381, 0.0400),
    "table_6.shufflenet": (49.8598, 3.1959 + 2.4178, 27.7144, 43.0923, 2.4175, 0.0101),
    "table_6.mobilenet": (49.8598, 3.3328 + 3.0225, 27.7144, 43.0923, 2.4175, 0.0101),
    "table_6.resnet": (49.8598, 19.0343 + 1.2087, 27.7144, 43.0923, 2.4175, 0.0101),
}


@pytest.mark.parametrize("id", BY_PART)
def test_gflops_of_each_part(id: str) -> None:
    (row,) = [row for row in ROWS if row.id == id]
    by_module = counted(row).by_module
    assert [by_module[part] for part in PARTS] == pytest.approx(BY_PART[id], abs=1e-4)


CHOICES: dict[str, tuple[Any, ...]] = {
    "num_classes": (2, 19, 40),
    "aggregation": ("bga", "sum", "concat"),
    "channel_ratio": (0.125, 0.25, 0.5),
    "expansion": (1, 3, 6),
    "gather_kernel": (1, 3),
    "double_depthwise": (True, False),
    "context": (True, False),
    "width": (0.5, 1.0, 1.5),
    "depth": (1, 2),
    "reading": ("paper", "coincheung", "mmsegmentation"),
}


@pytest.mark.parametrize("seed", range(10))
def test_plain_macs_are_those_of_an_independent_counter(seed: int) -> None:
    """torch.utils.flop_counter counts two operations for each multiply-accumulate; and once more by hand."""
    draw = random.Random(seed)
    knobs = {name: draw.choice(values) for name, values in CHOICES.items()}
    size = (32 * draw.randint(2, 4), 32 * draw.randint(2, 4))
    with torch.device("meta"):
        model = BiSeNetV2(ModelConfig(booster=(), **knobs)).eval()
    products = []  # of each convolution: its outputs, times the weights that each of them takes
    for layer in (module for module in model.modules() if isinstance(module, nn.Conv2d)):
        layer.register_forward_hook(lambda layer, _, out: products.append(out.numel() * layer.weight[0].numel()))
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, *size))
    assert sum(products) == counter.get_total_flops() / 2
    for layer in model.modules():
        layer._forward_hooks.clear()
    assert count(model, size).gmacs * 1e9 == pytest.approx(sum(products), abs=0.5)


@pytest.mark.parametrize("row", {row.model: row for row in ROWS}.values(), ids=lambda row: row.id)
def test_every_row_runs_forward_and_backward(row: Row) -> None:
    """Without memory: this is of shapes and of what is connected."""
    with torch.device("meta"):
        model, images = BiSeNetV2(row.model), torch.empty(2, 3, 64, 128)
    outputs = model(images)
    assert list(outputs) == ["head", *row.model.booster]
    sum(output.mean() for output in outputs.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.eval()(images[:1]).shape == (1, 19, 64, 128)


def test_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),  # 8x10 out: 4*80 outputs of 27 products, and a bias each
        nn.BatchNorm2d(4),  # 2 an element
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),  # 1 an *input* element: 320; 4x5 out
        nn.Conv2d(4, 6, (3, 1), stride=2, padding=(1, 0), groups=2, bias=False),  # 2x3 out: 36 outputs of 2*3
        nn.Sigmoid(),
        nn.Upsample(scale_factor=4, mode="bilinear"),  # nothing; 8x12 out
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
        "7": 6 * 96,
        "8": 36,
        "9": 12,
    }
    cost = count(model, (8, 10))
    assert {name: round(gflops * 1e9, 3) for name, gflops in cost.by_module.items() if name} == costs
    assert cost.by_module[""] == cost.gflops
    assert cost.gflops * 1e9 == pytest.approx(11_116, abs=1e-3) and sum(costs.values()) == 11_116
    assert cost.gmacs * 1e9 == pytest.approx(8_640 + 216, abs=1e-3)
    assert cost.parameters == (108 + 4) + (4 + 4) + 36


def test_booster_heads_cost_nothing_at_inference() -> None:
    with torch.device("meta"):
        with_heads, without = BiSeNetV2(), BiSeNetV2(ModelConfig(booster=()))
    assert sum(p.numel() for p in with_heads.parameters()) > sum(p.numel() for p in without.parameters())
    ours, plain = count(with_heads, (64, 128)), count(without, (64, 128))
    assert (ours.gflops, ours.gmacs, ours.parameters) == (plain.gflops, plain.gmacs, plain.parameters)
    assert plain.parameters == sum(p.numel() for p in without.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_model_alone(training: bool) -> None:
    model = BiSeNetV2(ModelConfig(num_classes=3, width=0.125)).train(training)
    before = copy.deepcopy(model.state_dict())
    count(model, (64, 96))
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
    cost = count(model, (224, 224))
    assert cost.parameters == published["num_params"]
    assert cost.gmacs == pytest.approx(published["_ops"], abs=6e-4)  # printed with three decimals


def test_linear_and_transposed_layers_and_shared_weights() -> None:
    linear = count(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)), (4, 4))
    assert linear.by_module["2"] == pytest.approx((3 * 10 + 10) / 1e9)
    transposed = count(nn.ConvTranspose2d(3, 4, 2, stride=2, bias=False), (8, 8))
    assert transposed.gflops == pytest.approx(8 * 8 * 3 * 4 * 4 / 1e9) == transposed.gmacs
    layer = nn.Conv2d(3, 3, 1)
    assert count(nn.Sequential(layer, layer), (8, 8)).parameters == 12
    assert count(nn.Identity(), (8, 8)).gflops == 0
