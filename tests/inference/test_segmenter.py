"""Segmenter: in every engine the answer of the plain network; the class of a pixel; what it takes and refuses."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor, nn

from bisenet.augment import resized, to_tensor
from bisenet.data import streets
from bisenet.files import SHIPPED_SIZE, SHIPPED_WEIGHTS
from bisenet.inference import compiler, engines
from bisenet.inference.segmenter import Plain, Segmenter, class_map, class_map_and_confidence, folded
from bisenet.model import BiSeNetV2, ModelConfig

SCRIPT = Path(__file__).parents[1] / "scripts" / "without_compiler.py"
NETWORK = BiSeNetV2.load(SHIPPED_WEIGHTS)
SIZE = (64, 128)
FRAMES = [(237, 411), (192, 256), (32, 64), (64, 128)]  # odd, integer ratios, smaller, as the network sees it
OF_CPU = ["torch", "compile", "openvino", "onnxruntime"]


def scene(size: tuple[int, int], index: int = 3) -> Tensor:
    return torch.from_numpy(streets.render(index, size)[0])


@torch.no_grad()
def plain_logits(frame: Tensor) -> Tensor:
    return NETWORK(to_tensor(resized(frame[None], SIZE)), size=frame.shape[:2])[0]


@pytest.fixture(scope="module")
def eager() -> Segmenter:
    return Segmenter(size=SIZE, engine="torch")


@pytest.fixture(scope="module", params=OF_CPU)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    if problem := engines.why_not(request.param, "fp32", torch.device("cpu")):
        pytest.skip(problem)
    return Segmenter(size=SIZE, engine=request.param)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has other engines; see test_gpu.py")
def test_calls_from_several_threads_at_a_time(segmenter: Segmenter) -> None:
    """As of a web server."""
    frames = [scene((96, 160), index).numpy() for index in range(4)]
    expected = [segmenter(frame) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert all(map(np.array_equal, pool.map(segmenter, frames), expected))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU resizes in float, and has other engines")
@pytest.mark.parametrize("size", FRAMES)
def test_engines_answer_as_the_plain_network(segmenter: Segmenter, size: tuple[int, int]) -> None:
    frame = scene(size)
    logits = plain_logits(frame)
    first, second = logits.topk(2, dim=0).values
    sure = first - second > 1e-4
    assert sure.float().mean() > 0.99
    with torch.no_grad():
        expected = Plain(NETWORK, SIZE)(frame[None])[0]
    classes, confidence = segmenter.with_confidence(frame)
    for answer in (segmenter(frame), classes):
        assert answer.dtype == torch.uint8 and torch.equal(answer[sure], expected[sure])
    torch.testing.assert_close(segmenter.logits(frame), logits, atol=1e-3, rtol=0)
    torch.testing.assert_close(confidence, logits.softmax(0).amax(0), atol=1e-4, rtol=0)


def check_classes(classes: int, sides: tuple[int, int, int, int]) -> None:
    """Against the logits enlarged by PyTorch."""
    logits = torch.randn(classes, *sides[:2], generator=torch.Generator().manual_seed(sum(sides)))
    full = F.interpolate(logits[None], size=sides[2:], mode="bilinear", align_corners=False)[0]
    found, probability = class_map_and_confidence(logits, sides[2:])
    for answer in (class_map(logits, sides[2:]), found):
        assert answer.shape == sides[2:] and answer.dtype == torch.uint8
        chosen = full.gather(0, answer[None].long())[0]
        torch.testing.assert_close(chosen, full.amax(0), atol=1e-5, rtol=0)  # the largest, or equal to it
    torch.testing.assert_close(probability, full.softmax(0).amax(0), atol=1e-5, rtol=0)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of classes takes seconds to compile."""
    monkeypatch.setattr("bisenet.inference.segmenter._compiled", lambda function, *words: function)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("classes", [1, 3, 19, 70, 256])
@pytest.mark.parametrize("sides", [(8, 16, 64, 128), (8, 16, 61, 127), (9, 7, 5, 3), (1, 1, 10, 12), (1, 5, 1, 9)])
def test_class_of_every_pixel(classes: int, sides: tuple[int, int, int, int]) -> None:
    check_classes(classes, sides)


def test_class_of_every_pixel_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """In groups of 2 and 1 classes, each compiled once for all sizes."""
    monkeypatch.setattr("bisenet.inference.segmenter.CLASSES_AT_A_TIME", 2)
    for sides in ((8, 16, 61, 127), (9, 7, 5, 3), (1, 1, 10, 12), (1, 5, 1, 9), (4, 3, 5, 1), (1, 1, 1, 1)):
        check_classes(3, sides)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("classes", [19, 70])
def test_of_equal_logits_the_first_class(classes: int) -> None:
    logits = torch.full((classes, 4, 4), 0.5)
    assert not class_map(logits, (13, 8)).any()
    logits[classes - 1] = 0.75
    logits[classes // 2] = 0.75
    classes_found, probability = class_map_and_confidence(logits, (13, 8))
    assert (classes_found == classes // 2).all() and (class_map(logits, (13, 8)) == classes // 2).all()
    torch.testing.assert_close(probability, logits.softmax(0).amax().expand(13, 8))


SINGLE: dict[str, Any] = {"aggregation": "none", "booster": ()}


@pytest.mark.parametrize(
    "changes",
    [
        {"num_classes": 3},
        {"semantic": False, **SINGLE},
        {"detail": False, **SINGLE},
        {"aggregation": "sum"},
        {"aggregation": "concat", "context": False},
        {"double_depthwise": False, "gather_kernel": 1},
        {"backbone": "resnet18"},
        {"backbone": "mobilenet_v2"},
        {"backbone": "shufflenet_v2_x1_5"},
    ],
    ids=str,
)
@torch.no_grad()
def test_folded(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = BiSeNetV2(ModelConfig(**changes))
    images = torch.randn(2, 3, 65, 97)
    network(images)  # so that batch normalisation is no identity
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    lean = folded(network)
    expected = network(images)
    torch.testing.assert_close(lean(images), expected, atol=1e-3 * expected.abs().max().item(), rtol=0)
    left = {name for name, module in lean.named_modules() if isinstance(module, nn.BatchNorm2d)}
    if "backbone" in changes:
        left = {name for name in left if not name.startswith("semantic.stage") or "stage5_5" in name}
    assert left <= {"semantic.stage5_5.norm"} and not lean.booster
    after = network.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_a_network_of_one_branch_and_three_classes() -> None:
    torch.manual_seed(0)
    network = BiSeNetV2(ModelConfig(num_classes=3, semantic=False, **SINGLE)).eval()
    frame = scene((70, 130))
    with torch.no_grad():
        logits = network(to_tensor(resized(frame[None], SIZE)), size=(70, 130))[0]
    classes = Segmenter(network, size=SIZE, engine="torch")(frame)
    first, second = logits.topk(2, dim=0).values
    assert torch.equal(classes[first - second > 1e-4], logits.argmax(0).to(torch.uint8)[first - second > 1e-4])


def test_what_goes_in_comes_out(eager: Segmenter, tmp_path: Path) -> None:
    """An array, a tensor, a file, a batch; memory that is read only, or of another order."""
    frames = torch.stack([scene((70, 130)), scene((70, 130), 5)])
    expected = torch.stack([eager(frame) for frame in frames])
    assert isinstance(expected, Tensor) and not torch.equal(*expected)
    for batch in (frames, frames.numpy()):
        answer, confidence = eager.with_confidence(batch)
        assert type(answer) is type(batch) is type(confidence) is type(eager.logits(batch))
        assert np.array_equal(answer, expected) and np.array_equal(eager(batch), expected)
        assert answer.shape == confidence.shape == (2, 70, 130) and eager.logits(batch).shape == (2, 19, 70, 130)
    Image.fromarray(frames[0].numpy()).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        answer = eager(path)
        assert isinstance(answer, np.ndarray) and np.array_equal(answer, expected[0])
    array = np.asfortranarray(frames[0].numpy())
    array.flags.writeable = False
    assert np.array_equal(eager(array), expected[0])
    assert np.array_equal(eager(array[:, ::-1]), eager(array[:, ::-1].copy()))
    assert np.array_equal(eager(frames[0].permute(1, 0, 2).contiguous().permute(1, 0, 2)), expected[0])


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(8, 8, 3),
    ],
    ids=lambda frame: f"{type(frame).__name__}-{frame.dtype}-{tuple(frame.shape)}",
)
def test_frames_that_are_none(eager: Segmenter, frame: Any) -> None:
    with pytest.raises(ValueError, match=r"it must be uint8 RGB, \(H, W, 3\) or \(N, H, W, 3\)"):
        eager(frame)


@pytest.mark.usefixtures("uncompiled")
def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The size is that of the weights; "auto" measures what is there, and without runtimes compiles."""
    monkeypatch.setenv("BISENET_ENGINES", str(tmp_path))
    monkeypatch.setattr(engines, "prepare", lambda network, *words: network)
    assert (Segmenter("streets").size, Segmenter(NETWORK).size) == (SHIPPED_SIZE, SHIPPED_SIZE)
    assert Segmenter(BiSeNetV2(ModelConfig(num_classes=2))).size == (512, 1024)
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("BISENET_ENGINES", str(tmp_path / "another machine"))
    assert Segmenter().engine == "compile"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "openvimo"}, "did you mean 'openvino'"),
        ({"engine": "torch", "precision": "fp23"}, "in fp32, .*, not in 'fp23'"),
        ({"precision": "fp61"}, "unknown precision 'fp61'"),
        ({"engine": "torch", "size": (0, 5)}, r"size is \(0, 5\)"),
        ({"weights": "nowhere.safetensors"}, "no such file"),
    ],
)
def test_what_a_segmenter_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Segmenter(**options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="these engines are of a CPU")
@pytest.mark.parametrize(("engine", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx")])
def test_an_engine_that_is_not_there_is_named_with_its_extra(
    engine: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"engine '{engine}' needs .*: pip install -e '\.\[{extra}\]'"):
        Segmenter(engine=engine, size=SIZE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="these engines are of a CPU")
def test_engines_that_do_not_start_or_answer_wrongly_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BISENET_ENGINES", str(tmp_path))

    def broken(*words: Any) -> Any:
        raise AttributeError("no library\n  a stack of C++")

    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(engines, "_openvino", broken)
    monkeypatch.setattr(engines, "_onnxruntime", lambda network, *words: lambda x: 1.1 * network(x))
    monkeypatch.setattr(engines, "compiled", lambda network, *words: network)
    with pytest.raises(
        ValueError, match=r"'openvino' is installed, but does not start here \(no library\); try another$"
    ):
        Segmenter(engine="openvino", size=SIZE)
    with pytest.warns(UserWarning) as said:
        assert Segmenter(size=SIZE).engine == "compile"
    first, second = (str(one.message) for one in said if "passed over" in str(one.message))
    assert first.endswith("does not start here (no library); try another; passed over")
    assert second == "engine 'onnxruntime' answers otherwise than the network, by 10.0% in fp32; passed over"


@pytest.mark.skipif(torch.cuda.is_available(), reason="int8 is for a CPU")
def test_int8_is_close() -> None:
    if problem := engines.why_not("openvino", "int8", torch.device("cpu")):
        pytest.skip(problem)
    for engine in ("openvino", "auto"):
        with pytest.raises(ValueError, match="int8 needs calibration"):
            Segmenter(size=SIZE, engine=engine, precision="int8")
    scenes = [scene(SIZE, index) for index in range(10, 16)]
    quantised = Segmenter(size=SIZE, engine="openvino", precision="int8", calibration=scenes)
    frame = scene((237, 411))
    same = quantised(frame) == plain_logits(frame).argmax(0)
    assert same.float().mean() > 0.9


class Tells(nn.Module):
    """One if it is compiled."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x + float(torch.compiler.is_compiling())


def engines_come_and_go() -> None:
    runners = [engines.prepare(nn.Conv2d(3, 4, 1).eval(), torch.zeros(1, 3, *SIZE), "openvino") for _ in range(3)]
    while runners:
        runners.pop(0)  # in the order in which they came
        gc.collect()
    signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
    signal.raise_signal(signal.SIGINT)


def test_a_signal_after_openvino_was_let_go() -> None:
    """It ended the process where each engine had a `Core` of its own."""
    if problem := engines.why_not("openvino", "fp32", torch.device("cpu")):
        pytest.skip(problem)
    process = multiprocessing.get_context("spawn").Process(target=engines_come_and_go)
    process.start()
    process.join()
    assert process.exitcode == 7


def test_all_engines_of_a_process_are_compiled() -> None:
    """Of one `forward` what compiles for GPUs would take eight."""
    for number in range(10):
        x = torch.zeros(1, 4 + number)
        assert (compiler._compiled_on_gpu(Tells(number), captured=False)(x) == 1).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is compiled for by Triton")
def test_without_a_compiler_the_answer_is_right(tmp_path: Path) -> None:
    words = {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "BISENET_ENGINES": str(tmp_path)}
    ended = subprocess.run([sys.executable, SCRIPT], env=os.environ | words, capture_output=True, text=True, check=True)
    same, *said = ended.stdout.splitlines()
    assert float(same) > 0.999
    (line,) = said
    assert "no-such-compiler" in line or "C++ compiler" in line
