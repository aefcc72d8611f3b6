"""From records of `bisenet.paths` to tables: our own ways from a frame to a class map, and what was to be reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bisenet.report import NOT_RUN, number

PAPER_FPS = 156  # Section 5, on a GTX 1080 Ti, and what that does at most, GFLOP/s in fp32
PAPER_PEAK = 11_300

STAGES = ("resize", "network", "classes")


def milliseconds(record: Mapping[str, Any], kind: str, engine: str, precision: str = "fp32") -> float:
    """The median of a way, NaN where it was not timed."""
    way = record["ways"].get(f"{kind}, {engine}, {precision}")
    return float(way["whole"]["median"]) if way else math.nan


def best(record: Mapping[str, Any]) -> dict[str, Any]:
    """Our fastest way in fp32."""
    ours = [way for way in record["ways"].values() if (way["kind"], way["precision"]) == ("segmenter", "fp32")]
    return min(ours, key=lambda way: way["whole"]["median"])


def table(record: Mapping[str, Any]) -> pd.DataFrame:
    """Every way for reading, the fastest first: time and its spread, stages, share of the peak, memory, mIoU."""
    fastest = best(record)["whole"]["median"]
    ordered = sorted(record["ways"].values(), key=lambda way: way["whole"]["median"])
    return pd.DataFrame([_line(way, fastest, record) for way in ordered]).set_index("way")


def _line(way: Mapping[str, Any], fastest: float, record: Mapping[str, Any]) -> dict[str, str]:
    whole, stages = way["whole"], {name: of["median"] for name, of in way.get("stages", {}).items()}
    network = stages.get("network", math.nan)
    share = 100_000 * record["gflop"] / network / record["peak"]["gflops"]
    numbers = {
        **{f"{name} ms": stages.get(name, math.nan) for name in STAGES},
        "whole / network": whole["median"] / network,
        "network, % of peak": share,
        "memory GiB": way.get("memory", math.nan) / 2**30,
        "mIoU %": way.get("miou", math.nan),
        "pixels as plain %": 100 * way.get("same", math.nan),
        "load s": way.get("load", math.nan),
    }
    return {
        "way": f"{way['kind']}, {way['engine']}, {way['precision']}",
        "ms a frame (5 % to 95 %)": f"{whole['median']:.1f} ({whole['low']:.1f} to {whole['high']:.1f})",
        "FPS": f"{1000 / whole['median']:.2f}",
        "times the fastest in fp32": f"{whole['median'] / fastest:.2f}",
        **{name: "" if math.isnan(value) else number(value) for name, value in numbers.items()},
    }


def goals(record: Mapping[str, Any]) -> pd.DataFrame:
    """What the fast path is to reach, in fp32, and what it reached in this record; by the medians."""
    fastest = best(record)
    whole, network = fastest["whole"]["median"], fastest["stages"]["network"]["median"]
    default = min(milliseconds(record, "segmenter", "compile"), milliseconds(record, "segmenter", "torch"))
    lines = [
        ("whole path / network alone", "at most 1.15", whole / network),
        (
            "straightforward, eager PyTorch / ours",
            "at least 3.5",
            milliseconds(record, "straightforward", "eager") / whole,
        ),
        (
            "straightforward, OpenVINO / ours",
            "at least 1.5",
            milliseconds(record, "straightforward", "openvino") / whole,
        ),
        ("ours / the default installation", "at least 0.75", whole / default),
    ]
    shown = pd.DataFrame(lines, columns=["of the fastest engine in fp32", "goal", "reached"])
    shown["reached"] = [NOT_RUN if math.isnan(value) else f"{value:.2f}" for value in shown["reached"]]
    return shown.set_index("of the fastest engine in fp32").assign(engine=fastest["engine"])


def against_paper(records: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The share of the device's peak in fp32, of records by place: paper | ours | difference | why.

    The paper's by its frames a second and our count of the arithmetic.
    """
    lines = []
    for where, record in records.items():
        way, peak = best(record), record["peak"]["gflops"]
        theirs = 100 * PAPER_FPS * record["gflop"] / PAPER_PEAK
        ours = 100_000 * record["gflop"] / way["stages"]["network"]["median"] / peak
        why = f"{way['engine']} on another device; ours is of the network alone, and of a peak that was measured"
        lines.append((where, f"{theirs:.0f} %", f"{ours:.0f} %", f"{ours - theirs:+.0f} points", why))
    columns = ["share of the peak, on", "paper", "ours", "difference", "why"]
    return pd.DataFrame(lines, columns=columns).set_index(columns[0])


def batches(record: Mapping[str, Any]) -> pd.DataFrame:
    """Milliseconds a frame by the number of frames in a batch, one line an engine and precision."""
    of_ways = {
        f"{way['engine']}, {way['precision']}": way["batches"] for way in record["ways"].values() if way.get("batches")
    }
    return pd.DataFrame.from_dict(of_ways, orient="index").rename_axis("ms a frame, in a batch of")


def unavailable(record: Mapping[str, Any]) -> pd.Series:
    """What could not be timed there, and why."""
    return pd.Series(record["unavailable"], name="why not", dtype=str)
