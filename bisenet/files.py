"""Files that are always whole: the old content or the new one, whatever happens in between; and weights by name."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

FULL = "free some space, or name another place; what was there is kept"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Within, a temporary name beside `path` to write to; it becomes `path` at the end, and is removed on an error."""
    partial = path.with_name(f"{path.name}.{os.urandom(4).hex()}.partial")  # in containers many have the same number
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise OSError(f"cannot write {path} ({error.strerror}); {FULL}") from error
        raise
    finally:
        with contextlib.suppress(OSError):  # of a disk that cannot be written to
            partial.unlink()


def first_line(error: BaseException) -> str:
    """What an error says, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def write_safetensors(path: str | os.PathLike[str], tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and JSON metadata so that `path` is always either the old file or the new one, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as partial:
            save_file(tensors, partial, {key: json.dumps(value) for key, value in metadata.items()})
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
    except SafetensorError as error:  # how a full disk arrives here
        raise OSError(f"cannot write {path} ({error}); {FULL}") from error


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file; FileNotFoundError, or ValueError: truncated, something else, not finite."""
    if not Path(path).is_file():
        named = ", ".join(sorted(each.stem for each in WEIGHTS_FOLDER.glob("*.safetensors")))
        raise FileNotFoundError(f"no such file: {path}; by name there are {named}")
    with Path(path).open("rb") as content:
        if content.read(4) in (b"PK\x03\x04", b"\x80\x02\x8a\n"):  # how torch.save begins, today and before 2020
            raise ValueError(f"{path} is a file of PyTorch; what reads it is: python -m bisenet convert {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file ({error}); get or make it anew") from error
    except json.JSONDecodeError as error:
        told = "is no safetensors file of this package, but of another program"
        raise ValueError(f"{path} {told}; give one that train, convert or BiSeNetV2.save wrote") from error
    if broken := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise ValueError(f"{path}: {broken[0]} is not finite (NaN or infinite); the training failed: make it anew")
    return tensors, metadata


def write_json(path: Path, content: Any) -> None:
    """As text that diffs well."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: Path, content: str) -> Path:
    """Write a text file, and its folder if it is not there; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(content, encoding="utf-8")
    return path


WEIGHTS_FOLDER = Path(__file__).parent / "weights"
SHIPPED_WEIGHTS = WEIGHTS_FOLDER / "streets.safetensors"
SHIPPED_SIZE = (256, 512)  # of the scenes on which those were tested, and at which the network saw them


def shipped(weights: str | os.PathLike[str]) -> Path:
    """The file of a name such as "streets"; anything else is a path already."""
    names = {path.stem: path for path in WEIGHTS_FOLDER.glob("*.safetensors")}
    return names.get(str(weights), Path(weights))
