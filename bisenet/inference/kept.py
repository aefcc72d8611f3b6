"""What it costs to start is paid once a machine: compiled engines, and which of them is the fastest, kept as files.

The name of a file has a hash of all that its content depends on, from weights to processor, and a hash of the content.
So what is out of date is not asked for, and in time removed, and what is damaged is made anew. Nothing of it is needed:
where no file can be written, which is said once, each start is as the first.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
import torch
from torch import Tensor

from bisenet.data.places import PACKAGE
from bisenet.files import replacing

PACKAGES = ("torch", "openvino", "nncf", "onnxruntime", "onnx", "onnxscript", "torch-tensorrt")
OF_PROCESSOR = ("model name", "flags", "CPU part", "Features")  # in /proc/cpuinfo, of x86 and ARM
ROOM = 10**9  # bytes, for all files together
T = TypeVar("T")
# Read when it is loaded: files that change afterwards are not what runs in this process.
CODE = [path.read_bytes() for place in (PACKAGE, PACKAGE / "inference") for path in sorted(place.glob("*.py"))]


def folder() -> Path:
    """Where the files are, which may all be removed: where the environment variable BISENET_ENGINES says, or among the
    user's caches.
    """
    named = os.environ.get("BISENET_ENGINES")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("bisenet", appauthor=False) / "engines"


def hash_of(*parts: Any) -> str:
    """A name for what depends on these parts, tensors or what has a `repr`, and on this machine and its packages."""
    found = hashlib.sha256(f"{_machine()} {torch.get_num_threads()}".encode())  # compiled code has as many threads
    for part in parts:
        if isinstance(part, Tensor):
            found.update(f"{part.dtype} {tuple(part.shape)}".encode())
            found.update(part.detach().cpu().flatten().view(torch.uint8).numpy().data)
        else:
            found.update(repr(part).encode())
    return found.hexdigest()[:16]


@functools.cache
def _machine() -> str:
    """A hash of the code that makes engines, of the versions of packages, and of what the processor can do."""
    versions = sorted({(d.name, d.version) for name in PACKAGES for d in importlib.metadata.distributions(name=name)})
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    processor = sorted({line for line in lines if line.startswith(OF_PROCESSOR)}) or platform.processor()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return _digest(repr((CODE, versions, torch.__version__, processor, platform.platform(), gpu)).encode())


def find(name: str, suffix: str) -> Path | None:
    """The file that is kept under a name, if it is whole."""
    for path in sorted(folder().glob(f"{name}.*{suffix}")):
        try:
            if path.name == f"{name}.{_digest(path.read_bytes())}{suffix}":
                with contextlib.suppress(OSError):  # of another user
                    os.utime(path)  # it is in use
                return path
        except OSError:  # another process removes or replaces it, or it is not ours to read
            continue
    return None


def keep(content: bytes, name: str, suffix: str) -> None:
    """Keep a content under a name; other processes see a whole file or none."""
    target = folder() / f"{name}.{_digest(content)}{suffix}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            partial.write_bytes(content)
    except OSError:
        _say_once(target.parent)
    with contextlib.suppress(OSError):  # another process makes room, too
        _make_room(target)


def _make_room(newest: Path) -> None:
    """Remove what was not used for longest, until less than `ROOM` bytes are left; the newest stays."""
    others = [path for path in newest.parent.iterdir() if path != newest and path.suffix != ".partial"]
    files = [(path.stat().st_mtime, path.stat().st_size, path) for path in others]
    left = sum(size for _, size, _ in files) + newest.stat().st_size
    for _, size, path in sorted(files):
        if left <= ROOM:
            return
        path.unlink(missing_ok=True)
        left -= size


@functools.cache
def _say_once(place: Path) -> None:
    reason = f"engines cannot be kept in {place}, so every start compiles them anew"
    warnings.warn(f"{reason}; make room there, or set BISENET_ENGINES to another folder", stacklevel=2)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def through_file(name: str, suffix: str, make: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    """What `load` makes of the file that is kept under a name, or of one that `make` writes.

    Without a name what it writes is dropped when it is loaded.
    """
    if name and (path := find(name, suffix)):
        try:
            return load(path)
        except Exception:  # of many kinds, by the runtime; it may like a new one
            pass
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / f"made{suffix}"
        with warnings.catch_warnings(action="ignore"):  # of exporters, about their own future
            make(path)
        loaded = load(path)
        if name:
            keep(path.read_bytes(), name, suffix)
    return loaded
