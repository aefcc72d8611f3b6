"""Configurations: frozen dataclasses whose fields have the types that they are annotated with; and what a CPU can."""

import dataclasses
import difflib
import json
import math
from collections.abc import Iterable
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import torch

Size = tuple[int, int]  # (height, width)


def settle(config: Any) -> None:
    """Bring every field of a frozen dataclass to its annotated type, so that equal configurations are written alike.

    ValueError where a value has another type, or is a number that is not finite.
    """
    for name, kind in get_type_hints(type(config)).items():
        what = f"{type(config).__name__}: {name}"
        object.__setattr__(config, name, _settled(getattr(config, name), kind, what))


def _settled(value: Any, kind: Any, what: str) -> Any:
    members = get_args(kind)
    if dataclasses.is_dataclass(kind):  # a part of a configuration, which settles itself
        return value if isinstance(value, kind) else _part(kind, value, what)  # type: ignore[arg-type]
    if get_origin(kind) is UnionType:  # X | None
        return None if value is None else _settled(value, members[0], what)
    if get_origin(kind) is tuple:
        if isinstance(value, (list, tuple)) and (members[-1] is Ellipsis or len(value) == len(members)):
            return tuple(_settled(member, members[0], what) for member in value)
    elif kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif kind is not float and type(value) is kind:
        return value
    needed = kind if members else getattr(kind, "__name__", kind)
    raise ValueError(f"{what} is {value!r}, it must be of type {needed} (numbers finite)")


def _part(kind: Any, value: Any, what: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {value!r}, it must be a {kind.__name__}, or its fields by name")
    if unknown := sorted({*value} - {field.name for field in dataclasses.fields(kind)}):
        raise ValueError(f"{what} has no field {unknown[0]!r}; fields: {', '.join(get_type_hints(kind))}")
    return kind(**value)


def plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON would give it back."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def choose(what: str, name: str, choices: Iterable[str]) -> str:
    """`name` if it is one of `choices`; otherwise ValueError with the nearest ones."""
    choices = list(choices)
    if name not in choices:
        raise ValueError(unknown(what, name, choices))
    return name


def unknown(what: str, name: str, choices: Iterable[str]) -> str:
    """What is said of a name that is none of `choices`."""
    near = difflib.get_close_matches(str(name), choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"unknown {what} {name!r}: {hint}known: {', '.join(choices)}"


def cpu_computes_in_bf16() -> bool:
    """Without these instructions bf16 on a CPU is emulated, and slower than float32."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)
