"""From a run to its record."""

import dataclasses
import os
import re
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from bisenet import paper
from bisenet.__main__ import main
from bisenet.data import miniature
from bisenet.execution import Execution
from bisenet.model import BiSeNetV2
from bisenet.runs.many import find_all, find_or_train_all
from bisenet.runs.plan import plan
from bisenet.runs.store import yours
from bisenet.runs.testing import evaluate_file
from bisenet.runs.training import find_or_train, lacks
from bisenet.runs.transfer import fingerprint

pytestmark = pytest.mark.usefixtures("results")

HERE = Execution(accelerator="cpu", workers=0)


def test_a_run_is_trained_once_and_found_again(results):
    rows = paper.table("table_2")[:2]
    records = find_or_train_all(rows, "streets", "smoke", [0], execution=HERE)
    paths = sorted(results.glob("runs/*/record.json"))
    before = [path.stat().st_mtime_ns for path in paths]
    assert find_or_train_all(rows, "streets", "smoke", [0], execution=HERE) == records
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert find_all(rows, "streets", "smoke", [0]) == {row.id: [] for row in rows}  # none shipped
    record = records["table_2.detail"][0]
    assert record.matrix.shape == (19, 19)
    assert record.losses["iteration"] == [1, 2, 3, 4, 5, 6]
    run = plan(rows[0], "streets", "smoke", 0)
    again = evaluate_file(yours().weights_path(run), run.training, "streets", None)
    assert again.tolist() == record.confusion


def test_read_only_or_full_results_are_noticed_before_training(tmp_path, monkeypatch, capsys):
    run = plan(paper.row("table_2.detail"), "streets", "smoke", 0)
    occupied = tmp_path / "file"
    occupied.write_text("")
    monkeypatch.setenv("BISENET_RESULTS", str(occupied))  # as unwritable as a read-only folder, to root too
    with pytest.raises(OSError, match=r"cannot write to .*set BISENET_RESULTS"):
        find_or_train(run, execution=HERE)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # noqa: E731
    env = {**os.environ, "BISENET_RESULTS": str(tmp_path / "full")}
    command = [sys.executable, "-m", "bisenet", "train", "--scale", "smoke"]
    failed = subprocess.run(command, env=env, preexec_fn=limit, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "cannot write to" in failed.stderr
    assert main(["reproduce", "--scale", "smoke"]) == 1
    assert "set BISENET_RESULTS" in capsys.readouterr().err


def test_a_row_that_begins_with_another_run_s_weights(tmp_path, capsys):
    """Table 8, marked *: left out until the run on Cityscapes is there, then its weights are the first ones."""
    for dataset, parts in (("cityscapes", ("train", "val")), ("camvid", ("train", "val", "test"))):
        miniature.make(dataset, tmp_path / dataset, dict.fromkeys(parts, 1))
    row = paper.row("table_8.ohem_cityscapes")
    run = plan(row, "camvid", "smoke", 0)
    train = {"data_root": tmp_path / "camvid", "execution": HERE}
    assert find_or_train_all([row], "camvid", "smoke", [0], **train) == {row.id: []}
    command = "python -m bisenet train --row table_2.ohem --dataset cityscapes --scale smoke --seed 0"
    assert command in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"cannot begin\. It begins with weights that are not there"):
        find_or_train(run, **train)
    assert main([*command.split()[3:], "--data-root", str(tmp_path / "cityscapes"), "--workers", "0"]) == 0
    tiny = dataclasses.replace(run.training, iterations=1, lr=1e-12)
    record = find_or_train(dataclasses.replace(run, training=tiny), **train)
    weights = yours().weights_path(run.base)
    assert record.initial.endswith(f"from {fingerprint(weights)}")
    ours, theirs = (
        BiSeNetV2.load(yours().weights_path(dataclasses.replace(run, training=tiny))),
        BiSeNetV2.load(weights),
    )
    torch.testing.assert_close(ours.detail.state_dict()["stage1.0.0.weight"], theirs.detail.stage1[0][0].weight.data)
    weights.unlink()
    assert yours().find(dataclasses.replace(run, training=tiny)) == record  # shown where the weights are not
    assert "for other data sets" in lacks(plan(row, "cityscapes", "smoke", 0))


def test_rows_without_their_imagenet_weights_are_left_out(results, monkeypatch, capsys):
    monkeypatch.setenv("BISENET_IMAGENET", str(results))
    row = paper.row("table_6.resnet")
    assert find_or_train_all([row], "streets", "smoke", [0], execution=HERE) == {row.id: []}
    assert "looked for resnet18-f37072fd.pth" in capsys.readouterr().out
    (results / "resnet18-f37072fd.pth").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is not the published file"):
        find_or_train(plan(row, "streets", "smoke", 0), execution=HERE)
    with pytest.raises(ValueError, match="no ImageNet weights for the backbone 'own'"):
        own = plan(paper.row("table_2.ohem"), "streets", "smoke", 0)
        find_or_train(
            dataclasses.replace(own, training=dataclasses.replace(own.training, pretrained=True)), execution=HERE
        )


def test_decoded_pixels_in_a_file_change_nothing(tmp_path, monkeypatch):
    """The same weights, bit for bit; by default one process reads beside a CPU, and that is recorded."""
    miniature.make("camvid", tmp_path / "data", {"train": 2, "val": 1, "test": 1})
    run, weights = plan(paper.row("table_2.detail"), "camvid", "smoke", 0), []
    for name in ("without", "with"):
        monkeypatch.setenv("BISENET_RESULTS", str(tmp_path / name))
        monkeypatch.setenv("BISENET_CACHE", str(tmp_path / "cache") if name == "with" else "")
        record = find_or_train(run, data_root=tmp_path / "data", execution=Execution(accelerator="cpu"))
        assert record.processes[0]["workers"] == 1
        weights.append(yours().weights_path(run).read_bytes())
    assert weights[0] == weights[1]
    assert len([*(tmp_path / "cache").glob("camvid-*.npy")]) == 1
    monkeypatch.setenv("BISENET_CACHE", str(tmp_path / "not asked for"))  # for a run of a few images
    few = dataclasses.replace(run, training=dataclasses.replace(run.training, train_images=2, iterations=1))
    find_or_train(few, data_root=tmp_path / "data", execution=HERE)
    assert not (tmp_path / "not asked for").exists()


def test_a_bad_label_met_by_a_worker_is_one_line(tmp_path, capsys):
    """One that the look before the training passes over: of a hundred files it takes every second."""
    for part in ("train", "val", "test"):
        for number in range(100 if part == "train" else 1):
            for folder, value in ((part, 90), (f"{part}annot", number % 2 * 77 if part == "train" else 0)):
                (tmp_path / folder).mkdir(exist_ok=True)
                pixels = np.full((72, 96), value, dtype=np.uint8)
                pixels[:8] = pixels[:8] if value == 77 else 1
                Image.fromarray(pixels).save(tmp_path / folder / f"{number:03}.png")
    words = ["train", "--dataset", "camvid", "--scale", "smoke", "--data-root", str(tmp_path), "--workers", "1"]
    assert main([*words, "--set", "train_split=train", "train_images=100"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "label id" in line]
    assert line.startswith("python -m bisenet train: ")
    assert re.search(r"annot/\d+.png: label id 77, allowed are 0 to 10, 11 \(void\) and 255 \(ignore\)", line)
