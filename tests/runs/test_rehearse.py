"""Miniature data sets and what is proven with them: rehearsals, the official scripts, weights carried over, memory."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from PIL import Image

from bisenet import paper, train
from bisenet.__main__ import main
from bisenet.data import DATASETS, miniature, open_dataset, streets
from bisenet.data.cityscapes import label_ids
from bisenet.evaluate import iou, miou
from bisenet.execution import Execution
from bisenet.files import SHIPPED_WEIGHTS, read_safetensors
from bisenet.model import BiSeNetV2
from bisenet.runs import memory, rehearse
from bisenet.runs.plan import plan
from bisenet.runs.record import Record
from bisenet.runs.testing import evaluate_file, export_predictions
from bisenet.runs.training import find_or_train
from bisenet.runs.transfer import fingerprint
from bisenet.train import prepare, step

SCRIPT = Path(__file__).parents[1] / "scripts" / "cityscapes_score.py"

HERE = Execution(accelerator="cpu", precision="32-true", workers=0)


AS_COCOSTUFF = (
    "road, pavement, building-other, wall-other, fence, metal, traffic light, stop sign, tree, grass, sky-other, "
    "person, person, car, truck, bus, train, motorcycle, bicycle"
)


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.mark.parametrize("dataset", miniature.SIZES)
def test_miniature_scenes_come_back_with_the_classes_they_stand_for(dataset, tmp_path):
    miniature.make(dataset, tmp_path, {"train": 1})
    found = open_dataset(dataset, "train", root=tmp_path)
    image, labels = found.load(0)
    drawn, truth = streets.render(0, miniature.SIZES[dataset], 0)
    difference = np.abs(image.astype(int) - drawn)
    assert difference.mean() < 6 if dataset == "cocostuff" else not difference.any()  # JPEG
    names = np.array([*found.info.classes])[labels[truth != 255]]
    expected = {
        "cityscapes": DATASETS["streets"].classes,
        "camvid": miniature.AS_CAMVID,
        "cocostuff": AS_COCOSTUFF.split(", "),
    }[dataset]
    assert (names == np.array([*expected])[truth[truth != 255]]).all()
    assert (labels[truth == 255] == 255).all()


@pytest.mark.parametrize("dataset", miniature.SIZES)
def test_rehearsal_goes_all_the_way_and_leaves_nothing(dataset, results, capsys, monkeypatch):
    monkeypatch.setenv("BISENET_CACHE", str(results / "cache"))
    words = ["rehearse", "--dataset", dataset, "--scale", "smoke", "--workers", "0", "--accelerator", "cpu"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".* is not the whole data set")  # a miniature is not meant to be
        assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 iterations in" in said
    assert 0.2 < float(re.search(r"peak memory: ([\d.]+) GiB", said)[1]) < 50
    assert (os.environ["BISENET_RESULTS"], os.environ["BISENET_CACHE"]) == (str(results), str(results / "cache"))
    assert ("for the test server: berlin_000000_000019.png, berlin_000001_000019.png" in said) == (
        dataset == "cityscapes"
    )
    assert not results.exists()


def test_a_rehearsal_takes_the_real_batch_and_writes_no_checkpoint_in_what_it_times(monkeypatch, capsys):
    """Ten iterations to be timed, the checkpoint after them, at the end."""
    seen: list[object] = []
    take, save, pace = train.step, train.Checkpoint.save, rehearse.pace_of
    monkeypatch.setattr(train, "step", lambda *given: seen.append(len(given[2])) or take(*given))
    monkeypatch.setattr(train.Checkpoint, "save", lambda *given: seen.append("checkpoint") or save(*given))
    monkeypatch.setattr(rehearse, "pace_of", lambda moments: seen.append([*moments]) or pace(moments))
    row = paper.row("table_2.detail")
    rehearse.rehearse(row, "camvid", "smoke", 12, HERE)
    assert seen == [*[paper.recipe("camvid", "smoke").batch] * 12, "checkpoint", [0, 1, 10, 12]]
    assert "after 1 of them" in capsys.readouterr().out


def test_the_pace_is_that_of_the_second_half():
    assert rehearse.pace_of({0: 0.0, 1: 50.0, 2: 52.0}) == (1, 2.0)  # the first iteration is slow
    assert rehearse.pace_of({0: 0.0, 1: 9.0, 10: 10.0, 20: 11.0, 30: 21.0, 40: 31.0, 45: 36.0}) == (20, 1.0)


def test_exported_predictions_score_the_same_by_the_official_scripts(tmp_path):
    """In a process of its own: the scripts want the folders in the environment before they are imported."""
    pytest.importorskip("cityscapesscripts", reason="the official scripts of Cityscapes are not installed")
    miniature.make("cityscapes", tmp_path / "data", {"val": 3})
    recipe = dataclasses.replace(paper.recipe("cityscapes", "short"), test_size=(256, 512))
    matrix = evaluate_file(SHIPPED_WEIGHTS, recipe, "cityscapes", tmp_path / "data")
    files = export_predictions(SHIPPED_WEIGHTS, recipe, tmp_path / "data", tmp_path / "predictions")
    assert [path.name for path in files] == [f"frankfurt_00000{k}_000019.png" for k in range(3)]
    folders = {"CITYSCAPES_DATASET": str(tmp_path / "data"), "CITYSCAPES_RESULTS": str(tmp_path / "predictions")}
    folders["CITYSCAPES_EXPORT_DIR"] = str(tmp_path)
    subprocess.run([sys.executable, SCRIPT], env=folders, check=True, capture_output=True, timeout=300)
    theirs = json.loads((tmp_path / "resultPixelLevelSemanticLabeling.json").read_text())
    ours = dict(zip(DATASETS["cityscapes"].classes, iou(matrix), strict=True))
    scored = {name: value for name, value in theirs["classScores"].items() if not np.isnan(value)}
    assert len(scored) > 10
    for name, value in ours.items():
        assert np.isnan(value) if name not in scored else value == pytest.approx(scored[name], abs=1e-6)
    assert miou(matrix) == pytest.approx(100 * theirs["averageScoreClasses"], abs=1e-4)


def test_ids_and_colours_are_those_of_the_official_table():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels", reason="the official scripts are not installed")
    info = DATASETS["cityscapes"]
    for train_id, name in enumerate(info.classes):
        official = labels.trainId2label[train_id]
        assert (official.name, official.id) == (name, label_ids()[train_id])
        assert official.color == tuple(info.palette[train_id].tolist())


def test_accumulated_gradients_are_those_of_the_whole_batch():
    """Both halves hold the same two images, so that batch normalisation sees the same statistics in either way.

    Without context embedding: it normalises the global averages of two images, which blows rounding up.
    """
    run = plan(paper.row("table_3b.no_context"), "streets", "smoke", 0)
    images, labels = (torch.from_numpy(np.stack(x)) for x in zip(*map(streets_pair, (0, 1, 0, 1)), strict=True))
    updates, losses = [], []
    for accumulation in (1, 2):
        fabric = HERE.fabric()
        torch.manual_seed(0)
        model = BiSeNetV2(run.model)
        before = torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])
        parts = prepare(model, run.training, fabric)[1:]
        losses.append(step(*parts, images, labels, run.training, fabric, accumulation))
        updates.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]) - before)
    torch.testing.assert_close(losses[0], losses[1])
    assert (updates[0] - updates[1]).norm() < 1e-2 * updates[0].norm()  # they are sums in another order


def streets_pair(index):
    return open_dataset("streets", "train", size=(64, 128)).load(index)


def test_batch_must_divide_into_its_parts():
    run = plan(paper.row("table_2.bga"), "streets", "smoke", 0)
    with pytest.raises(ValueError, match="batch 4 is not divisible by 1 devices and 3 parts each"):
        find_or_train(run, execution=dataclasses.replace(HERE, accumulation=3))
    with pytest.raises(ValueError, match="one image at a time"):
        find_or_train(run, execution=dataclasses.replace(HERE, accumulation=4))


def test_shared_memory_as_containers_have_it(monkeypatch, results, capsys):
    """64 MiB; a batch of the paper's is 16 images of 1024x512."""
    small = os.statvfs_result((4096, 4096, 16384, 16384, 16384, 0, 0, 0, 0, 255))
    monkeypatch.setattr(memory.os, "statvfs", lambda path: small)
    training, fabric = paper.recipe("cityscapes", "paper"), HERE.fabric()
    two = dataclasses.replace(HERE, workers=2)
    with pytest.raises(OSError, match=r"has 64 MiB free, 2 reading processes need about 160; give .* --shm-size=1g"):
        memory.workers_within(training, fabric, two)
    assert memory.workers_within(training, fabric, HERE) == 0
    assert memory.workers_within(dataclasses.replace(training, batch=4), fabric, two) == 2
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)))
    assert memory.workers_within(dataclasses.replace(training, batch=1), fabric, Execution()) == 15  # 62 MiB
    assert memory.workers_within(dataclasses.replace(training, batch=4), fabric, Execution()) == 3  # 56 of 64 MiB
    with pytest.raises(OSError, match="1 reading processes need about 96"):
        memory.workers_within(training, fabric, Execution())
    monkeypatch.setenv("BISENET_AT_A_TIME", "4")  # of which none has taken its share yet
    assert memory.workers_within(dataclasses.replace(training, batch=2), fabric, Execution()) == 1  # 12 of 16 MiB
    with pytest.raises(OSError, match="has 16 MiB free, or for each of 4 runs, 1 reading processes need about 24"):
        memory.workers_within(dataclasses.replace(training, batch=4), fabric, Execution())


def test_too_little_memory_is_said_before_the_first_step(monkeypatch, results, capsys):
    monkeypatch.setattr(memory, "free", lambda fabric: 2.0 * 2**30)
    words = ["--accelerator", "cpu", "--precision", "32-true"]  # in bf16, where a CPU has it, it takes less
    assert main(["train", "--dataset", "streets", "--scale", "paper", *words]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "a step of 16 images of 512x1024 takes about" in line and "2.0 are free" in line
    assert "--accumulation 4" in line
    assert not list(results.glob("runs/*/checkpoint.safetensors"))


def test_forecast_of_memory_is_what_autograd_holds_of_the_real_step():
    """The step of a recipe at its own size is its own reference."""
    training = dataclasses.replace(paper.recipe("streets", "smoke"), batch=8, input_size=(128, 256))
    model = paper.row("table_2.booster").model
    whole = memory.attempt(model, training, HERE.fabric())
    assert whole.factor == 1.0
    larger = dataclasses.replace(training, batch=32, input_size=(256, 512))
    small = memory.attempt(model, larger, HERE.fabric())
    assert small.factor == 16.0 and small.activations == pytest.approx(16 * whole.activations, rel=0.1)


def test_a_gpu_takes_the_real_batch_and_its_peak_is_measured(monkeypatch):
    """With a GPU that is not real: it says 100 bytes before, and 5 MiB more at the most."""
    said: list[str] = []
    monkeypatch.setattr(memory, "_on_gpu", lambda fabric: True)
    monkeypatch.setattr(memory, "forget_peak", lambda device: said.append("forgotten"))
    monkeypatch.setattr(memory, "step", lambda *given: said.append(f"{len(given[2])} images") or step(*given))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 100 + 5 * 2**20)
    monkeypatch.setattr(memory, "PIXELS", {"cuda": 1})
    training = dataclasses.replace(paper.recipe("streets", "smoke"), batch=8, input_size=(32, 64))
    trial = memory.attempt(paper.row("table_2.detail").model, training, HERE.fabric(), 2)
    assert said == ["4 images", "forgotten", "4 images"] and trial.factor == 2
    assert trial.need(2) == pytest.approx(5 * 2**20)


def test_a_batch_that_does_not_fit_a_gpu_is_halved(monkeypatch):
    tried: list[int] = []

    def out_of_memory(network, optimizer, images, *given):
        tried.append(len(images))
        if len(images) > 3:
            raise torch.OutOfMemoryError
        return step(network, optimizer, images, *given)

    monkeypatch.setattr(memory, "step", out_of_memory)
    training = dataclasses.replace(paper.recipe("streets", "smoke"), batch=12, input_size=(32, 64))
    assert memory.attempt(paper.row("table_2.detail").model, training, HERE.fabric()).factor == 4
    assert tried == [12, 6, 3]
    monkeypatch.setattr(memory, "step", lambda *given: out_of_memory(*given[:2], range(9)))
    with pytest.raises(torch.OutOfMemoryError):
        memory.attempt(paper.row("table_2.detail").model, training, HERE.fabric())


def test_weights_carried_over_leave_the_classifiers(tmp_path, results, capsys):
    words = ["--scale", "smoke", "--accelerator", "cpu", "--workers", "0"]
    miniature.make("camvid", tmp_path, {"train": 4, "val": 1, "test": 1})
    words += ["--dataset", "camvid", "--data-root", str(tmp_path), "--weights", str(SHIPPED_WEIGHTS), "--set"]
    assert main(["train", *words, "iterations=1", "lr=1e-12"]) == 0
    assert "drawn anew, for 11 classes: head.classifier.weight, head.classifier.bias" in capsys.readouterr().out
    (path,) = results.glob("runs/*/weights.safetensors")
    record = Record.load(path.with_name("record.json"))
    assert record.training.initial == fingerprint(SHIPPED_WEIGHTS) and record.initial.startswith("loaded")
    ours, theirs = read_safetensors(path)[0], read_safetensors(SHIPPED_WEIGHTS)[0]
    name = "detail.stage1.0.0.weight"
    assert name in ours
    torch.testing.assert_close(ours[name], theirs[name].float())
    assert ours["head.classifier.weight"].shape[0] == 11


def test_weights_of_another_network_are_an_error(tmp_path):
    run = plan(paper.row("table_2.detail"), "streets", "smoke", 0)
    training = dataclasses.replace(run.training, initial=fingerprint(SHIPPED_WEIGHTS))
    with pytest.raises(ValueError, match="is of another network: "):
        find_or_train(dataclasses.replace(run, training=training), weights=SHIPPED_WEIGHTS, execution=HERE)
    with pytest.raises(ValueError, match="begins with the weights"):
        find_or_train(dataclasses.replace(run, training=training), execution=HERE)


def test_class_maps_for_the_server_hold_label_ids(tmp_path, capsys):
    miniature.make("cityscapes", tmp_path, {"test": 1})
    words = [
        "evaluate",
        str(SHIPPED_WEIGHTS),
        "--dataset",
        "cityscapes",
        "--split",
        "test",
        "--data-root",
        str(tmp_path),
    ]
    assert main(words) == 1
    assert "keeps the labels of test to itself" in capsys.readouterr().err
    assert main([*words, "--scale", "short", "--predictions", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "berlin_000000_000019.png") as picture:
        assert picture.size == (2048, 1024) and picture.mode == "L"
        assert {*np.unique(np.array(picture))} <= {*label_ids().tolist()}


def test_what_cannot_work_is_said_before_anything_is_trained(tmp_path, results, capsys):
    miniature.make("cityscapes", tmp_path, {"train": 4, "val": 1, "test": 1})
    where = ["--dataset", "cityscapes", "--data-root", str(tmp_path)]
    assert main(["train", *where, "--scale", "smoke", "--accelerator", "cpu", "--set", "test_split=test"]) == 1
    assert "keeps the labels of test to itself" in capsys.readouterr().err
    assert not list(results.glob("runs/*/checkpoint.safetensors"))
    other = BiSeNetV2(dataclasses.replace(paper.row("table_2.detail").model, num_classes=11))
    other.save(tmp_path / "other.safetensors")
    words = ["evaluate", str(tmp_path / "other.safetensors"), *where, "--split", "test"]
    assert main([*words, "--predictions", str(tmp_path / "out")]) == 1
    assert "the network has 11 classes, cityscapes has 19" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_record_of_a_part_is_not_taken_for_the_whole(tmp_path, monkeypatch):
    """In the default folder too, where no data root is given."""
    monkeypatch.setattr("bisenet.data.work_folder", lambda: tmp_path)
    run = plan(paper.row("table_2.detail"), "cityscapes", "smoke", 0)
    miniature.make("cityscapes", tmp_path / "data" / "cityscapes", {"train": 4, "val": 1})
    record = find_or_train(run, execution=HERE)
    assert record.source == "labelIds, 4 of 2975 images of train; labelIds, 1 of 500 images of val"
    assert find_or_train(run, execution=HERE) == record
    miniature.make("cityscapes", tmp_path / "data" / "cityscapes", {"train": 5})
    with pytest.raises(ValueError, match=r"is recorded from: labelIds, 4 of 2975 .* there is now: labelIds, 5 of 2975"):
        find_or_train(run, execution=HERE)
    shutil.rmtree(tmp_path / "data" / "cityscapes")
    assert find_or_train(run, execution=HERE) == record  # the record is as good as it was


def test_a_record_of_labels_that_were_corrected_is_not_taken_for_a_new_one(tmp_path, results, capsys):
    miniature.make("cityscapes", tmp_path / "data", {"train": 4, "val": 1})
    words = ["train", "--row", "table_2.detail", "--dataset", "cityscapes", "--scale", "smoke", "--accelerator", "cpu"]
    words += ["--data-root", str(tmp_path / "data")]
    assert main(words) == 0 and "found" not in capsys.readouterr().out
    assert main(words) == 0 and "found, not trained again: recorded on 20" in capsys.readouterr().out
    shutil.copytree(tmp_path / "data", tmp_path / "copy")  # later times, the same files
    assert main([*words[:-1], str(tmp_path / "copy")]) == 0
    label = next((tmp_path / "data").rglob("*_labelIds.png"))
    Image.fromarray(np.minimum(np.asarray(Image.open(label)), 8)).save(label)
    assert main(words) == 1
    assert "since then an image or a label file has changed, or the folder; " in capsys.readouterr().err


def test_an_attempt_leaves_the_scale_of_a_loss_in_float16_as_it_was():
    """It is of the training that follows; this one changes with every step."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1)
    fabric = Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", "cpu", scaler))
    sizes = dict.fromkeys(("image_size", "crop", "input_size"), (32, 32))
    training = dataclasses.replace(paper.recipe("streets", "smoke"), batch=2, **sizes)
    memory.attempt(paper.row("table_2.detail").model, training, fabric)
    assert scaler.get_scale() == 2.0**10 and scaler.state_dict()["_growth_tracker"] == 0
