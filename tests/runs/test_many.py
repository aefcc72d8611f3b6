"""Many runs: each once, several at a time."""

import re

import pytest

from bisenet.execution import Execution
from bisenet.runs.many import needed, train_side_by_side
from bisenet.runs.store import yours

pytestmark = pytest.mark.usefixtures("results")


def test_several_runs_at_a_time_are_recorded_and_a_failure_is_said(capsys):
    right = needed(["table_2"], "streets", "smoke", [0])[:1]
    train_side_by_side(right, 2, "", Execution())
    assert yours().find(right[0])
    wrong = needed(["table_2"], "camvid", "smoke", [0])[:1]
    train_side_by_side(wrong, 2, "nowhere", Execution())
    assert re.search(r"table_2.detail-camvid.*: CamVid not found", capsys.readouterr().out)
