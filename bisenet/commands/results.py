"""All records that came with the repository, of runs and of speeds, as one CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bisenet.files import write_text
from bisenet.report import results
from bisenet.runs.store import published, records_folder
from bisenet.speed import bench, timings


def write_results() -> Path:
    """`results/results.csv`: a line for each run and each timing, by `kind`."""
    table = pd.concat([results.runs(published()), timings.tidy(bench.shipped_folder())], ignore_index=True)
    return write_text(records_folder().parent / "results.csv", table.to_csv(index=False, float_format="%.6g"))
