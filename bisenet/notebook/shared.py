"""What the notebooks share: parameters checked in one place, results to show and to save, a live loss curve."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

from bisenet import paper
from bisenet.config import Size, choose, settle
from bisenet.cost import variant_cost
from bisenet.data import DATASETS, describe, open_dataset
from bisenet.data.miniature import SIZES as MINIATURES
from bisenet.dataset import PairDataset
from bisenet.evaluate import predict
from bisenet.files import SHIPPED_SIZE, SHIPPED_WEIGHTS
from bisenet.inference import engines
from bisenet.model import BiSeNetV2
from bisenet.paper import SCALES, Row
from bisenet.report import ablations, benchmarks, charts
from bisenet.runs.many import find_all, find_or_train_all
from bisenet.runs.plan import Run, plan, words
from bisenet.runs.record import Record
from bisenet.runs.store import output_folder, published, yours
from bisenet.runs.testing import load_for
from bisenet.speed import bench, peers, timings, training_steps, ways
from bisenet.speed.machine import device_here, where_measured
from bisenet.speed.protocol import SpeedRecord
from bisenet.train import Progress

# Networks that are timed in every engine when a notebook asks for it; `python -m bisenet bench` times more.
COMPARED = ("BiSeNetV2", "ENet", "Fast-SCNN", "LR-ASPP")


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The parameters that every notebook has; ValueError says which one is wrong and what it may be."""

    dataset: str = "streets"
    scale: str = "smoke"
    seeds: tuple[int, ...] = (0,)
    train: bool = False
    data_root: str = ""
    weights: str = ""

    def __post_init__(self) -> None:
        settle(self)
        describe(self.dataset, self.data_root)
        choose("scale", self.scale, SCALES)
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            rule = "it must be non-negative integers, each once: two equal runs are no spread"
            raise ValueError(f"seeds is {self.seeds}, {rule} (papermill: -y 'seeds: [0, 1]')")

    @property
    def setting(self) -> str:
        return f"{self.dataset}, {self.scale}"


class LiveCurve:
    """A watcher for `train.fit`: one figure and one status line, updated in place."""

    def __init__(self) -> None:
        self.figure, self.axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
        plt.close(self.figure)  # shown by the handle only
        self.handle = display(self.figure, display_id=True)

    def __call__(self, progress: Progress) -> None:
        self.axes.clear()
        charts.loss_curve(progress.losses, self.axes)
        left = f"{progress.seconds_left:.0f} s left" if progress.seconds_left else "done"
        self.axes.set_title(f"iteration {progress.done} of {progress.iterations}, {left}", fontsize=9)
        self.handle.update(self.figure)


def ablation(rows: Sequence[Row], parameters: Parameters) -> tuple[dict[str, list[Record]], pd.DataFrame]:
    """The records of some rows, by row id, and their table (`ablations.comparison`).

    With `train` what you have not trained yet is trained first. The GFLOPs are counted anew.
    """
    records = collect(rows, parameters)
    gflops = {row.id: variant_cost(row.model).gflops for row in rows}
    return records, ablations.comparison(rows, records, gflops)


def speeds(parameters: Parameters) -> tuple[dict[str, SpeedRecord], dict[str, pd.DataFrame]]:
    """Records of speed and their tables (`timings.measured`), by title: those that came with the repository.

    Of the networks as PyTorch runs them, where the paper's are among them; other engines are in `our_speeds`. With
    `train` all networks are timed now, as long as `bench.EFFORT` has it for the scale. The GFLOPs are counted anew.
    Without any record there is one table that says "not run".
    """
    folder = bench.shipped_folder()
    if parameters.train:
        folder = output_folder(parameters.dataset, parameters.scale) / "speed"
        bench.bench(folder=folder, **bench.EFFORT[parameters.scale])
    own = [network.name for network in peers.NETWORKS if network.ours]  # a machine that timed none says nothing of them
    eager = {title: of for title, of in bench.records(folder).items() if of["engine"] == bench.EAGER}
    records = {title: of for title, of in eager.items() if any(name in of["networks"] for name in own)}
    gflops = {network.name: peers.cost(network).gflops for network in peers.NETWORKS}
    found = records or {"this machine": {"networks": {}}}
    return records, {title: timings.measured(record, gflops) for title, record in found.items()}


def our_speeds(
    parameters: Parameters,
) -> tuple[dict[str, SpeedRecord], dict[str, SpeedRecord], dict[str, SpeedRecord]]:
    """Records that came with the repository: ways to a class map and steps of training by place, networks by title.

    With `train` the ways and the training step are timed now, and each engine on the networks `COMPARED`.
    """
    folder = bench.shipped_folder()
    if parameters.train:
        folder = output_folder(parameters.dataset, parameters.scale) / "engines"
        training_steps.time_steps(folder=folder / "pace", **training_steps.EFFORT[parameters.scale])
        ways.time_ways(folder=folder / "ways", **ways.EFFORT[parameters.scale])
        for engine in (name for name in engines.ENGINES if not engines.why_not(name, "fp32", device_here())):
            bench.bench(COMPARED, engine=engine, folder=folder, **bench.EFFORT[parameters.scale])
    of_ways, of_training = (bench.records(folder / kind, where_measured) for kind in ("ways", "pace"))
    return of_ways, of_training, bench.records(folder)


def collect(rows: Sequence[Row], parameters: Parameters) -> dict[str, list[Record]]:
    """The records of some rows, by row id; with `train` what you have not trained yet is trained first."""
    dataset, scale, seeds = parameters.dataset, parameters.scale, parameters.seeds
    if not parameters.train:
        return find_all(rows, dataset, scale, seeds)
    return find_or_train_all(rows, dataset, scale, seeds, parameters.data_root or None)


def benchmark(name: str, parameters: Parameters) -> tuple[dict[str, list[Record]], pd.DataFrame]:
    """The records of the paper's own networks in Table 7, 8 or 9, and its table (`benchmarks.beside`)."""
    records = collect(list(paper.ours(name).values()), parameters)
    return records, benchmarks.beside(name, records)


def commands(name: str, parameters: Parameters) -> None:
    """Print what makes the numbers of a table, in order: rehearsals, the forecast, what a row begins with, the runs."""
    setting = f"--dataset {parameters.dataset} --scale {parameters.scale}"
    rows = paper.ours(name).values()
    lines = [f"rehearse --row {row.id} {setting}" for row in rows if not row.base and parameters.dataset in MINIATURES]
    lines.append(f"plan --only {name} {setting}")
    planned = [plan(row, parameters.dataset, parameters.scale, seed) for seed in parameters.seeds for row in rows]
    lines += [f"{' '.join(words(run.base))}{_root(run.base.dataset)}" for run in planned if run.base]
    seeds = " ".join(map(str, parameters.seeds))
    lines.append(f"reproduce --only {name} {setting} --seeds {seeds}{_root(parameters.dataset)}")
    for line in lines:
        print(f"python -m bisenet {line}")


def _root(dataset: str) -> str:
    return f" --data-root {dataset.upper()}" if DATASETS[dataset].needs_files else ""


def segment(row: Row, images: Sequence[np.ndarray], parameters: Parameters) -> list[np.ndarray]:
    """Class maps (H, W) of images (H, W, 3) by the network of a row; none where there is none.

    With `train` it is yours, of the first seed; otherwise the one that came with the repository, which knows the
    embedded scenes and is of the row `table_2.ohem`.
    """
    run = plan(row, parameters.dataset, parameters.scale, parameters.seeds[0])
    path, protocol = yours().weights_path(run), run.training.protocol
    if not parameters.train:
        if (row.id, run.dataset) != ("table_2.ohem", "streets"):
            return []
        path, protocol = SHIPPED_WEIGHTS, "full"  # it was trained on pictures at their own size
    elif not path.is_file():
        return []
    print(f"{row.id}: {'the shipped weights' if path == SHIPPED_WEIGHTS else 'yours'}")
    return _class_maps(path, images, parameters, protocol)


def segment_with_given(images: Sequence[np.ndarray], parameters: Parameters) -> dict[str, list[np.ndarray]]:
    """Class maps by the network of the parameter `weights`, by the name of its file; empty without one.

    It sees images at their own size.
    """
    if not parameters.weights:
        return {}
    return {Path(parameters.weights).stem: _class_maps(parameters.weights, images, parameters, "full")}


def _class_maps(
    weights: str | Path, images: Sequence[np.ndarray], parameters: Parameters, protocol: str
) -> list[np.ndarray]:
    model, device = load_for(weights, parameters.dataset)
    size = paper.recipe(parameters.dataset, parameters.scale).test_size
    scores = (predict(model, image, size, device, protocol) for image in images)
    return [of_image.argmax(1)[0].cpu().numpy() for of_image in scores]


def networks(rows: Sequence[Row], parameters: Parameters) -> dict[str, BiSeNetV2]:
    """The trained networks of some rows, by row id: yours with `train`, otherwise those that came with the repository.

    Of the first seed, on the GPU if there is one; a row without weights is left out. A network that the parameter
    `weights` names is shown alone, in the place of `table_2.bga`. ValueError for a data set that is not seen whole.
    """
    planned = [plan(row, parameters.dataset, parameters.scale, parameters.seeds[0]) for row in rows]
    for run in planned:
        _seen_whole(run)
    if parameters.weights:
        print(f"in the place of table_2.bga: {Path(parameters.weights).name}")
        return {"table_2.bga": load_for(parameters.weights, parameters.dataset)[0]}
    store = yours() if parameters.train else published()
    paths = {run.row: store.weights_path(run) for run in planned}
    return {id: load_for(path, parameters.dataset)[0] for id, path in paths.items() if path.is_file()}


def _seen_whole(run: Run) -> None:
    """Features and maps are shown over the image, so the network must see all of it and nothing else."""
    if run.training.protocol != "paper":
        raise ValueError(
            f"{run.dataset} is seen by protocol {run.training.protocol!r}; this notebook takes data sets that are "
            "resized as a whole: streets, camvid, cityscapes"
        )


def subject(parameters: Parameters) -> tuple[BiSeNetV2, PairDataset, Size]:
    """A trained network, images that it has not seen, and the size at which it sees them, (height, width).

    With `train` it is that of your own run of Table 2's last row with the first of the seeds, trained first if need
    be, on its test split and on the GPU if there is one; otherwise that of the repository, on embedded scenes. The
    parameter `weights` names another one, for the test split of the data set. Prints which. ValueError for a data set
    that is not seen whole (`_seen_whole`).
    """
    row = paper.row("table_2.ohem")
    run = plan(row, parameters.dataset, parameters.scale, parameters.seeds[0])
    _seen_whole(run)
    if parameters.weights:
        path = Path(parameters.weights)
        print(f"the weights {path.name}")
    elif parameters.train:
        collect([row], dataclasses.replace(parameters, seeds=parameters.seeds[:1]))
        path = yours().weights_path(run)
        print(f"the weights of your run {run.name}")
    else:
        print("the weights that came with the repository, on embedded scenes")
        return BiSeNetV2.load(SHIPPED_WEIGHTS), open_dataset("streets", "val", size=SHIPPED_SIZE), SHIPPED_SIZE
    training, root = run.training, parameters.data_root or None
    test_set = open_dataset(run.dataset, training.test_split, root=root, size=training.image_size)
    return load_for(path, run.dataset)[0], test_set, training.test_size


def save(tables: Mapping[str, pd.DataFrame], parameters: Parameters) -> None:
    """Write what was regenerated as CSV, beside the executed notebook; with `train = False` nothing is written."""
    for name, table in tables.items() if parameters.train else ():
        folder = output_folder(parameters.dataset, parameters.scale)
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.8g")
        print(f"written: {name}.csv")
