"""The rooms of the package: what may import what."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import bisenet

SCRIPTS = Path(__file__).parent / "scripts"
PACKAGE = Path(bisenet.__file__).parent

# Which rooms each may import from beside itself; the core is the files that lie in none.
CORE: dict[str, set[str]] = {"core": set(), "data": {"core"}, "inference": {"core", "data"}}
PAPER = {"paper": {*CORE}, "runs": {*CORE, "paper"}, "report": {*CORE, "paper", "runs"}}
ALLOWED = {**CORE, **PAPER, "speed": {*CORE, *PAPER}, "looking": {*CORE, *PAPER}}
ALLOWED |= {"notebook": {*ALLOWED}, "commands": {*ALLOWED}}
ALLOWED["__main__"] = {*ALLOWED}


ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def test_what_ls_shows() -> None:
    """The rooms, and a core that fits in the head."""
    assert {*ALLOWED} - {"core", "paper", "__main__"} == ROOMS
    core = {path for path in PACKAGE.glob("*.py") if path.stem not in ("paper", "__main__")}
    assert len(core) <= 16 and sum(len(path.read_text().splitlines()) for path in core) < 2000


def room_of(module: str) -> str:
    first = module.split(".")[1] if "." in module else "core"
    return first if first in ALLOWED else "core"


def imports() -> dict[str, set[str]]:
    """The modules of the package, and which of them each imports, wherever it says so; without the lazy face."""
    paths = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    known = {name.removesuffix(".__init__"): path for name, path in paths.items() if name != "bisenet.__init__"}
    found: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found[name] |= {each if each in known else node.module for each in names} & {*known} - {name}
    return found


def test_rooms_import_from_those_before_them():
    for name, imported in imports().items():
        room = room_of(name)
        assert {room_of(other) for other in imported} <= {room, *ALLOWED[room]}, name


def test_no_import_goes_in_a_circle():
    tuple(graphlib.TopologicalSorter(imports()).static_order())


def test_the_face_loads_nothing_before_it_is_asked():
    subprocess.run([sys.executable, SCRIPTS / "face.py"], check=True)


def test_the_command_line_loads_without_the_extras():
    subprocess.run([sys.executable, SCRIPTS / "without_extras.py"], check=True)
