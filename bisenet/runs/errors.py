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
    if (said := str(error).strip()).startswith("Caught "):
        return _of_a_worker(error, said)
    if isinstance(error, MENDABLE) and said:
        return " ".join(said.split("\n"))
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


def _of_a_worker(error: Exception, said: str) -> str:
    """What a process that reads was stopped by: PyTorch hands over its kind, and as its message a whole traceback."""
    trace = said.rpartition("Traceback (most recent call last):\n")[2].splitlines()
    line = next((line for line in trace if not line.startswith(" ")), said.splitlines()[0])
    return line.partition(": ")[2] if isinstance(error, MENDABLE) else line
