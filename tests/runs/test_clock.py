"""Moments on a GPU are its events; here with events that are not real."""

import numpy as np
import pytest
import torch

from bisenet.runs.clock import between, clock_of
from bisenet.speed.protocol import time_in_turn


class Event:
    """A GPU on which each piece of work takes as many milliseconds as were recorded before it."""

    recorded: list["Event"] = []  # noqa: RUF012
    waited = 0

    def __init__(self, enable_timing: bool):
        assert enable_timing

    def record(self) -> None:
        Event.recorded.append(self)

    def synchronize(self) -> None:
        Event.waited += 1

    def elapsed_time(self, other: "Event") -> float:
        first, last = (Event.recorded.index(event) for event in (self, other))
        return float(sum(range(first + 1, last + 1)))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(Event, "recorded", [])
    monkeypatch.setattr(Event, "waited", 0)
    return torch.device("cuda")


def test_stages_are_timed_by_events_and_a_frame_is_waited_for_once(gpu: torch.device) -> None:
    ways = {"fake": (0, {"one": int, "two": int, "three": int})}
    seconds = time_in_turn(ways, iterations=2, clock=clock_of(gpu))["fake"]
    # one event at the begin, four for each of two frames that warm up; again one, then those that count
    assert np.allclose(seconds, [[0.011, 0.012, 0.013], [0.015, 0.016, 0.017]], rtol=1e-9)
    assert Event.waited == 4


def test_a_limit_is_kept_by_events(gpu: torch.device) -> None:
    ways = {"fake": (0, {"whole": int})}
    assert len(time_in_turn(ways, iterations=1000, limit=1.0, clock=clock_of(gpu))["fake"]) < 50


def test_moments_of_a_processor() -> None:
    clock = clock_of(torch.device("cpu"))
    assert between([1.0, 1.5, 4.0]) == [0.5, 2.5] and between([clock()]) == []
    assert 0 <= sum(between([clock(), clock()])) < 60
