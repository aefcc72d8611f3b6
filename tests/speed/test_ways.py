"""Our ways from a frame to a class map: what is recorded of them, the tables, and the pictures."""

import json
import math

import pytest
import torch

from bisenet.files import SHIPPED_SIZE, SHIPPED_WEIGHTS
from bisenet.inference import engines
from bisenet.model import BiSeNetV2
from bisenet.speed import bench, charts, timings, ways
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
        made = ways.time_ways(iterations=3, frame=(128, 256), tested=2, batches=(1, 2), folder=folder / "ways")
    assert bench.records(folder / "ways", where_measured) == {where_measured(made): json.loads(json.dumps(made))}
    return made


def test_a_record_has_every_way_and_says_what_cannot_be_had(record):
    ours, usual = record["ways"]["segmenter, torch, fp32"], record["ways"]["straightforward, eager, fp32"]
    assert ours["whole"]["iterations"] == usual["whole"]["iterations"] == 3
    assert list(ours["stages"]) == ["resize", "network", "classes"] and list(ours["batches"]) == ["1", "2"]
    assert ours["same"] > 0.9999 and 10 < ours["miou"] < 90
    assert 2**27 < ours["memory"] < 2**34  # more than an interpreter, less than a machine
    assert {"peak", "threads", "device", "load", "date", "process"} < set(record)


def test_layers_are_all_of_the_network(record):
    """Their arithmetic is that of the network, counted in another way."""
    gflop = sum(layer["gflop"] for layer in record["layers"])
    assert gflop == pytest.approx(record["gflop"], rel=1e-6)
    assert all(layer["ms"] > 0 and layer["bytes"] > 0 for layer in record["layers"])


def test_the_straightforward_way_is_the_network(record):
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
    def way(kind, engine, ms, **more):
        timing = {"iterations": 5, "median": ms, "low": 0.9 * ms, "high": 1.1 * ms}
        return {"kind": kind, "engine": engine, "precision": "fp32", "whole": timing, **more}

    found = [
        way("segmenter", "onnxruntime", ours, stages={"network": {"median": network}}),
        way("segmenter", "compile", default, stages={"network": {"median": default}}),
        way("straightforward", "eager", eager),
        way("straightforward", "openvino", openvino),
        way("straightforward", "onnxruntime", 1.2 * ours),
    ]
    names = {f"{of['kind']}, {of['engine']}, fp32": of for of in found}
    return {"ways": names, "peak": {"gflops": 200.0}, "gflop": 20.0}


def test_goals_by_hand():
    table = timings.goals(fake(ours=220, network=200, default=275, eager=880, openvino=330))
    assert " ".join(table["reached"]) == "1.10 4.00 not run 1.50 not run 0.80 not run 1.20 not run"
    assert table["met"].to_list() == ["yes", "yes", "", "yes", "", "yes", "", "", ""]
    assert table["engine here"].to_list() == 6 * ["onnxruntime"] + ["openvino", "onnxruntime", "compile"]
    lines = timings.our_ways(fake(ours=220, network=200, default=275, eager=880, openvino=330))
    assert lines.index.to_list()[0] == "segmenter, onnxruntime, fp32"
    assert lines["network, % of peak"].iloc[0] == "50.00"  # 20 GFLOP in 0.2 s, of 200 GFLOP/s
    assert lines["times the fastest in fp32"].to_list() == ["1.00", "1.20", "1.25", "1.50", "4.00"]


def test_pictures_and_tables_of_a_record(record):
    assert len(charts.ways(record).axes[0].get_yticks()) == 2
    points = [collection.get_offsets() for collection in charts.roofline(record).axes[0].collections]
    assert sum(map(len, points)) == len(record["layers"])
    assert timings.batches(record).columns.to_list() == ["1", "2"]
    assert math.isclose(float(timings.our_ways(record)["pixels as plain %"].iloc[0]), 100, abs_tol=0.01)


def test_calibration_is_of_the_size_that_the_network_sees():
    if problem := engines.why_not("openvino", "int8", torch.device("cpu")):
        pytest.skip(problem)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "Segmenter", lambda **options: seen.append(options))
        ways._segmenter(Kind("segmenter", "openvino", "int8"), SHIPPED_SIZE)
    assert len(seen[0]["calibration"]) == ways.CALIBRATION and seen[0]["calibration"][0].shape == (*SHIPPED_SIZE, 3)
