"""What a run is, and that its hash lasts."""

import dataclasses
import json

from bisenet import paper
from bisenet.runs.plan import Run, plan


def test_a_worker_gets_the_run_as_it_was_planned():
    for id, dataset in (
        ("table_2.bga", "streets"),
        ("table_8.ohem_cityscapes", "camvid"),
        ("table_6.large", "cocostuff"),
    ):
        run = plan(paper.row(id), dataset, "long", 1)
        assert Run.of_json(json.loads(json.dumps(dataclasses.asdict(run)))) == run


def test_what_defines_a_run_changes_its_hash():
    run = plan(paper.row("table_2.bga"), "streets", "smoke", 0)
    same = dataclasses.replace(run, row="another_table.bga", scale="custom")  # rows share runs
    others = [
        dataclasses.replace(run, seed=1),
        dataclasses.replace(run, training=dataclasses.replace(run.training, power=1.0)),
        dataclasses.replace(run, training=dataclasses.replace(run.training, pretrained=True)),
        dataclasses.replace(run, model=dataclasses.replace(run.model, expansion=4)),
        dataclasses.replace(run, model=dataclasses.replace(run.model, backbone="resnet18")),
        dataclasses.replace(run, model=dataclasses.replace(run.model, reading="mmsegmentation")),
        dataclasses.replace(run, model=dataclasses.replace(run.model, mean=(0.5, 0.5, 0.5))),
    ]
    assert run.hash == same.hash
    assert len({run.hash, *(other.hash for other in others)}) == 8


def test_records_of_today_are_found_tomorrow():
    """Hashes as they were recorded: a change of names or defaults must not make another run of the same experiment."""
    assert plan(paper.row("table_2.bga"), "streets", "short", 0).hash == "9482ac5ecc1a"
