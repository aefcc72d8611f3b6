"""What a user reads of an error: one line, of whatever kind it is."""

import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch

from bisenet.files import first_line
from bisenet.runs.memory import NotEnoughMemoryError
from bisenet.train import LossNotFiniteError

# What a user can mend: the message says how.
MENDABLE = (ValueError, OSError, LossNotFiniteError, NotEnoughMemoryError)


def told(error: Exception) -> str:
    """The message of an error that a user can mend; of another its kind too, and the file that has its traceback."""
    if isinstance(error, MENDABLE) and str(error).strip():
        return " ".join(str(error).split("\n"))
    message = first_line(error)
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory on the device ({message})"
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" in {Path(where[0].filename).name}, line {where[0].lineno}" if where else ""
    named: dict[str, Any] = {"prefix": "bisenet-traceback-", "suffix": ".txt", "delete": False}
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="backslashreplace", **named) as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return f"{type(error).__name__}{place}: {message}"
    return f"{type(error).__name__}{place}: {message} (traceback: {file.name})"
