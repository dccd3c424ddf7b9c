"""Error bars by the jackknife over blocks and replicas, and the verdict whether a run is long enough.

The blocks are contiguous in time (or whole replicas); every quantity f, linear or not, is computed once from all data
and once without each block, and ``error^2 = t^2 (G - 1)/G sum_g (f_g - mean f)^2`` (Miller,
Biometrika 61, 1, 1974).  The Student factor t widens the error of few blocks, so that one standard error covers 68%.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Resampling = Literal["jackknife", "samples"]
"""What the spread of resampled spectra means: values without each group, or draws from the error's distribution."""

_ONE_SIGMA = 0.841344746
"""Probability below +1 standard deviation of a normal variable."""


def student_factor(n_groups: int) -> float:
    """Half-width of the central 68% of Student's t with n_groups - 1 degrees of freedom: 1.14 for 5, 1 for many."""
    return float(stats.t.ppf(_ONE_SIGMA, n_groups - 1))


def jackknife_error(leave_one_out: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error of a quantity from its values without each group.

    Args:
        leave_one_out: [group, ...], any unit: the quantity computed from all data but one group.

    Returns:
        [...], same unit; NaN where there are fewer than two groups.
    """
    return resampling_error(leave_one_out, "jackknife")


def stretch_of_groups(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors [group] on what leaving out a group changes, so that the formula of equal groups holds for unequal ones.

    A group with the share w of the data changes a mean by w/(1 - w) times its own deviation, and the squares of these
    changes are to be weighted by 1/w - 1 (delete-m_j jackknife, Busing, Meijer and van der Leeden, Stat. Comput. 9, 3,
    1999, doi 10.1023/A:1008800423698).  A common factor makes the expected error of a mean of independent data exact;
    for equal groups all factors are 1.

    Args:
        shares: [group] of the data, adding up to 1; at least two groups.
    """
    n = len(shares)
    stretch = np.sqrt((1.0 / shares - 1.0) / (n - 1))
    change = stretch / (1.0 - shares)  # of the mean, in deviations of the group times its share
    squares, mean = np.sum(shares * change**2), np.sum(shares * change)
    expected = (n - 1) / n * (squares - np.sum((shares * change) ** 2) - (squares - mean**2) / n)
    return np.asarray(stretch / math.sqrt(expected))


def resampling_error(values: Iterable[NDArray[np.float64]], resampling: Resampling) -> NDArray[np.float64]:
    """Standard error [...] of a quantity from its values [resample, ...] on resampled data."""
    accumulator = SpreadAccumulator(resampling)
    for value in values:
        accumulator.add(value)
    return accumulator.error()


class SpreadAccumulator:
    """Collects resampled values one at a time, so that G spectra need not lie in memory together.

    Args:
        resampling: what the values are.
    """

    def __init__(self, resampling: Resampling = "jackknife") -> None:
        self._resampling = resampling
        self._n = 0
        self._mean: NDArray[np.float64] = np.zeros(0)
        self._squares: NDArray[np.float64] = np.zeros(0)

    def add(self, values: NDArray[np.float64]) -> None:
        """Take the value [...] of the quantity on one more resample (Welford's update)."""
        values = np.asarray(values, dtype=np.float64)
        if self._n == 0:
            self._mean, self._squares = np.zeros_like(values), np.zeros_like(values)
        self._n += 1
        step = values - self._mean
        self._mean = self._mean + step / self._n
        self._squares = self._squares + step * (values - self._mean)

    def error(self) -> NDArray[np.float64]:
        """Standard error [...]; NaN where there are fewer than two resamples."""
        if self._n < 2:
            return np.full_like(self._mean, np.nan)
        if self._resampling == "samples":
            return np.sqrt(self._squares / (self._n - 1))
        return student_factor(self._n) * np.sqrt((self._n - 1) / self._n * self._squares)


def pseudo_values(total: NDArray[np.float64], leave_one_out: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """What each group by itself says: G f - (G - 1) f_g, [group, ...]."""
    rest = np.stack(list(leave_one_out))
    return len(rest) * total - (len(rest) - 1) * rest


class Verdict(enum.Enum):
    """Is the run long enough for the wanted precision and resolution?"""

    LONG_ENOUGH = "long enough"
    MARGINAL = "marginal"
    TOO_SHORT = "too short"


@dataclass(frozen=True)
class LengthReport:
    """How far a spectrum can be trusted.

    Attributes:
        verdict: the answer in one word.
        sentence: the answer in one sentence.
        duration_ps: sampled time, all replicas together.
        n_frames: frames per replica, of the longest.
        n_replicas: independent replicas.
        timestep_fs: time between frames.
        resolution_per_cm: full width at half maximum of the window's spectral kernel.
        wanted_resolution_per_cm: what was asked for.
        nyquist_per_cm: largest wavenumber that the time step can carry.
        highest_per_cm: wavenumber below which 99% of the intensity lies.
        relative_error: error of the spectrum, mean over wavenumbers weighted by the spectrum (0.1: bands good to 10%).
        wanted_relative_error: what was asked for.
        half_spread: area between the spectra of the two halves over the sum of their areas.
        needed_ps: sampled time that the wanted precision needs at the resolution reached (replicas count).
        warnings: one sentence for everything that looks wrong.
    """

    verdict: Verdict
    sentence: str
    duration_ps: float
    n_frames: int
    n_replicas: int
    timestep_fs: float
    resolution_per_cm: float
    wanted_resolution_per_cm: float
    nyquist_per_cm: float
    highest_per_cm: float
    relative_error: float
    wanted_relative_error: float
    half_spread: float
    needed_ps: float
    warnings: tuple[str, ...] = ()


def relative_error(values: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """Mean of error/value over the points of a spectrum [nu], weighted by the value; NaN without errors."""
    weight = float(np.sum(np.abs(values)))
    return float(np.sum(errors)) / weight if weight > 0.0 else math.nan


def half_spread(groups: NDArray[np.float64]) -> float:
    """Area between the mean spectra of the first and second half of the groups [group, nu] over their total area."""
    if len(groups) < 2:
        return math.nan
    middle = len(groups) // 2
    first, second = groups[:middle].mean(axis=0), groups[-middle:].mean(axis=0)
    return float(np.sum(np.abs(first - second)) / np.sum(np.abs(first) + np.abs(second)))


def judge_length(
    relative: float, wanted: float, duration_ps: float, resolution: float, wanted_resolution: float
) -> tuple[Verdict, str, float]:
    """Verdict, sentence and sampled time still needed [ps] from the relative error of a spectrum.

    The error of an average falls with the square root of the sampled time, so the time needed is
    ``duration (error / wanted error)^2``; a run too short for the resolution needs more in proportion.
    """
    coarse = resolution / wanted_resolution
    if not math.isfinite(relative):
        needed = max(2.0, coarse) * duration_ps
        return Verdict.TOO_SHORT, "Too short: no error bar can be had from a single block; run longer.", needed
    needed = duration_ps * (relative / wanted) ** 2 * max(coarse, 1.0)
    state = f"the bands are known to {100 * relative:.0f}% at {resolution:.3g} cm^-1 resolution"
    if coarse > 1.05:
        state += f" ({wanted_resolution:.3g} wanted)"
    if relative <= wanted and coarse <= 1.05:
        return Verdict.LONG_ENOUGH, f"Long enough: {state} ({100 * wanted:.0f}% wanted).", needed
    verdict = Verdict.MARGINAL if relative <= 2.0 * wanted and coarse <= 1.5 else Verdict.TOO_SHORT
    word = "Marginal" if verdict is Verdict.MARGINAL else "Too short"
    more = max(needed - duration_ps, (coarse - 1.0) * duration_ps, 0.0)
    goal = f"{100 * wanted:.0f}%" + (f" at {wanted_resolution:.3g} cm^-1" if coarse > 1.05 else "")
    return verdict, f"{word}: {state}; {goal} needs about {more:.3g} ps more.", max(needed, coarse * duration_ps)
