"""Many runs: those that tables need, found or trained, one after the other or several at a time."""

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from bisenet import paper
from bisenet.config import plain
from bisenet.execution import Execution, cores
from bisenet.files import write_json
from bisenet.runs.plan import Run, plan
from bisenet.runs.record import Record
from bisenet.runs.store import published, yours
from bisenet.runs.training import find_or_train, lacks, print_progress


def needed(tables: Iterable[str], dataset: str, scale: str, seeds: Sequence[int]) -> list[Run]:
    """The distinct runs of some tables: a row that stands in several of them is one run."""
    distinct: dict[str, Run] = {}
    rows_of = [paper.table(name) if name in paper.TABLES else paper.ours(name).values() for name in tables]
    for row in (row for rows in rows_of for row in rows):
        for run in (plan(row, dataset, scale, seed) for seed in seeds):
            distinct.setdefault(run.hash, run)
    return list(distinct.values())


def find_all(rows: Iterable[paper.Row], dataset: str, scale: str, seeds: Sequence[int]) -> dict[str, list[Record]]:
    """What came with the repository: records by row id, one for each seed that has any."""
    store = published()
    found = {row.id: [store.find(plan(row, dataset, scale, seed)) for seed in seeds] for row in rows}
    return {id: [record for record in of_row if record] for id, of_row in found.items()}


def find_or_train_all(
    rows: Iterable[paper.Row],
    dataset: str,
    scale: str,
    seeds: Sequence[int],
    data_root: str | Path | None = None,
    execution: Execution | None = None,
) -> dict[str, list[Record]]:
    """Yours: records by row id, one for each seed; missing ones are trained (`find_or_train`).

    A row that begins with weights is left out, with the reason, where these are not on this machine (`lacks`).
    """
    records: dict[str, list[Record]] = {}
    for row in rows:
        of_row = records.setdefault(row.id, [])
        for run in (plan(row, dataset, scale, seed) for seed in seeds):
            recorded = yours().find(run)
            if not recorded and (missing := lacks(run)):
                print(f"{run.name}: not run. {missing}", flush=True)
                continue
            print(f"{run.name}: {'recorded' if recorded else 'training'}", flush=True)
            of_row.append(find_or_train(run, data_root=data_root, execution=execution, watch=print_progress))
    return records


def train_side_by_side(runs: list[Run], places: Sequence[str], data_root: str, execution: Execution) -> None:
    """Train runs, each in a process of its own that is given its run as JSON; print what became of each.

    As many at a time as there are `places`: numbers of GPUs, a GPU several times where it has room, or "" for a share
    of the processor's cores. A run that another process trains is passed over.
    """
    free: queue.Queue[str] = queue.Queue()
    for place in places:
        free.put(place)

    def train_one(run: Run) -> str:
        began, place = time.monotonic(), free.get()
        try:
            outcome = _in_a_process(run, place, len(places), data_root, execution)
        finally:
            free.put(place)
        return f"{run.name}: {outcome} ({time.monotonic() - began:.0f} s)"

    print(f"training {len(runs)} runs, {len(places)} at a time", flush=True)
    pool = ThreadPoolExecutor(len(places))
    try:
        for done in as_completed([pool.submit(train_one, run) for run in runs]):
            print(done.result(), flush=True)
    finally:
        pool.shutdown(cancel_futures=True)  # an interruption is for the runs that wait, too


def _in_a_process(run: Run, place: str, at_a_time: int, data_root: str, execution: Execution) -> str:
    """Train a run in a process of its own; returns "trained", or the last line of what it said."""
    threads = max(1, cores() // (at_a_time * execution.devices))
    environment = {**os.environ, "BISENET_AT_A_TIME": str(at_a_time), "OMP_NUM_THREADS": str(threads)}
    if place:
        environment["CUDA_VISIBLE_DEVICES"] = place
    with tempfile.TemporaryDirectory() as folder, _lifeline() as held:
        path = Path(folder) / f"{run.hash}.json"
        write_json(path, {"run": plain(run), "data_root": data_root, "execution": plain(execution)})
        command = [sys.executable, "-m", "bisenet.runs.worker", str(path)]
        progress = subprocess.DEVNULL if at_a_time > 1 else None  # of one at a time it is shown
        how: dict[str, Any] = {"stdin": held, "stdout": progress, "stderr": subprocess.PIPE, "text": True}
        done = subprocess.run(command, env=environment, **how)
    said = done.stderr.strip().splitlines() or [f"ended with exit code {done.returncode}"]  # killed, for instance
    return said[-1] if done.returncode else "trained"


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The end of a pipe to be a process's standard input, whose other end closes with this process, if it is killed."""
    held, kept = os.pipe()
    try:
        yield held
    finally:
        os.close(held)
        os.close(kept)
