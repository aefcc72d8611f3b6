"""Reading and augmenting a sample, beside the usual way with OpenCV.

What is usually done in steps (Section 5, Training: scale, crop, resize) is here one geometric map, `bisenet.augment`.
"""

import json
import multiprocessing
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import count, repeat
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from bisenet import paper
from bisenet.augment import PADDING
from bisenet.data import miniature
from bisenet.data.cityscapes import Cityscapes, train_ids
from bisenet.data.places import check_writable
from bisenet.dataset import IGNORE, Pair
from bisenet.execution import keep_freed_memory
from bisenet.files import write_json
from bisenet.runs import provenance
from bisenet.runs.store import records_folder, results_folder
from bisenet.speed.machine import moment, process_of
from bisenet.speed.protocol import SpeedRecord, Way, check, time_in_turn, timing

ITERATIONS, SCENES = 100, 8  # samples of each way, and embedded scenes where there are no files, at most
EFFORT = {"smoke": 2, "short": 30, "long": 30, "paper": ITERATIONS}  # iterations: what a notebook's `scale` means
FILE = Path("pipeline") / "data_pipeline.json"  # in the folder of results, and in that of records
RECIPE = paper.recipe("cityscapes", "paper")


def in_one_map(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    """(1024, 2048, 3) and (1024, 2048) -> (512, 1024, 3) and (512, 1024); only these pixels are computed, once."""
    return RECIPE.augmentation(image, labels, rng)


def step_by_step(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    """The same with OpenCV: scale all of it, pad where it became too small, cut the crop, flip, resize."""
    scale, corner, flip = rng.choice(RECIPE.scales), rng.random(2), rng.random() < 0.5  # drawn as in one map
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(labels, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    spare = np.subtract(labels.shape, RECIPE.crop)  # rows and columns; less than 0 where they are missing
    (y, x), (top, left) = ((corner * (free.clip(min=0) + 1)).astype(int) for free in (spare, -spare))
    bottom, right = (-spare).clip(min=0) - (top, left)
    image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=PADDING)
    labels = cv2.copyMakeBorder(labels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=IGNORE)
    window = np.s_[y : y + RECIPE.crop[0], x : x + RECIPE.crop[1]]
    image, labels = (pixels[window][:, :: -1 if flip else 1] for pixels in (image, labels))
    seen = RECIPE.input_size[::-1]
    return cv2.resize(image, seen), cv2.resize(labels, seen, interpolation=cv2.INTER_NEAREST)


def decoded_by_opencv(reader: Cityscapes, index: int) -> Pair:
    """What `reader.load` gives: image (H, W, 3) and train ids (H, W), uint8."""
    image, ids = (np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) for path in reader.pairs[index])
    known = np.pad(train_ids(), (0, 256 - len(train_ids())), constant_values=IGNORE)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), cv2.LUT(ids, known)


HERE, OPENCV, DECODED = "here, in one map", "OpenCV, step by step", "OpenCV, decoded as here"
WAYS = {  # what decodes, what augments, what prepares the process: one that reads for training keeps what it frees
    HERE: (Cityscapes.load, in_one_map, keep_freed_memory),
    OPENCV: (decoded_by_opencv, step_by_step, None),
    "OpenCV, freed memory kept": (decoded_by_opencv, step_by_step, keep_freed_memory),
    DECODED: (Cityscapes.load, step_by_step, keep_freed_memory),
}
OLDER = {"ours": HERE, "the same, freed memory kept": "OpenCV, freed memory kept", "the same, decoded as ours": DECODED}


def time_reading(*, root: str = "", seed: int = 0, iterations: int = ITERATIONS) -> SpeedRecord:
    """Time all ways in turn, each on one core, and record milliseconds of every sample in `results/pipeline/`.

    Of Cityscapes in `root`, or else of embedded scenes. ValueError for no iterations, FileNotFoundError without files.
    """
    check(iterations, limit=None)
    check_writable((results_folder() / FILE).parent)
    record: SpeedRecord = {"device": provenance.describe_device(torch.device("cpu")), "threads": 1, **moment()}
    record |= {"process": process_of(torch.device("cpu")), "files": "Cityscapes" if root else "embedded scenes"}
    with tempfile.TemporaryDirectory() as made, warnings.catch_warnings(action="ignore"):  # of a part of a data set
        if not root:
            miniature.make("cityscapes", Path(made), {"train": min(SCENES, iterations)})
        seconds = _in_turn(Cityscapes("train", Path(root or made)), seed, iterations)
    record |= {"seed": seed, "milliseconds": {k: (1000 * s[:, 0]).round(4).tolist() for k, s in seconds.items()}}
    write_json(results_folder() / FILE, record)
    return record


def _in_turn(reader: Cityscapes, seed: int, iterations: int) -> dict[str, np.ndarray]:
    """Seconds that a processor worked on each sample, (iterations, 1) by way; a way has a process, as in a loader."""
    context, worked, ways = multiprocessing.get_context("spawn"), [0.0], dict[str, Way]()
    with ExitStack() as stack:
        for name, (_, _, prepare) in WAYS.items():
            pool = stack.enter_context(ProcessPoolExecutor(1, context, prepare))
            pool.submit(int)  # so that all processes start now, side by side
            samples = map(pool.submit, repeat(_seconds), repeat(name), repeat(reader), repeat(seed), count())
            ways[name] = samples, {"next": lambda samples: worked.append(worked[-1] + next(samples).result())}
        return time_in_turn(ways, iterations=iterations, clock=lambda: worked[-1])  # what all have worked so far


def _seconds(name: str, reader: Cityscapes, seed: int, number: int) -> float:
    cv2.setNumThreads(1)
    (decode, augment, _), rng = WAYS[name], np.random.default_rng((seed, number))  # the same draws for all
    began = time.process_time()
    augment(*decode(reader, number % len(reader)), rng)
    return time.process_time() - began


def shipped_or_timed(scale: str, *, train: bool, root: str = "", seed: int = 0) -> SpeedRecord:
    """The record that came with the repository; with `train` that of `time_reading` now, by EFFORT at the scale."""
    if train:
        return time_reading(root=root, seed=seed, iterations=EFFORT[scale])
    return json.loads((records_folder() / FILE).read_text(encoding="utf-8"))


def table(record: SpeedRecord) -> pd.DataFrame:
    """A line for each way, with its median and 5th and 95th percentile, milliseconds; of older records too."""
    timings = {OLDER.get(name, name): timing(np.array(ms) / 1000) for name, ms in record["milliseconds"].items()}
    lines = [(of.median, of.low, of.high, of.fps, of.median / timings[HERE].median) for of in timings.values()]
    columns = ["ms a sample", "5 %", "95 %", "samples a second and core", "times as long as here"]
    return pd.DataFrame(lines, [*timings], columns)
