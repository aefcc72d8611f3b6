"""All records of runs as one tidy table, a line for each, for those who use pandas."""

import pandas as pd

from bisenet.evaluate import miou, pixel_accuracy
from bisenet.report.ablations import device_text
from bisenet.runs.record import Record
from bisenet.runs.store import Store


def of_runs(store: Store) -> pd.DataFrame:
    """The records of a store: what was trained and tested, the scores in percent, and where they come from."""
    return pd.DataFrame([_line(record) | {"file": path.name} for path, record in store.records().items()])


def _line(record: Record) -> dict[str, object]:
    training, process = record.training, record.processes[-1]
    near, far = record.by_place or (None, None)
    return {
        **{"kind": "run", "name": record.row, "dataset": record.dataset, "scale": record.scale, "seed": record.seed},
        **{"miou": record.miou, "pixel_accuracy": pixel_accuracy(record.matrix)},
        "miou_near_boundaries": None if near is None else miou(near),
        "miou_elsewhere": None if far is None else miou(far),
        **{"iterations": training.iterations, "batch": training.batch, "optimizer": training.optimizer},
        **{"train_images": record.images["train"], "test_images": record.images["test"], "source": record.source},
        **{"precision": process["precision"], "device": device_text(process), "date": record.date},
        **{"seconds": record.seconds["train"], "commit": process["git"]["commit"], "hash": record.hash},
    }
