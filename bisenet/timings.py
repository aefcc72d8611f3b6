"""From records of speed to tables, beside the speeds that the paper prints (Table 7)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bisenet import speed
from bisenet.peers import NETWORKS
from bisenet.report import NOT_RUN, number
from bisenet.speed import timing_of


def measured(record: Mapping[str, Any], gflops: Mapping[str, float]) -> pd.DataFrame:
    """One line for each of `peers.NETWORKS`, with a record of `speed.bench`; NaN where there is no number.

    Columns `network, ours, height, width` (of what it sees), `gflops` (of `peers.cost`, by name), `miou_paper` (test)
    and `fps_paper` (both from Table 7), `fps`, the fields of `speed.Timing`, `note`.
    """
    lines = []
    for network in NETWORKS:
        height, width = network.input_size
        line = {"network": network.name, "ours": network.ours, "height": height, "width": width}
        line |= {"gflops": gflops[network.name], "note": network.note}
        printed = {"miou_test": math.nan, "fps": math.nan, **network.printed}
        line |= {"miou_paper": printed["miou_test"], "fps_paper": printed["fps"]}
        if entry := record["networks"].get(network.name):
            timing = timing_of(entry)
            line |= {"fps": timing.fps, **dataclasses.asdict(timing)}
        lines.append(line)
    columns = "network ours height width gflops miou_paper fps_paper fps median low high iterations note"
    return pd.DataFrame(lines, columns=columns.split())


def engines_side_by_side(records: Mapping[str, Mapping[str, Any]], where: str) -> pd.DataFrame:
    """Frames per second of every network by the paper's protocol, a column for each engine and precision.

    Of the records of `speed.bench` those that were made in one place.
    """
    of_place = [record for record in records.values() if speed.place(record) == where]
    columns = {
        f"{record['engine']}, {record['precision']}": {
            name: timing_of(entry).fps for name, entry in record["networks"].items()
        }
        for record in of_place
    }
    order = [network.name for network in NETWORKS]
    table = pd.DataFrame(columns).reindex(order).dropna(how="all").rename_axis("FPS")
    return table.map(lambda value: NOT_RUN if math.isnan(value) else f"{value:.3g}")


def show(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of `measured`, by the title of their record, as one for reading: the FPS of Table 7 and of each."""
    first = next(iter(tables.values()))
    shown = {
        "ours": first["ours"].map({True: "yes", False: ""}),
        "sees": [f"{width}x{height}" for width, height in zip(first["width"], first["height"], strict=True)],
        "GFLOPs": first["gflops"].map(number),
        "mIoU % test, published": first["miou_paper"].map(lambda value: number(value, 1)),
        "FPS published (GTX 1080 Ti)": first["fps_paper"].map("{:g}".format).where(first["fps_paper"].notna(), "-"),
    }
    for title, table in tables.items():
        shown[f"FPS here ({title})"] = table["fps"].map("{:.3g}".format).where(table["fps"].notna(), NOT_RUN)
    return pd.DataFrame({**shown, "note": first["note"]}).set_index(first["network"])


def ratios(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How many times as fast as each other network of Table 7 BiSeNetV2 is, their first line.

    Columns paper | ours | difference | why.
    """
    lines = []
    for title, table in tables.items():
        paper, ours = (table[column][0] / table[column] for column in ("fps_paper", "fps"))
        for place in table.index[1:][table["fps_paper"][1:].notna()]:
            lines.append((title, table["network"][place], *_ratio(paper[place], ours[place], table["note"][place])))
    columns = ["measured on", "BiSeNetV2 against", "paper", "ours", "difference", "why"]
    return pd.DataFrame(lines, columns=columns).set_index(columns[:2])


def _ratio(paper: float, ours: float, note: str) -> tuple[str, ...]:
    if math.isnan(ours):
        return f"{paper:.3g}", NOT_RUN, "", "no record"
    order = "same order" if (paper > 1) == (ours > 1) else "opposite order"
    why = f"{order}; other device and engine" + ("; see note" if note else "")
    return f"{paper:.3g}", f"{ours:.3g}", f"x {ours / paper:.2g}", why


def provenance(records: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Where measured speeds come from, by the title of their record, one line a network."""
    lines = [
        {
            "measured on": title,
            "network": name,
            "ms (5 % to 95 %)": f"{timing.median:.1f} ({timing.low:.1f} to {timing.high:.1f})",
            "iterations": timing.iterations,
            "built by": entry["built"],
            "torch": process["versions"]["torch"],
            "load before": process["load"],
            "date": process["date"][:10],
            "commit": (process["git"]["commit"] or "-")[:7] + (" + changes" if process["git"]["dirty"] else ""),
        }
        for title, record in records.items()
        for name, entry in record["networks"].items()
        for timing, process in [(timing_of(entry), entry["process"])]
    ]
    return pd.DataFrame(lines)
