"""`python -m bisenet export`: every format agrees with the network in its own runtime; broken files are not kept."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from bisenet.__main__ import main
from bisenet.augment import MEAN, STD, resampled, to_tensor
from bisenet.data import streets
from bisenet.files import SHIPPED_WEIGHTS
from bisenet.inference import engines, export
from bisenet.inference.segmenter import Plain
from bisenet.model import BiSeNetV2

NETWORK = BiSeNetV2.load(SHIPPED_WEIGHTS)
SIZE, OTHER, ODD = (64, 128), (96, 160), (33, 90)  # 33: the least that is promised
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",), "torchscript": (), "pt2": ()}
GRAPHS = {  # words of the command, sizes to try, what frames are resized to inside
    "logits": ("--size 64x128", [SIZE], None),
    "logits, any size": ("--dynamic", [SIZE, OTHER, ODD], None),
    "whole": ("--whole --size 64x128", [SIZE], None),
    "whole, any size": ("--whole --dynamic", [OTHER, ODD], None),
    "whole, resized": ("--whole --frame 96x160 --size 64x128", [OTHER], SIZE),
    "whole, any size, resized": ("--whole --dynamic --size 64x128", [OTHER, ODD, SIZE], SIZE),
}


def run(to: str, path: Path, x: Tensor) -> Tensor:
    """What a file gives, in the way that the manual of its runtime shows."""
    if to == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
    if to == "openvino":
        model = engines.openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return torch.from_numpy(model({model.input().any_name: x.numpy()})[model.output()])
    module = torch.jit.load(path) if to == "torchscript" else torch.export.load(path).module()
    return module(x)


def scene(size: tuple[int, int]) -> Tensor:
    return torch.from_numpy(streets.render(3, size)[0])[None]


def has(to: str) -> bool:
    return all(importlib.util.find_spec(package) for package in PACKAGES[to])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("to", export.FORMATS)
@torch.no_grad()
def test_files_agree_with_the_network(to: str, name: str, folder: Path) -> None:
    if not has(to):
        pytest.skip(f"a package of {PACKAGES[to]} is not installed")
    words, sizes, seen = GRAPHS[name]
    path = folder / f"streets{export.FORMATS[to].suffix}"
    assert main(["export", "--to", to, *words.split()]) == 0
    beside = {"streets.bin"} if to == "openvino" else set()
    assert {file.name for file in folder.iterdir()} == {path.name} | beside
    for size in sizes:
        frames = scene(size)
        images = to_tensor(resampled(frames.float(), seen) if seen else frames)
        logits = NETWORK(images, size=size)
        output = run(to, path, frames if "whole" in name else images)
        if "whole" in name:
            first, second = logits.topk(2, dim=1).values.unbind(1)
            assert output.dtype == torch.uint8
            assert torch.equal(output[first - second > 1e-3], logits.argmax(1)[first - second > 1e-3])
        else:
            torch.testing.assert_close(output, logits, atol=1e-3, rtol=0)


@torch.no_grad()
def test_resizing_in_float_changes_few_pixels(folder: Path) -> None:
    """Against the network's own way, which rounds what it sees to grey levels."""
    frames = scene((237, 411))
    plain = Plain(NETWORK, SIZE)(frames)
    assert (export.Whole(NETWORK, SIZE)(frames) != plain).float().mean() < 0.005


@pytest.mark.parametrize("name", ["logits", "whole, any size, resized"])
def test_nothing_of_the_device_of_the_export_is_in_a_file(name: str, folder: Path) -> None:
    """Both formats of PyTorch give their answer where there are only shapes, too, moved in the way of its manual."""
    words, sizes, seen = GRAPHS[name]
    whole, dynamic = "whole" in name, "--dynamic" in words
    graph = export.Graph(None if dynamic else sizes[0], whole, seen)
    for to in ("pt2", "torchscript"):
        export.export(NETWORK, to, graph, folder / f"a{export.FORMATS[to].suffix}")
    program = torch.export.load(folder / "a.pt2")
    given = [value for node in program.graph.nodes for value in (*node.args, *node.kwargs.values())]
    assert not [value for value in given if isinstance(value, torch.device)] and not program.constants
    traced = torch.jit.load(folder / "a.pt", map_location="meta")
    assert not re.search(r"Device|CPU\w*Type", str(traced.inlined_graph))
    inputs = graph.inputs(1, sizes[0]).to("meta")
    for moved in (program.module().to("meta"), move_to_device_pass(program, "meta").module(), traced):
        assert moved(inputs).device.type == "meta" and moved(inputs).shape[-2:] == sizes[0]


def test_files_say_what_they_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = export.Graph(None, whole=True, seen=SIZE)
    export.export(NETWORK, "pt2", graph, folder / "a.pt2")
    export.export(NETWORK, "torchscript", graph, folder / "a.pt")
    found = {"bisenet.json": ""}
    torch.export.load(folder / "a.pt2", extra_files=found)
    traced = {"bisenet.json": ""}
    torch.jit.load(folder / "a.pt", _extra_files=traced)
    metadata = json.loads(found["bisenet.json"])
    assert json.loads(traced["bisenet.json"]) == metadata
    assert {name: json.loads(text) for name, text in metadata.items()} == {
        "num_classes": 19,
        "classes": list(NETWORK.classes),
        "mean": list(MEAN),
        "std": list(STD),
        "given": None,
        "whole": True,
        "seen": list(SIZE),
    }
    words = ["--whole", "--frame", "96x160", "--size", "64x128", "--out", "new/b.pt"]
    assert main(["export", "--to", "torchscript", *words]) == 0
    said = capsys.readouterr().out
    assert said.startswith("new/b.pt: frames uint8 (1, 96, 160, 3), seen at 64x128 -> classes uint8 (1, 96, 160)\n")
    assert "a logit differs by at most " in said


def test_metadata_of_runtimes(folder: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    for to, name in (("onnx", "a.onnx"), ("openvino", "a.xml")):
        export.export(NETWORK, to, export.Graph(None), folder / name)
    session = onnxruntime.InferenceSession(folder / "a.onnx", providers=["CPUExecutionProvider"])
    (given,), (out,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("images", ["batch", 3, "height", "width"])
    assert (out.name, out.shape) == ("logits", ["batch", 19, "height", "width"])
    assert session.get_modelmeta().custom_metadata_map["num_classes"] == "19"
    model = engines.openvino_core().read_model(folder / "a.xml")
    assert (model.input().any_name, model.output().any_name) == ("images", "logits")
    assert str(model.get_rt_info(["bisenet", "num_classes"]).value) == "19"


class Wrong(nn.Module):
    """A network whose logits of class 3 are off."""

    def __init__(self, network: nn.Module, by: float):
        super().__init__()
        self.network, self.normalisation = network, network.normalisation
        self.register_buffer("shift", by * (torch.arange(19) == 3)[:, None, None])

    def forward(self, images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        return self.network(images, size) + self.shift


SMALL = [("torchscript", False, 0.002), ("torchscript", False, float("nan"))]


@pytest.mark.parametrize(("to", "whole", "by"), [*SMALL, *((to, True, 100.0) for to in export.FORMATS)])
def test_what_disagrees_is_not_kept(
    to: str, whole: bool, by: float, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has(to):
        pytest.skip(f"a package of {PACKAGES[to]} is not installed")
    fold = export.folded
    monkeypatch.setattr(export, "folded", lambda network: Wrong(fold(network), by))
    path = folder / f"a{export.FORMATS[to].suffix}"
    before = [path, path.with_suffix(".bin")] if to == "openvino" else [path]
    for file in before:
        file.write_text("as it was")
    with pytest.raises(RuntimeError, match=r"differs from the network by .* in a logit, more than 0\.001"):
        export.export(NETWORK, to, export.Graph(SIZE, whole), path)
    assert sorted(folder.iterdir()) == sorted(before)
    assert {file.read_text() for file in before} == {"as it was"}


@pytest.mark.parametrize("to", ["torchscript", "pt2"])
def test_a_full_disk_is_an_error_and_does_not_end_the_process(to: str) -> None:
    graph = export.Graph(SIZE)
    with pytest.raises(OSError, match="No space left on device"):
        export.FORMATS[to].write(graph.module(NETWORK), graph, Path("/dev/full"), {})


def test_classes_that_are_none_disagree() -> None:
    graph, frames = export.Graph(SIZE, whole=True), torch.zeros(1, *SIZE, 3, dtype=torch.uint8)
    classes = Plain(NETWORK, SIZE)(frames)
    assert graph.difference(classes, NETWORK, frames) == 0
    for wrong in (classes + 19, classes[:, 1:], classes.long()):
        assert graph.difference(wrong, NETWORK, frames) == float("inf")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--to onyx", "did you mean 'onnx'"),
        ("--to pt2 --out a.pt", "its name must end with .pt2"),
        ("--to pt2 --size 64x128 --dynamic", "only whole graphs do that"),
        ("--to pt2 --frame 64x128", "only whole graphs do that"),
        ("nowhere.safetensors --to pt2", "no such file: nowhere.safetensors"),
    ],
)
def test_errors_of_the_command(words: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *words.split()]) == 1
    assert message in capsys.readouterr().err
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("to", "extra"), [("onnx", "onnx"), ("openvino", "openvino")])
def test_a_missing_package_is_named_with_its_extra(
    to: str, extra: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert main(["export", "--to", to]) == 1
    assert f"pip install -e '.[{extra}]'" in capsys.readouterr().err
    assert not list(folder.iterdir())
