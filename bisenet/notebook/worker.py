"""A process that executes one notebook: `python -m bisenet.notebook.worker FILE`, with what to execute as JSON."""

import json
import sys
from pathlib import Path

from bisenet.notebook.batch import execute


def main(path: str) -> int:
    """Execute the notebook; 1 with one line on stderr for an error in it."""
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    if problem := execute(Path(given["source"]), Path(given["output"]), given["parameters"]):
        print(problem, file=sys.stderr)
    return bool(problem)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
