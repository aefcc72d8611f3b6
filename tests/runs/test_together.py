"""Several processes as one: said once, whatever started them; and one by itself among several."""

import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bisenet import paper
from bisenet.__main__ import main
from bisenet.data import miniature
from bisenet.execution import SaidByFirstError
from bisenet.runs import training
from bisenet.runs.record import Record

TRAIN = ["train", "--row", "table_2.detail", "--scale", "smoke", "--accelerator", "cpu", "--workers", "0"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "bisenet"]
ALONE = [sys.executable, "-m", "bisenet"]
SRUN = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "a", "SLURM_NODEID": "0", "SLURM_NNODES": "1"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With an `srun` to be found, as on the machines of a cluster, of which Lightning warns where it is not used."""
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    changes = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "BISENET_RESULTS": str(tmp_path / "results")}
    return {**os.environ, **changes, "OMP_NUM_THREADS": "1"}


def said(command: list[str], environment: dict[str, str], timeout: int = 500) -> tuple[int, list[str]]:
    """The exit code, and the lines of both outputs as one, but those of torchrun itself."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": timeout}
    done = subprocess.run(command, env=environment, **how)
    return done.returncode, [line for line in done.stdout.splitlines() if line.strip()]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


MANY = """
import sys
from bisenet.execution import Execution
from bisenet.runs.many import needed, train_side_by_side
run = needed(["table_2"], "camvid", "smoke", [0])[:1]
train_side_by_side(run, [""], sys.argv[1], Execution(accelerator="cpu", devices=2, workers=0))
"""
SAID = {  # by who starts two processes: the command, and how lines begin that are to be there
    "torchrun": (
        [*TORCHRUN, *TRAIN, "--dataset", "camvid", "--data-root"],
        ["warning: camvid is not the whole", "train+val (training): looked at", "iteration 6/6", "mIoU", "weights: "],
    ),
    "batch": ([sys.executable, "-c", MANY], ["training 1 runs", "iteration 6/6", "table_2.detail-camvid-smoke"]),
    "--devices": (
        [*ALONE, "rehearse", *TRAIN[1:], "--devices", "2", "--dataset"],
        ["a step of", "camvid: 6 embedded", "iteration", "2 iterations in", "at this pace", "peak memory"],
    ),
}


@pytest.mark.parametrize("launcher", SAID)
def test_what_two_processes_say_is_said_once(launcher: str, environment: dict[str, str], tmp_path: Path) -> None:
    miniature.make("camvid", tmp_path / "camvid", {"train": 4, "val": 1, "test": 1})
    command, beginnings = SAID[launcher]
    code, lines = said([*command, "camvid" if launcher == "--devices" else str(tmp_path / "camvid")], environment)
    assert code == 0 and not [line for line, times in Counter(lines).items() if times > 1], lines
    for beginning in beginnings:
        assert any(beginning in line for line in lines), (beginning, lines)
    assert not [line for line in lines if "srun" in line or "Initializing" in line], lines


@pytest.mark.parametrize(
    ("launcher", "words", "message"),
    [
        (TORCHRUN, [*TRAIN[:2], "table_2.detial"], "did you mean 'table_2.detail'"),  # before they meet
        (ALONE, [*TRAIN, "--devices", "2", "--set", "batch=3"], "batch 3 is not divisible by 2 devices"),
    ],
)
def test_an_error_of_two_processes_is_told_once(
    launcher: list[str], words: list[str], message: str, environment: dict[str, str]
) -> None:
    code, lines = said([*launcher, *words], environment)
    told = [line for line in lines if line.startswith("python -m bisenet")]
    assert code == 1 and len(told) == 1 and message in told[0], lines


# The first of two processes fails alone, and the other waits for it as with NCCL, which does not notice.
FIRST_FAILS = """
import sys, time
import torch
from bisenet.__main__ import main
from bisenet.runs import memory

def check(model, training, accumulation, fabric):
    if fabric.is_global_zero:
        raise torch.OutOfMemoryError("CUDA out of memory")
    time.sleep(200)

memory.check = check
sys.exit(main(sys.argv[1:]))
"""


def test_an_error_of_the_first_process_alone_ends_both(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text(FIRST_FAILS)
    command = [sys.executable, str(tmp_path / "alone.py"), *TRAIN, "--devices", "2"]
    code, lines = said(command, environment, timeout=120)  # until nobody can say anything any more
    told = [line for line in lines if line.startswith("python -m bisenet")]
    assert code == 1 and len(told) == 1 and "train: out of memory (CUDA out of memory)" in told[0], lines


def test_a_process_does_not_count_where_another_cannot_read_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two could not; the second would wait for its counts."""

    def gather(errors: list[Exception | None], own: Exception | None) -> None:
        errors[:] = [ValueError("0.png: label id 77"), own]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(training, "evaluate_by_place", lambda *_: torch.zeros(2, 19, 19))
    second: Any = SimpleNamespace(global_rank=1, world_size=2, is_global_zero=False, device=torch.device("cpu"))
    nothing: Any = []
    with pytest.raises(SaidByFirstError):
        training._tested(paper.recipe("streets", "smoke"), nothing, nothing, second)


def test_a_command_that_one_process_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["plan", "--only", "table_2"]) == 1
    assert "this is one of 2 processes (WORLD_SIZE in the environment), and plan takes one" in capsys.readouterr().err


def test_a_task_of_slurm_for_two_devices_is_an_error_of_one_line(environment: dict[str, str]) -> None:
    task = {**SRUN, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    code, lines = said([*ALONE, *TRAIN, "--devices", "2"], environment | task)
    assert code == 1 and len(lines) == 1, lines
    assert "asked for 2 devices on 1 machines, there are 1 processes; under Slurm start a task for each" in lines[0]


def test_the_last_of_four_tasks_of_slurm_that_train_by_themselves(environment: dict[str, str]) -> None:
    task = {**SRUN, "SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3"}
    code, lines = said([*ALONE, *TRAIN], environment | task)
    assert code == 0 and "iteration 6/6" in lines[0] and lines[-1].startswith("weights: "), lines
    assert "mIoU" in lines[-3] and not [line for line in lines if "warning" in line], lines


def test_two_tasks_of_slurm_train_as_one_without_a_number_for_each_machine(environment: dict[str, str]) -> None:
    """`srun --ntasks 2`; Fabric by itself wants --ntasks-per-node."""
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "SLURM_NTASKS": "2"}
    tasks = [{**SRUN, **place, "SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)} for number in range(2)]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [*ALONE, *TRAIN, "--devices", "2"]
    both = [subprocess.Popen(command, env=environment | task, **how) for task in tasks]
    first, second = (process.communicate(timeout=500)[0] for process in both)
    assert "iteration 6/6" in first and "weights: " in first and not second.strip(), (first, second)
    (record,) = Path(environment["BISENET_RESULTS"]).glob("runs/*/record.json")
    assert Record.load(record).processes[0]["world_size"] == 2


def test_alone_among_several_is_alone(environment: dict[str, str]) -> None:
    """As a process of torchrun whose other one never comes."""
    group = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    group |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "none"}
    code = """
import torch
from bisenet.execution import Execution
from bisenet.runs import memory
fabric = Execution(accelerator="cpu", devices=2).alone()
print(fabric.world_size, fabric.is_global_zero, memory.free(fabric) is None, torch.distributed.is_initialized())
"""
    done, lines = said([sys.executable, "-c", code], environment | group)
    assert done == 0 and lines[-1] in ("1 True False False", "1 True True False"), lines
