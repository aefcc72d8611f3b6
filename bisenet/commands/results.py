"""All records that came with the repository, of runs and of speeds, as one CSV."""

from pathlib import Path

import pandas as pd

from bisenet.files import write_text
from bisenet.report import results
from bisenet.runs.store import published, results_folder
from bisenet.speed import bench, timings


def as_csv() -> str:
    """A line for each run and each timing, by `kind`."""
    table = pd.concat([results.of_runs(published()), timings.tidy(bench.shipped_folder())], ignore_index=True)
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def write_results() -> Path:
    """`results.csv` in the folder of results."""
    return write_text(results_folder() / "results.csv", as_csv())
