"""The schedule, and a training that survives being killed."""

import dataclasses
import functools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bisenet import paper
from bisenet.data import open_dataset
from bisenet.execution import Execution
from bisenet.files import read_safetensors, write_safetensors
from bisenet.model import BiSeNetV2
from bisenet.runs.testing import evaluate_file
from bisenet.samples import Samples
from bisenet.train import LossNotFiniteError, TrainConfig, fit, learning_rate, make_optimizer

SMOKE = dataclasses.replace(paper.recipe("streets", "smoke"), ohem=False)
SCRIPTS = Path(__file__).parent / "scripts"
HERE = Execution(accelerator="cpu", precision="32-true", workers=0)
TRAIN = [sys.executable, "-m", "bisenet", "train", "--scale", "smoke", "--accelerator", "cpu", "--workers", "0"]
LAUNCH = [sys.executable, "-m", "torch.distributed.run"]
OFTEN = ["--set", "iterations=24", "--checkpoint-seconds", "0"]  # checkpoints, in a run that can be killed


def environment(results: Path) -> dict[str, str]:
    return {**os.environ, "BISENET_RESULTS": str(results), "OMP_NUM_THREADS": "1"}


def train_set():
    return open_dataset("streets", "train", size=SMOKE.image_size)


def test_schedule_and_weight_decay():
    config = paper.recipe("camvid", "paper")
    assert learning_rate(0, config) == 5e-2
    assert learning_rate(5_000, config) == pytest.approx(5e-2 * 0.5**0.9)
    model = BiSeNetV2()
    decayed, free = make_optimizer(model, config).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (5e-4, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d)}
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_warm_up_rises_in_a_line_to_the_schedule():
    config = dataclasses.replace(paper.recipe("camvid", "paper"), warmup=100)
    assert learning_rate(0, config) == pytest.approx(5e-2 / 100)
    assert learning_rate(49, config) == pytest.approx(0.5 * 5e-2 * (1 - 49 / 10_000) ** 0.9)
    assert learning_rate(5_000, config) == learning_rate(5_000, paper.recipe("camvid", "paper"))


def test_adamw_decays_what_sgd_decays():
    """Without gradients AdamW only decays: weights of convolutions by 1 - lr * decay, nothing else."""
    config = dataclasses.replace(SMOKE, optimizer="adamw", lr=0.1, weight_decay=0.5)
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(model, config).step()
    for parameter, was, factor in zip(model.parameters(), before, (0.95, 1, 1, 1), strict=True):
        torch.testing.assert_close(parameter.detach(), factor * was)


def test_training_learns_four_scenes():
    torch.manual_seed(0)
    config = dataclasses.replace(SMOKE, iterations=60, train_images=4, scales=(1.0,), flip=False, lr=0.02)
    losses = fit(BiSeNetV2(), train_set(), config, execution=HERE).losses
    assert losses[-5:].mean() < 0.5 * losses[:5].mean()


def test_a_gpu_is_fed_by_its_share_of_the_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    shares = {1: 15, 4: 3, 16: 1, 32: 1}
    assert {n: Execution("cuda", devices=n).resolved_workers for n in shares} == shares
    assert [Execution("cpu", devices=2, workers=n).resolved_workers for n in (-1, 0, 5)] == [1, 0, 5]
    assert Execution("cuda", workers=20).resolved_workers == 20
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # torchrun's
    assert Execution("cuda").resolved_workers == 7
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(128)))
    assert Execution("cuda").resolved_workers == 16
    with pytest.raises(ValueError, match="workers is -2, it must be at least -1"):
        Execution(workers=-2)


def test_samples_depend_on_seed_and_number_alone():
    samples, again, other = (Samples(train_set(), SMOKE.augmentation, seed) for seed in (0, 0, 1))
    images = {bytes(samples[n][0]) for n in range(24)}
    assert len(images) == 24  # no sample twice, in three epochs over eight scenes
    assert bytes(again[17][0]) == bytes(samples[17][0]) != bytes(other[17][0])


def test_loss_that_is_not_finite_stops_the_run_and_names_the_iteration(tmp_path):
    torch.manual_seed(0)
    config = dataclasses.replace(SMOKE, lr=1e30)
    with pytest.raises(LossNotFiniteError, match=r"at iteration [1-5]"):
        fit(BiSeNetV2(), train_set(), config, execution=HERE, checkpoint=tmp_path / "c.safetensors")
    assert not list(tmp_path.iterdir())  # a broken network is not saved


def test_checkpoint_of_another_configuration_or_truncated(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    small = dataclasses.replace(SMOKE, iterations=2)
    fit(BiSeNetV2(), train_set(), small, execution=HERE, seed=0, checkpoint=path)
    with pytest.raises(ValueError, match="another configuration, booster_weight, seed differ"):
        other = dataclasses.replace(small, booster_weight=0.5)
        fit(BiSeNetV2(), train_set(), other, execution=HERE, seed=1, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"checkpoint.safetensors is truncated"):
        fit(BiSeNetV2(), train_set(), small, execution=HERE, seed=0, checkpoint=path)


def test_batch_must_divide_by_devices_and_crop_must_fit():
    with pytest.raises(ValueError, match="batch is 0"):
        TrainConfig(1, (8, 8), (8, 8), (8, 8), (8, 8), batch=0)
    with pytest.raises(ValueError, match="larger than the image"):
        _ = dataclasses.replace(SMOKE, crop=(512, 512)).augmentation


def test_killed_run_ends_like_an_uninterrupted_one(tmp_path):
    command = [*TRAIN, "--checkpoint-seconds", "0", "--set", "iterations=30", "optimizer=adamw", "warmup=5", "lr=0.001"]
    subprocess.run(command, env=environment(tmp_path / "whole"), check=True, capture_output=True)
    process = subprocess.Popen(command, env=environment(tmp_path / "killed"), stdout=subprocess.DEVNULL)
    while not (found := list(tmp_path.glob("killed/runs/*/checkpoint.safetensors"))):
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = read_safetensors(found[0])[1]["iteration"]
    assert reached in (1, 10, 20)
    subprocess.run(command, env=environment(tmp_path / "killed"), check=True, capture_output=True)
    whole, killed = (next((tmp_path / name).glob("runs/*/record.json")) for name in ("whole", "killed"))
    assert (whole.parent / "weights.safetensors").read_bytes() == (killed.parent / "weights.safetensors").read_bytes()
    first, second = (json.loads(path.read_text()) for path in (whole, killed))
    assert first["confusion"] == second["confusion"]
    assert first["losses"] == second["losses"]


def test_two_processes_asking_for_one_run_train_it_once(tmp_path):
    command = [*TRAIN, "--set", "iterations=20"]
    both = [subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("iteration 20/20" in output for output in outputs) == 1
    assert all("mIoU" in output for output in outputs)


def test_two_processes_give_the_gradients_of_one(tmp_path):
    """Same global batch, ignored pixels unevenly spread, batch normalisation on fixed statistics."""
    kept = ("none", "0.1", "0.99")  # no OHEM; the threshold decides; the share decides
    for name, launcher in (("one", [sys.executable]), ("two", [*LAUNCH, "--standalone", "--nproc-per-node", "2"])):
        command = [*launcher, SCRIPTS / "gradients.py", tmp_path / name, *kept]
        subprocess.run(command, env=environment(tmp_path), check=True, capture_output=True)
    for keep in kept:
        one, two = (read_safetensors(tmp_path / name / keep)[0] for name in ("one", "two"))
        assert one.keys() == two.keys()
        for name in one:
            assert torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-5 * one[name].abs().max()), (keep, name)


def train_with_two(results: Path, *more: str) -> Path:
    """Two processes of one machine, by torchrun; gives the folder of their run."""
    command = [*LAUNCH, "--standalone", "--nproc-per-node", "2", "-m", *TRAIN[2:], *more]
    subprocess.run(command, env=environment(results), check=True, capture_output=True)
    return next(results.glob("runs/*/record.json")).parent


@pytest.fixture(scope="module")
def run_of_two(tmp_path_factory) -> Path:
    """Of two processes that are left alone."""
    return train_with_two(tmp_path_factory.mktemp("two"), *OFTEN)


def assert_trained_by_two(run: Path, accumulation: int) -> None:
    record = json.loads((run / "record.json").read_text())
    assert record["processes"][0]["world_size"] == 2
    assert record["processes"][0]["accumulation"] == accumulation
    assert np.isfinite(record["losses"]["loss"]).all()
    assert 0 < np.sum(record["confusion"]) <= 4 * 128 * 256  # each of the four test images counted once
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each process had: otherwise sums differ in their last bits
    try:
        matrix = evaluate_file(run / "weights.safetensors", TrainConfig(**record["training"]), "streets", None)
    finally:
        torch.set_num_threads(threads)
    assert matrix.tolist() == record["confusion"]


def test_train_command_under_torchrun(run_of_two):
    assert_trained_by_two(run_of_two, accumulation=1)


def test_train_command_under_torchrun_with_batches_in_parts(tmp_path):
    assert_trained_by_two(train_with_two(tmp_path, "--accumulation", "2", "--set", "batch=8"), accumulation=2)


def nodes(folder: Path, *more: str, first: Callable[[], None] | None = None) -> list[subprocess.Popen[str]]:
    """Two machines in small: a process each, with results of its own; `first` is called in that of the first."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    launcher = [*LAUNCH, "--nnodes", "2", "--nproc-per-node", "1"]
    launcher += ["--master-addr", "localhost", "--master-port", str(port), "--node-rank"]
    both = [([*launcher, str(n), "-m", *TRAIN[2:], *more], environment(folder / f"node{n}")) for n in range(2)]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return [
        subprocess.Popen(command, env=env, preexec_fn=begin, **how)
        for (command, env), begin in zip(both, (first, None), strict=True)
    ]


def test_two_machines_without_a_common_disk(run_of_two, tmp_path):
    """Killed, gone on with, and compared with two processes that were left alone."""
    both = nodes(tmp_path, *OFTEN)
    while not list(tmp_path.glob("node0/runs/*/checkpoint.safetensors")):
        assert all(process.poll() is None for process in both), both[0].communicate()
        time.sleep(0.05)
    for process in both:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not list(tmp_path.glob("node*/runs/*/record.json"))
    both = nodes(tmp_path, *OFTEN)
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    (weights,) = tmp_path.glob("node0/runs/*/weights.safetensors")
    whole, parts = (read_safetensors(path)[0] for path in (run_of_two / weights.name, weights))
    assert all(torch.allclose(whole[name].float(), parts[name].float(), rtol=1e-5, atol=1e-6) for name in whole)
    assert not list(tmp_path.glob("node*/runs/*/checkpoint.safetensors"))
    both = nodes(tmp_path, *OFTEN)  # the record of the first holds for the second
    assert "found, not trained again" in both[0].communicate(timeout=300)[0] and both[1].wait(300) == 0


def test_an_error_of_one_machine_stops_both_with_one_message(tmp_path):
    (tmp_path / "node1").write_text("no folder")
    both = nodes(tmp_path)
    said = [process.communicate(timeout=300)[1] for process in both]
    assert all(process.returncode for process in both)
    assert sum(text.count("python -m bisenet train: cannot write to") for text in said) == 1, said


def test_a_disk_that_is_full_in_mid_training_stops_both_with_one_message(tmp_path):
    """The first machine's, which takes no file of more than 4 MiB: a checkpoint has ten times as much."""
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (2**22, 2**22))
    both = nodes(tmp_path, "--set", "iterations=12", "--checkpoint-seconds", "0", first=limit)
    said = [process.communicate(timeout=300)[1] for process in both]
    assert all(process.returncode for process in both)
    lines = [line for text in said for line in text.splitlines() if "python -m bisenet train: " in line]
    assert len(lines) == 1 and "cannot write" in lines[0] and "checkpoint.safetensors" in lines[0], said
    assert not list(tmp_path.glob("node*/runs/*/*.safetensors*"))


def test_full_disk_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {"a": torch.zeros(3)}, {"n": 1})
    failed = subprocess.run([sys.executable, SCRIPTS / "full_disk.py", path], capture_output=True, text=True)
    assert "OSError: cannot write" in failed.stderr
    tensors, metadata = read_safetensors(path)
    assert (metadata["n"], len(tensors["a"]), list(tmp_path.iterdir())) == (1, 3, [path])
