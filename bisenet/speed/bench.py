"""Networks timed by the paper's protocol, one after the other, and recorded."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bisenet.config import Size, choose
from bisenet.data.places import check_writable
from bisenet.files import first_line, write_json
from bisenet.inference import engines
from bisenet.runs.clock import clock_of
from bisenet.runs.memory import let_go
from bisenet.runs.store import records_folder, results_folder
from bisenet.speed import peers
from bisenet.speed.machine import device_here, machine_of, machine_peak, moment, process_of, slug, title
from bisenet.speed.peers import FRAME, Network
from bisenet.speed.protocol import (
    ITERATIONS,
    STAGES,
    SpeedRecord,
    check,
    resize,
    rounded,
    share_of_peak,
    through,
    time_in_turn,
    timing,
    timing_of,
)

EAGER = "eager"
PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "int8")

# What a notebook's word `scale` means for a timing; "smoke" shows that everything runs, on frames that cost nothing.
EFFORT: dict[str, dict[str, Any]] = {
    "smoke": {"iterations": 1, "frame": (128, 256)},
    "short": {"limit": 10.0},
    "long": {"limit": 30.0},
    "paper": {},
}


def bench(
    names: Sequence[str] | None = None,
    *,
    more: Sequence[Network] = (),
    engine: str = EAGER,
    precision: str = "fp32",
    iterations: int = ITERATIONS,
    limit: float | None = None,
    frame: Size = FRAME,
    folder: Path | None = None,
) -> list[str]:
    """Time networks (`peers.NETWORKS`, by name, or all; and `more`) on the GPU or the CPU; print and record each.

    The record is written after each network, to `results/speed/` or `folder`, beside what it held already. Returns the
    names of those that failed, such as for want of memory or of a package. ValueError for an unknown name, for an
    engine that cannot do that here (`why_not`), or for a number or limit that leaves nothing to do.
    """
    networks, device = [*peers.chosen(names), *more], device_here()
    check(iterations, limit)
    if problem := why_not(engine, precision):
        raise ValueError(problem)
    folder, machine = folder or speed_folder(), {**machine_of(device, frame), "engine": engine, "precision": precision}
    check_writable(folder)
    path = folder / f"{slug(title(machine))}.json"
    record = _begun(path, machine)
    print(
        f"{title(machine)}\n{'':16} {'sees':>9} {'ms':>9} {'5 %':>9} {'95 %':>9} {'FPS':>8} {'% peak':>6}", flush=True
    )
    process: dict[str, Any] = {"iterations_asked": iterations, "limit": limit, **process_of(device)}
    process["peak"] = machine_peak(device, precision)
    failed = []
    for network in networks:
        began = moment()
        try:
            seconds = _timed(network, device, machine, iterations, limit)
        except (ImportError, RuntimeError, ValueError) as error:  # out of memory is a RuntimeError
            record["failed"][network.name] = first_line(error)
            print(f"{network.name:16} failed: {record['failed'][network.name]}", flush=True)
            failed.append(network.name)
        else:
            record["networks"][network.name] = _entry(network, frame, seconds, {**process, **began})
            record["failed"].pop(network.name, None)
            print(_line(network, record["networks"][network.name], precision), flush=True)
        write_json(path, record)
        let_go(device)
    return failed


def combinations(names: Sequence[str] | None = None, precisions: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Engines and precisions that can be had here, of these names or of all.

    ValueError with near matches for an unknown name, and with a reason where one that is named leaves nothing.
    """
    known = (EAGER, *engines.ENGINES)
    found: list[tuple[str, str]] = []
    for engine in [choose("engine", name, known) for name in names or known]:
        problems = {of: why_not(engine, choose("precision", of, PRECISIONS)) for of in precisions or PRECISIONS}
        found += [(engine, precision) for precision, problem in problems.items() if not problem]
        if names and all(problems.values()):
            raise ValueError(next(iter(problems.values())))
    if not found:
        raise ValueError(f"nothing here computes in {' or '.join(precisions or PRECISIONS)}; fp32 is everywhere")
    return found


def why_not(engine: str, precision: str) -> str:
    """Why networks cannot be timed in an engine and precision here, or nothing."""
    if engine == EAGER:
        return "" if precision == "fp32" else f"engine {EAGER!r} is the network as it is, in fp32, not in {precision!r}"
    if precision == "int8":
        return "int8 needs frames from which it learns its ranges; it is measured for our own network only"
    return engines.why_not(engine, precision, device_here())


def speed_folder() -> Path:
    """Where your records go."""
    return results_folder() / "speed"


def shipped_folder() -> Path:
    """Records that came with the repository."""
    return records_folder() / "speed"


def _begun(path: Path, machine: dict[str, Any]) -> SpeedRecord:
    """The record to go on with; one that was made in another way is not."""
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {"failed": {}, **record} if {**record, **machine} == record else {**machine, "networks": {}, "failed": {}}


def _timed(
    network: Network, device: torch.device, machine: dict[str, Any], iterations: int, limit: float | None
) -> np.ndarray:
    torch.manual_seed(0)
    frame = torch.randn(1, 3, *machine["frame"], device=device)
    size = network.seen_of(tuple(machine["frame"]))
    model: Any = peers.build(network, size).to(device)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        if machine["engine"] != EAGER:
            with torch.inference_mode():
                example = resize(frame, size)
            model = engines.prepare(model, example, machine["engine"], machine["precision"])
        ways = {network.name: through(model, frame, size)}
        return time_in_turn(ways, iterations=iterations, limit=limit, clock=clock_of(device))[network.name]


def _entry(network: Network, frame: Size, seconds: np.ndarray, process: dict[str, Any]) -> dict[str, Any]:
    """`timing` is that of the paper's protocol, which ends with logits; of the `stages` the last goes on to classes.

    `gflop` is the arithmetic of the network alone, two for each multiply-accumulate.
    """
    return {
        "built": network.built,
        "input_size": list(network.seen_of(frame)),
        "gflop": 2 * peers.cost(network, frame).gmacs,
        "timing": rounded(timing(seconds[:, :3].sum(1))),
        "stages": {stage: rounded(timing(of_stage)) for stage, of_stage in zip(STAGES, seconds.T, strict=True)},
        "process": process,
    }


def _line(network: Network, entry: Mapping[str, Any], precision: str) -> str:
    seen, of = "x".join(str(side) for side in reversed(entry["input_size"])), timing_of(entry)
    spread = f"{of.median:9.2f} {of.low:9.2f} {of.high:9.2f}"
    return f"{network.name:16} {seen:>9} {spread} {of.fps:8.2f} {share_of_peak(entry, precision):6.1f}"


def records(folder: Path, named: Callable[[SpeedRecord], str] = title) -> dict[str, SpeedRecord]:
    """The records of a folder by their titles, or as they are `named`; those of a GPU first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return {named(record): record for record in sorted(found, key=lambda record: "gpu" not in record["device"])}
