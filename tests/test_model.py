"""The network at odd sizes, its two modes, Table 1, readings, files, what it rejects."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision import models

from bisenet.backbones import BACKBONES
from bisenet.config import plain
from bisenet.files import write_safetensors
from bisenet.looking.architecture import ALTERNATIVES
from bisenet.model import BOOSTER_POSITIONS, BackboneBranch, BiSeNetV2, ModelConfig
from bisenet.readings import PAPER, READINGS, Reading
from bisenet.runs import transfer

THIN = ModelConfig(
    num_classes=5, width=0.25, booster=BOOSTER_POSITIONS, reading=dataclasses.replace(PAPER, head_channels=8)
)
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
        "refinement": (64, 128, 128),
    }


@pytest.mark.parametrize("off", ["detail", "semantic"])
def test_one_branch_alone_aggregates_at_an_eighth(off: str) -> None:
    model = thin(**{off: False}, aggregation="none", booster=())
    with torch.no_grad():
        features = model.features(IMAGES)
        assert model(IMAGES).shape == (1, 5, *ODD)
    assert features["aggregation"].shape == features["refinement"].shape == (1, 32, 13, 17)
    assert ("detail.stage1" in features, "stage2" in features) == (off == "semantic", off == "detail")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones_have_the_strides_of_our_branch(backbone: str) -> None:
    with torch.device("meta"):
        model = BiSeNetV2(ModelConfig(backbone=backbone, booster=BOOSTER_POSITIONS)).eval()
        features = model.features(torch.empty(1, 3, 64, 96))
    sizes = [tuple(features[name].shape[2:]) for name in BOOSTER_POSITIONS]
    assert sizes == [(16, 24), (8, 12), (4, 6), (2, 3), (2, 3)]
    wide = ("detail.stage3", "stage5_5", "aggregation", "refinement")
    assert {features[name].shape[1] for name in wide} == {512}
    assert [features[f"detail.stage{n}"].shape[1] for n in (1, 2)] == [64, 64]


@pytest.mark.parametrize("backbone", ["shufflenet_v2_x1_5", "mobilenet_v2", "resnet18"])
def test_imagenet_weights_end_where_they_belong(backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run stage by stage, a branch gives what torchvision's network gives before its classifier."""
    published = models.get_model(backbone).eval()
    monkeypatch.setattr(transfer, "imagenet_weights", lambda name: tmp_path / "weights.pth")
    torch.save(published.state_dict(), tmp_path / "weights.pth")
    branch = BackboneBranch(ModelConfig(backbone=backbone)).eval()
    transfer.load_imagenet(branch, backbone)
    last = {"resnet18": "layer4", "shufflenet_v2_x1_5": "conv5", "mobilenet_v2": "features"}[backbone]
    seen: list[torch.Tensor] = []
    published.get_submodule(last).register_forward_hook(lambda module, inputs, output: seen.append(output))
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        published(image)
        deepest = branch.stage5_4(branch.stage4(branch.stage3(branch.stage2(image))))
    assert torch.equal(deepest, seen[0])


def test_logits_are_enlarged_last() -> None:
    """Figure 7: the classifier works at 1/8, and its logits are interpolated to any size."""
    model = thin()
    with torch.no_grad():
        small = model.head(model.features(IMAGES)["refinement"])
        assert small.shape == (1, 5, 13, 17)
        for size in (None, (200, 263), (33, 40)):
            enlarged = torch.nn.functional.interpolate(small, size or ODD, mode="bilinear", align_corners=False)
            assert torch.equal(model(IMAGES, size=size), enlarged)


@pytest.mark.parametrize("changes", ALTERNATIVES.values(), ids=ALTERNATIVES)
def test_every_alternative_makes_another_network(changes: dict[str, Any]) -> None:
    """In its weights, or, where these are the same, in what it gives."""
    ours, other = thin(), thin(reading=dataclasses.replace(THIN.reading, **changes))
    shapes, others = ({k: v.shape for k, v in model.state_dict().items()} for model in (ours, other))
    if shapes == others:
        other.load_state_dict(ours.state_dict())
        with torch.no_grad():
            assert (ours(IMAGES) - other(IMAGES)).abs().max() > 1e-3
    images = torch.randn(2, 3, *ODD)
    sum(output.mean() for output in other.train()(images).values()).backward()
    assert all(parameter.grad is not None for parameter in other.parameters())


def test_no_field_of_a_reading_is_left_out() -> None:
    """Those that are not in `ALTERNATIVES`, by themselves, are in the next test; C_t at alpha > 1 in the one after."""
    tried = {name for changes in ALTERNATIVES.values() for name in changes}
    assert tried | {"aggregation_upsampling", "booster_head"} == {field.name for field in dataclasses.fields(Reading)}


def test_how_the_aggregation_enlarges_and_which_heads_boosters_have() -> None:
    model = thin(reading=dataclasses.replace(THIN.reading, aggregation_upsampling="nearest"))
    gate = model.aggregation.gates(torch.randn(1, 32, 2, 3), (8, 12))[0]
    assert torch.equal(gate, gate[:, :, ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3))
    sizes = {"paper": (25, 33), "mmsegmentation": (25, 33), "coincheung": (50, 66)}
    for kind, size in sizes.items():
        booster = thin(reading=dataclasses.replace(THIN.reading, booster_head=kind)).booster["stage2"]
        assert booster(torch.randn(1, 4, 25, 33)).shape == (1, 5, *size)


def test_a_reading_by_its_name_or_field_by_field() -> None:
    for name, reading in READINGS.items():
        fields = dataclasses.asdict(reading)
        assert ModelConfig(reading=name).reading == ModelConfig(reading=fields).reading == reading
    assert [dataclasses.replace(ModelConfig(), width=a).head_channels for a in (0.5, 1, 1.25, 2)] == [64, 64, 256, 256]
    with pytest.raises(ValueError, match="unknown reading 'papers': did you mean 'paper'"):
        ModelConfig(reading="papers")
    with pytest.raises(ValueError, match="reading has no field 'gathr'; fields: gather, stem_kernel"):
        ModelConfig(reading={"gathr": "keeps"})
    with pytest.raises(ValueError, match="stem_kernel is 2, not one of"):
        Reading(stem_kernel=2)
    with pytest.raises(ValueError, match="refinement is -1"):
        Reading(refinement=-1)


@pytest.mark.parametrize(("changes", "reason"), [({"width": 0.5}, "size mismatch"), ({"depths": 1}, "'depths'")])
def test_a_file_whose_configuration_is_of_another_network(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_safetensors(path, thin().state_dict(), {"config": plain(THIN) | changes})
    said = rf"other\.safetensors is no network that this version .* \(.*{reason}.*\); give a file that train"
    with pytest.raises(ValueError, match=said) as error:
        BiSeNetV2.load(path)
    assert "\n" not in str(error.value)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """Of NaN every pixel would be class 0, and a score come out."""
    model, path = thin(), tmp_path / "diverged.safetensors"
    model.head.classifier.bias.data[1] = torch.nan
    model.save(path)
    with pytest.raises(ValueError, match=r"diverged.safetensors: head.classifier.bias is not finite .* make it anew"):
        BiSeNetV2.load(path)


def test_a_file_that_looks_like_pytorch_s_in_its_first_two_bytes(tmp_path: Path) -> None:
    """A safetensors file begins with the length of its header: here 0x...4B50, which is "PK"."""
    path, tensors = tmp_path / "w.safetensors", {"a": torch.zeros(1)}
    length = 8 * ((0x14B50 - 0x60) // 8)
    save_file(tensors, path, {"filler": "x" * length})
    for more in range(200):
        if path.read_bytes()[:2] == b"PK":
            break
        save_file(tensors, path, {"filler": "x" * (length - 100 + more)})
    assert path.read_bytes()[:2] == b"PK" and torch.equal(load_file(path)["a"], tensors["a"])
    with pytest.raises(ValueError, match="no safetensors file of this package"):  # its metadata are not JSON
        BiSeNetV2.load(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_save_and_load(dtype: torch.dtype, tmp_path: Path) -> None:
    odd: dict[str, Any] = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "reading": "mmsegmentation"}
    model, path = thin(expansion=3, double_depthwise=False, **odd), tmp_path / "new" / "model.safetensors"
    model.classes = ("a", "b", "c", "d", "e f")
    model.save(path, dtype)
    loaded = BiSeNetV2.load(path)
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]
    assert loaded.config == model.config and not loaded.training
    assert loaded.classes == model.classes and loaded.normalisation == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
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
    named = thin()
    named.classes = ("one", "two")
    named.save(path)
    with pytest.raises(ValueError, match="names 2 classes, its network has 5"):
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
        ({"backbone": "resnet18", "context": False, "booster": ()}, "context as by default"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"std": (0.2, 0.0, 0.2)}, r"std \(0.2, 0.0, 0.2\) must be of values in 0 to 1, std above 0"),
        ({"mean": (123.675, 116.28, 103.53)}, r"mean \(123.675, 116.28, 103.53\) .* divide by 255"),
    ],
)
def test_settings_that_mean_nothing(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**changes)
