"""One verdict: what some scores gain over others, its 95 % interval, and whether it is resolved.

A score is that of one run, a seed each. The word "resolved" is for an interval that excludes zero, nothing else.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

NOT_RUN = "not run"
ONE_SEED = "one seed"
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Gain:
    """`points` gained in the mean, and the interval `low` to `high`: NaN with one seed, all of them without runs."""

    points: float
    low: float = math.nan
    high: float = math.nan

    @property
    def verdict(self) -> str:
        """ "resolved", "unresolved", "one seed" or "not run"."""
        if math.isnan(self.points):
            return NOT_RUN
        if math.isnan(self.low):
            return ONE_SEED
        return "resolved" if self.low > 0 or self.high < 0 else "unresolved"

    @property
    def interval(self) -> str:
        return "" if math.isnan(self.low) else f"{self.low:+.2f} to {self.high:+.2f}"

    def beside(self, printed: float) -> str:
        """The verdict, and where the paper printed a gain (NaN: it did not), whether the sign is the paper's."""
        if math.isnan(self.points) or math.isnan(printed):
            return self.verdict
        return f"{self.verdict}, {'same' if printed * self.points > 0 else 'other'} sign"


def gain(scores: Sequence[float], over: Sequence[float]) -> Gain:
    """Mean of `scores` less mean of `over`, with Welch's interval: the variances of the two may differ."""
    if not len(scores) or not len(over):
        return Gain(math.nan)
    points = float(np.mean(scores) - np.mean(over))
    if min(len(scores), len(over)) < 2:
        return Gain(points)
    if not np.ptp(scores) and not np.ptp(over):  # Welch divides by their variance
        return Gain(points, points, points)
    interval = stats.ttest_ind(scores, over, equal_var=False).confidence_interval(CONFIDENCE)
    return Gain(points, float(interval.low), float(interval.high))


def mean(scores: Sequence[float]) -> Gain:
    """The mean of scores, or of their distances from a printed one, with Student's interval."""
    if len(scores) < 2:
        return Gain(float(np.mean(scores)) if len(scores) else math.nan)
    points, half = float(np.mean(scores)), float(stats.t.ppf((1 + CONFIDENCE) / 2, len(scores) - 1) * stats.sem(scores))
    return Gain(points, points - half, points + half)


@dataclasses.dataclass(frozen=True)
class Correlation:
    """Of ranks: `rho`, its 95 % interval (NaN where there is none), and the probability of one as far from zero."""

    rho: float
    low: float
    high: float
    chance: float


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Correlation:
    """Spearman's correlation of two columns.

    The interval (Bonett and Wright, 2000) takes four rows and ranks that do not agree wholly. The probability, exact up
    to eight rows, is that of a correlation at least as far from zero if one column were shuffled. ValueError for fewer
    than three rows, and for a column whose values are all equal.
    """
    if len(first) < 3 or not np.ptp(first) or not np.ptp(second):
        raise ValueError(f"rank correlation of {len(first)} rows: it takes three, and columns that are not constant")
    shuffling = stats.PermutationMethod(n_resamples=math.factorial(8), rng=np.random.default_rng(0))
    found = stats.pearsonr(stats.rankdata(first), stats.rankdata(second), method=shuffling)
    rho, low, high = float(found.statistic), math.nan, math.nan
    if len(first) > 3 and abs(rho) < 1 - 1e-9:
        half = stats.norm.ppf((1 + CONFIDENCE) / 2) * math.sqrt((1 + rho**2 / 2) / (len(first) - 3))
        low, high = np.tanh(np.arctanh(rho) + np.array((-half, half))).tolist()
    return Correlation(rho, low, high, float(found.pvalue))
