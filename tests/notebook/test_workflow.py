"""A reproduction as a workflow of Snakemake: what waits for what, and a job that is killed while it trains."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from bisenet.__main__ import main
from bisenet.data import miniature
from bisenet.runs.many import needed


@pytest.fixture
def words_of(results, monkeypatch):
    """What a command line becomes: the words that start Snakemake."""
    pytest.importorskip("snakemake", reason="Snakemake is not installed (extra cluster)")
    became: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda path, words: became.append(words))

    def make(line: str) -> list[str]:
        assert main(["workflow", *line.split()]) == 0
        return became.pop()

    return make


def trainings(process: psutil.Process) -> dict[str, psutil.Process]:
    """The processes below one that train, by the names of their runs."""
    lines = [(child, child.cmdline()) for child in process.children(recursive=True)]
    return {Path(words[3]).stem: child for child, words in lines if words[1:3] == ["-m", "bisenet.runs.worker"]}


def test_a_killed_job_goes_on_from_its_checkpoint_and_the_page_is_made(results, words_of):
    """Both runs of Table 7, its notebook, the page; on embedded scenes."""
    line = "--only table_7 --scale smoke --accelerator cpu --checkpoint-seconds 0 -- --cores 2"
    snakemake = psutil.Popen(words_of(line), stdout=subprocess.DEVNULL)
    until = time.monotonic() + 600
    while not (found := list(results.glob("runs/table_2.ohem-*/checkpoint.safetensors"))):
        assert snakemake.poll() is None and time.monotonic() < until
        time.sleep(0.002)
    killed = found[0].parent.name
    trainings(snakemake)[killed].kill()
    assert snakemake.wait(timeout=600) == 0
    records = {path.parent.name: json.loads(path.read_text()) for path in results.glob("runs/*/record.json")}
    begun = {name: [process["from"] for process in record["processes"]] for name, record in records.items()}
    first, second = begun.pop(killed)
    assert first == 0 < second and list(begun.values()) == [[0]]  # the other one in one go
    executed = nbformat.read(results / "reproduced" / "streets-smoke" / "table_7_cityscapes.ipynb", as_version=4)
    assert executed.metadata["papermill"]["parameters"]["train"] is True
    assert "table_7_cityscapes, streets-smoke" in (results / "index.html").read_text(encoding="utf-8")
    again = subprocess.run([*words_of(line), "--dry-run"], capture_output=True, text=True)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_row_waits_for_the_run_with_whose_weights_it_begins(results, words_of, monkeypatch, capsys):
    """Two of the four rows of Table 8, on CamVid; each job asks for a GPU."""
    for dataset, parts in (("cityscapes", ("train", "val")), ("camvid", ("train", "val", "test"))):
        miniature.make(dataset, results / "data" / dataset, dict.fromkeys(parts, 1))
    for module in ("bisenet.data", "bisenet.notebook.workflow"):
        monkeypatch.setattr(f"{module}.work_folder", lambda: results)
    line = "--only table_8 --dataset camvid --scale smoke --accelerator cuda -- --dry-run"
    said = subprocess.run(words_of(line), capture_output=True, text=True, check=True).stdout
    jobs = re.split(r"\n(?:local)?rule ", said)
    trained = {re.search(r"run=(.+)", job)[1]: job for job in jobs if job.startswith("train:")}
    after = {name: re.findall(r"input: runs/(.+)/record.json", job) for name, job in trained.items()}
    short = {name.rpartition("-smoke")[0]: [base.rpartition("-smoke")[0] for base in of] for name, of in after.items()}
    assert short == {
        **{f"{row}-{dataset}": [] for row in ("table_2.ohem", "table_6.large") for dataset in ("camvid", "cityscapes")},
        "table_8.ohem_cityscapes-camvid": ["table_2.ohem-cityscapes"],
        "table_8.large_cityscapes-camvid": ["table_6.large-cityscapes"],
    }
    (notebook,) = [job for job in jobs if job.startswith("notebook:")]
    assert all(f"runs/{name}/record.json" in notebook for name in trained if "-camvid-" in name)
    assert all("gpu=1" in job for job in (*trained.values(), notebook))
    assert words_of(line.partition(" -- ")[0])[-4:] == ["--cores", "all", "--resources", "gpu=1"]
    shutil.rmtree(results / "data" / "cityscapes")
    words_of(line)
    (plan,) = (results / "workflow").glob("camvid-smoke-*.json")  # of what was asked, three times
    assert len(json.loads(plan.read_text())["runs"]) == 2
    assert capsys.readouterr().out.count("not run. It begins with weights that are not there") == 2


def test_a_run_goes_on_where_it_was_begun_and_a_second_workflow_leaves_the_first_its_plan(results, words_of):
    run = needed(["table_7"], "streets", "smoke", [0])[0]
    begun = results / "runs" / f"another_row-{run.hash}"
    begun.mkdir(parents=True)
    line = "--only table_7 --scale smoke --accelerator cpu -- --dry-run"
    words_of(line)
    (plan,) = (results / "workflow").glob("*.json")
    content = plan.read_bytes()
    assert begun.name in json.loads(content)["runs"] and (plan.with_suffix("") / f"{begun.name}.json").is_file()
    words_of(line.replace("table_7", "table_2"))
    assert plan.read_bytes() == content and len([*plan.parent.glob("*.json")]) == 2


@pytest.mark.parametrize(
    ("found", "message"), [(None, "pip install -c constraints.txt -e '.[cluster]'"), ("here", "leave --devices")]
)
def test_errors_of_the_workflow(found, message, results, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    assert main(["workflow", "--scale", "smoke", "--only", "table_2", "--devices", "2"]) == 1
    assert message in capsys.readouterr().err
