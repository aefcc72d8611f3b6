"""The records of runs and of speeds that came with the repository, as one CSV, for those who use pandas."""

from pathlib import Path

import pandas as pd

from bisenet.evaluate import miou, pixel_accuracy
from bisenet.files import write_text
from bisenet.runs.provenance import where_measured
from bisenet.runs.record import Record
from bisenet.runs.store import published, results_folder
from bisenet.speed import bench, timings


def write_results() -> Path:
    """`results.csv` in the folder of results: a line for each run and each speed, by `kind`."""
    runs = pd.DataFrame([_line(record) | {"file": path.name} for path, record in published().records().items()])
    table = pd.concat([runs, timings.tidy(bench.shipped_folder())], ignore_index=True)
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return write_text(results_folder() / "results.csv", text)


def _line(record: Record) -> dict[str, object]:
    """What was trained and tested, the scores in percent, and where they come from."""
    training, process = record.training, record.processes[-1]
    near, far = record.by_place or (None, None)
    return {
        **{"kind": "run", "name": record.row, "dataset": record.dataset, "scale": record.scale, "seed": record.seed},
        **{"miou": record.miou, "pixel_accuracy": pixel_accuracy(record.matrix)},
        "miou_near_boundaries": None if near is None else miou(near),
        "miou_elsewhere": None if far is None else miou(far),
        **{"iterations": training.iterations, "batch": training.batch, "optimizer": training.optimizer},
        **{"train_images": record.images["train"], "test_images": record.images["test"], "source": record.source},
        **{"precision": process["precision"], "device": where_measured(process), "date": record.date},
        **{"seconds": record.seconds["train"], "commit": process["git"]["commit"], "hash": record.hash},
    }
