"""Records are checked before they become the repository's: clean code, one commit, today's rows, nothing replaced."""

import dataclasses
import json
import shutil

import pytest
import torch

from bisenet import paper
from bisenet.__main__ import main
from bisenet.execution import Execution
from bisenet.model import BiSeNetV2
from bisenet.runs import publish
from bisenet.runs.plan import plan
from bisenet.runs.record import Record
from bisenet.runs.store import yours
from bisenet.runs.training import find_or_train

CLEAN = {"commit": "a" * 40, "dirty": False}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run at scale `smoke`, as if of a clean commit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BISENET_RESULTS", str(tmp_path_factory.mktemp("results")))
        run = plan(paper.row("table_2.bga"), "streets", "smoke", 0)
        find_or_train(run, execution=Execution("cpu", workers=0))
        folder = yours().weights_path(run).parent
    change(folder, lambda record: record["processes"][0].update(git=CLEAN))
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy of that folder, and an empty folder of records."""
    monkeypatch.setattr(publish, "records_folder", lambda: tmp_path / "records")
    (tmp_path / "records").mkdir()
    return shutil.copytree(trained, tmp_path / "runs" / trained.name)


def change(folder, how):
    path = folder / "record.json"
    record = json.loads(path.read_text())
    how(record)
    path.write_text(json.dumps(record))


def test_a_record_is_copied_as_it_is_and_its_network_in_half_precision(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path))
    assert main(["publish", folder.name.split("-")[-1], "--weights"]) == 0  # found by its hash
    target = tmp_path / "records" / f"{folder.name}.json"
    assert f"{target}: published" in capsys.readouterr().out
    assert json.loads(target.read_text()) == json.loads((folder / "record.json").read_text())
    small, whole = BiSeNetV2.load(target.with_suffix(".safetensors")), BiSeNetV2.load(folder / "weights.safetensors")
    weight = whole.head.classifier.weight.data
    torch.testing.assert_close(small.head.classifier.weight.data, weight.half().float(), rtol=0, atol=0)
    assert publish.publish(folder) == target  # once more changes nothing


def test_a_network_with_a_recipe_of_its_own_is_shipped_by_name(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "WEIGHTS_FOLDER", tmp_path)
    change(folder, lambda record: record.update(scale="custom", hash="0" * 12))
    assert main(["publish", str(folder), "--ship", "mine"]) == 0
    assert Record.load(tmp_path / "mine.json").scale == "custom"
    assert BiSeNetV2.load(tmp_path / "mine.safetensors").config == Record.load(folder / "record.json").model
    publish.ship(folder, "mine")  # once more changes nothing
    with pytest.raises(ValueError, match="is no name for weights"):
        publish.ship(folder, "../mine")
    change(folder, lambda record: record.update(date="later"))
    with pytest.raises(ValueError, match="is there already, of another run"):
        publish.ship(folder, "mine")
    change(folder, dirty)
    with pytest.raises(ValueError, match="train it in a clean clone"):
        publish.ship(folder, "mine")


def dirty(record):
    record["processes"][0]["git"] = {**CLEAN, "dirty": True}


def went_on_elsewhere(record):
    record["processes"].append({**record["processes"][0], "from": 3, "git": {**CLEAN, "commit": "b" * 40}})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (dirty, "train it in a clean clone"),
        (went_on_elsewhere, "changed or several states of the code"),
        (lambda record: record.update(hash="0" * 12), "of another recipe or network"),
        (lambda record: record.update(scale="custom"), "it is no table's row"),
        (lambda record: record["losses"]["loss"].append(float("nan")), "not finite"),
    ],
)
def test_what_may_not_be_published(how, message, folder, tmp_path):
    change(folder, how)
    with pytest.raises(ValueError, match=message):
        publish.publish(folder)
    assert not list((tmp_path / "records").iterdir())


def test_nothing_is_replaced_and_no_table_mixes_commits(folder, tmp_path):
    target = publish.publish(folder)
    change(folder, lambda record: record.update(date="later"))
    with pytest.raises(ValueError, match="is there already with other numbers"):
        publish.publish(folder)
    target.rename(target.with_name(target.name.replace("table_2.bga", "table_3b.all")))  # the same run
    with pytest.raises(ValueError, match=r"table_3b.all.* is there already with other numbers"):
        publish.publish(folder)
    target = next(target.parent.iterdir())
    target.rename(target.with_name("table_2.sum-streets-smoke-seed0-0.json"))
    change(folder, lambda record: record["processes"][0].update(git={**CLEAN, "commit": "b" * 40}))
    with pytest.raises(ValueError, match="what is published of streets, smoke of aaaa"):
        publish.publish(folder)
    with pytest.raises(FileNotFoundError, match="no record of nowhere"):
        publish.publish("nowhere")


def test_weights_of_another_network_are_refused(folder, tmp_path):
    other = dataclasses.replace(BiSeNetV2.load(folder / "weights.safetensors").config, aggregation="sum")
    BiSeNetV2(other).save(folder / "weights.safetensors")
    with pytest.raises(ValueError, match="another network than its record"):
        publish.publish(folder, weights=True)
    assert not list((tmp_path / "records").iterdir())
