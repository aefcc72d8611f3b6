"""What is kept between starts: the second is as the first, but quick; and no stale, damaged or foreign file is used."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bisenet.augment import to_tensor
from bisenet.data import streets
from bisenet.inference import compiler, engines, kept, segmenter
from bisenet.inference.segmenter import Segmenter
from bisenet.model import BiSeNetV2, ModelConfig

SIZE = (64, 128)
FRAME = streets.render(3, SIZE)[0]
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="what is compiled for a CPU is kept")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for engines."""
    kept._say_once.cache_clear()
    monkeypatch.setenv("BISENET_ENGINES", str(tmp_path / "engines"))
    return tmp_path / "engines"


def network(seed: int) -> BiSeNetV2:
    torch.manual_seed(seed)
    return BiSeNetV2(ModelConfig(num_classes=3, booster=())).eval()


def damage(folder: Path) -> int:
    """Cut off the end of one file, change a byte of the next; how many there are."""
    files = sorted(folder.iterdir())
    for number, path in enumerate(files):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content if number % 2 else content[: len(content) // 2])
    return len(files)


def test_the_choice_is_remembered_and_made_anew_where_it_is_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, runtimes, calls = engines._tried, engines.runtimes, []
    monkeypatch.setattr(engines, "_tried", lambda *words: calls.append(1) or tried(*words))
    monkeypatch.setattr(engines, "runtimes", lambda *words: runtimes(*words)[:1])  # one is enough
    first = Segmenter(network(0), size=SIZE)
    again = Segmenter(network(0), size=SIZE)
    assert len(calls) == 1 and first.chosen.endswith("tried now") and again.chosen == f"remembered in {folder}"
    assert first.engine == again.engine and np.array_equal(first(FRAME), again(FRAME))
    count = damage(folder)
    segmenter._compiled.cache_clear()
    assert count > 1 and np.array_equal(Segmenter(network(0), size=SIZE)(FRAME), first(FRAME)) and len(calls) == 2
    assert all(kept.find(path.name.split(".")[0], path.suffix) for path in folder.iterdir())


@pytest.mark.parametrize(
    ("engine", "started"),
    [
        ("openvino", [(0, SIZE), (1, SIZE), (0, (96, 64)), (0, SIZE), (1, SIZE)]),
        ("onnxruntime", [(0, SIZE), (0, SIZE)]),
    ],
    ids=["openvino", "onnxruntime"],
)
def test_each_network_and_size_has_a_file_of_its_own(engine: str, started: list, folder: Path) -> None:
    if problem := engines.why_not(engine, "fp32", torch.device("cpu")):
        pytest.skip(problem)
    for seed, size in started:
        frame = streets.render(3, size)[0]
        with torch.no_grad():
            expected = network(seed)(to_tensor(torch.from_numpy(frame)[None]))[0]
        found = torch.from_numpy(Segmenter(network(seed), size=size, engine=engine).logits(frame))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert len([path for path in folder.iterdir() if path.suffix in (".blob", ".onnx")]) == len({*started})


class Affine(nn.Module):
    """Adds one if it is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x + float(torch.compiler.is_compiling())


def test_what_was_compiled_needs_no_compiler_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(4.0)
    with torch.no_grad():
        run = compiler.compiled(Affine(), (x,), "name")
        assert run(x).tolist() == run(x.repeat_interleave(2)[::2]).tolist() == [1, 3, 5, 7]  # whatever the strides
        for other in (torch.arange(3.0), torch.arange(4)):
            with pytest.raises(ValueError, match=r"it was compiled for .*float32, 4.* and got"):
                run(other)
        monkeypatch.setattr(compiler, "_compiler_works", lambda: False)
        assert compiler.compiled(Affine(), (x,), "name")(x).tolist() == [1, 3, 5, 7]
        damage(folder)
        assert compiler.compiled(Affine(), (x,), "name")(x).tolist() == [0, 2, 4, 6]


def test_names_depend_on_versions_threads_and_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [("a", 1), ("b", 1), ("a", torch.ones(2)), ("a", torch.tensor([1.0, 2.0])), ("a", torch.ones(2).bfloat16())]
    names = [kept.hash_of(*part) for part in parts]
    assert len({*names}) == len(parts) and names[2] == kept.hash_of("a", torch.ones(2))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    names.append(kept.hash_of("a", 1))
    monkeypatch.setattr(kept, "_machine", lambda: "another version")
    names.append(kept.hash_of("a", 1))
    assert len({*names}) == len(names)


def test_where_nothing_can_be_written_that_is_said_once(folder: Path) -> None:
    folder.parent.rmdir()
    folder.parent.touch()
    with pytest.warns(UserWarning) as said:
        for name in ("first", "second"):
            made = kept.through_file(name, ".txt", lambda path: path.write_text("content"), Path.read_text)
            assert made == "content" and not kept.find(name, ".txt")
    assert [str(one.message).partition(",")[0] for one in said] == [f"engines cannot be kept in {folder}"]


def test_what_was_not_used_for_longest_makes_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "ROOM", 25)
    for age, name in enumerate(("first", "second"), start=1):
        kept.keep(b"ten bytes.", name, ".txt")
        path = kept.find(name, ".txt")
        assert path
        os.utime(path, (1000 * age, 1000 * age))
    assert kept.find("first", ".txt")  # and so it is the youngest
    kept.keep(b"ten bytes.", "third", ".txt")
    assert [bool(kept.find(name, ".txt")) for name in ("first", "second", "third")] == [True, False, True]


def test_a_file_is_whole_or_not_there(folder: Path) -> None:
    kept.keep(b"content", "name", ".json")
    path = kept.find("name", ".json")
    assert path and path.read_bytes() == b"content" and [*folder.iterdir()] == [path]
    assert not kept.find("nam", ".json") and not kept.find("name", ".blob")
    path.write_bytes(b"conten")
    assert not kept.find("name", ".json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.keep(b"content", "name", ".json")
    assert kept.find("name", ".json") == path
