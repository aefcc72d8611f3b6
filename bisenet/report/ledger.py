"""The GFLOPs that the paper prints, beside what is counted here by a reading of what it leaves open."""

import dataclasses
import math

import pandas as pd

from bisenet import paper
from bisenet.cost import variant_cost
from bisenet.model import ModelConfig
from bisenet.paper import Row
from bisenet.readings import PAPER, Reading
from bisenet.report.ablations import gflops_verdict

COLUMNS = ["table", "row", "paper", "here", "difference", "verdict", "half", "met", "network"]


def network(row: Row, reading: Reading = PAPER) -> ModelConfig:
    """What a row's GFLOPs are of: without booster, and with ShuffleNetV2 as its authors released it."""
    backbone = row.model.backbone
    released = f"{backbone}_released" if backbone.startswith("shufflenet") else backbone
    return dataclasses.replace(row.model, booster=(), reading=reading, backbone=released)


def figures(reading: Reading = PAPER) -> pd.DataFrame:
    """All printed GFLOPs, one line each, by row id; a reading takes the 26 different networks a few seconds.

    `paper` is text as printed, `here` and `difference` are unrounded. `half` is half a unit of the last printed digit;
    a figure is `met` to the last digit. Rows of one network print the same figure: `network` tells which.
    """
    rows = [row for name in paper.TABLES for row in paper.table(name) if not math.isnan(row.gflops)]
    lines = []
    for row in rows:
        here = variant_cost(network(row, reading)).gflops
        printed, half = f"{row.gflops:.{row.gflops_decimals}f}", 0.5 * 10.0**-row.gflops_decimals
        verdict = gflops_verdict(row, here)
        about = (row.table.removeprefix("table_"), row.label, printed, here, here - row.gflops, verdict, half)
        lines.append((*about, verdict == "to the last digit", network(row, reading)))
    return pd.DataFrame(lines, [row.id for row in rows], COLUMNS)


def show(figures: pd.DataFrame) -> pd.DataFrame:
    """For reading, by table: `row, paper, here, difference, verdict`."""
    texts = {"here": figures["here"].map("{:.4f}".format), "difference": figures["difference"].map("{:+.4f}".format)}
    return figures.assign(**texts).set_index("table")[["row", "paper", "here", "difference", "verdict"]]
