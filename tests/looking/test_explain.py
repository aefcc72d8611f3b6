"""Class activation maps against a computation by hand, their scales, and the share of them along boundaries."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from bisenet.augment import to_size, to_tensor
from bisenet.dataset import IGNORE
from bisenet.looking import explain, statistics
from bisenet.looking.explain import DETAIL
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.runs.boundaries import RADIUS, boundary_distance, near_boundary

SIZE = (64, 96)  # what the network sees; the labels are larger
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (80, 120, 3), dtype=np.uint8)
LABELS = np.zeros((80, 120), dtype=np.uint8)
LABELS[20:60, 30:90], LABELS[:10] = 1, IGNORE


@pytest.fixture(scope="module")
def model() -> BiSeNetV2:
    """A narrow network whose batch normalisation has seen data."""
    torch.manual_seed(0)
    network = BiSeNetV2(ModelConfig(num_classes=3, width=0.25))
    with torch.no_grad():
        network(torch.randn(2, 3, *SIZE))
    return network.eval()


def by_hand(model: BiSeNetV2, stage: str, method: str) -> Tensor:
    """The map of class 1 from hooks and gradients, without `grad-cam`."""
    kept: list[Tensor] = []
    module = model.get_submodule(stage if "." in stage or stage == "aggregation" else f"semantic.{stage}")
    handle = module.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = model(to_tensor(torch.from_numpy(to_size(IMAGE, SIZE).copy())[None]), size=LABELS.shape)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, 1][torch.from_numpy(LABELS == 1)].sum(), kept)
    if method == "gradcam":
        gradient = gradient.mean(dim=(2, 3), keepdim=True)
    elif method == "layercam":
        gradient = gradient.relu()
    return (gradient * kept[0]).sum(dim=1).relu()[0].detach()


@pytest.mark.parametrize("method", explain.METHODS)
def test_maps_equal_those_by_hand_whatever_order_is_asked_for(model: BiSeNetV2, method: str) -> None:
    asked = ("aggregation", *reversed(DETAIL), "stage5_5", "stage3")
    found = explain.maps(model, IMAGE, LABELS, 1, SIZE, asked, ["layercam", method])[method]
    assert list(found) == list(asked)
    assert [found[stage].shape for stage in DETAIL] == [(32, 48), (16, 24), (8, 12)]
    for stage in asked:
        expected = by_hand(model, stage, method)
        assert expected.max() > 0, stage
        np.testing.assert_allclose(found[stage] / expected.max().item(), expected / expected.max(), atol=1e-5)


def test_the_network_stays_as_it_was(model: BiSeNetV2) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    explain.maps(model, IMAGE, LABELS, 1, SIZE)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert not any(module._forward_hooks or module.training for module in model.modules())
    model.zero_grad()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chosen": ["detail.stage4"]}, "unknown stage 'detail.stage4': did you mean 'detail.stage3'"),
        ({"methods": ["grad-cam"]}, "unknown method 'grad-cam': did you mean 'gradcam'"),
        ({"category": 2}, "no pixel is of class 2, so there is nothing to explain; present are 0, 1$"),
    ],
)
def test_what_cannot_be_explained(model: BiSeNetV2, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explain.maps(model, IMAGE, LABELS, **{"category": 1, "size": SIZE, **changes})


def test_a_network_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match=r"in training.* call eval\(\)"):
        explain.maps(BiSeNetV2(), IMAGE, LABELS, 1, SIZE)


def test_scales() -> None:
    maps = {"a": np.array([[1.0, 3.0]]), "b": np.array([[2.0, 5.0]]), "c": np.array([[4.0, 4.0]])}
    assert {k: m.tolist() for k, m in explain.scaled(maps).items()} == {"a": [[0, 1]], "b": [[0, 1]], "c": [[0, 0]]}


def test_boundary_share_of_an_image_that_can_be_counted() -> None:
    """Two halves of 8x8 pixels, the last line without labels: at a distance of 0 lie 2 of 8 columns."""
    labels = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 8, axis=0).astype(np.uint8)
    labels[7] = IGNORE
    distance = boundary_distance(labels)
    assert distance[0].tolist() == [3, 2, 1, 0, 0, 1, 2, 3]
    assert np.isnan(distance[7]).all() and not np.isnan(distance[:7]).any()

    def ratios(columns: list[float]) -> list[float]:
        each = np.tile(np.array(columns, dtype=np.float32), (8, 1))
        each[7] = 100  # not counted
        return statistics.boundary_ratio(each, distance, (0, 1, 3)).round(6).tolist()

    assert ratios([1] * 8) == [1, 1, 1]
    assert ratios([0, 0, 0, 1, 1, 0, 0, 0]) == [4, 2, 1]
    assert ratios([0, 0, 0, 1, 0, 0, 0, 3]) == [1, 0.5, 1]
    assert np.isnan(ratios([0] * 8)).all()


def test_one_is_what_shuffled_maps_have_in_the_mean() -> None:
    distance = boundary_distance(LABELS)
    each = RNG.random(LABELS.shape, dtype=np.float32) ** 4
    shuffled = [
        statistics.boundary_ratio(RNG.permuted(each.ravel()).reshape(each.shape), distance)[0] for _ in range(200)
    ]
    assert np.mean(shuffled) == pytest.approx(1, abs=4 * np.std(shuffled) / 200**0.5)


def test_near_is_within_the_radius() -> None:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.choice([0, 1, IGNORE], (6, 8)), np.ones((9, 11))).astype(np.uint8)
    assert np.array_equal(near_boundary(labels), boundary_distance(labels) <= RADIUS)


def test_a_trained_network_is_held_against_several_untrained_ones() -> None:
    """Student's t: with three values 4.30 standard errors."""
    trained, untrained = pd.Series([2.0, 2.1, 2.2, np.nan]), pd.Series([1.0, 1.1, 1.2])
    told = statistics.against(trained, untrained)
    assert told["error"] == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert (told["n images"], told["n networks"]) == (3, 3)
    assert told["verdict"] == "more than untrained"  # by 1.0, and 0.23 would have been enough (Welch)
    assert statistics.against(trained - 0.8, untrained)["verdict"] == "unresolved"
    assert statistics.against(trained[:1], untrained)["verdict"] == "unresolved"  # one image has no spread


def test_what_is_not_labelled_makes_no_boundary() -> None:
    distance = boundary_distance(np.array([[0, 0, IGNORE, 1], [0, 0, IGNORE, 1]]))
    assert np.isinf(distance[:, [0, 1, 3]]).all()
    assert np.isnan(statistics.boundary_ratio(np.ones((2, 4), dtype=np.float32), distance)).all()


def test_a_line_for_each_image_large_class_stage_and_radius(model: BiSeNetV2) -> None:
    rare = np.where(LABELS == 1, LABELS, 0)
    rare[0, :5] = 2  # far below a twentieth of the image
    data: Any = SimpleNamespace(load=lambda index: (IMAGE, (LABELS, rare)[index]))
    table = statistics.boundary_ratios(model, data, range(2), SIZE, ["gradcam", "hirescam"], (2, 4))
    assert len(table) == 2 * 2 * 2 * 3 * 2  # images, classes, methods, stages, radii
    assert sorted(set(table["category"])) == [0, 1]
    (last,) = table.query("image == 1 & category == 1 & method == 'hirescam' & stage == @DETAIL[2] & radius == 4")[
        "ratio"
    ]
    raw = explain.maps(model, IMAGE, rare, 1, SIZE, methods=["hirescam"])["hirescam"][DETAIL[2]]
    assert last == statistics.boundary_ratio(raw, boundary_distance(rare))[0]


@pytest.mark.parametrize(
    ("means", "focus", "gradually"),
    [
        ((1.1, 1.3, 1.5), "true", "true"),
        ((1.1, 1.3, 1.2), "true", "not true"),
        ((0.9, 1.0, 1.0), "unresolved", "unresolved"),
        ((0.8, 0.7, 0.6), "not true", "not true"),
    ],
)
def test_verdict_in_words(means: tuple[float, ...], focus: str, gradually: str) -> None:
    """Four images that differ a little; an image without a number is left out."""
    noise = np.array([[-0.01, 0.01, 0.01], [0.01, -0.01, -0.01], [0.01, 0.01, 0.01], [-0.01, -0.01, -0.01]])
    ratios = pd.DataFrame([*(means + noise), [np.nan, 1, 1]], columns=DETAIL)
    assert statistics.verdict(ratios)["verdict"].to_dict() == {"focus": focus, "gradually": gradually}
    assert statistics.steps(ratios)["n"].tolist() == [4, 5]


def test_gates_are_what_the_branches_are_multiplied_with(model: BiSeNetV2) -> None:
    """The aggregation written once more, with the gates of `explain` in it, gives the features before the head."""
    gates = {name: torch.from_numpy(gate)[None] for name, gate in explain.gates(model, IMAGE, SIZE).items()}
    images = to_tensor(torch.from_numpy(np.array(to_size(IMAGE, SIZE)))[None])
    merge = model.aggregation
    with torch.inference_mode():
        features = model.features(images)
        detail = features["detail.stage3"]
        coarse = merge.detail_down(detail) * gates["semantic"]
        enlarged = torch.nn.functional.interpolate(coarse, detail.shape[2:], mode="bilinear")
        merged = merge.out(merge.detail_keep(detail) * gates["detail"] + enlarged)
    torch.testing.assert_close(merged, features["aggregation"])
    assert gates["detail"].shape == detail.shape
    strengths = explain.strengths(model, IMAGE, SIZE)
    expected = np.sqrt((detail.numpy()[0] ** 2).mean(axis=0))
    np.testing.assert_allclose(strengths["detail.stage3"], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="gates are of aggregation 'bga', this network's is 'sum'"):
        explain.gates(BiSeNetV2(ModelConfig(num_classes=3, width=0.25, aggregation="sum")).eval(), IMAGE, SIZE)
