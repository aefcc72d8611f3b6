"""Many runs: each once, several at a time."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from bisenet.execution import Execution
from bisenet.notebook.batch import places
from bisenet.notebook.shared import Parameters
from bisenet.runs.many import needed, train_side_by_side
from bisenet.runs.store import yours
from bisenet.runs.training import exclusive

pytestmark = pytest.mark.usefixtures("results")


def test_several_runs_at_a_time_are_recorded_and_a_failure_is_said(capsys):
    right = needed(["table_2"], "streets", "smoke", [0])[:1]
    train_side_by_side(right, ["", ""], "", Execution())
    assert yours().find(right[0])
    wrong = needed(["table_2"], "camvid", "smoke", [0])[:1]
    train_side_by_side(wrong, ["", ""], "nowhere", Execution())
    assert re.search(r"table_2.detail-camvid.*: CamVid not found", capsys.readouterr().out)


def test_a_run_that_another_process_trains_is_passed_over(capsys):
    held, free = needed(["table_2"], "streets", "smoke", [0])[:2]
    with exclusive(held, Execution(accelerator="cpu").fabric()):
        train_side_by_side([held, free], ["", ""], "", Execution())
    said = capsys.readouterr().out
    assert f"{held.name}: another process trains {held.name}; wait until it is done" in said
    assert not yours().find(held) and yours().find(free)


def test_as_many_runs_at_a_time_as_gpus_have_room_for(monkeypatch):
    """Two GPUs of eight that are shown to this process, and sixteen cores of 64."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert places(Parameters(scale="paper"), Execution()) == ["5", "7"]
    assert places(Parameters(scale="short"), Execution(workers=3)) == ["5", "7"] * 2
    assert places(Parameters(scale="short"), Execution(devices=2)) == places(Parameters(), Execution(devices=2)) == [""]
    assert places(Parameters(scale="short"), Execution(accelerator="cpu")) == [""] * 4
    used: list[tuple[str, str, int, int]] = []

    def run(command, env, **how):
        execution = Execution(**json.loads(Path(command[-1]).read_text())["execution"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BISENET_AT_A_TIME", env["BISENET_AT_A_TIME"])
            reading = execution.resolved_workers
        used.append((env["CUDA_VISIBLE_DEVICES"], env["OMP_NUM_THREADS"], execution.workers, reading))
        time.sleep(0.2)
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    runs = needed(["table_2"], "streets", "smoke", [0])[:4]
    train_side_by_side(runs, ["5", "7"], "", Execution())
    assert sorted(used) == [("5", "8", -1, 7)] * 2 + [("7", "8", -1, 7)] * 2  # nobody asked for so many that read
    used.clear()
    train_side_by_side(runs[:1], [""], "", Execution(devices=4))
    assert used == [("5,7", "4", -1, 3)]


def test_killing_the_parent_ends_its_trainings():
    code = """
from bisenet.execution import Execution
from bisenet.runs.many import needed, train_side_by_side
train_side_by_side(needed(["table_2"], "streets", "long", [0])[:2], ["", ""], "", Execution())
"""
    parent = psutil.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 300
    try:
        while len(list(yours().root.glob("*.lock"))) < 2:  # both have begun
            assert time.monotonic() < until and parent.poll() is None
            time.sleep(0.2)
        children = parent.children(recursive=True)
    finally:
        parent.kill()
    assert psutil.wait_procs(children, timeout=60)[1] == []
