"""The measurement of speed, the networks to compare with, and Figure 1."""

import dataclasses
import importlib.util
import itertools
import json
import math
import weakref

import pandas as pd
import pytest
import torch
from torch import nn

from bisenet import paper
from bisenet.__main__ import main
from bisenet.cost import Cost
from bisenet.inference import engines
from bisenet.runs import provenance
from bisenet.speed import bench, charts, peers, protocol, timings, training_steps
from bisenet.speed.machine import where_measured
from bisenet.speed.peers import NETWORKS, Network
from bisenet.speed.protocol import STAGES, Timing, resize, share_of_peak, through, time_in_turn, timing, timing_of

pytestmark = pytest.mark.usefixtures("results")


class Fake(nn.Module):
    """Writes down the sizes that it sees; its logits are at 1/8."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        return images.new_zeros(1, 19, images.shape[2] // 8, images.shape[3] // 8)


@pytest.fixture
def small(monkeypatch):
    """Frames of 128x64, and a network that costs nothing in place of each."""
    monkeypatch.setitem(bench.bench.__kwdefaults__, "frame", (64, 128))
    seen = []
    monkeypatch.setattr(peers, "build", lambda network, size: Fake(seen))
    return seen


def test_every_stage_is_timed_and_the_warm_up_is_not_returned(monkeypatch):
    seen, enlarged = [], []
    monkeypatch.setattr(protocol, "upsample", lambda x, size: enlarged.append(size) or x.new_zeros(*x.shape[:2], *size))
    ticks = itertools.count()
    way = through(Fake(seen), torch.zeros(1, 3, 64, 128), (32, 64))
    seconds = time_in_turn({"fake": way}, iterations=7, clock=lambda: float(next(ticks)))["fake"]
    assert seen == [(1, 3, 32, 64)] * 14
    assert enlarged == [(32, 64), (64, 128)] * 14
    assert seconds.tolist() == [[1.0, 1.0, 1.0, 1.0]] * 7  # a tick for each of the four stages
    of_frame = timing(seconds[:, :3].sum(1))
    assert of_frame == Timing(iterations=7, median=3000, low=3000, high=3000)
    assert of_frame.fps == pytest.approx(1 / 3)


def test_ways_take_turns():
    calls = []
    ways = {name: (0, {"whole": lambda x, name=name: calls.append(name)}) for name in ("a", "b")}
    assert {len(of_way) for of_way in time_in_turn(ways, iterations=3).values()} == {3}
    assert "".join(calls) == "ab" * 6


def test_what_is_as_large_as_the_frame_is_not_resized(monkeypatch):
    monkeypatch.setattr(protocol, "upsample", None)
    frame = torch.zeros(1, 3, 64, 128)
    assert resize(frame, (64, 128)) is frame


@pytest.mark.parametrize(("limit", "iterations"), [(10, 3), (0.1, 1), (None, 30), (35, 9)])
def test_a_limit_ends_it_but_one_iteration_is_made(limit, iterations):
    """By a clock that goes on by a second whenever it is asked: four times an iteration, and at its end."""
    clock = itertools.count()
    ways = {"fake": (0, {"one": int, "two": int})}
    seconds = time_in_turn(ways, iterations=30, limit=limit, clock=lambda: float(next(clock)))["fake"]
    assert len(seconds) == iterations


def test_the_record_says_all_and_is_read_again(small, results, capsys):
    assert main(["bench", "--only", "ENet", "BiSeNetV2", "--iterations", "3", "--engines", "eager"]) == 0
    (path,) = (results / "speed").glob("*.json")
    ((title, record),) = bench.records(results / "speed").items()
    assert record == json.loads(path.read_text())
    assert title.endswith("eager, fp32") and title in capsys.readouterr().out
    assert list(record["networks"]) == ["BiSeNetV2", "ENet"]
    assert {"device", "threads", "engine", "precision", "batch", "frame", "classes", "resize"} < set(record)
    entry = record["networks"]["ENet"]
    assert entry["built"] == "pytorchcv enet_cityscapes" and entry["input_size"] == [32, 64]
    assert {"iterations_asked", "limit", "versions", "git", "load", "omp_wait_policy", "date"} < set(entry["process"])
    assert entry["process"]["peak"]["precision"] == "fp32"
    assert share_of_peak(entry, "fp32") == 0  # the fake network computes nothing
    timing = timing_of(entry)
    assert timing.iterations == 3 and timing.low <= timing.median <= timing.high
    assert list(entry["stages"]) == list(STAGES)
    table = timings.measured(record, dict.fromkeys((network.name for network in NETWORKS), 1.0)).set_index("network")
    assert table["fps"]["ENet"] == pytest.approx(1000 / timing.median)
    assert table["fps"].notna().sum() == 2


def test_a_network_is_let_go_before_the_next_is_made(monkeypatch):
    made: list[weakref.ref[nn.Module]] = []

    def build(network, size):
        assert not [each for each in made if each()], "a network is still there"
        network = Fake([])
        network.again = lambda: network  # a circle, which only the collector ends
        made.append(weakref.ref(network))
        return network

    monkeypatch.setattr(peers, "build", build)
    monkeypatch.setattr(peers, "cost", lambda network, frame: Cost(0.0, 0.0, 0, {}))
    monkeypatch.setattr(bench, "machine_peak", lambda device, precision: {"gflops": 1.0, "precision": precision})
    assert bench.bench(["ENet", "BiSeNetV2", "DABNet"], iterations=1, frame=(32, 64)) == []
    assert len(made) == 3


def test_the_share_is_of_the_peak_in_the_precision_that_ran():
    entry = {"gflop": 50.0, "stages": {"network": {"median": 250.0}}}
    older, in_bf16 = ({"peak": {"gflops": 400.0, **more}} for more in ({}, {"precision": "bf16"}))
    assert (
        share_of_peak({**entry, "process": older}, "fp32") == share_of_peak({**entry, "process": in_bf16}, "bf16") == 50
    )
    for process, precision in ((older, "tf32"), (in_bf16, "fp32")):
        assert math.isnan(share_of_peak({**entry, "process": process}, precision))


def test_nothing_timed_is_lost_when_another_fails(small, results, monkeypatch, capsys):
    assert main(["bench", "--only", "ENet", "--iterations", "1", "--engines", "eager"]) == 0

    def build(network, size):
        if network.name == "SQ":
            raise torch.OutOfMemoryError("out of memory")
        return Fake([])

    monkeypatch.setattr(peers, "build", build)
    assert main(["bench", "--only", "BiSeNetV2", "SQ", "DABNet", "--iterations", "1", "--engines", "eager"]) == 1
    said = capsys.readouterr()
    assert "SQ               failed: out of memory" in said.out and said.err.endswith(
        "reasons above: SQ (eager, fp32)\n"
    )
    ((_, record),) = bench.records(results / "speed").items()
    assert set(record["networks"]) == {"ENet", "BiSeNetV2", "DABNet"}
    assert record["failed"] == {"SQ": "out of memory"}
    place = where_measured(record)
    assert timings.engines_side_by_side({"": record}, place)["eager, fp32"]["SQ"] == "failed"
    assert bench.bench(["LR-ASPP"], iterations=1, frame=(32, 64)) == []  # in another way: not the same record
    ((_, record),) = bench.records(results / "speed").items()
    assert set(record["networks"]) == {"LR-ASPP"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--only Enet", "did you mean 'ENet'"),
        ("--iterations 0", "iterations is 0"),
        ("--limit 0", "limit 0.0"),
        ("--engines opnvino", "did you mean 'openvino'"),
        ("--engines tensorrt", "runs on cuda"),
        ("--engines eager --precisions bf16", "in fp32, not in 'bf16'"),
        ("--precisions fp33", "did you mean 'fp32'"),
        ("--precisions int8", "nothing here computes in int8"),
        ("--training --iterations 0", "iterations is 0"),
        ("--training --limit 3", "--training does not take --limit"),
        ("--ours --only ENet --engines torch", "--ours does not take --only, --engines"),
    ],
)
def test_errors_of_bench(words, message, capsys):
    assert main(["bench", *words.split()]) == 1
    assert message in capsys.readouterr().err


def test_engines_and_precisions_of_this_machine(monkeypatch):
    monkeypatch.setattr(bench, "device_here", lambda: torch.device("cpu"))
    monkeypatch.setattr(engines, "cpu_computes_in_bf16", lambda: False)
    assert bench.combinations(["eager", "compile"]) == [("eager", "fp32"), ("compile", "fp32")]
    monkeypatch.setattr(engines, "cpu_computes_in_bf16", lambda: True)
    assert bench.combinations(["compile"]) == [("compile", "fp32"), ("compile", "bf16")]
    assert {engine for engine, _ in bench.combinations(None, ["bf16"])} >= {"torch", "compile"}


def test_engines_side_by_side_by_hand():
    """0.5 s for the way and 0.25 s for the network alone, which is 50 GFLOP: 200 of 400 GFLOP/s."""
    timing = {"iterations": 9, "median": 500.0, "low": 400.0, "high": 1000.0}
    entry = {"timing": timing, "stages": {"network": {"median": 250.0}}, "gflop": 50.0}
    entry |= {"process": {"peak": {"gflops": 400.0}}}
    here = {"device": {"cpu": "c"}, "threads": 2, "precision": "fp32"}
    one = {**here, "engine": "eager", "networks": {"ENet": entry}}
    other = {**here, "engine": "compile", "networks": {"SegNet": {"timing": timing | {"iterations": timings.FEW}}}}
    table = timings.engines_side_by_side({"a": one, "b": other, "c": {**one, "threads": 1}}, "c, 2 threads")
    assert table.columns.to_list() == ["eager, fp32", "compile, fp32"] and table.index.to_list() == ["ENet", "SegNet"]
    assert table.loc["ENet"].to_list() == ["2, 50 %, 9 frames", "not run"]  # of nine no percentiles
    assert table.loc["SegNet"].to_list() == ["not run", "2 (1 to 2.5), 20 frames"]  # no peak was measured


def test_the_pace_of_training_is_recorded_and_both_loops_have_one_loss(results):
    made = training_steps.time_steps(batch=2, size=(64, 64), iterations=2)
    stored = bench.records(results / "speed" / "pace", where_measured)
    assert stored == {where_measured(made): json.loads(json.dumps(made))}
    plain, ours = made["loops"]["plain, 32-true"], made["loops"]["ours, 32-true"]
    assert ours["loss"] == pytest.approx(plain["loss"], rel=1e-5) and plain["times_as_fast"] == 1
    assert plain["timing"]["iterations"] == 2 and {"threads", "row", "date", "load", "process"} < set(made)
    table = timings.training(made)
    assert float(table["steps a second"].iloc[0]) == pytest.approx(1000 / plain["timing"]["median"], rel=1e-2)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "model name\t: AMD EPYC 7302 16-Core Processor\ncpu family\t: 23\nmodel\t\t: 49",
            "AMD EPYC 7302 16-Core Processor",
        ),
        ("cpu family\t: 23\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n\n", "AMD EPYC (family 23, model 1)"),
    ],
)
def test_a_processor_without_number_is_told_by_its_family(tmp_path, text, name):
    (tmp_path / "cpuinfo").write_text(text)
    assert provenance._cpu_model(tmp_path / "cpuinfo") == name


@pytest.mark.parametrize("network", {n.built: n for n in NETWORKS}.values(), ids=lambda network: network.name)
def test_networks_have_19_classes(network: Network):
    if network.package == "pytorchcv" and not importlib.util.find_spec("pytorchcv"):
        pytest.skip("pytorchcv is not installed: pip install -e '.[peers]'")
    model = peers.build(network, (64, 128))
    assert not any(module.training for module in model.modules())
    with torch.inference_mode():
        logits = model(torch.randn(1, 3, 64, 128))
    assert logits.shape == (1, 19, 64, 128) and torch.isfinite(logits).all()
    assert network.printed or not network.method


def test_sizes_are_those_of_table_7():
    sizes = {network.name: network.seen_of() for network in NETWORKS}
    assert (sizes["BiSeNetV2"], sizes["Fast-SCNN"], sizes["BiSeNetV1"]) == ((512, 1024), (1024, 2048), (768, 1536))
    assert sum(bool(network.printed) for network in NETWORKS) == 10


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pytorchcv.model_provider", None)
    with pytest.raises(ModuleNotFoundError, match=r"^ENet comes from .*pip install -e '\.\[peers\]'"):
        peers.build(peers.chosen(["ENet"])[0], (64, 128))


def fake_record(milliseconds):
    timings = [Timing(5, value, 0.9 * value, 1.2 * value) for value in milliseconds]
    entries = zip(NETWORKS, timings, strict=True)
    process = {"peak": {"gflops": 200.0}}
    found = {network.name: {"timing": dataclasses.asdict(timing), "process": process} for network, timing in entries}
    return {"networks": found}


@pytest.mark.parametrize(
    "milliseconds",
    [
        [350, 2500, 1500, 370, 1600, 390, 300, 9000, 700, 400, 3000, 1200, 1100, 60000, 4000, 260, 500],
        [3, 20, 12, 3, 13, 3.2, 3, 33, 6, 3.1, 20, 12, 11, 200, 30, 2.5, 2.6],
        [30] * 17,
    ],
    ids=["slow", "fast", "all alike"],
)
def test_labels_of_figure_1_cover_nothing(milliseconds):
    table = timings.measured(fake_record(milliseconds), dict.fromkeys((network.name for network in NETWORKS), 1.0))
    figure = charts.speed_accuracy(paper.published("table_7"), {"here": table, "there": table.assign(fps=float("nan"))})
    assert len(figure.axes) == 2  # what was not run has no panel
    for axes, number in zip(figure.axes, (22, 17), strict=True):
        labels = [text for text in axes.texts if text.get_text()]
        assert len(labels) == number + 1  # and the line of real time
        boxes = [text.get_window_extent() for text in labels]
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
        at = [line.get_xydata()[0] for line in axes.lines[1:] if line.get_marker() not in ("None", "")]
        marks = [axes.transData.transform(place) for place in at]  # the others are ticks at the edge
        assert len(axes.lines) == number + 1 and not any(box.contains(*mark) for box in boxes for mark in marks)
        assert all(axes.bbox.count_contains(box.corners()) == 4 for box in boxes[1:])


def test_ratios_say_what_is_not_run():
    gflops = dict.fromkeys((network.name for network in NETWORKS), 1.0)
    table = timings.measured(fake_record([10.0] + [20.0] * 16), gflops)
    ratios = timings.ratios({"here": table, "there": table.assign(fps=float("nan"))})
    assert ratios.loc[("here", "ENet")].to_list() == ["2.03", "2", "x 0.99", "same order; other device and engine"]
    assert ratios.loc[("there", "ENet")].to_list() == ["2.03", "not run", "", "no record"]
    assert ratios.loc["here", "why"].str.startswith("opposite order").sum() == 0
    assert timings.show({"x": table})["FPS here (x)"]["SegNet"] == "50"


def test_another_network_beside_the_paper_s():
    faster, slower = fake_record([10.0] * 17), fake_record([10.0] + [20.0] * 16)
    apart = fake_record([10.0] * 17)
    apart["networks"]["Fast-SCNN"]["process"] = {"peak": {"gflops": 180.0}}  # timed by another process
    told = timings.sentence({"a": faster, "b": slower, "c": {"networks": {}}, "d": apart})
    assert told == "Fast-SCNN has so many times the frames a second of BiSeNetV2: 1.00 (a); 0.50 (b)"
    assert timings.sentence({}) == "Fast-SCNN, BiSeNetV2: not run"


def test_unbeaten_are_those_that_nobody_beats_in_both():
    table = pd.DataFrame({"name": list("abcd"), "fps": [1, 2, 3, 4], "miou": [9, 5, 7, 1]})
    assert timings.unbeaten(table, "name", "miou") == ["a", "c", "d"]
