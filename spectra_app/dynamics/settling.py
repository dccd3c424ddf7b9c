"""Whether a time series has settled: pure functions on numbers.

How much of the beginning to leave out is decided as by Chodera 2016 (DOI 10.1021/acs.jctc.5b00784): the origin t_0 that
leaves most independent values, N_eff = (n - t_0)/g, with the statistical inefficiency of what follows,

    g = 1 + 2 sum_k (1 - k/n) C(k)     (summed while pairs C(2j) + C(2j + 1) are positive; Geyer 1992,
                                        DOI 10.1214/ss/1177011137)

A drift that is left makes C long and N_eff small.  It is looked for by itself: the slope of a straight line through the
rest, with an error from the residuals and their own g.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

ENOUGH_VALUES = 10.0  # independent values after t_0: fewer do not tell fluctuation from relaxation
STEADY_SIGMAS = 2.0  # a slope of fewer standard errors may be none
DRIFT_SIGMAS = 3.0  # a slope of more standard errors is a drift
LATEST_ORIGIN = 1.0 / 3.0  # of the series: what is left of a relaxation is then e^-3 of it
FEWEST_SAMPLES = 40  # of a series that can be judged at all
_ORIGINS = 20  # tried, equally spaced


class Line(NamedTuple):
    """A straight line through a series.

    Attributes:
        slope: per sample.
        error: standard error, of the residuals' statistical inefficiency.
    """

    slope: float
    error: float


@dataclass(frozen=True)
class Rest:
    """What follows an origin of a series.

    Attributes:
        mean: of it.
        error: standard error of the mean.
        n_effective: independent values.
        line: through it.
    """

    mean: float
    error: float
    n_effective: float
    line: Line

    @property
    def drifts(self) -> bool:
        """Whether the slope is more than chance."""
        return abs(self.line.slope) > DRIFT_SIGMAS * self.line.error

    @property
    def steady(self) -> bool:
        """Whether the values suffice and show no slope."""
        return self.n_effective >= ENOUGH_VALUES and abs(self.line.slope) <= STEADY_SIGMAS * self.line.error


def statistical_inefficiency(series: np.ndarray) -> float:
    """Samples per independent value, g >= 1, of a series [sample]; 1 for a series that never changes."""
    n = len(series)
    centred = series - series.mean()
    variance = float(centred @ centred) / n
    if n < 4 or variance <= 1e-24 * float(series @ series) / n:
        return 1.0
    padded = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, padded)
    correlation = np.fft.irfft(spectrum * spectrum.conj(), padded)[: n - 1] / (n * variance)  # C(k) (1 - k/n)
    pairs = correlation[: 2 * (len(correlation) // 2)].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0.0)
    kept = pairs[: ends[0] if len(ends) else len(pairs)]
    return max(1.0, 2.0 * float(kept.sum()) - 1.0)


def best_origin(series: np.ndarray) -> int:
    """t_0 in samples of a series [sample], at most three quarters of it."""
    origins = np.unique(np.linspace(0, 0.75 * len(series), _ORIGINS).astype(int))
    left = [(len(series) - origin) / statistical_inefficiency(series[origin:]) for origin in origins]
    return int(origins[int(np.argmax(left))])


def straight_line(series: np.ndarray) -> Line:
    """Least squares through a series [sample] of at least three samples."""
    n = len(series)
    time = np.arange(n) - 0.5 * (n - 1)
    spread = float(time @ time)
    slope = float(time @ series) / spread
    residuals = series - series.mean() - slope * time
    variance = float(residuals @ residuals) / max(n - 2, 1) * statistical_inefficiency(residuals)
    return Line(slope, float(np.sqrt(variance / spread)))


def judge_rest(series: np.ndarray) -> Rest:
    """Mean, error and slope of a series [sample] that is to be settled."""
    g = statistical_inefficiency(series)
    n_effective = len(series) / g
    return Rest(float(series.mean()), float(series.std() / np.sqrt(n_effective)), n_effective, straight_line(series))
