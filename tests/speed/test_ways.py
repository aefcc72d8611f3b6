"""Our ways from a frame to a class map: what is recorded of them, the tables, and the pictures."""

import json
import math
from pathlib import Path

import pytest
import torch

from bisenet.__main__ import make_parser
from bisenet.files import SHIPPED_SIZE, SHIPPED_WEIGHTS
from bisenet.inference import engines
from bisenet.model import BiSeNetV2
from bisenet.speed import bench, charts, disk, timings, ways
from bisenet.speed.machine import where_measured
from bisenet.speed.ways import Kind


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Of two ways that need no compiler, on frames that cost nothing."""
    folder = tmp_path_factory.mktemp("ways")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ways,
            "kinds",
            lambda: [Kind("segmenter", "torch"), Kind("straightforward", "eager"), Kind("segmenter", "tensorrt")],
        )
        patch.setattr(ways, "time_start", lambda size: {"auto": {"again": 4.0}})
        made = ways.time_ways(iterations=3, frame=(128, 256), tested=2, batches=(1, 2), folder=folder / "ways")
    assert bench.records(folder / "ways", where_measured) == {where_measured(made): json.loads(json.dumps(made))}
    return made


def test_a_record_has_every_way_and_says_what_cannot_be_had(record):
    ours, usual = record["ways"]["segmenter, torch, fp32"], record["ways"]["straightforward, eager, fp32"]
    assert ours["whole"]["iterations"] == usual["whole"]["iterations"] == 3
    assert list(ours["stages"]) == ["resize", "network", "classes"] and list(ours["batches"]) == ["1", "2"]
    answers = ours["answers"]["streets"]
    assert answers["same"] > 0.9999 and 10 < answers["miou"] < 90 and answers["images"] == 2
    assert 2**27 < ours["memory"] < 2**34  # more than an interpreter, less than a machine
    assert ours["video"]["frames"] == 32 and 0 < ours["video"]["network"]["median"] < 1000  # milliseconds, of a frame
    assert ours["video"]["disk to disk"]["iterations"] == 1 and record["start"] == {"auto": {"again": 4.0}}
    assert {"peaks", "threads", "device", "load", "date", "process"} < set(record)


def test_layers_are_all_of_the_network(record):
    """Their arithmetic is that of the network, counted in another way."""
    gflop = sum(layer["gflop"] for layer in record["layers"])
    assert gflop == pytest.approx(record["gflop"], rel=1e-6)
    assert all(layer["ms"] > 0 and layer["bytes"] > 0 for layer in record["layers"])


def test_the_slowest_layers_by_hand():
    layers = [
        {"layer": "detail.stage1.1.0", "gflop": 9.6, "bytes": 64_000_000, "ms": 60.0, "openvino_ms": 48.0},
        {"layer": "head.conv.0", "gflop": 1.2, "bytes": 6_000_000, "ms": 6.0, "openvino_ms": 16.0},
        {"layer": "head.classifier", "gflop": 0.1, "bytes": 1_000_000, "ms": 1.0},
    ]
    table = timings.slowest_layers({"layers": layers, "peaks": {"fp32": {"gflops": 160.0}}})
    assert [*table.index] == ["detail.stage1.1.0", "head.conv.0"]
    assert table.loc["detail.stage1.1.0"].to_list() == ["48.00", "75.0", "9.60", "200", "125", "150"]
    assert timings.slowest_layers({"layers": layers[2:], "peaks": {"fp32": {"gflops": 160.0}}}).empty


def test_openvino_tells_of_nearly_every_layer(record):
    """Those that it merges with others are few."""
    if problem := engines.why_not("openvino", "fp32", torch.device("cpu")):
        pytest.skip(problem)
    timed = sum(layer["gflop"] for layer in record["layers"] if layer.get("openvino_ms"))
    assert timed > 0.98 * record["gflop"]


def test_the_straightforward_way_is_the_network():
    network = BiSeNetV2.load(SHIPPED_WEIGHTS)
    frame = torch.randn(1, 3, 96, 160)
    with torch.inference_mode():
        images = torch.nn.functional.interpolate(frame, size=(48, 80), mode="bilinear")
        small = network.head(network.features(images)["refinement"])
        for once in (True, False):
            logits = small if once else torch.nn.functional.interpolate(small, size=(48, 80), mode="bilinear")
            expected = torch.nn.functional.interpolate(logits, size=(96, 160), mode="bilinear").argmax(1)
            assert torch.equal(ways.Straightforward(network, (48, 80), once)(frame), expected)


def fake(ours, network, default, eager, openvino):
    def way(kind, engine, ms, precision="fp32", **more):
        timing = {"iterations": 5, "median": ms, "low": 0.9 * ms, "high": 1.1 * ms}
        return {"kind": kind, "engine": engine, "precision": precision, "whole": timing, **more}

    video = {"network": {"median": network}, "disk to disk": {"median": 1.25 * network}}
    start = {"auto": {"first": 40.0, "again": 4.0}, "torch": {"first": 20.0, "again": 2.5}}
    found = [
        way("segmenter", "onnxruntime", ours, stages={"network": {"median": network}}, video=video),
        way("segmenter", "compile", default, stages={"network": {"median": default}}),
        way("straightforward", "eager", eager),
        way("straightforward", "openvino", openvino),
        way("straightforward", "onnxruntime", 1.2 * ours),
        way("straightforward coincheung", "openvino", 1.4 * ours),
    ]
    names = {f"{of['kind']}, {of['engine']}, fp32": of for of in found}
    peaks = {"fp32": {"gflops": 200.0}}
    return {"ways": names, "peaks": peaks, "gflop": 20.0, "int8_instructions": True, "start": start}


def add_openvino(record, precision, ms, **miou):
    way = {"kind": "segmenter", "engine": "openvino", "precision": precision, "stages": {"network": {"median": ms}}}
    way |= {"whole": {"iterations": 5, "median": ms, "low": ms, "high": ms}}
    way |= {"answers": {name: {"miou": value} for name, value in miou.items()}}
    record["ways"][f"segmenter, openvino, {precision}"] = way


def test_goals_by_hand():
    table = timings.goals(fake(ours=220, network=200, default=275, eager=880, openvino=330))
    assert " ".join(table["reached"]) == (
        "1.10 1.50 1.40 not run 0.80 not run not run not run 0.80 4.00 2.50 4.00 not run 1.20 not run"
    )
    assert table["met"].to_list() == ["yes", "yes", "no", "", "yes", "", "", "", "no", "yes", "no", *4 * [""]]
    assert table["engine here"].to_list()[8:] == [
        "onnxruntime",
        "auto",
        "torch",
        "onnxruntime",
        "openvino",
        "onnxruntime",
        "compile",
    ]
    lines = timings.our_ways(fake(ours=220, network=200, default=275, eager=880, openvino=330))
    assert lines.index.to_list()[0] == "segmenter, onnxruntime, fp32"
    assert lines["network, % of peak"].iloc[0] == "50.00"  # 20 GFLOP in 0.2 s, of 200 GFLOP/s
    assert lines["FPS"].to_list() == ["4.55", "3.79", "3.64", "3.25", "3.03", "1.14"]  # the fastest first
    assert "memory GiB" not in lines  # nothing has it


def test_goals_of_int8():
    record = fake(ours=220, network=200, default=275, eager=880, openvino=330)
    add_openvino(record, "fp32", 230, streets=77.0, camvid=62.5)
    add_openvino(record, "int8", 100, streets=76.75, camvid=61.75)
    table = timings.goals(record).iloc[5:8]
    assert table["reached"].to_list() == ["2.30", "0.25", "0.75"] and table["met"].to_list() == ["yes", "yes", "no"]
    record["int8_instructions"] = False
    assert timings.goals(record)["goal"].iloc[5] == ""


def test_pictures_and_tables_of_a_record(record):
    assert len(charts.ways(record).axes[0].get_yticks()) == 2
    points = [collection.get_offsets() for collection in charts.roofline(record).axes[0].collections]
    timed = [layer for layer in record["layers"] if "openvino_ms" in layer]
    assert sum(map(len, points)) == len(timed or record["layers"])
    assert timings.batches(record).columns.to_list() == ["1", "2"]
    assert math.isclose(float(timings.our_ways(record)["pixels as plain %"].iloc[0]), 100, abs_tol=0.01)


def test_calibration_is_of_the_size_that_the_network_sees():
    if problem := engines.why_not("openvino", "int8", torch.device("cpu")):
        pytest.skip(problem)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "Segmenter", lambda weights, **options: seen.append(options))
        ways._segmenter(Kind("segmenter", "openvino", "int8"), SHIPPED_SIZE)
    assert len(seen[0]["calibration"]) == ways.CALIBRATION and seen[0]["calibration"][0].shape == (*SHIPPED_SIZE, 3)


def test_starts_are_those_of_the_command_and_the_first_finds_nothing(monkeypatch):
    started = []

    def seconds(command, environment):
        if "predict" in command:
            arguments = make_parser(command[3:]).parse_args(command[3:])
            assert arguments.size == (64, 128) and arguments.paths[0].is_file()
            kept = Path(environment["BISENET_ENGINES"])
            started.append((arguments.engine, kept.exists()))
            kept.mkdir(parents=True, exist_ok=True)
        return 1.0

    monkeypatch.setattr(disk, "_seconds", seconds)
    assert disk.time_start((64, 128))["auto"] == {"first": 1.0, "again": 1.0}
    assert started == [("torch", False), ("torch", True), ("auto", False), ("auto", True)]
