"""Where things lie: notebooks and records as they came, and what a user makes."""

from pathlib import Path

FIRST = Path("notebooks") / "quickstart.ipynb"


def _repository(package: Path) -> Path:
    """Where notebooks and records lie: beside the package, or if it was installed by itself, in its `share/bisenet`."""
    places = [up / "share" / "bisenet" for up in package.parents]
    return next((place for place in places if (place / FIRST).is_file()), package.parent)


PACKAGE = Path(__file__).resolve().parents[1]
CLONED = (PACKAGE.parent / FIRST).is_file()
REPOSITORY = PACKAGE.parent if CLONED else _repository(PACKAGE)
NOTEBOOKS = REPOSITORY / "notebooks"


def work_folder() -> Path:
    """What a user makes goes here, and data are looked for here: the clone, or of an installed package, this folder."""
    return REPOSITORY if CLONED else Path.cwd()
