"""A process that trains one run: `python -m bisenet.runs.worker FILE`, with the run as JSON in the file."""

import json
import os
import stat
import sys
import threading
from pathlib import Path

from bisenet.data import describe
from bisenet.execution import Execution, SaidByFirstError
from bisenet.runs.errors import told
from bisenet.runs.plan import Run
from bisenet.runs.together import first_to_tell, leave
from bisenet.runs.training import find_or_train, print_progress


def end_with_parent() -> None:
    """A pipe that is the standard input ends when the process that started this one does, however that ends."""
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        os.read(0, 1)
        os._exit(1)


def main(path: str) -> int:
    """Train the run; 1 with one line on stderr for an error."""
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
        execution = Execution(**given["execution"])
        run, data_root = Run.of_json(given["run"]), given["data_root"] or None
        describe(run.dataset, data_root)
        find_or_train(run, data_root=data_root, execution=execution, watch=print_progress, wait=False)
        return 0
    except SaidByFirstError:
        pass
    except Exception as error:
        if first_to_tell():
            print(told(error), file=sys.stderr)
    return leave(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.exit(main(sys.argv[1]))
