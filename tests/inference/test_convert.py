"""The two public implementations: their outputs by our network, their files read or refused.

`data/*.json` and `*.npz` hold what the original networks gave, for weights that a rule fills in; no weights of theirs.
"""

import copy
import dataclasses
import functools
import json
import re
import sys
import types
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor, nn

from bisenet.__main__ import main
from bisenet.augment import to_tensor
from bisenet.data import DATASETS
from bisenet.evaluate import predict
from bisenet.files import SHIPPED_WEIGHTS
from bisenet.inference import export
from bisenet.inference.convert import COINCHEUNG_DATA, convert
from bisenet.inference.engines import ENGINES, why_not
from bisenet.inference.segmenter import Segmenter
from bisenet.looking import explain, explorer
from bisenet.model import BiSeNetV2, ModelConfig, upsample
from bisenet.notebook.shared import Parameters, networks, segment_with_given, subject
from bisenet.readings import PAPER, READINGS
from bisenet.runs.testing import load_for
from bisenet.runs.transfer import carry_over, fingerprint

NAMES = ("coincheung", "mmsegmentation")
DATA = Path(__file__).parent / "fixtures"
BOOSTER = ("stage2", "stage3", "stage4", "stage5_4")
CPU = torch.device("cpu")


@functools.cache
def fixture(name: str) -> dict[str, Any]:
    return json.loads((DATA / f"{name}.json").read_text())


@functools.cache
def samples(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


def generator(text: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(text.encode()))


def fill(key: str, shape: list[int]) -> Tensor:
    """The value of a tensor by the rule of the fixtures."""
    rng, kind = generator(key), key.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return torch.tensor(0)
    if kind == "weight" and len(shape) == 4:
        values = rng.standard_normal(shape) * np.sqrt(1.2 / np.prod(shape[1:]))
    elif kind in ("weight", "running_var"):
        values = 0.5 + rng.random(shape)
    else:
        values = 0.1 * rng.standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32))


@functools.cache
def checkpoint(name: str) -> dict[str, Tensor]:
    """Their state dict, filled by the rule."""
    state = {key: fill(key, shape) for key, shape, *_ in fixture(name)["state_dict"]}
    for key, _, _, _, crc, _ in fixture(name)["state_dict"]:
        assert f"{zlib.crc32(state[key].numpy().tobytes()):08x}" == crc
    return state


@functools.cache
def network(name: str) -> BiSeNetV2:
    """The preset with all heads, filled through the fixture's own table of names."""
    mapping = fixture(name)["mapping"]
    named = {}
    for key, value in checkpoint(name).items():
        prefix, _, last = key.rpartition(".")
        named[f"{mapping[prefix]}.{last}"] = value
    model = BiSeNetV2(ModelConfig(reading=name, booster=BOOSTER))
    model.load_state_dict(named, strict=True)
    return model.eval()


def close(output: Tensor, name: str, case: dict[str, Any]) -> None:
    """An output (1, K, H, W) against the stored one, within 1e-4 of its largest logit."""
    assert list(output.shape) == case["shape"]
    allowed = 1e-4 * max(case["class_abs_max"])
    if "npz" in case:
        stored = samples(name)[case["npz"]]
        assert np.abs(output[0][:, case["rows"]][:, :, case["cols"]].numpy() - stored).max() <= allowed
    of_class = output[0].flatten(1)
    assert np.abs(of_class.mean(1).numpy() - case["class_mean"]).max() <= allowed
    assert np.abs(of_class.abs().amax(1).numpy() - case["class_abs_max"]).max() <= allowed


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_outputs_of_the_original_networks(name: str, case: int) -> None:
    """Sizes that are odd, boosters and every block included."""
    stored, model = fixture(name)["cases"][case], network(name)
    shape = stored["input_shape"]
    values = generator(f"input {shape[2]}x{shape[3]}").standard_normal(shape).astype(np.float32)
    assert f"{zlib.crc32(values.tobytes()):08x}" == stored["input_crc32"]
    features = model.features(torch.from_numpy(values))
    size = stored["outputs"]["head"]["shape"][2:]  # theirs may be the next multiple of 8
    close(model.head(features["refinement"], size), name, stored["outputs"]["head"])
    for position in BOOSTER:
        wanted = stored["outputs"][position]
        close(upsample(model.booster[position](features[position]), wanted["shape"][2:]), name, wanted)
    semantic = model.aggregation.semantic_up(features["stage5_5"])
    blocks = {**features, "bga.semantic_up": semantic, "head.conv": model.head.conv(features["refinement"])}
    blocks["head.logits_at_1_8"] = model.head(features["refinement"])
    blocks["bga.detail_keep"] = model.aggregation.detail_keep(features["detail.stage3"])
    blocks["bga.detail_down"] = model.aggregation.detail_down(features["detail.stage3"])
    blocks["bga.semantic_keep"] = model.aggregation.semantic_keep(features["stage5_5"])
    for block, told in stored["blocks"].items():
        found = blocks[block].flatten()[told["flat_index"]].numpy()
        assert np.abs(found - told["value"]).max() <= 1e-4 * told["abs_max"], block


def photo(name: str) -> np.ndarray:
    pixels = generator("photo 61x107").integers(0, 256, (61, 107, 3), dtype=np.uint8)
    assert f"{zlib.crc32(pixels.tobytes()):08x}" == fixture(name)["photo"]["uint8_crc32"]
    return pixels


def written(state: Any, path: Path, **options: Any) -> Path:
    torch.save(state, path, **options)
    return path


def meta_of(name: str) -> dict[str, Any]:
    """A checkpoint as it is published: bare, or with what mmsegmentation puts beside it."""
    if name == "coincheung":
        return checkpoint(name)
    classes = list(DATASETS["cityscapes"].classes)
    meta = {"CLASSES": classes, "PALETTE": [[1, 2, 3]] * 19, "config": "text", "seed": None, "iter": 160000}
    return {"meta": meta, "state_dict": checkpoint(name)}


@pytest.fixture(scope="module", params=NAMES)
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A published file, converted by the command, and the file that came out."""
    folder = tmp_path_factory.mktemp(request.param)
    source = written(meta_of(request.param), folder / "public.pth")
    assert main(["convert", str(source), "--out", str(folder / "ours.safetensors")]) == 0
    return request.param, folder / "ours.safetensors"


@torch.no_grad()
def test_converted_photograph(converted: tuple[str, Path]) -> None:
    """From pixels, with the mean and deviation that travel in the file, resized as their own scripts do."""
    name, path = converted
    model, stored = BiSeNetV2.load(path), fixture(name)["photo"]
    assert model.classes == DATASETS["cityscapes"].classes and model.config.booster == ()
    images = to_tensor(torch.from_numpy(photo(name))[None], model.normalisation)
    told = stored["normalised"]
    assert np.abs(images.contiguous().flatten()[told["flat_index"]].numpy() - told["value"]).max() <= 1e-5
    for way, wanted in stored["outputs"].items():
        corners = way == "evaluate"
        seen = images
        if name == "coincheung":  # to a multiple of 32 and back, with aligned corners in their evaluation
            seen = F.interpolate(images, (64, 128), mode="bilinear", align_corners=corners)
        logits = F.interpolate(model(seen), (61, 107), mode="bilinear", align_corners=corners)
        close(logits, name, wanted)


def logits_of(frame: np.ndarray, name: str, path: Path) -> np.ndarray:
    """Of a frame, by the network that was compared with the original, and the mean and deviation of the fixture."""
    told = fixture(name)["photo"]["mean_and_std"]
    mean, std = (np.array(told[key], np.float32) / (255 if name == "mmsegmentation" else 1) for key in ("mean", "std"))
    images = torch.from_numpy((frame / np.float32(255) - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        return network(name)(images.contiguous())[0].numpy()


@pytest.mark.parametrize("engine", ENGINES)
def test_converted_in_every_engine(converted: tuple[str, Path], engine: str) -> None:
    """The logits of pixels seen at 64x128 are those of the network that was compared with the original."""
    name, path = converted
    if why_not(engine, "fp32", CPU):
        pytest.skip(why_not(engine, "fp32", CPU))
    frame = generator("frame").integers(0, 256, (64, 128, 3), dtype=np.uint8)
    segmenter, wanted = Segmenter(path, size=(64, 128), engine=engine), logits_of(frame, name, path)
    assert np.abs(segmenter.logits(frame) - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert segmenter.classes == DATASETS["cityscapes"].classes


@pytest.mark.parametrize("form", export.FORMATS)
def test_converted_in_every_format(converted: tuple[str, Path], form: str, tmp_path: Path) -> None:
    name, path = converted
    model, target = BiSeNetV2.load(path), tmp_path / f"network{export.FORMATS[form].suffix}"
    export.export(model, form, export.Graph((64, 128)), target)
    if form == "torchscript":
        extra = {export.METADATA: ""}
        torch.jit.load(target, _extra_files=extra)
        told = {key: json.loads(value) for key, value in json.loads(extra[export.METADATA]).items()}
        assert (tuple(told["mean"]), tuple(told["std"])) == model.normalisation
        assert told["classes"] == list(DATASETS["cityscapes"].classes)
    case = fixture(name)["cases"][0]
    values = generator("input 64x128").standard_normal(case["input_shape"]).astype(np.float32)
    with torch.no_grad():
        close(export.FORMATS[form].load(target)(torch.from_numpy(values)), name, case["outputs"]["head"])


def test_a_whole_graph_normalises_by_the_weights_own_mean(converted: tuple[str, Path], tmp_path: Path) -> None:
    name, path = converted
    target, frame = tmp_path / "network.pt", generator("frame").integers(0, 256, (64, 128, 3), dtype=np.uint8)
    export.export(BiSeNetV2.load(path), "torchscript", export.Graph((64, 128), whole=True), target)
    classes = export.FORMATS["torchscript"].load(target)(torch.from_numpy(frame)[None])[0].numpy()
    wanted = logits_of(frame, name, path)
    best = np.take_along_axis(wanted, classes[None].astype(np.int64), 0)[0]
    assert (wanted.max(0) - best).max() <= 1e-4 * np.abs(wanted).max()


def test_figures_and_explorer_show_a_converted_network(converted: tuple[str, Path]) -> None:
    name, path = converted
    parameters = Parameters(scale="smoke", weights=str(path))
    model, scenes, size = subject(parameters)
    assert model.config.reading == READINGS[name] and scenes.info.name == "streets"
    image, labels = scenes.load(0)
    maps = explain.maps(model, image, labels, int(labels[labels != 255][0]), size)["gradcam"]  # Figure 8
    assert [each.shape for each in maps.values()] == [(size[0] // side, size[1] // side) for side in (2, 4, 8)]
    (guided,) = networks([], parameters).values()  # Figure 9
    assert {gate.shape[0] for gate in explain.gates(guided, image, size).values()} == {128}
    (classes,) = segment_with_given([image], parameters)[path.stem]  # Figure 10
    assert classes.shape == labels.shape and segment_with_given([image], Parameters()) == {}
    for protocol in ("full", "padded"):  # evaluation, the pictures and the explorer see by the weights' own mean
        scores = predict(model, photo(name), (64, 128), CPU, protocol)[0].numpy()
        frame = photo(name)
        if protocol == "padded":
            mean = np.round(255 * np.array(model.normalisation[0])).astype(np.uint8)
            frame = np.broadcast_to(mean, (64, 128, 3)).copy()
            frame[:61, :107] = photo(name)
        wanted = logits_of(frame, name, path)[:, :61, :107]
        assert np.abs(scores - wanted).max() <= 1e-4 * np.abs(wanted).max()
    seen = to_tensor(torch.from_numpy(photo(name).copy())[None], model.normalisation)
    with torch.no_grad():
        features = model.features(seen)
    strengths = explain.strengths(model, photo(name), (61, 107))
    torch.testing.assert_close(torch.from_numpy(strengths["stage3"]), features["stage3"][0].square().mean(0).sqrt())
    figure = explorer.view(model, image, size, 3, 4)
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == list(model.classes)


def test_commands_take_a_converted_file(
    converted: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    _, path = converted
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path))
    assert main(["evaluate", str(path), "--scale", "smoke", "--protocol", "full"]) == 0
    assert capsys.readouterr().out.endswith("streets val, protocol 'full'\n")
    picture, classes = tmp_path / "street.png", tmp_path / "predicted"
    Image.fromarray(photo("coincheung")).save(picture)
    words = ["--weights", str(path), "--size", "64x96", "--engine", "torch", "--out", str(classes)]
    assert main(["predict", str(picture), *words]) == 0
    assert np.asarray(Image.open(classes / "street.png")).shape == (61, 107)
    assert main(["bench", "--weights", str(path), "--engines", "eager", "--iterations", "1"]) == 0
    assert re.search(rf"^{path.name} .* 1 frames$", capsys.readouterr().out, re.MULTILINE)
    (record,) = (json.loads(file.read_text()) for file in (tmp_path / "speed").glob("*.json"))
    assert record["networks"][path.name]["built"] == f"file {fingerprint(path)}"
    assert main(["bench", "--weights", str(path), "--only", "ENet"]) == 1


def test_classes_in_another_order_are_not_evaluated(converted: tuple[str, Path], tmp_path: Path) -> None:
    model = BiSeNetV2.load(converted[1])
    model.classes = (model.classes[1], model.classes[0], *model.classes[2:])
    model.save(tmp_path / "turned.safetensors")
    with pytest.raises(ValueError, match="class 0 of the network is 'sidewalk', that of cityscapes is 'road'"):
        load_for(tmp_path / "turned.safetensors", "cityscapes")


# --- files that are read -------------------------------------------------------------------------------------------


def without(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if part not in key}


def with_classes(name: str, number: int) -> dict[str, Tensor]:
    state = dict(checkpoint(name))
    for key in fixture(name)["keys_that_depend_on_the_number_of_classes"]:
        state[key] = torch.zeros(number, *state[key].shape[1:])
    return state


READ: dict[str, Callable[[str], Any]] = {
    "prefix of a wrapper": lambda name: {f"module.{key}": value for key, value in checkpoint(name).items()},
    "half precision": lambda name: {k: v.half() if v.is_floating_point() else v for k, v in checkpoint(name).items()},
    "no auxiliary heads": lambda name: without(without(checkpoint(name), "aux"), "auxiliary"),
    "no counters": lambda name: without(checkpoint(name), "num_batches_tracked"),
    "within state_dict": lambda name: {"state_dict": checkpoint(name), "meta": {"iter": 3}},
    "mmsegmentation 1.x": lambda name: {
        "state_dict": checkpoint(name),
        "meta": {"dataset_meta": {"classes": tuple("abcdefghijklmnopqrs"), "palette": [[0, 0, 0]]}},
    },
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_read(name: str, kind: str, tmp_path: Path) -> None:
    before_2020 = kind == "prefix of a wrapper"  # as PyTorch wrote files then
    path = written(READ[kind](name), tmp_path / "named.anyhow", _use_new_zipfile_serialization=not before_2020)
    model, _ = convert(path)
    theirs = network(name).state_dict()
    tolerance = 1e-3 if kind == "half precision" else 0
    for key, value in model.state_dict().items():
        assert value.dtype == theirs[key].dtype
        torch.testing.assert_close(value, theirs[key], atol=tolerance, rtol=tolerance)
    if kind == "mmsegmentation 1.x":
        assert model.classes == tuple("abcdefghijklmnopqrs")


@pytest.mark.parametrize("classes", [171, 150])
def test_other_numbers_of_classes(classes: int, tmp_path: Path) -> None:
    model, found = convert(written(with_classes("coincheung", classes), tmp_path / "w.pth"))
    assert model.normalisation == COINCHEUNG_DATA[classes][1]
    assert model.config.num_classes == classes and f"{classes} classes" in found
    assert model.classes == (DATASETS["cocostuff"].classes if classes == 171 else ())


def test_nothing_is_overwritten_and_files_of_ours_need_no_conversion(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = written(checkpoint("coincheung"), tmp_path / "w.pth")
    before = path.read_bytes()
    assert main(["convert", str(path), "--out", str(path)]) == 1
    assert "w.pth is there already" in capsys.readouterr().err and path.read_bytes() == before
    assert main(["convert", str(SHIPPED_WEIGHTS)]) == 1
    assert "give it as it is" in capsys.readouterr().err


def test_other_readings_are_not_carried_over_into_training(tmp_path: Path) -> None:
    """Their names and shapes are those of the paper's reading."""
    for changes in ({"depthwise_relu": True}, {"aggregation_upsampling": "nearest"}):
        other = BiSeNetV2(ModelConfig(reading=dataclasses.replace(PAPER, **changes)))
        other.save(tmp_path / "w.safetensors")
        with pytest.raises(ValueError, match="of another network: its reading is"):
            carry_over(BiSeNetV2(), tmp_path / "w.safetensors")
    BiSeNetV2(ModelConfig(mean=(0.0, 0.0, 0.0))).save(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="of another network: its mean is"):
        carry_over(BiSeNetV2(), tmp_path / "w.safetensors")


def test_what_the_file_does_not_say_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = written(with_classes("coincheung", 3), tmp_path / "w.pth"), tmp_path / "w.safetensors"
    words = ["convert", str(path), "--out", str(out)]
    assert main(words) == 1 and "w.pth has 3 classes" in (told := capsys.readouterr().err) and "--mean" in told
    colours = ["--mean", "0.5", "0.4", "0.3", "--std", "0.2", "0.2", "0.1"]
    assert main([*words, *colours, "--classes", "road", "car"]) == 1
    assert "2 names of classes were given" in capsys.readouterr().err and not out.exists()
    assert main([*words, *colours[:4]]) == 1 and "belong together" in capsys.readouterr().err
    assert main([*words, *colours, "--classes", "road", "car", "traffic light"]) == 0
    model = BiSeNetV2.load(out)
    assert model.classes == ("road", "car", "traffic light")
    assert model.normalisation == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))


# --- files that are refused ----------------------------------------------------------------------------------------


def older(rename: str, like: Tensor) -> dict[str, Tensor]:
    """CoinCheung's formats before July 2021, told by the name of the classifier."""
    state = without(checkpoint("coincheung"), "head.conv_out")
    return {**state, f"head.conv_out{rename}.weight": like, f"head.conv_out{rename}.bias": like[:, 0, 0, 0]}


def nested() -> dict[str, Any]:
    tensors = without(checkpoint("coincheung"), "head")
    parts = {part: {} for part in ("detail", "segment", "bga")}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        if part in parts:
            parts[part][rest] = value
    return parts


FOREIGN = ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer")


def with_history() -> dict[str, Any]:
    """As mmengine writes it: something in it that is no tensor, of a package that need not be here."""
    for name in FOREIGN:
        sys.modules[name] = types.ModuleType(name)
    buffer = type("HistoryBuffer", (), {"__module__": FOREIGN[-1]})
    sys.modules[FOREIGN[-1]].HistoryBuffer = buffer
    return {"state_dict": checkpoint("mmsegmentation"), "message_hub": {"loss": buffer()}}


def damaged() -> dict[str, Tensor]:
    state = copy.copy(checkpoint("coincheung"))
    state["detail.S1.0.bn.weight"] = torch.full((64,), float("nan"))
    return state


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "2020-09": (lambda: older(".0", torch.zeros(19 * 64, 1024, 1, 1)), "before July 2021"),
    "2020-05-29": (lambda: older("", torch.zeros(19, 1024, 1, 1)), "before July 2021"),
    "2020-05-21": (lambda: older("", torch.zeros(19, 256, 1, 1)), "before July 2021"),
    "nested backbone": (nested, "holds detail, segment, bga: a backbone to begin training with"),
    "no head": (lambda: without(checkpoint("mmsegmentation"), "decode_head"), "a network without a head"),
    "mmengine": (with_history, r"holds more than tensors \(mmengine\.logging\.history_buffer\.HistoryBuffer\)"),
    "a whole module": (lambda: nn.Conv2d(3, 3, 1), r"holds more than tensors \(torch\.nn\."),
    "another network": (
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1)).state_dict(),
        "of another network: it holds 0.weight",
    ),
    "other widths": (
        lambda: {**checkpoint("coincheung"), "head.conv.conv.weight": torch.zeros(512, 128, 3, 3)},
        r"head\.conv\.0\.weight is \(512, 128, 3, 3\), it must be \(1024, 128, 3, 3\)",
    ),
    "a tensor too few": (lambda: without(checkpoint("coincheung"), "bga.conv.0"), "nothing for aggregation.out.0"),
    "a tensor too many": (lambda: {**checkpoint("coincheung"), "more": torch.zeros(1)}, "it has more besides"),
    "not finite": (damaged, "damaged: detail.stage1.0.1.weight"),
    "a list": (lambda: [torch.zeros(1)], "holds a list and no tensors"),
    "training state": (
        lambda: {"epoch": 3, "model": checkpoint("coincheung"), "optimizer": {}},
        "holds model, optimizer: dictionaries; torch.save the one with the weights alone",
    ),
    "a number among tensors": (lambda: {"epoch": 3, **checkpoint("coincheung")}, "'epoch' in it is no tensor"),
    "whole numbers": (
        lambda: {**checkpoint("coincheung"), "head.conv.bn.weight": torch.ones(1024, dtype=torch.int8)},
        "head.conv.bn.weight is torch.int8, .* must be floating point",
    ),
    "a state dict of ours": (lambda: network("coincheung").state_dict(), "has the names of this package"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_are_refused(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make, message = REFUSED[kind]
    path = written(make(), tmp_path / "weights.pth")
    for name in FOREIGN:
        sys.modules.pop(name, None)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        convert(path)
    assert main(["convert", str(path), "--out", str(tmp_path / "o.safetensors")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "delete" not in told  # one line
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"] and path.read_bytes() == before


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = written(checkpoint("coincheung"), tmp_path / "weights.pth")
    whole = path.read_bytes()
    torch.jit.script(nn.Conv2d(3, 3, 1)).save(path)
    contents = [whole[: len(whole) // 2], b"<html>not found</html>", b"", path.read_bytes()]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.pth is no file of tensors that torch.save wrote") as error:
            convert(path)
        assert "weights_only" not in str(error.value) and path.read_bytes() == content
    with pytest.raises(FileNotFoundError, match="no such file"):
        convert(tmp_path / "not.pth")


@pytest.mark.parametrize("old", [False, True])
def test_a_checkpoint_given_as_weights_is_answered_with_the_command(
    old: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = written({"a": torch.zeros(1)}, tmp_path / "public.pth", _use_new_zipfile_serialization=not old)
    picture = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(picture)
    for words in (
        ["predict", str(picture), "--weights", str(path), "--out", str(tmp_path / "out")],
        ["evaluate", str(path)],
        ["export", str(path), "--to", "onnx"],
        ["train", "--scale", "smoke", "--weights", str(path)],
        ["bench", "--weights", str(path)],
        ["reproduce", "--scale", "smoke", "--weights", str(path)],
    ):
        assert main(words) == 1
        assert f"python -m bisenet convert {path}" in capsys.readouterr().err, words
