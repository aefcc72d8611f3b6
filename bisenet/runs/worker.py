"""A process that trains one run: `python -m bisenet.runs.worker FILE`, with the run as JSON in the file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bisenet.execution import Execution
from bisenet.runs.plan import Run
from bisenet.runs.training import find_or_train, print_progress


def main(path: str) -> None:
    given = json.loads(Path(path).read_text())
    execution = Execution(**given["execution"])
    find_or_train(
        Run.of_json(given["run"]), data_root=given["data_root"] or None, execution=execution, watch=print_progress
    )


if __name__ == "__main__":
    main(sys.argv[1])
