"""The network at odd sizes, its two modes, Table 1, the two orders of the head, files, what it rejects."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from bisenet import backbones
from bisenet.backbones import BACKBONES
from bisenet.model import BOOSTER_POSITIONS, BackboneBranch, BiSeNetV2, ModelConfig

THIN = ModelConfig(num_classes=5, width=0.25, head_channels=8, booster=BOOSTER_POSITIONS)
ODD = (97, 131)
IMAGES = torch.randn(1, 3, *ODD, generator=torch.Generator().manual_seed(1))
OFF: dict[str, Any] = {"semantic": False, "aggregation": "none"}


def thin(**changes: Any) -> BiSeNetV2:
    """A narrow network whose batch normalisation has seen data, so that it is no identity in `eval()`."""
    torch.manual_seed(0)
    model = BiSeNetV2(dataclasses.replace(THIN, **changes))
    with torch.no_grad():
        model(torch.randn(2, 3, *ODD))
    return model.eval()


def test_odd_sizes_forward_and_backward_with_all_boosters() -> None:
    model = BiSeNetV2(ModelConfig(num_classes=7, booster=BOOSTER_POSITIONS))
    outputs = model(torch.randn(2, 3, 257, 331))
    assert list(outputs) == ["head", "stage2", "stage3", "stage4", "stage5_4", "stage5_5"]
    sizes = [(33, 42), (65, 83), (33, 42), (17, 21), (9, 11), (9, 11)]  # 1/8 and, by stage, 1/4 to 1/32, rounded up
    assert [output.shape for output in outputs.values()] == [(2, 7, *size) for size in sizes]
    sum(output.square().mean() for output in outputs.values()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, g in gradients.items() if g is None or not g.isfinite().all()] == []
    unmoved = {name for name, g in gradients.items() if g is not None and not g.any()}
    assert unmoved <= {"semantic.stage5_5.norm.bias"}  # the next batch normalisation takes a shift away again
    with torch.inference_mode():
        logits = model.eval()(torch.randn(1, 3, 257, 331))
    assert logits.shape == (1, 7, 257, 331) and logits.isfinite().all()


@pytest.mark.parametrize(("head", "stages"), [*zip(BOOSTER_POSITIONS, range(1, 6), strict=True), ("head", 5)])
def test_heads_learn_from_their_own_stage(head: str, stages: int) -> None:
    model = thin().train()
    model(torch.randn(2, 3, *ODD))[head].square().sum().backward()
    reached = [n for n, m in model.semantic.named_children() if next(m.parameters()).grad is not None]
    assert reached == list(BOOSTER_POSITIONS[:stages])


@torch.no_grad()
def test_booster_heads_change_training_only() -> None:
    model, changed, two = thin(), thin(), torch.cat([IMAGES, -IMAGES])
    for parameter in changed.booster.parameters():
        parameter.add_(1)
    assert torch.equal(model(IMAGES), changed(IMAGES))
    trained, after = model.train()(two), changed.train()(two)
    assert torch.equal(after["head"], trained["head"])
    assert not any(torch.equal(after[position], trained[position]) for position in BOOSTER_POSITIONS)


def test_stages_have_the_sizes_of_table_1() -> None:
    with torch.device("meta"):
        features = BiSeNetV2().eval().features(torch.empty(1, 3, 512, 1024))
    assert {name: (*x.shape[2:], x.shape[1]) for name, x in features.items()} == {
        "detail.stage1": (256, 512, 64),
        "detail.stage2": (128, 256, 64),
        "detail.stage3": (64, 128, 128),
        "stage2": (128, 256, 16),
        "stage3": (64, 128, 32),
        "stage4": (32, 64, 64),
        "stage5_4": (16, 32, 128),
        "stage5_5": (16, 32, 128),
        "aggregation": (64, 128, 128),
    }


@pytest.mark.parametrize("off", ["detail", "semantic"])
def test_one_branch_alone_aggregates_at_an_eighth(off: str) -> None:
    model = thin(**{off: False}, aggregation="none", booster=())
    with torch.no_grad():
        features = model.features(IMAGES)
        assert model(IMAGES).shape == (1, 5, *ODD)
    assert features["aggregation"].shape == (1, 32, 13, 17)
    assert ("detail.stage1" in features, "stage2" in features) == (off == "semantic", off == "detail")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones_have_the_strides_of_our_branch(backbone: str) -> None:
    with torch.device("meta"):
        model = BiSeNetV2(ModelConfig(backbone=backbone, booster=BOOSTER_POSITIONS)).eval()
        features = model.features(torch.empty(1, 3, 64, 96))
    sizes = [tuple(features[name].shape[2:]) for name in BOOSTER_POSITIONS]
    assert sizes == [(16, 24), (8, 12), (4, 6), (2, 3), (2, 3)]
    assert features["stage5_5"].shape[1] == 128


@pytest.mark.parametrize("backbone", BACKBONES)
def test_imagenet_weights_end_where_they_belong(backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run stage by stage, a branch gives what torchvision's network gives before its last 1x1 convolution."""
    published = models.get_model(backbone).eval()
    monkeypatch.setattr(backbones, "imagenet_weights", lambda name: tmp_path / "weights.pth")
    torch.save(published.state_dict(), tmp_path / "weights.pth")
    branch = BackboneBranch(ModelConfig(backbone=backbone)).eval()
    backbones.load_imagenet(branch, backbone)
    last = {"resnet18": "avgpool", "shufflenet_v2_x1_5": "conv5", "mobilenet_v2": "features.18"}[backbone]
    seen: list[torch.Tensor] = []
    published.get_submodule(last).register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        published(image)
        deepest = branch.stage5_4[:-1](branch.stage4(branch.stage3(branch.stage2(image))))
    assert torch.equal(deepest, seen[0])


@pytest.mark.parametrize("size", [None, (200, 263), (33, 40)])
@pytest.mark.parametrize("aggregation", ["bga", "sum", "concat"])
def test_both_orders_of_the_head_agree(size: Any, aggregation: str) -> None:
    model = thin(aggregation=aggregation)
    torch.nn.init.normal_(model.head.classifier.bias)  # a bias survives only if the weights sum to one
    with torch.no_grad():
        cheap, paper = (model(IMAGES, size=size, classify_first=first) for first in (True, False))
    assert cheap.shape == paper.shape == (1, 5, *(size or ODD))
    assert cheap.std() > 0.01
    torch.testing.assert_close(cheap, paper, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_save_and_load(dtype: torch.dtype, tmp_path: Path) -> None:
    model, path = thin(expansion=3, double_depthwise=False), tmp_path / "new" / "model.safetensors"
    model.save(path, dtype)
    loaded = BiSeNetV2.load(path)
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]
    assert loaded.config == model.config and not loaded.training
    parameters = dict(model.named_parameters())
    for name, saved in model.state_dict().items():
        value = loaded.state_dict()[name]
        assert torch.equal(value, saved.to(dtype).float() if name in parameters else saved), name
    with torch.no_grad():
        difference = (model(IMAGES) - loaded(IMAGES)).abs().max()
    assert difference == 0 if dtype == torch.float32 else 0 < difference < 0.02


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        BiSeNetV2.load(path)
    thin().save(path)
    whole = path.read_bytes()
    for length in (0, 5, 1000, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"model\.safetensors is truncated"):
            BiSeNetV2.load(path)
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(2)}, path, metadata)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            BiSeNetV2.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**OFF, "detail": False, "booster": ()}, "at least one of detail"),
        ({"detail": False}, "single branch needs 'none'"),
        ({"aggregation": "none"}, "two branches need"),
        ({"aggregation": "add"}, "aggregation is 'add'"),
        (OFF, "Semantic Branch, which is off"),
        ({"booster": ("stage1",)}, r"booster is \('stage1',\)"),
        ({"booster": ("stage2", "stage2")}, "once"),
        ({"booster": ("stage5_5",), "context": False}, "stage5_5 needs context"),
        ({"gather_kernel": 2}, "gather_kernel is 2"),
        ({"channel_ratio": 0.0}, "lambda"),
        ({"backbone": "resnet19"}, "backbone is 'resnet19'"),
        ({"backbone": "resnet18", "depth": 2}, "depth as by default"),
        ({"num_classes": 0}, "num_classes is 0"),
    ],
)
def test_settings_that_mean_nothing(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**changes)
