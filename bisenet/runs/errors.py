"""What a user reads of an error: one line, of whatever kind it is."""

import os
import tempfile
import traceback
from pathlib import Path

import torch

from bisenet.runs.memory import NotEnoughMemoryError
from bisenet.train import LossNotFiniteError

# What a user can mend: the message says how.
MENDABLE = (ValueError, OSError, LossNotFiniteError, NotEnoughMemoryError)


def told(error: Exception) -> str:
    """The message of an error that a user can mend; of another its kind too, and the file that has its traceback."""
    if isinstance(error, MENDABLE):
        return str(error)
    message = (str(error).strip() or "no message").splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory on the device ({message})"
    path = Path(tempfile.gettempdir()) / f"bisenet-traceback-{os.getpid()}.txt"
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" in {Path(where[0].filename).name}, line {where[0].lineno}" if where else ""
    try:
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return f"{type(error).__name__}{place}: {message}"
    return f"{type(error).__name__}{place}: {message} (traceback: {path})"
