"""Where things lie: notebooks and records as they came, and what a user makes."""

import tempfile
from pathlib import Path

FIRST = Path("notebooks") / "quickstart.ipynb"
PACKAGE = Path(__file__).resolve().parents[1]
CLONED = (PACKAGE.parent / FIRST).is_file()
# Notebooks and records lie beside the package, or if it was installed by itself, in its `share/bisenet`.
SHARES = [up / "share" / "bisenet" for up in PACKAGE.parents]
REPOSITORY = next((share for share in SHARES if not CLONED and (share / FIRST).is_file()), PACKAGE.parent)
NOTEBOOKS = REPOSITORY / "notebooks"


def work_folder() -> Path:
    """What a user makes goes here, and data are looked for here: the clone, or of an installed package, this folder."""
    return REPOSITORY if CLONED else Path.cwd()


def check_writable(folder: Path) -> None:
    """Notice a read-only or full disk before hours of training, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(1 << 20))
    except OSError as error:
        files = [up for up in (folder, *folder.parents) if up.is_file()]
        reason = f"{files[0]} is a file" if files else f"{error.strerror}"
        advice = "make room there, or name another folder: --out, or for results set BISENET_RESULTS"
        raise OSError(f"cannot write to {folder} ({reason}); {advice}") from error
