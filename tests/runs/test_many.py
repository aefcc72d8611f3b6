"""Many runs: each once, several at a time."""

import re
import subprocess
import sys
import time

import psutil
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


def test_killing_the_parent_ends_its_trainings():
    code = """
from bisenet.execution import Execution
from bisenet.runs.many import needed, train_side_by_side
train_side_by_side(needed(["table_2"], "streets", "long", [0])[:2], 2, "", Execution())
"""
    parent = psutil.Process(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL).pid)

    def training() -> list[psutil.Process]:
        return [child for child in parent.children(recursive=True) if "bisenet.runs.worker" in child.cmdline()]

    until = time.monotonic() + 120
    while len(training()) < 2 or not yours().root.is_dir():
        assert time.monotonic() < until
        time.sleep(0.2)
    children = parent.children(recursive=True)
    parent.kill()
    assert psutil.wait_procs(children, timeout=60)[1] == []
