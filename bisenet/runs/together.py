"""Several processes as one: what the first finds holds for all, and all go on or all stop, with one message.

They may be on machines without a common disk: none may decide by its own files.
"""

import contextlib
import datetime
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from lightning_fabric import Fabric

from bisenet.execution import STARTED, SaidByFirstError, first_decides
from bisenet.files import replacing
from bisenet.runs.errors import MENDABLE, told

T = TypeVar("T")
PATIENCE = 5  # seconds


def all_or_none(fabric: Fabric, act: Callable[[], T]) -> T:
    """What `act` gives each process; if it fails on any, the first raises that error, and all stop.

    In `act` processes must not wait for each other: one that failed would not be there.
    """
    error: Exception | None = None
    try:
        done = act()
    except Exception as problem:
        error = problem
    if fabric.world_size == 1:
        if error:
            raise error
        return done
    errors: list[Exception | None] = [None] * fabric.world_size
    told_of = error if error is None or isinstance(error, MENDABLE) else RuntimeError(told(error))
    torch.distributed.all_gather_object(errors, told_of)
    if found := next((each for each in errors if each), None):
        raise found if fabric.is_global_zero else SaidByFirstError
    return done


def first_to_tell() -> bool:
    """Whether this process is to tell of its error: of a group the first that asks, by a count kept where they met.

    Before they meet, each tells, but under `torchrun`, which keeps that place by itself.
    """
    if not torch.distributed.is_initialized() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    place, attempt = int(os.environ["MASTER_PORT"]), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = torch.distributed.TCPStore(os.environ["MASTER_ADDR"], place, timeout=datetime.timedelta(seconds=5))
        return store.add(f"bisenet told {attempt}", 1) == 1
    except RuntimeError:  # it was kept by the first process, which has ended, and told why
        return False


def leave(code: int) -> int:
    """After an error: the code, to be returned; one of several processes ends here, with that code.

    It ends at once, since in an orderly end NCCL waits for the others. Those that it started may wait for it without
    end: they have `PATIENCE` seconds to tell errors of their own, and are killed.
    """
    others = [process for started in STARTED for process in started]
    grouped = torch.distributed.is_initialized()
    if not (others or grouped):
        return code
    for started in STARTED:
        started.clear()  # in which Fabric looks, to kill this process too if one has failed
    if grouped and torch.distributed.get_rank():
        time.sleep(1)  # the first may be about to tell of it, and Fabric would kill it
    until = time.monotonic() + PATIENCE
    for process in others:
        try:
            process.wait(until - time.monotonic())
        except subprocess.TimeoutExpired:
            process.kill()
    with contextlib.suppress(OSError):  # nobody may read any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def share_file(fabric: Fabric, path: Path) -> None:
    """The file of the first process, or that there is none, for all: elsewhere an older one may lie."""
    if fabric.world_size == 1:
        return
    content = first_decides(fabric, lambda: path.read_bytes() if path.is_file() else None)
    if fabric.is_global_zero:
        return
    if content is None:
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(content)
