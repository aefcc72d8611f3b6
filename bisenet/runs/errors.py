"""What a user reads of an error: one line, of whatever kind it is."""

import errno
import os
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
NO_HOME = "Could not determine home directory."  # of pathlib
# What to do where a file cannot be read or written, by what the system says.
PLACES = {
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a file is where a folder is needed: name another place"),
    errno.EISDIR: "it is a folder, and a file is needed: name another",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "ask for the rights to it, or name another place"),
    errno.EROFS: "name another place",
    errno.ENOSPC: "free some space, or name another place",
}


def out_of_memory(error: Exception) -> str:
    """What a user reads where memory was not enough, of the device or of the machine; nothing of other errors."""
    message = first_line(error)
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "DefaultCPUAllocator" not in message:
        return ""
    return f"out of memory ({message}); make the images, the size that the network sees or the batch smaller"


def told(error: Exception) -> str:
    """The message of an error that a user can mend; of another its kind too, and the file that has its traceback."""
    if (said := str(error).strip()).startswith("Caught "):
        return _of_a_worker(error, said)
    message = first_line(error)
    if lacking := out_of_memory(error):
        return lacking
    if isinstance(error, RuntimeError) and message == NO_HOME:
        return "a path begins with ~, and the home folder that it means is not known here: write it in full"
    if isinstance(error, OSError) and error.filename and error.errno in PLACES:
        return f"{os.fspath(error.filename)}: {error.strerror}; {PLACES[error.errno]}"
    if isinstance(error, MENDABLE) and said:
        return " ".join(said.split("\n"))
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
