"""From a run to its record: find it, or train the network and write one."""

import contextlib
import dataclasses
import datetime
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from torch import Tensor

from bisenet.checkpoint import Fitted
from bisenet.config import plain
from bisenet.data import DATASETS, check, open_dataset
from bisenet.data.cache import decoded
from bisenet.data.info import FilePairs
from bisenet.data.places import check_writable
from bisenet.dataset import PairDataset
from bisenet.execution import Execution, first_decides, synchronises
from bisenet.model import BiSeNetV2
from bisenet.runs import memory
from bisenet.runs.boundaries import RADIUS
from bisenet.runs.plan import FORMAT, Run, words
from bisenet.runs.provenance import describe_device, git_state, versions
from bisenet.runs.record import Record
from bisenet.runs.store import results_folder, run_folder, yours
from bisenet.runs.testing import evaluate_by_place, used_images
from bisenet.runs.together import all_or_none, share_file
from bisenet.runs.transfer import carry_over, fingerprint, imagenet_weights, load_imagenet
from bisenet.train import Progress, TrainConfig, Watcher, fit

LOOKED_AT = 50  # images of either set before the first iteration; `python -m bisenet check` looks at all
OTHER_FILES = "set BISENET_RESULTS to another folder to run it on these, or move its folder away: {}"


def find_or_train(
    run: Run,
    *,
    data_root: str | Path | None = None,
    weights: str | Path | None = None,
    execution: Execution | None = None,
    watch: Watcher | None = None,
    wait: bool = True,
) -> Record:
    """The record of a run of yours: found, or else trained (or taken up where it was interrupted).

    `weights` is the file with which a run begins whose `training.initial` says so (`bisenet.runs.transfer`); those of a
    base are found. A second process that asks for the same run waits until the first is done and then finds its record,
    or without `wait` is told so by an OSError.
    """
    execution = execution or Execution()
    if not execution.several and (record := yours().find(run)):
        return _of_these_files(record, run, data_root)
    fabric = execution.fabric()
    sets, weights = all_or_none(fabric, lambda: _prepared(run, data_root, weights))
    with exclusive(run, fabric, wait):
        if record := first_decides(fabric, lambda: yours().find(run)):
            return first_decides(fabric, lambda: _of_these_files(record, run, data_root))
        share_file(fabric, _checkpoint(run))
        try:
            return _train(run, execution, fabric, sets, weights, watch)
        finally:
            with contextlib.suppress(OSError):  # the folder of a training that was refused is empty; others stay
                run_folder(run).rmdir()


def _prepared(
    run: Run, data_root: str | Path | None, weights: str | Path | None
) -> tuple[tuple[PairDataset, PairDataset], str | Path | None]:
    """The sets of a run and the weights that it begins with; what is missing is an error before anything is written."""
    run.training.augmentation  # noqa: B018, a crop that does not fit
    if run.training.pretrained:
        imagenet_weights(run.model.backbone)
    if run.base:
        if missing := lacks(run):
            raise ValueError(f"{run.name} cannot begin. {missing}")
        weights = yours().weights_path(run.base)
    elif run.training.initial != (fingerprint(weights) if weights else ""):
        wanted = run.training.initial or "of nobody"
        raise ValueError(f"{run.name} begins with the weights {wanted}, given: {weights}; name their file by --weights")
    sets = datasets(run, data_root)
    check_writable(run_folder(run))
    return sets, weights


def _checkpoint(run: Run) -> Path:
    return run_folder(run) / "checkpoint.safetensors"


def _of_these_files(record: Record, run: Run, data_root: str | Path | None) -> Record:
    """The record, if it is of the files in `data_root`, or if none are there; ValueError if it is of others."""
    try:
        sets = datasets(run, data_root)
    except FileNotFoundError:
        if data_root:
            raise
        return record
    source, now = _source(*sets), _files(*sets)
    advice = OTHER_FILES.format(run_folder(run))
    if source != record.source:
        raise ValueError(f"{run.name} is recorded from: {record.source}; there is now: {source}; {advice}")
    if record.files and record.files != now:
        said = f"was recorded on {record.date[:10]}; since then an image or a label file has changed, or the folder"
        raise ValueError(f"{run.name} {said}; {advice}")
    return record


def datasets(run: Run, data_root: str | Path | None) -> tuple[PairDataset, PairDataset]:
    """Training and test set of a run."""
    training = run.training
    splits = (training.train_split, training.test_split)
    first, second = (open_dataset(run.dataset, s, root=data_root, size=training.image_size) for s in splits)
    if not (first.labelled and second.labelled):
        raise ValueError(f"{run.dataset} keeps the labels of test to itself: train and evaluate on other splits")
    return first, second


def _source(train_set: PairDataset, test_set: PairDataset) -> str:
    """What kind of files both sets are, and how many are there if not all."""
    return "; ".join(dict.fromkeys((train_set.source, test_set.source)))


def _files(train_set: PairDataset, test_set: PairDataset) -> str:
    """Fingerprints of the files of both sets, "" where none are read."""
    return " ".join(filter(None, (getattr(each, "fingerprint", "") for each in (train_set, test_set))))


def lacks(run: Run) -> str:
    """Why a run cannot begin with the weights that it should begin with on this machine, or nothing."""
    if run.base and run.base.dataset == run.dataset:
        return f"It begins with weights from {run.dataset}, so it is for other data sets."
    if run.base and not yours().weights_path(run.base).is_file():
        return f"It begins with weights that are not there: python -m bisenet {' '.join(words(run.base))}"
    try:
        if run.training.pretrained:
            imagenet_weights(run.model.backbone)
    except FileNotFoundError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def exclusive(run: Run, fabric: Fabric, wait: bool = True) -> Iterator[None]:
    """One process at a time; the lock goes with the process, even if it is killed.

    A group of processes does not wait for another, since those behind its first would run into a time limit.
    """
    lock = FileLock(results_folder() / "runs" / f"{run.hash}.lock")

    def acquire() -> None:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if fabric.world_size > 1 or not wait:
                raise OSError(f"another process trains {run.name}; wait until it is done") from None
            print(f"{run.name}: waiting for another process that trains it", flush=True)
            lock.acquire()

    try:
        first_decides(fabric, acquire)
        yield
    finally:
        lock.release()


def _train(
    run: Run,
    execution: Execution,
    fabric: Fabric,
    sets: tuple[PairDataset, PairDataset],
    weights: str | Path | None,
    watch: Watcher | None,
) -> Record:
    train_set, test_set = sets
    workers = all_or_none(fabric, lambda: memory.workers_within(run.training, fabric, execution))
    execution = dataclasses.replace(execution, workers=workers)
    process = {**_resolved(execution, fabric), "device": describe_device(fabric.device), "versions": versions()}
    process["git"] = git_state()  # of the code that is running; the tree may change meanwhile
    memory.check(run.model, run.training, execution.accumulation, fabric)  # in all alike
    first_decides(fabric, lambda: look_at(sets, run.training))
    whole = used_images(train_set, run.training.train_images) == len(train_set)  # a file has the pixels of all images
    shown = all_or_none(fabric, lambda: decoded(train_set)) if whole else train_set
    model, initial = all_or_none(fabric, lambda: _beginning(run, weights))
    if initial and fabric.is_global_zero:
        print(f"{weights}: {initial}", flush=True)
    checkpoint = _checkpoint(run)
    how: dict[str, Any] = {"execution": execution, "fabric": fabric, "checkpoint": checkpoint, "watch": watch}
    fitted = fit(model, shown, run.training, seed=run.seed, process=process, **how)
    first_decides(fabric, lambda: model.save(run_folder(run) / "weights.safetensors"))  # before anything can fail
    began = time.monotonic()
    try:
        near, far = _tested(run.training, model, test_set, fabric)
    except ValueError as error:  # a test image that cannot be read
        raise ValueError(f"{error}; the training is done and kept: mend that, and repeat the command") from error
    record = _record(run, fitted, near, far, sets, initial, time.monotonic() - began)
    first_decides(fabric, lambda: record.save(run_folder(run) / "record.json"))
    checkpoint.unlink(missing_ok=True)
    return record


def look_at(sets: tuple[PairDataset, PairDataset], training: TrainConfig) -> None:
    """Say what is in some images of either set: ValueError for what cannot be right, a warning for what may not be."""
    largest = training.test_size if training.protocol == "padded" else None
    parts = (
        (f"{training.train_split} (training)", training.train_images, None),
        (f"{training.test_split} (test)", training.test_images, largest),
    )
    for dataset, (part, limit, fitting) in zip(sets, parts, strict=True):
        if not isinstance(dataset, FilePairs):
            continue
        size = used_images(dataset, limit)
        found = check.survey(dataset, sorted({k * size // LOOKED_AT for k in range(LOOKED_AT)}), fitting)
        if len(found.occurring) < 2 and not found.faults:  # which of some images may be right
            found = check.survey(dataset, range(len(dataset)))
        name = f"{dataset.info.name} {part}"
        if found.faults:
            command = f"python -m bisenet check --dataset {dataset.info.name} --data-root ..."
            more = f" (and {len(found.faults) - 1} more: {command})"
            raise ValueError(f"{name}: {found.faults[0]}{more if found.faults[1:] else ''}")
        print(f"{name}: looked at {found}", flush=True)
        for doubt in found.doubts:
            warnings.warn(f"{name}: {doubt}", stacklevel=2)


def _record(
    run: Run,
    fitted: Fitted,
    near: Tensor,
    far: Tensor,
    sets: tuple[PairDataset, PairDataset],
    initial: str,
    seconds: float,
) -> Record:
    train_set, test_set = sets
    training = run.training
    return Record(
        hash=run.hash,
        row=run.row,
        scale=run.scale,
        format=FORMAT,
        dataset=run.dataset,
        seed=run.seed,
        model=run.model,
        training=training,
        initial=initial,
        source=_source(train_set, test_set),
        files=_files(train_set, test_set),
        images={
            "train": used_images(train_set, training.train_images),
            "test": used_images(test_set, training.test_images),
        },
        confusion=(near + far).tolist(),
        near_boundaries={"radius": RADIUS, "confusion": near.tolist()},
        losses=thin(fitted.losses),
        seconds={"train": round(fitted.seconds, 1), "evaluate": round(seconds, 1)},
        processes=fitted.processes,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _tested(training: TrainConfig, model: BiSeNetV2, test_set: PairDataset, fabric: Fabric) -> Tensor:
    """Two confusion matrices (2, K, K), near boundaries and elsewhere, of all devices; each tests its share."""
    share = range(fabric.global_rank, used_images(test_set, training.test_images), fabric.world_size)
    how = (training.test_size, fabric.device, share, training.protocol)
    counted = all_or_none(fabric, lambda: evaluate_by_place(model, test_set, *how))
    return cast(Tensor, fabric.all_reduce(counted, reduce_op="sum"))


def _beginning(run: Run, weights: str | Path | None) -> tuple[BiSeNetV2, str]:
    """The network before the first iteration, and what was carried over from a weights file."""
    torch.manual_seed(run.seed)
    model = BiSeNetV2(run.model)
    model.classes, model.seen_at = DATASETS[run.dataset].classes, run.training.test_size
    if run.training.pretrained and model.semantic:
        load_imagenet(model.semantic, run.model.backbone)
    return model, f"{carry_over(model, weights)}; from {fingerprint(weights)}" if weights else ""


def _resolved(execution: Execution, fabric: Fabric) -> dict[str, Any]:
    return {
        **plain(execution),
        "precision": execution.resolved_precision,
        "tf32": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": fabric.device.type == "cuda",
        "world_size": fabric.world_size,
        "synchronised_batch_norm": synchronises(fabric),
        "threads": torch.get_num_threads(),
    }


def thin(losses: np.ndarray) -> dict[str, list[float]]:
    """The loss curve as means over at most 200 stretches: `iteration` (the last of a stretch) and `loss`."""
    stretches = np.array_split(losses.astype(np.float64), min(200, len(losses)))
    ends = np.cumsum([len(stretch) for stretch in stretches])
    return {"iteration": ends.tolist(), "loss": [round(float(stretch.mean()), 5) for stretch in stretches]}


def print_progress(progress: Progress) -> None:
    """One line, rewritten in place in a terminal and written every tenth time elsewhere."""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    line = f"iteration {progress.done}/{progress.iterations}  loss {progress.losses[-10:].mean():.4f}"
    line += f"  {progress.pace:.2f} s/iteration  {minutes}:{seconds:02d} left"
    last = progress.done == progress.iterations
    if sys.stdout.isatty():
        print(f"\r{line}    ", end="\n" if last else "", flush=True)
    elif last or progress.done % 100 == 0:
        print(line, flush=True)
