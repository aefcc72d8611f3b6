"""Runs and their records, the command line, the notebooks as a batch, and the order of the house."""

import ast
import dataclasses
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import bisenet
from bisenet import paper
from bisenet.__main__ import main
from bisenet.data import DATASETS, miniature, open_dataset
from bisenet.evaluate import evaluate, miou
from bisenet.execution import Execution
from bisenet.files import SHIPPED_SIZE, SHIPPED_WEIGHTS
from bisenet.looking import gallery
from bisenet.model import BiSeNetV2
from bisenet.notebook import batch
from bisenet.notebook.shared import Parameters, subject
from bisenet.report import ablations, benchmarks
from bisenet.report.verdict import NOT_RUN
from bisenet.runs.forecast import Forecast
from bisenet.runs.many import find_all, find_or_train_all, needed, train_side_by_side
from bisenet.runs.plan import Run, plan
from bisenet.runs.provenance import NOTEBOOKS
from bisenet.runs.record import Record
from bisenet.runs.store import output_folder, published, records_folder, yours
from bisenet.runs.testing import evaluate_file
from bisenet.runs.training import find_or_train, lacks
from bisenet.runs.transfer import fingerprint

HERE = Execution(accelerator="cpu", workers=0)
PACKAGE = Path(bisenet.__file__).parent


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path))
    return tmp_path


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


def test_shipped_records_are_of_today_s_recipes():
    """A record whose configuration no row asks for any more would be shown nowhere."""
    tables = (*paper.TABLES, *paper.PUBLISHED)
    wanted = {
        run.hash for dataset in DATASETS for scale in paper.SCALES for run in needed(tables, dataset, scale, range(3))
    }
    paths = list(records_folder().glob("*.json"))
    assert paths
    for path in paths:
        assert Record.load(path).hash in wanted, path.name


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


@pytest.fixture
def of_mious(record_of):
    """Records of two classes with these mIoU: 100, or 25."""
    matrices = {100: np.diag([5, 5]).tolist(), 25: [[5, 0], [5, 0]]}
    return lambda *scores: [record_of(matrices[score]) for score in scores]


def test_comparison_of_recorded_and_missing_rows(of_mious):
    rows = paper.table("table_2")[:4]
    scores = [of_mious(100, 25), of_mious(25), of_mious(100, 100)]
    records = {row.id: of_row for row, of_row in zip(rows, scores, strict=False)}
    table = ablations.comparison(rows, records, {row.id: row.gflops for row in rows})
    numbers = ["gain_paper", "gain", "gain_low", "gain_high", "gflops_paper", "gflops_ours"]
    assert list(table.columns) == ["row", "miou_paper", "miou_ours", "miou_std", "n", *numbers]
    assert table["miou_ours"].tolist()[:3] == [62.5, 25.0, 100.0]
    assert table["miou_std"][0] == pytest.approx(np.std([100, 25], ddof=1))
    assert np.isnan(table["miou_std"][1])
    assert np.isnan(table["miou_ours"][3])
    shown = ablations.show(table, rows, "x, y")
    assert shown["mIoU % ours (x, y)"].tolist() == ["62.50 ± 53.03", "25.00", "100.00 ± 0.00", "not run"]
    assert shown["our gain"].tolist() == ["", "-37.50", "+37.50", "-"]
    assert shown["verdict"].tolist() == ["", "one seed, other sign", "unresolved, same sign", "not run"]
    half = 12.706205 * 53.033009 / 2**0.5  # Student's t of one degree of freedom: only one row varies
    assert shown["95 % interval"].tolist() == ["", "", f"{37.5 - half:+.2f} to {37.5 + half:+.2f}", ""]
    assert ablations.gain_over(rows[0], rows[2], records).points == -37.5  # over another row than the base
    assert "68.93" not in ablations.differences(table, rows, "x", "y")["ours"].to_list()
    assert ablations.order(table).endswith("over 3 rows: +0.50 (p = 1.000)")  # paper 1 2 3, ours 2 1 3
    assert "it takes three rows, recorded: 2" in ablations.order(table[:2])


def test_claims_are_of_known_rows_and_hold_or_fail_where_resolved(of_mious):
    records = {"table_2.detail": of_mious(25, 25), "table_2.sum": of_mious(100, 100), "table_2.bga": of_mious(25, 25)}
    told = ablations.claims(records).set_index("of")["verdict"]
    assert len(told) == len(paper.claims()) and (told[~told.index.str.startswith("table_2")] == NOT_RUN).all()
    assert ablations.claims(records, ["table_2"])["of"].str.startswith("table_2").all()
    assert told[["table_2.sum - detail", "table_2.bga - sum", "table_2.booster - bga"]].tolist() == [
        "holds",
        "fails",
        NOT_RUN,
    ]
    assert (ablations.claims({})["paper"] > 0).all()  # what the paper claims is what it printed


@pytest.mark.parametrize(
    ("names", "distinct"),
    [
        (["table_7_cityscapes"], 2),
        (["table_2_components", "table_7_cityscapes"], 8),  # one of the two is in Table 2
        (["table_6_compatibility", "table_9_cocostuff", "figure_10_examples"], 8),
        (["table_8_camvid"], 4),
        (["quickstart", "table_1_architecture"], 0),
        (["claims"], 36),
        (["data_scenes", "recipes"], 0),
    ],
)
def test_runs_that_notebooks_share_are_counted_once(names, distinct):
    paths = [NOTEBOOKS / f"{name}.ipynb" for name in names]
    assert len(batch.needed_by(paths, Parameters("camvid", "paper"))) == distinct


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


def test_tables_of_other_methods_without_a_record():
    for name, numbers in (("table_7", 1), ("table_8", 1), ("table_9", 2)):
        shown = benchmarks.show(benchmarks.beside(name, {}), "x, y")
        ours = shown[[column for column in shown if column.endswith("ours (x, y)")]]
        assert ours.shape[1] == numbers
        own = shown["n"] == "0"
        assert own.sum() == len(paper.ours(name))
        assert (ours[own] == NOT_RUN).all(axis=None) and (ours[~own] == "").all(axis=None)
        differences = benchmarks.differences(name, benchmarks.beside(name, {}), {}, paper.PUBLISHED[name], "paper")
        assert set(differences["ours"]) <= {NOT_RUN, benchmarks.SERVER}
        assert (benchmarks.conditions(name, {})["data set"] == NOT_RUN).all()


def test_our_scores_beside_the_paper_s_and_why_they_differ(record_of):
    half_right = (2 * np.eye(11, dtype=int) + np.roll(np.eye(11, dtype=int), 1, axis=1)).tolist()  # 2 of 4 each
    images = {"train": 468, "test": 233}
    record = record_of(half_right, dataset="camvid", source="tutorial layout", images=images)
    records = {"table_2.ohem": [record, record]}
    table = benchmarks.beside("table_8", records)
    line = table.set_index("method").loc["BiSeNetV2"]
    assert (line["miou_ours"], line["miou_std"], line["n"]) == (pytest.approx(50), 0, 2)
    assert table["n"].sum() == 2  # the same row with other first weights is not this run
    why = benchmarks.differences("table_8", table, records, "camvid", "short").loc[("mIoU %", "BiSeNetV2")]
    reasons = "other budget and size, files at half the size"
    assert why.tolist() == ["72.4", "50.00 ± 0.00", "-22.40", reasons, "not comparable"]
    recipe = {"dataset": "camvid", "scale": "paper"}
    same = benchmarks.differences("table_8", table, records, **recipe)["status"]
    assert same.tolist() == ["differs", *[NOT_RUN] * 3]  # by 22.4, and the two records do not differ
    condition = benchmarks.conditions(
        "table_8", {"table_2.ohem": [dataclasses.replace(record, images={"train": 468, "test": 5})]}
    ).iloc[0]
    assert condition["test images"] == "5 of 233 (test)" and condition["protocol"] == "paper"
    assert benchmarks.standing(table).loc[("BiSeNetV2", "mIoU %")].tolist() == ["72.4", "7 of 8", "7 of 8"]
    assert (benchmarks.recipes("camvid", "camvid", "paper")["differs"] == "").all()


def test_examples_without_a_network_say_so():
    scenes = open_dataset("streets", "val", size=(64, 128))
    images, labels = zip(*(scenes.load(k) for k in range(2)), strict=True)
    figure = gallery.examples(images, labels, {"here": labels, "absent": []}, scenes.info)
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said == [[], [], [], [NOT_RUN]] * 2


def test_aggregations_are_lines_below_the_image():
    image, labels = open_dataset("streets", "val", size=(64, 128)).load(0)
    strengths = {"a": np.ones((8, 16), np.float32), "b": np.full((8, 16), 2, np.float32)}
    figure = gallery.aggregations(image, labels, {"a": labels, "b": 0 * labels}, strengths, DATASETS["streets"])
    panels = figure.axes[:9]
    assert [axes.get_ylabel() for axes in panels[::3]] == ["", "a", "b"]
    assert {axes.images[0].norm.vmax for axes in panels[3::3]} == {2}  # one scale for all
    orange = [(np.asarray(axes.images[0].get_array()) == (213, 94, 0)).all(-1) for axes in panels[5::3]]
    assert not orange[0].any() and np.array_equal(orange[1], (labels != 0) & (labels != 255))


def test_needed_runs_are_distinct_and_the_forecast_trains_nothing(results, capsys):
    everything = needed(paper.TABLES, "cityscapes", "paper", [0])
    assert len(everything) == 36
    assert len(needed(["table_2", "table_3a"], "streets", "smoke", [0, 1])) == 20  # 7 + 5 rows, 2 in common
    assert main(["plan", "--scale", "smoke", "--only", "table_2", "--workers", "0", "--accelerator", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "streets, smoke: 7 distinct runs, 0 recorded, 7 to train; if the data keep up about" in said
    assert not list(results.glob("runs/*/record.json"))


def test_forecast_divides_time_by_devices_and_names_the_widest():
    runs_of = needed(["table_2"], "streets", "smoke", [0])
    seconds, memory = {"a": 7200.0, "b": 3600.0}, {"a": 2.0**30, "b": 3 * 2.0**30}
    cost = Forecast(runs_of, 5, 0, seconds, memory, overhead=360.0, device="GPU", devices=2)
    assert cost.hours == pytest.approx(1.5 + 0.1)
    said = "7 distinct runs, 5 recorded, 2 to train; if the data keep up about 1.6 hours on 2 times GPU"
    assert str(cost) == f"{said}; about 3.0 GiB for a step of b"


def test_the_time_of_a_notebook_is_that_of_its_stored_outputs(tmp_path):
    times = {"iopub.status.busy": "2026-11-23T04:00:59.5Z", "iopub.status.idle": "2026-11-23T04:01:02.000001Z"}
    cells = [nbformat.v4.new_code_cell("1", metadata={"execution": times}) for _ in range(2)]
    nbformat.write(nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("2")]), tmp_path / "a.ipynb")
    assert batch.seconds_stored(tmp_path / "a.ipynb") == pytest.approx(2 * 2.500001)
    assert all(batch.seconds_stored(path) > 0 for path in batch.notebooks())


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


def test_a_bad_label_met_by_a_worker_is_one_line(tmp_path, capsys):
    for part in ("train", "val", "test"):
        for folder, value in ((part, 90), (f"{part}annot", 77)):
            (tmp_path / folder).mkdir()
            Image.fromarray(np.full((72, 96), value, dtype=np.uint8)).save(tmp_path / folder / "a.png")
    words = ["train", "--dataset", "camvid", "--scale", "smoke", "--data-root", str(tmp_path), "--workers", "1"]
    assert main(words) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "label id" in line]
    assert line.startswith("python -m bisenet train: ")
    assert line.endswith("annot/a.png: label id 77, allowed are 0 to 10 and 255 (ignore)")


def test_shipped_weights():
    """Small enough to ship; the model card has the score of their record, and so have they on other scenes."""
    assert SHIPPED_WEIGHTS.stat().st_size <= 12e6
    card = (SHIPPED_WEIGHTS.parent / "README.md").read_text()
    record = published().find(plan(paper.row("table_2.ohem"), "streets", "long", 0))
    assert f"**{record.miou:.2f} % mIoU**" in card
    scenes, model = open_dataset("streets", "tuning", size=SHIPPED_SIZE), BiSeNetV2.load(SHIPPED_WEIGHTS)
    assert model.seen_at == SHIPPED_SIZE
    matrix = evaluate(model, scenes, SHIPPED_SIZE, torch.device("cpu"), range(20)).numpy()
    assert abs(miou(matrix) - record.miou) < 6


def test_pictures_are_of_your_run_which_is_trained_if_need_be(results, capsys):
    run = plan(paper.row("table_2.ohem"), "streets", "smoke", 1)
    for train, size in ((True, run.training.test_size), (True, run.training.test_size), (False, SHIPPED_SIZE)):
        model, scenes, seen = subject(Parameters(scale="smoke", seeds=[1, 2], train=train))
        assert (seen, scenes.info.name, model.training) == (size, "streets", False)
        assert (run.name in capsys.readouterr().out) == train
    assert [path.parent.name for path in results.glob("runs/*/record.json")] == [run.name]
    with pytest.raises(ValueError, match=r"cocostuff is seen by protocol 'padded'; .* resized as a whole"):
        subject(Parameters("cocostuff", "paper"))


def test_notebooks_have_parameters_and_stored_outputs():
    names = [field.name for field in dataclasses.fields(Parameters)]
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", ())]
        assert [node.targets[0].id for node in ast.parse(tagged[0].source).body] == names, path.name
        assert all(cell.execution_count for cell in cells), f"{path.name} is not executed: make notebooks"
        assert sum(bool(cell.outputs) for cell in cells) >= 3, path.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --row table_2.bag", "did you mean 'table_2.bga'"),
        ("train --dataset street", "did you mean 'streets'"),
        ("train --scale shrot", "did you mean 'short'"),
        ("train --set iteration=3", "did you mean 'iterations'"),
        ("reproduce --only table_2_component", "did you mean 'table_2_components'"),
        ("train --dataset camvid --data-root nowhere", "nowhere"),
        ("reproduce --dataset cityscapes --data-root nowhere", "Cityscapes train not found"),
        ("plan --only table_10", "unknown notebook 'table_10'"),
        ("plan --only quickstart --dataset nonsense", "unknown dataset 'nonsense'"),
        ("plan --only quickstart --seeds 0 0", "each may stand there once"),
        ("evaluate missing.safetensors", "no such file: missing.safetensors"),
        ("train --scale smoke --set crop=9999x9999", "larger than the image"),
        ("train --set lr=high", "lr is 'high', it must be of type float"),
        ("train --set crop=64", "crop is 64"),
        ("train --set lr=nan", "lr is nan"),
        ("train --checkpoint-every 0", "checkpoint_every is 0"),
        ("train --seed -1", "seed is -1"),
        ("train --data-root somewhere", "streets is drawn, not read"),
    ],
)
def test_errors_of_the_command_line(words, message, capsys):
    assert main(words.split()) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dataset": "camvit"}, "did you mean 'camvid'"),
        ({"scale": 1}, "unknown scale 1"),
        ({"seeds": "[0, 1]"}, "list of non-negative integers"),
        ({"seeds": []}, "list of non-negative integers"),
        ({"seeds": [1, 1]}, "each may stand there once"),
        ({"train": "false"}, "must be a boolean"),
        ({"data_root": None}, "path as text"),
    ],
)
def test_notebook_parameters_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        Parameters(**wrong)


def notebook(path: Path, *cells: tuple[str, str]) -> Path:
    code = [nbformat.v4.new_code_cell(source, metadata={"tags": [tag] if tag else []}) for tag, source in cells]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=metadata), path)
    return path


KNOWN = "dataset = scale = seeds = train = data_root = weights = 0"


def test_batch_refuses_unknown_parameters_and_goes_on_after_a_failure(results, capsys):
    parameters = Parameters()
    first = notebook(results / "a_fails.ipynb", ("parameters", KNOWN), ("", "raise KeyError('why')"))
    second = notebook(results / "b_runs.ipynb", ("parameters", KNOWN), ("", "print(dataset)"))
    third = notebook(results / "c_bare.ipynb", ("", "x = 1"))
    with pytest.raises(batch.NotebooksFailedError, match="failed: a_fails, c_bare"):
        batch.reproduce([first, second, third], parameters)
    index = (output_folder("streets", "smoke") / "index.md").read_text()
    assert "KeyError: 'why'" in index
    assert "no cell tagged 'parameters'" in capsys.readouterr().out
    done = nbformat.read(output_folder("streets", "smoke") / "b_runs.ipynb", as_version=4)
    assert done.cells[-1].outputs[0].text == "streets\n"
    with pytest.raises(batch.NotebooksFailedError, match="failed: b_runs"):
        batch.reproduce([notebook(second, ("parameters", "dataset = scale = 0"))], parameters)
    assert "unknown parameter 'seeds'" in capsys.readouterr().out


def test_several_runs_at_a_time_are_recorded_and_a_failure_is_said(capsys):
    right = needed(["table_2"], "streets", "smoke", [0])[:1]
    train_side_by_side(right, 2, "", Execution())
    assert yours().find(right[0])
    wrong = needed(["table_2"], "camvid", "smoke", [0])[:1]
    train_side_by_side(wrong, 2, "nowhere", Execution())
    assert re.search(r"table_2.detail-camvid.*: .*Error: CamVid not found", capsys.readouterr().out)


def test_plain_papermill_from_any_folder(tmp_path):
    source = NOTEBOOKS / "table_2_components.ipynb"
    command = [sys.executable, "-m", "papermill", source, "out.ipynb", "-p", "scale", "smoke"]
    command += ["-y", "{train: true, seeds: [0]}"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    table = pd.read_csv(output_folder("streets", "smoke") / "table_2_components.csv")
    assert table["n"].tolist() == [1] * 7
    assert np.allclose(table["gflops_ours"], table["gflops_paper"], rtol=1e-3)
    for path in tmp_path.glob("runs/*/record.json"):
        assert miou(np.array(json.loads(path.read_text())["confusion"])) > 0
