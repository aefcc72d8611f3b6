"""What the notebooks share."""

import ast
import dataclasses

import nbformat
import pytest

from bisenet import paper
from bisenet.data.places import NOTEBOOKS
from bisenet.files import SHIPPED_SIZE
from bisenet.notebook.shared import Parameters, subject
from bisenet.runs.plan import plan

pytestmark = pytest.mark.usefixtures("results")


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
    ("wrong", "message"),
    [
        ({"dataset": "camvit"}, "did you mean 'camvid'"),
        ({"scale": "shrt"}, "did you mean 'short'"),
        ({"seeds": "[0, 1]"}, r"it must be of type tuple\[int"),
        ({"seeds": [-1]}, "it must be non-negative integers"),
        ({"seeds": [1, 1]}, "each once"),
        ({"train": "false"}, "must be of type bool"),
        ({"data_root": None}, "must be of type str"),
    ],
)
def test_notebook_parameters_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        Parameters(**wrong)
