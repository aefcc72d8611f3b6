"""From a row to a finished run: find its record, or train it and write one.

A run is identified by what defines its numbers: data set, seed, model and training configuration. Records live
in two places: `results/records/` holds those that came with the repository, and `results/runs/` yours. Reading
(`train = False`) shows the former, reproducing (`train = True`) trusts only the latter.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from lightning.fabric import Fabric

from bisenet import memory, paper
from bisenet.backbones import imagenet_weights, load_imagenet
from bisenet.boundaries import RADIUS
from bisenet.config import plain
from bisenet.data import DATASETS, PairDataset, open_dataset
from bisenet.data.cityscapes import Cityscapes
from bisenet.evaluate import evaluate, evaluate_by_place, export
from bisenet.files import write_json
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.origin import REPOSITORY, describe_device, git_state, versions
from bisenet.train import Execution, TrainConfig, Watcher, fit, synchronises
from bisenet.transfer import carry_over, fingerprint

Record = dict[str, Any]

# Part of every run's identity; raised when a change of the code makes runs differ that are configured alike.
FORMAT = 3


def results_folder() -> Path:
    """`results/` in the repository, or where the environment variable BISENET_RESULTS points."""
    return Path(os.environ.get("BISENET_RESULTS", REPOSITORY / "results"))


def output_folder(dataset: str, scale: str) -> Path:
    """Where the notebooks that were executed as a batch go, and their tables."""
    return results_folder() / "reproduced" / f"{dataset}-{scale}"


def records_folder() -> Path:
    """Records that came with the repository."""
    return REPOSITORY / "results" / "records"


@dataclasses.dataclass(frozen=True)
class Run:
    """One row x data set x scale x seed, and `base`, the run with whose weights it begins, if any."""

    row: str
    dataset: str
    scale: str
    seed: int
    model: ModelConfig
    training: TrainConfig
    base: Run | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What two runs share if and only if they are the same experiment."""
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "seed": self.seed,
            "model": plain(self.model),
            "training": plain(self.training),
        }

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        return f"{self.row}-{self.dataset}-{self.scale}-seed{self.seed}-{self.hash}"


def plan(row: paper.Row, dataset: str, scale: str, seed: int) -> Run:
    """The run of a row; ValueError for an unknown data set or scale, or a negative seed.

    A row with a base (Table 8, marked *) begins with the weights of that row's run at the same scale and seed. Its
    hash holds that of the other run, not of a file: its record is found where the weights are not.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}, it must not be negative")
    base = plan(paper.row(row.base), row.pretrained_on, scale, seed) if row.base else None
    changes = {**row.training, "initial": base.hash if base else ""}
    training = dataclasses.replace(paper.recipe(dataset, scale), **changes)
    model = dataclasses.replace(row.model, num_classes=len(DATASETS[dataset].classes))
    return Run(row.id, dataset, scale, seed, model, training, base)


def words(run: Run) -> list[str]:
    """The words after `python -m bisenet` that train a run of a row."""
    return ["train", "--row", run.row, "--dataset", run.dataset, "--scale", run.scale, "--seed", str(run.seed)]


def find(run: Run, mine: bool) -> Record | None:
    """The record of a run, by its hash: among yours, or among those that came with the repository."""
    path = record_path(run, mine)
    return json.loads(path.read_text()) if path else None


def record_path(run: Run, mine: bool) -> Path | None:
    """The file of that record."""
    pattern = f"runs/*-{run.hash}/record.json" if mine else f"*-{run.hash}.json"
    return min((results_folder() if mine else records_folder()).glob(pattern), default=None)


def weights_path(run: Run, mine: bool = True) -> Path:
    """Where the weights of your run are, once it is recorded; or those that came with the repository, if any did."""
    if mine:
        return _folder(run) / "weights.safetensors"
    return min(records_folder().glob(f"*-{run.hash}.safetensors"), default=records_folder() / f"{run.name}.safetensors")


def _folder(run: Run) -> Path:
    """The folder of a run: by its hash if there is one, whatever the row was called when it began."""
    folders = results_folder() / "runs"
    return next((path for path in folders.glob(f"*-{run.hash}") if path.is_dir()), folders / run.name)


def get(
    run: Run,
    *,
    data_root: str | Path | None = None,
    weights: str | Path | None = None,
    execution: Execution | None = None,
    watch: Watcher | None = None,
) -> Record:
    """The record of a run of yours: found, or else trained (or taken up where it was interrupted).

    `weights` is the file with which a run begins whose `training.initial` says so (`bisenet.transfer`); those of a
    base are found. A second process that asks for the same run waits until the first is done and then finds its record.
    """
    execution = execution or Execution()
    if not execution.several and (record := find(run, mine=True)):
        return _of_these_files(record, run, data_root)
    run.training.augmentation  # noqa: B018, a crop that does not fit is an error before anything is written
    if run.training.pretrained:
        imagenet_weights(run.model.backbone)  # so are weights that are not there
    if run.base:
        if missing := lacks(run):
            raise ValueError(f"{run.name} cannot begin. {missing}")
        weights = weights_path(run.base)
    elif run.training.initial != (fingerprint(weights) if weights else ""):
        raise ValueError(f"{run.name} begins with the weights {run.training.initial or 'of nobody'}, given: {weights}")
    train_set, test_set = datasets(run, data_root)
    check_writable(_folder(run))
    fabric = execution.fabric()
    with _alone(run, fabric):
        if record := find(run, mine=True):
            return _of_these_files(record, run, data_root)
        return _train(run, execution, fabric, (train_set, test_set), weights, watch)


def _of_these_files(record: Record, run: Run, data_root: str | Path | None) -> Record:
    """The record, if it is of the same kind of files as those in `data_root`, and of as many; or if none are there."""
    try:
        source = _source(*datasets(run, data_root))
    except FileNotFoundError:
        if data_root:
            raise
        return record
    if source != record["source"]:
        raise ValueError(
            f"{run.name} is recorded from: {record['source']}; there is now: {source}; set BISENET_RESULTS to another "
            "folder to run it on both"
        )
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


def collect(
    rows: Iterable[paper.Row], dataset: str, scale: str, seeds: Iterable[int], *, train: bool, **options: Any
) -> dict[str, list[Record]]:
    """Records by row id, one for each seed that has any; with `train` missing ones are trained (`get`).

    A row that begins with weights is left out, with the reason, where these are not on this machine (`lacks`).
    """
    runs = {row.id: [plan(row, dataset, scale, seed) for seed in seeds] for row in rows}
    if train:
        records = {id: [_announced(run, **options) for run in of_row] for id, of_row in runs.items()}
    else:
        records = {id: [find(run, mine=False) for run in of_row] for id, of_row in runs.items()}
    return {id: [record for record in of_row if record] for id, of_row in records.items()}


def _announced(run: Run, **options: Any) -> Record | None:
    recorded = find(run, mine=True)
    if not recorded and (missing := lacks(run)):
        print(f"{run.name}: not run. {missing}", flush=True)
        return None
    print(f"{run.name}: {'recorded' if recorded else 'training'}", flush=True)
    return get(run, **options)


def lacks(run: Run) -> str:
    """Why a run cannot begin with the weights that it should begin with on this machine, or nothing."""
    if run.base and run.base.dataset == run.dataset:
        return f"It begins with weights from {run.dataset}, so it is for other data sets."
    if run.base and not weights_path(run.base).is_file():
        return f"It begins with weights that are not there: python -m bisenet {' '.join(words(run.base))}"
    try:
        if run.training.pretrained:
            imagenet_weights(run.model.backbone)
    except FileNotFoundError as error:
        return str(error)
    return ""


def check_writable(folder: Path) -> None:
    """Notice a read-only or full disk before hours of training, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"probe.{os.getpid()}"
        probe.write_bytes(bytes(1 << 20))
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"cannot write to {folder} ({error.strerror}); free some space, or set BISENET_RESULTS to another folder"
        ) from error


@contextlib.contextmanager
def _alone(run: Run, fabric: Fabric) -> Iterator[None]:
    """One process at a time; the lock goes with the process, even if it is killed.

    A group of processes does not wait for another, since those behind its first would run into a time limit.
    """
    lock = FileLock(results_folder() / "runs" / f"{run.hash}.lock")
    try:
        if fabric.is_global_zero:
            lock.acquire(timeout=0)
    except Timeout:
        if fabric.world_size > 1:
            raise OSError(f"another process trains {run.name}; wait until it is done") from None
        print(f"{run.name}: waiting for another process that trains it", flush=True)
        lock.acquire()
    try:
        fabric.barrier()
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
    process = {**_resolved(execution, fabric), "device": describe_device(fabric.device), "versions": versions()}
    process["git"] = git_state()  # of the code that is running; the tree may change meanwhile
    memory.check(run.model, run.training, execution.accumulation, fabric)
    model, initial = _beginning(run, weights)
    if initial and fabric.is_global_zero:
        print(f"{weights}: {initial}", flush=True)
    checkpoint = _folder(run) / "checkpoint.safetensors"
    options: dict[str, Any] = {"checkpoint": checkpoint, "watch": watch, "process": process}
    fitted = fit(model, train_set, run.training, execution, fabric, seed=run.seed, **options)
    if fabric.is_global_zero:  # before anything else can fail
        model.save(_folder(run) / "weights.safetensors")
    began = time.monotonic()
    images = _used(test_set, run.training.test_images)
    share = range(fabric.global_rank, images, fabric.world_size)
    what = (model, test_set, run.training.test_size, fabric.device, share, run.training.protocol)
    near, far = fabric.all_reduce(evaluate_by_place(*what), reduce_op="sum")
    record = {
        **{"hash": run.hash, "row": run.row, "scale": run.scale, **run.identity},
        "initial": initial,
        "source": _source(train_set, test_set),
        "images": {"train": _used(train_set, run.training.train_images), "test": images},
        "confusion": (near + far).tolist(),
        "near_boundaries": {"radius": RADIUS, "confusion": near.tolist()},
        "losses": thin(fitted.losses),
        "seconds": {"train": round(fitted.seconds, 1), "evaluate": round(time.monotonic() - began, 1)},
        "processes": fitted.processes,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    if fabric.is_global_zero:
        write_json(_folder(run) / "record.json", record)
        checkpoint.unlink()
    fabric.barrier()
    return record


def _beginning(run: Run, weights: str | Path | None) -> tuple[BiSeNetV2, str]:
    """The network before the first iteration, and what was carried over from a weights file."""
    torch.manual_seed(run.seed)
    model = BiSeNetV2(run.model)
    model.classes, model.seen_at = DATASETS[run.dataset].classes, run.training.test_size
    if run.training.pretrained and model.semantic:
        load_imagenet(model.semantic, run.model.backbone)
    return model, f"{carry_over(model, weights)}; from {fingerprint(weights)}" if weights else ""


def _used(dataset: PairDataset, limit: int | None) -> int:
    return min(len(dataset), limit or len(dataset))


def test(weights: Path, recipe: TrainConfig, dataset: str, data_root: str | Path | None) -> np.ndarray:
    """Confusion matrix of a weights file by the protocol of a recipe, on its test split.

    ValueError if the network has other classes than the data set.
    """
    model, device = load_for(weights, dataset)
    test_set = open_dataset(dataset, recipe.test_split, root=data_root, size=recipe.image_size)
    images = range(_used(test_set, recipe.test_images))
    return evaluate(model, test_set, recipe.test_size, device, images, recipe.protocol).cpu().numpy()


def predictions(weights: Path, recipe: TrainConfig, data_root: str | Path | None, folder: Path) -> list[Path]:
    """Write the class maps of a split of Cityscapes for its test server (`evaluate.export`)."""
    model, device = load_for(weights, "cityscapes")
    dataset = open_dataset("cityscapes", recipe.test_split, root=data_root)
    assert isinstance(dataset, Cityscapes)
    return export(model, dataset, recipe.test_size, device, folder, recipe.protocol)


def load_for(weights: str | Path, dataset: str) -> tuple[BiSeNetV2, torch.device]:
    """A network on the GPU, if there is one, and that device; ValueError if its classes are not those of a data set."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, classes = BiSeNetV2.load(weights).to(device), DATASETS[dataset].classes
    if model.config.num_classes != len(classes):
        raise ValueError(f"the network has {model.config.num_classes} classes, {dataset} has {len(classes)}")
    for number, pair in enumerate(zip(model.classes, classes, strict=False)):
        if pair[0].casefold() != pair[1].casefold():
            raise ValueError(f"class {number} of the network is {pair[0]!r}, that of {dataset} is {pair[1]!r}")
    return model, device


def _resolved(execution: Execution, fabric: Fabric) -> dict[str, Any]:
    return {
        **plain(execution),
        "precision": execution.resolved_precision,
        "world_size": fabric.world_size,
        "synchronised_batch_norm": synchronises(fabric),
        "threads": torch.get_num_threads(),
    }


def thin(losses: np.ndarray, points: int = 200) -> dict[str, list[float]]:
    """The loss curve as means over at most `points` stretches: `iteration` (the last of a stretch) and `loss`."""
    stretches = np.array_split(losses.astype(np.float64), min(points, len(losses)))
    ends = np.cumsum([len(stretch) for stretch in stretches])
    return {"iteration": ends.tolist(), "loss": [round(float(stretch.mean()), 5) for stretch in stretches]}
