"""What many runs will cost."""

import weakref

import pytest

from bisenet import paper
from bisenet.__main__ import main
from bisenet.execution import Execution
from bisenet.notebook import batch
from bisenet.notebook.shared import Parameters
from bisenet.runs import forecast, memory
from bisenet.runs.forecast import Forecast
from bisenet.runs.many import needed

pytestmark = pytest.mark.usefixtures("results")


def test_needed_runs_are_distinct_and_the_forecast_trains_nothing(results, capsys):
    everything = needed(paper.TABLES, "cityscapes", "paper", [0])
    assert len(everything) == 36
    assert len(needed(["table_2", "table_3a"], "streets", "smoke", [0, 1])) == 20  # 7 + 5 rows, 2 in common
    assert main(["plan", "--scale", "smoke", "--only", "table_2", "--workers", "0", "--accelerator", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "streets, smoke: 7 distinct runs, 0 recorded, 7 to train; if the data keep up about" in said
    assert not list(results.glob("runs/*/record.json"))


def test_forecast_divides_time_by_devices_and_names_the_widest():
    runs_of = needed(["table_2"], "streets", "smoke", [0])
    seconds, memory = {"a": 7200.0, "b": 3600.0}, {"a": 2.0**30, "b": 3 * 2.0**30}
    cost = Forecast(runs_of, 5, 0, seconds, memory, overhead=360.0, device="GPU", devices=2)
    assert cost.hours == pytest.approx(1.5 + 0.1)
    said = "7 distinct runs, 5 recorded, 2 to train; if the data keep up about 1.6 hours on 2 times GPU"
    assert str(cost) == f"{said}; about 3.0 GiB for a step of b"


@pytest.mark.parametrize(
    ("hours", "devices", "processes", "expected"),
    [
        ([30, 30], 1, 8, 30),  # six of eight GPUs have nothing to do
        ([30, 30], 8, 1, 7.5),  # all of them train one run, then the other
        ([2, 3, 2, 2], 1, 2, 5),  # 3 + 2 and 2 + 2
        ([4, 4, 4], 2, 2, 4),  # two pairs of GPUs: two hours for two runs, two for the third
        ([], 1, 2, 0),
    ],
)
def test_a_run_takes_its_time_however_many_places_are_free(hours, devices, processes, expected):
    seconds = {str(number): 3600.0 * each for number, each in enumerate(hours)}
    assert Forecast([], 0, 0, seconds, {}, 0.0, "GPU", devices, processes).hours == pytest.approx(expected)


def test_networks_are_let_go_before_the_next_is_timed_and_smaller_steps_are_said(monkeypatch):
    made, attempt = [], forecast.attempt

    def seen(model, training, fabric, parts):
        assert not [network for network in made if network()], "a network is still there"
        trial = attempt(model, training, fabric, parts)
        made.append(weakref.ref(trial.model))
        return trial

    monkeypatch.setattr(forecast, "attempt", seen)
    runs = needed(["table_2"], "streets", "smoke", [0])[:3]
    execution, how = Execution("cpu", workers=0), {"notebooks": 0, "reading": 0.0, "start": lambda: 0.0}
    said = str(forecast.forecast_runs(runs, execution, **how))
    assert len(made) == 3 and not any(network() for network in made)
    assert "pixels" not in said
    monkeypatch.setitem(memory.PIXELS, "cpu", 2 * 32 * 64)
    assert ", timed at fewer pixels; " in str(forecast.forecast_runs(runs[:1], execution, **how))


def test_runs_that_share_a_gpu_are_not_taken_to_be_faster(monkeypatch):
    given = []
    monkeypatch.setattr(batch, "forecast_runs", lambda *_, processes, **__: given.append(processes))
    for places in (["0", "0", "1", "1"], ["", ""], [""]):
        monkeypatch.setattr(batch, "places", lambda *_, places=places: places)
        batch.forecast([], Parameters(), [], Execution())
    assert given == [2, 2, 1]
