"""From records of speed to tables: networks beside the paper's speeds (Table 7), ways to a class map, training."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bisenet.report.ablations import number
from bisenet.report.verdict import NOT_RUN
from bisenet.speed.machine import where_measured
from bisenet.speed.peers import NETWORKS
from bisenet.speed.protocol import PLAIN, WAY_STAGES, percent_of_peak, share_of_peak, timing_of

FEW = 20  # of fewer frames percentiles are no more than the extremes, and are not shown


def measured(record: Mapping[str, Any], gflops: Mapping[str, float]) -> pd.DataFrame:
    """One line for each of `peers.NETWORKS`, with a record of `bench.bench`; NaN where there is no number.

    Columns `network, ours, height, width` (of what it sees), `gflops` (of `peers.cost`, by name), `miou_paper` (test)
    and `fps_paper` (both from Table 7), `fps`, the fields of `protocol.Timing`, `note`.
    """
    lines = []
    for network in NETWORKS:
        height, width = network.seen_of()
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
    """Every network by the paper's protocol, a column for each engine and precision.

    Of the records of `bench.bench` those that were made in one place. A cell has the frames per second, by the median,
    with their 5th and 95th percentile unless `FEW` were timed, what the network alone reaches of the peak in the
    precision, and how many frames were timed.
    """
    columns = {}
    for record in records.values():
        if where_measured(record) == where:
            failed = dict.fromkeys(record.get("failed", ()), "failed")  # known since there is more than one engine
            cells = {name: _cell(entry, record["precision"]) for name, entry in record["networks"].items()}
            columns[f"{record['engine']}, {record['precision']}"] = cells | failed
    found = pd.DataFrame(columns)
    known = [network.name for network in NETWORKS]
    table = found.reindex([*known, *found.index.difference(known)]).dropna(how="all")
    return table.fillna(NOT_RUN).rename_axis("FPS (5 % to 95 %), % of peak, frames timed")


def _cell(entry: Mapping[str, Any], precision: str) -> str:
    timing, share = timing_of(entry), share_of_peak(entry, precision)
    spread = f" ({1000 / timing.high:.3g} to {1000 / timing.low:.3g})" if timing.iterations >= FEW else ""
    parts = [f"{timing.fps:.3g}{spread}", "" if math.isnan(share) else f"{share:.0f} %", f"{timing.iterations} frames"]
    return ", ".join(filter(None, parts))


def show(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of `measured`, by the title of their record, as one for reading: the FPS of Table 7 and of each."""
    first = next(iter(tables.values()))
    shown = {
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

    Columns paper | here | difference | why.
    """
    lines = []
    for title, table in tables.items():
        paper, ours = (table[column][0] / table[column] for column in ("fps_paper", "fps"))
        for place in table.index[1:][table["fps_paper"][1:].notna()]:
            lines.append((title, table["network"][place], *_ratio(paper[place], ours[place], table["note"][place])))
    columns = ["measured on", "BiSeNetV2 against", "paper", "here", "difference", "why"]
    return pd.DataFrame(lines, columns=columns).set_index(columns[:2])


def _ratio(paper: float, ours: float, note: str) -> tuple[str, ...]:
    if math.isnan(ours):
        return f"{paper:.3g}", NOT_RUN, "", "no record"
    order = "same order" if (paper > 1) == (ours > 1) else "opposite order"
    why = f"{order}; other device and engine" + ("; see note" if note else "")
    return f"{paper:.3g}", f"{ours:.3g}", f"x {ours / paper:.2g}", why


def sentence(records: Mapping[str, Mapping[str, Any]]) -> str:
    """How fast the nearest rival is beside the paper's network, where one process timed both, by records of `bench`."""
    name, own, times = "Fast-SCNN", "BiSeNetV2", {}
    for title, record in records.items():
        pair = [record["networks"][each] for each in (own, name) if each in record["networks"]]
        if len(pair) == 2 and len({str(each["process"].get("peak")) for each in pair}) == 1:  # measured once a process
            times[title] = timing_of(pair[0]).median / timing_of(pair[1]).median
    told = "; ".join(f"{ratio:.2f} ({title})" for title, ratio in times.items())
    return f"{name} has so many times the frames a second of {own}: {told}" if told else f"{name}, {own}: {NOT_RUN}"


def unbeaten(table: pd.DataFrame, name: str, miou: str) -> list[str]:
    """The names in a column that no other beats in both speed, `fps`, and accuracy, from the most accurate on."""
    known = table.dropna(subset=["fps", miou]).sort_values("fps")
    faster = known[miou][::-1].cummax()[::-1].shift(-1, fill_value=0)  # the best of those that are faster
    return known[name][known[miou] >= faster].tolist()


def all_unbeaten(published: pd.DataFrame, measured: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """`unbeaten` of Table 7 (`paper.published`) and of each table of `measured`, by title."""
    here = {title: unbeaten(table, "network", "miou_paper") for title, table in measured.items()}
    return {"as published": unbeaten(published, "method", "miou_test"), **here}


# --- records of `bisenet.speed.ways` --------------------------------------------------------------------------------


def milliseconds(record: Mapping[str, Any], kind: str, engine: str) -> float:
    """The median of a way in fp32, NaN where it was not timed."""
    way = record["ways"].get(f"{kind}, {engine}, fp32")
    return float(way["whole"]["median"]) if way else math.nan


def best(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fastest way of this package in fp32."""
    ours = [way for way in record["ways"].values() if (way["kind"], way["precision"]) == ("segmenter", "fp32")]
    return min(ours, key=lambda way: way["whole"]["median"])


def our_ways(record: Mapping[str, Any]) -> pd.DataFrame:
    """Every way for reading, the fastest first: time and its spread, stages, share of the peak, memory, mIoU."""
    ordered = sorted(record["ways"].items(), key=lambda item: item[1]["whole"]["median"])
    table = pd.DataFrame.from_dict({name: _line(way, record) for name, way in ordered}, orient="index")
    table = table.rename_axis("way")
    return table.loc[:, (table != "").any()]


def _line(way: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    whole, stages = way["whole"], {name: of["median"] for name, of in way.get("stages", {}).items()}
    network = stages.get("network", math.nan)
    peak = record["peaks"].get(way["precision"], {"gflops": math.nan})
    numbers = {
        **{f"{name} ms": stages.get(name, math.nan) for name in WAY_STAGES},
        "network, % of peak": percent_of_peak(record["gflop"], network, peak),
        "memory GiB": way.get("memory", math.nan) / 2**30,
        **{f"{name}, mIoU %": _miou(way, name) for name in ("streets", "camvid")},
        "pixels as plain %": 100 * _answers(way, "streets").get("same", math.nan),
        "load again s": way.get("load again", math.nan),
    }
    return {
        "ms a frame (5 % to 95 %)": f"{whole['median']:.1f} ({whole['low']:.1f} to {whole['high']:.1f})",
        "frames": str(whole["iterations"]),
        "FPS": f"{1000 / whole['median']:.2f}",
        **{name: "" if math.isnan(value) else number(value) for name, value in numbers.items()},
    }


def goals(record: Mapping[str, Any]) -> pd.DataFrame:
    """What the fast path is to reach and what it reached in this record, by the medians; in fp32 but for int8.

    The last lines, without a goal, compare within an engine. int8 is to be fast where the processor multiplies so.
    """
    fastest = best(record)
    whole, network = fastest["whole"]["median"], fastest["stages"]["network"]["median"]
    default = min(milliseconds(record, "segmenter", "compile"), milliseconds(record, "segmenter", "torch"))
    used = fastest["engine"]
    lines = [("whole path / network alone", "at most 1.10", whole / network, used)]
    for kind in ("straightforward", "straightforward coincheung", "straightforward mmsegmentation"):
        lines.append((f"{kind}, openvino / here", "at least 1.5", milliseconds(record, kind, "openvino") / whole, used))
    lines.append(("here / the default installation", "at least 0.75", whole / default, used))
    lines += _int8_goals(record) + _disk_goals(record, fastest)
    lines.append(("straightforward, eager / here", "", milliseconds(record, "straightforward", "eager") / whole, used))
    for engine in ("openvino", "onnxruntime", "compile"):
        ratio = milliseconds(record, "straightforward", engine) / milliseconds(record, "segmenter", engine)
        lines.append(("straightforward / here, in one engine", "", ratio, engine))
    shown = pd.DataFrame(lines, columns=["ratio", "goal", "reached", "engine here"])
    shown["met"] = [_met(goal, value) for goal, value in zip(shown["goal"], shown["reached"], strict=True)]
    shown["reached"] = [NOT_RUN if math.isnan(value) else f"{value:.2f}" for value in shown["reached"]]
    return shown.set_index("ratio")


def _int8_goals(record: Mapping[str, Any]) -> list[tuple[str, str, float, str]]:
    """How many times as fast int8 is as fp32 in OpenVINO, and the points of mIoU that it loses."""
    full, small = (record["ways"].get(f"segmenter, openvino, {precision}", {}) for precision in ("fp32", "int8"))
    times = full["whole"]["median"] / small["whole"]["median"] if full and small else math.nan
    lines = [("fp32 / int8", "at least 2" if record.get("int8_instructions") else "", times, "openvino")]
    for name in ("streets", "camvid"):
        lost = _miou(full, name) - _miou(small, name)
        lines.append((f"points of mIoU that int8 loses, {name}", "at most 0.5", lost, "openvino"))
    return lines


def _disk_goals(record: Mapping[str, Any], fastest: Mapping[str, Any]) -> list[tuple[str, str, float, str]]:
    """Of a video how much of the network's rate is left, and how long a photograph takes from the command line."""
    video, start = fastest.get("video"), record.get("start", {})
    rate = video["network"]["median"] / video["disk to disk"]["median"] if video else math.nan
    lines = [("frames a second of a video, from disk to disk / network alone", "at least 0.9", rate, fastest["engine"])]
    for engine, goal in (("auto", "at most 5"), ("torch", "at most 2")):
        seconds = start.get(engine, {}).get("again", math.nan)
        lines.append(("seconds to segment one photograph, after the first time", goal, seconds, engine))
    return lines


def _miou(way: Mapping[str, Any], dataset: str) -> float:
    """mIoU of a way, percent; NaN where it was not scored on a data set."""
    return float(_answers(way, dataset).get("miou", math.nan))


def _answers(way: Mapping[str, Any], dataset: str) -> Mapping[str, Any]:
    """`miou` and `same` of a way on a data set."""
    return dict(way.get("answers", {}).get(dataset, {}))


def _met(goal: str, reached: float) -> str:
    """ "yes" or "no"; "" without a goal, such as "at most 1.15", or a number."""
    if not goal or math.isnan(reached):
        return ""
    _, kind, limit = goal.split()
    return "yes" if (reached <= float(limit) if kind == "most" else reached >= float(limit)) else "no"


def slowest_layers(record: Mapping[str, Any]) -> pd.DataFrame:
    """The ten convolutions that take most of OpenVINO's time in fp32, slowest first; none where that was not timed."""
    layers = [layer for layer in record["layers"] if "openvino_ms" in layer]
    network = sum(layer["openvino_ms"] for layer in layers)
    lines = {}
    for layer in sorted(layers, key=lambda layer: -layer["openvino_ms"])[:10]:
        pace = 1000 * layer["gflop"] / layer["openvino_ms"]
        lines[layer["layer"]] = {
            "ms": number(layer["openvino_ms"]),
            "% of all convolutions": number(100 * layer["openvino_ms"] / network, 1),
            "GFLOP": number(layer["gflop"]),
            "GFLOP/s": number(pace, 0),
            "% of peak": number(100 * pace / record["peaks"]["fp32"]["gflops"], 0),
            "FLOP for each byte": number(1e9 * layer["gflop"] / layer["bytes"], 0),
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("convolution, in OpenVINO")


def batches(record: Mapping[str, Any]) -> pd.DataFrame:
    """Milliseconds a frame by the number of frames in a batch, one line an engine and precision."""
    of_ways = {
        f"{way['engine']}, {way['precision']}": way["batches"] for way in record["ways"].values() if way.get("batches")
    }
    return pd.DataFrame.from_dict(of_ways, orient="index").rename_axis("ms a frame, in a batch of")


def training(record: Mapping[str, Any]) -> pd.DataFrame:
    """A record of `training_steps.time_steps` for reading: one line a loop."""
    plain = record["loops"][PLAIN]["loss"]
    lines = {
        name.replace("ours", "here"): {
            "steps a second": number(1000 / loop["timing"]["median"], 3),
            "ms a step (5 % to 95 %)": "{median:.0f} ({low:.0f} to {high:.0f})".format(**loop["timing"]),
            "times as fast as plain": f"{loop['times_as_fast']:.2f}",
            "loss of the first step": f"{loop['loss']:.6f}",
            "its relative difference": f"{abs(loop['loss'] / plain - 1):.1e}",
            "steps": loop["timing"]["iterations"],
        }
        for name, loop in record["loops"].items()
    }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("loop, precision")


# --- all of them as one tidy table --------------------------------------------------------------------------------


def tidy(folder: Path) -> pd.DataFrame:
    """All timings in a folder of records, a line for each: networks, ways to a class map, steps of training.

    Milliseconds: the median, and `ms_low` and `ms_high`, the 5th and 95th percentiles.
    """
    lines = []
    for path in sorted(folder.rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        for name, entry in record.get("networks", {}).items():
            about = {"kind": "network", "name": name, "engine": record["engine"], "precision": record["precision"]}
            lines.append(about | _tidy(path, record, entry["timing"], entry["process"]))
        for way in record.get("ways", {}).values():
            about = {"kind": "way", "name": way["kind"], "engine": way["engine"], "precision": way["precision"]}
            lines.append(about | _tidy(path, record, way["whole"], record["process"] | {"date": record["date"]}))
        for name, loop in record.get("loops", {}).items():
            step, precision = name.split(", ")
            about = {"kind": "training step", "name": step, "precision": precision}
            lines.append(about | _tidy(path, record, loop["timing"], record["process"] | {"date": record["date"]}))
    return pd.DataFrame(lines)


def _tidy(path: Path, record: Mapping[str, Any], timing: Mapping[str, float], process: Mapping[str, Any]) -> dict:
    ms = {"ms": timing["median"], "ms_low": timing["low"], "ms_high": timing["high"], "repeats": timing["iterations"]}
    here = {"device": where_measured(record), "date": process["date"], "commit": process["git"]["commit"]}
    return {**ms, **here, "file": path.name}
