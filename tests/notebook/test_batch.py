"""The notebooks as a batch: strict parameters, failures, what will be trained and how long it takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest

from bisenet.data.places import NOTEBOOKS
from bisenet.evaluate import miou
from bisenet.execution import Execution
from bisenet.notebook import batch
from bisenet.notebook.shared import Parameters
from bisenet.runs.plan import Run
from bisenet.runs.store import output_folder

pytestmark = pytest.mark.usefixtures("results")


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


def test_the_time_of_a_notebook_is_that_of_its_stored_outputs(tmp_path):
    times = {"iopub.status.busy": "2026-11-23T04:00:59.5Z", "iopub.status.idle": "2026-11-23T04:01:02.000001Z"}
    cells = [nbformat.v4.new_code_cell("1", metadata={"execution": times}) for _ in range(2)]
    nbformat.write(nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("2")]), tmp_path / "a.ipynb")
    assert batch.seconds_stored(tmp_path / "a.ipynb") == pytest.approx(2 * 2.500001)
    assert all(batch.seconds_stored(path) > 0 for path in batch.notebooks())


def notebook(path: Path, *cells: tuple[str, str]) -> Path:
    code = [nbformat.v4.new_code_cell(source, metadata={"tags": [tag] if tag else []}) for tag, source in cells]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=metadata), path)
    return path


KNOWN = "\n".join(f"{name} = 0" for name in ("dataset", "scale", "seeds", "train", "data_root", "weights"))


def test_batch_refuses_unknown_parameters_and_goes_on_after_a_failure(results, capsys):
    parameters = Parameters()
    first = notebook(results / "a_fails.ipynb", ("parameters", KNOWN), ("", "raise KeyError('why')"))
    second = notebook(results / "b_runs.ipynb", ("parameters", KNOWN), ("", "print(dataset)"))
    third = notebook(results / "c_bare.ipynb", ("", "x = 1"))
    with pytest.raises(batch.NotebooksFailedError, match="failed: a_fails, c_bare"):
        batch.reproduce([first, second, third], parameters)
    index = (output_folder("streets", "smoke") / "index.md").read_text()
    assert "KeyError: 'why'" in index
    assert "c_bare: unknown parameter 'dataset'" in capsys.readouterr().out
    done = nbformat.read(output_folder("streets", "smoke") / "b_runs.ipynb", as_version=4)
    assert done.cells[-1].outputs[0].text == "streets\n"
    with pytest.raises(batch.NotebooksFailedError, match="failed: b_runs"):
        batch.reproduce([notebook(second, ("parameters", "dataset = 0\nscale = 0"))], parameters)
    assert "unknown parameter 'seeds'" in capsys.readouterr().out


def test_runs_that_another_process_records_while_the_cost_is_found(monkeypatch):
    given: list[Run] = []
    monkeypatch.setattr(batch, "forecast", lambda *_: SimpleNamespace(seconds={}))
    monkeypatch.setattr(batch, "train_side_by_side", lambda runs, *_: given.extend(runs))
    monkeypatch.setattr(batch, "execute", lambda *_: "")
    batch.reproduce([NOTEBOOKS / "table_7_cityscapes.ipynb"], Parameters(), Execution("cpu", workers=0))
    assert len(given) == 2  # which find the records


def test_reproduce_where_the_locale_knows_ascii_only(results):
    """As under Windows code pages or in bare containers; ± is printed here and stands in the page."""
    path = notebook(results / "a.ipynb", ("parameters", KNOWN), ("", "print('1 ± 2')"))
    code = f"""
import pathlib, sys
from bisenet.__main__ import main
from bisenet.notebook import batch
batch.notebooks = lambda only: [pathlib.Path({str(path)!r})]
sys.exit(main(["reproduce", "--scale", "smoke"]))
"""
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **plain}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("ascii")
    assert "1 ? 2" in done.stdout.decode("ascii")
    executed = nbformat.read(output_folder("streets", "smoke") / "a.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "1 ± 2\n"
    assert "±" in (results / "index.html").read_text(encoding="utf-8")


def test_plain_papermill_from_any_folder(tmp_path):
    source = NOTEBOOKS / "table_2_components.ipynb"
    command = [sys.executable, "-m", "papermill", source, "out.ipynb", "-p", "scale", "smoke"]
    command += ["-y", "{train: true, seeds: [0]}"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    table = pd.read_csv(output_folder("streets", "smoke") / "table_2_components.csv")
    assert table["n"].tolist() == [1] * 7
    assert np.allclose(table["gflops_here"], table["gflops_paper"], rtol=1e-3)
    for path in tmp_path.glob("runs/*/record.json"):
        assert miou(np.array(json.loads(path.read_text())["confusion"])) > 0
