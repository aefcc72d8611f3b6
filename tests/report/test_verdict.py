"""Gains with Welch's interval against its formula, ranks by hand, and the words that follow."""

import math

import pytest
from scipy import stats

from bisenet.report.verdict import Gain, gain, mean, rank_correlation


def test_welch_s_interval_is_that_of_its_formula():
    """Variances 1 and 7/3 of three scores each; degrees of freedom by Welch and Satterthwaite."""
    found = gain([4, 5, 7], [1, 2, 3])
    of_means = (7 / 3 / 3, 1 / 3)
    freedom = sum(of_means) ** 2 / sum(share**2 / 2 for share in of_means)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(of_means))
    assert (found.points, found.low, found.high) == pytest.approx((10 / 3, 10 / 3 - half, 10 / 3 + half))
    assert found.low > 0 and found.verdict == "resolved"  # 0.21 to 6.45


@pytest.mark.parametrize(
    ("scores", "over", "verdict", "interval"),
    [
        ([1, 2, 3], [1, 2, 3], "unresolved", "-2.27 to +2.27"),
        ([3, 3], [1, 1], "resolved", "+2.00 to +2.00"),  # no spread at all
        ([1], [2, 3], "one seed", ""),
        ([], [2, 3], "not run", ""),
    ],
)
def test_words(scores, over, verdict, interval):
    found = gain(scores, over)
    assert (found.verdict, found.interval) == (verdict, interval)


def test_beside_the_paper():
    assert Gain(2, 1, 3).beside(5) == "resolved, same sign"
    assert Gain(-2, -3, 1).beside(5) == "unresolved, other sign"
    assert Gain(2).beside(math.nan) == "one seed" and Gain(math.nan).beside(5) == "not run"


def test_the_mean_has_student_s_interval():
    found, half = mean([1, 2, 3]), 4.302653 * 1 / math.sqrt(3)  # t of two degrees of freedom, from a printed table
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-6)
    assert mean([4]).verdict == "one seed" and mean([]).verdict == "not run"


def test_rank_correlation_by_hand():
    """Of four rows one pair is swapped: 1 - 6 * 2 / (4 * 15) = 0.8, as far from zero as 8 of the 24 orders."""
    found = rank_correlation([10, 20, 30, 40], [1, 3, 2, 4])
    assert (found.rho, found.chance) == (pytest.approx(0.8), pytest.approx(8 / 24))
    half = stats.norm.ppf(0.975) * math.sqrt(1 + 0.8**2 / 2)
    assert (found.low, found.high) == pytest.approx(tuple(math.tanh(math.atanh(0.8) + x) for x in (-half, half)))
    whole = rank_correlation([1, 2, 3], [1, 2, 3])
    assert math.isnan(whole.low) and whole.chance == pytest.approx(2 / 6)  # no interval; in order or reversed
    for columns in (([1, 2], [1, 2]), ([1, 2, 3], [5, 5, 5])):
        with pytest.raises(ValueError, match="it takes three, and columns that are not constant"):
            rank_correlation(*columns)
