"""What many runs will cost."""

import pytest

from bisenet import paper
from bisenet.__main__ import main
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
