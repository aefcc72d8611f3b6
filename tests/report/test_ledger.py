"""The ledger of GFLOPs against the printed figures, and one of them by hand."""

import pytest

from bisenet import paper
from bisenet.readings import COINCHEUNG
from bisenet.report import ledger


def test_a_figure_is_met_within_half_a_unit_of_its_last_printed_digit() -> None:
    of_epsilon_4 = ledger.figures().loc["table_3c.epsilon_4"]  # printed with one decimal
    assert (of_epsilon_4["paper"], of_epsilon_4["half"]) == ("19.8", 0.05)
    assert of_epsilon_4["difference"] == pytest.approx(19.7965 - 19.8, abs=1e-4)
    shown = ledger.show(ledger.figures().loc[["table_3c.epsilon_4"]])
    assert shown.reset_index().iloc[0].tolist()[:5] == ["3c", "ε = 4", "19.8", "19.7965", "-0.0035"]


def test_shufflenet_is_the_released_one_and_a_reading_is_the_network_s() -> None:
    network = ledger.network(paper.row("table_6.shufflenet"), COINCHEUNG)
    assert (network.backbone, network.booster, network.reading) == ("shufflenet_v2_x1_5_released", (), COINCHEUNG)
    assert ledger.network(paper.row("table_6.resnet")).backbone == "resnet18"
