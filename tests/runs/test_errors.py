"""Errors of any kind are one line: with what to do, or with the file that has the traceback."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bisenet.__main__ import main
from bisenet.data.streets import Streets
from bisenet.runs.errors import told


def test_what_nobody_foresaw_is_told_with_its_kind_and_the_file_of_its_traceback():
    try:
        np.zeros(3).shapes  # type: ignore[attr-defined]  # noqa: B018
    except AttributeError as error:
        said = told(error)
    assert said.startswith("AttributeError in test_errors.py, line ") and "has no attribute 'shapes'" in said
    assert "np.zeros(3).shapes" in Path(said.partition("traceback: ")[2][:-1]).read_text()


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (lambda file: (file / "x").mkdir(), "/x: Not a directory; a file is where a folder is needed"),
        (lambda file: file.mkdir(), ": File exists; a file is where a folder is needed: name another place"),
        (lambda file: file.parent.read_bytes(), ": Is a directory; it is a folder, and a file is needed"),
        (lambda file: Path("~nobody-of-this-name/x").expanduser(), "a path begins with ~, and the home folder that it"),
        (lambda file: np.zeros((1 << 40, 1 << 10)), "make the images, the size that the network sees or the batch"),
        (lambda file: torch.empty(1 << 55), "out of memory ("),
    ],
)
def test_what_the_system_refuses_is_told_with_what_to_do(fail, message, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises((OSError, RuntimeError, MemoryError)) as error:
        fail(tmp_path / "file")
    assert message in told(error.value) and "traceback" not in told(error.value)


def test_a_python_without_the_packages_says_so_in_one_line():
    done = subprocess.run([sys.executable, "-S", "-m", "bisenet", "check"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("bisenet cannot start: No module named ") and "activate the environ" in done.stderr


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, ValueError])
def test_a_reader_that_fails_is_one_line(kind, monkeypatch, capsys, tmp_path):
    def broken(self, index):
        raise kind("a codec is missing\nand much more")

    monkeypatch.setattr(Streets, "load", broken)
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path))
    assert main(["train", "--scale", "smoke", "--workers", "0"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("python -m bisenet train: ")]
    assert len(lines) == 1 and "a codec is missing" in lines[0] and (kind is ValueError or kind.__name__ in lines[0])


class Broken:
    """A user's own data set."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise ImportError("libjpeg.so.9 is missing")


def test_an_error_of_a_worker_process_is_that_error_without_the_text_of_its_traceback():
    with pytest.raises(ImportError) as caught:
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert told(caught.value) == "ImportError: libjpeg.so.9 is missing"


def test_a_worker_process_of_a_batch_says_one_line(tmp_path):
    (tmp_path / "run.json").write_text('{"execution": {}, "run": {}}')
    done = subprocess.run(
        [sys.executable, "-m", "bisenet.runs.worker", str(tmp_path / "run.json")], capture_output=True, text=True
    )
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, done.stderr
