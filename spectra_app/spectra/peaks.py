"""Peaks of a spectrum: position, height, width and integral, each with an error from the jackknife."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from spectra_app.spectra.uncertainty import Resampling, resampling_error

_MIN_PROMINENCE = 0.03
"""Smallest prominence of a peak, in units of the highest point of the spectrum."""
_MIN_SIGNIFICANCE = 2.0
"""Smallest prominence of a peak, in standard errors of the spectrum at its top."""
_EDGE = 0.2
"""Share of the half width over which the weights of the fit fall at its edges: it shall move smoothly with the data."""
_FEWEST_POINTS = 1.5
"""Smallest half width of the fit, in points of the grid."""
_MOST_ROUNDS = 25
_SETTLED = 1e-4
"""Change of position and half width, in half widths, at which the fit has found its own window."""


@dataclass(frozen=True)
class Peak:
    """One band.

    Attributes:
        position_per_cm: wavenumber of the maximum of the fitted top (see ``find_peaks``).
        position_error_per_cm: its standard error.
        height: value at the maximum of the fitted top, unit of the spectrum.
        height_error: its standard error.
        width_per_cm: full width at half of the height above the higher of the two valleys.
        width_error_per_cm: its standard error.
        integral: area of the spectrum from valley to valley, unit of the spectrum times cm^-1.
        integral_error: its standard error.
        from_per_cm: valley below.
        to_per_cm: valley above.
    """

    position_per_cm: float
    position_error_per_cm: float
    height: float
    height_error: float
    width_per_cm: float
    width_error_per_cm: float
    integral: float
    integral_error: float
    from_per_cm: float
    to_per_cm: float


def find_peaks(
    wavenumber_per_cm: NDArray[np.float64],
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    resamples: Iterable[NDArray[np.float64]],
    resolution_per_cm: float,
    resampling: Resampling = "jackknife",
) -> tuple[Peak, ...]:
    """Peaks of a spectrum in order of wavenumber.

    A peak rises over its surroundings by 3% of the highest point and by two standard errors, and stands at least one
    resolution from a higher one.  Each resampled spectrum is measured between the same two valleys.

    The width is that of a parabola fitted to the logarithm of the upper half of the band, above the higher valley:
    exact for a Gaussian line, within 1% for a Lorentzian.  Position and height are the maximum of a cubic through the
    same points, for bands are skewed.  The highest point of a noisy broad band jumps from ripple to ripple and is too
    high; the fit moves smoothly, which the jackknife needs.

    Args:
        wavenumber_per_cm: [nu], uniform.
        values: [nu], any unit.
        errors: [nu], same unit; NaN where unknown.
        resamples: spectra [nu] without each group, or scattered samples.
        resolution_per_cm: full width at half maximum of the window's spectral kernel.
        resampling: what the resamples are.
    """
    step = float(wavenumber_per_cm[1] - wavenumber_per_cm[0])
    top = float(np.max(values, initial=0.0))
    if not top > 0.0:
        return ()
    # A maximum at the first point (relaxation, Bose factor) is no peak; scipy's search leaves ends out.
    found, properties = signal.find_peaks(
        values, prominence=_MIN_PROMINENCE * top, distance=max(1, round(resolution_per_cm / step))
    )
    noise = np.where(np.isfinite(errors[found]), errors[found], 0.0)
    strong = properties["prominences"] >= _MIN_SIGNIFICANCE * noise
    others = list(resamples)
    peaks = []
    tops = found[strong]
    for i, index in enumerate(tops):
        left = _valley(values, tops[i - 1] if i > 0 else 0, index)
        right = _valley(values, index, tops[i + 1] if i + 1 < len(tops) else len(values) - 1)
        best = _measure(wavenumber_per_cm, values, left, right)
        spread = np.full(4, math.nan)
        if len(others) > 1:
            measured = np.array([_measure(wavenumber_per_cm, other, left, right, best) for other in others])
            spread = resampling_error(measured, resampling)
        peaks.append(
            Peak(
                position_per_cm=best[0],
                position_error_per_cm=float(spread[0]),
                height=best[1],
                height_error=float(spread[1]),
                width_per_cm=best[2],
                width_error_per_cm=float(spread[2]),
                integral=best[3],
                integral_error=float(spread[3]),
                from_per_cm=float(wavenumber_per_cm[left]),
                to_per_cm=float(wavenumber_per_cm[right]),
            )
        )
    return tuple(peaks)


def find_signed_peaks(
    wavenumber_per_cm: NDArray[np.float64],
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    resamples: Iterable[NDArray[np.float64]],
    resolution_per_cm: float,
    resampling: Resampling = "jackknife",
) -> tuple[Peak, ...]:
    """Peaks of either sign of a spectrum in order of wavenumber; negative ones have negative heights and integrals.

    Each is searched as :func:`find_peaks` does, in the spectrum cut off at zero on its side; a band of one sign is kept
    where it is at least 3% as strong as the strongest of either.
    """
    others = list(resamples)
    strongest = float(np.max(np.abs(values), initial=0.0))
    found = []
    for sign in (1.0, -1.0):
        side = np.maximum(sign * values, 0.0)
        cut = [np.maximum(sign * other, 0.0) for other in others]
        for peak in find_peaks(wavenumber_per_cm, side, errors, cut, resolution_per_cm, resampling):
            if peak.height >= _MIN_PROMINENCE * strongest:
                found.append(dataclasses.replace(peak, height=sign * peak.height, integral=sign * peak.integral))
    return tuple(sorted(found, key=lambda peak: peak.position_per_cm))


def _valley(values: NDArray[np.float64], start: int, stop: int) -> int:
    """Index of the lowest point between two indices, both included."""
    return int(start) + int(np.argmin(values[start : stop + 1]))


def _measure(
    wavenumber: NDArray[np.float64],
    values: NDArray[np.float64],
    left: int,
    right: int,
    start: tuple[float, float, float, float] | None = None,
) -> tuple[float, float, float, float]:
    """Position, height, width and integral of the band between two valleys.

    Args:
        wavenumber: [nu] uniform.
        values: [nu].
        left: index of the valley below.
        right: index of the valley above.
        start: a measurement of nearly the same band from which the fit begins; None begins at the highest point.
    """
    x, y = wavenumber[left : right + 1], values[left : right + 1]
    step = float(wavenumber[1] - wavenumber[0])
    area = float(np.trapezoid(y, dx=step))
    base = max(float(y[0]), float(y[-1]))
    top = int(np.argmax(y))
    height = float(y[top])
    points = [_crossing(y, top, end, side, 0.5 * (height + base)) for end, side in ((len(y) - 1, 1), (0, -1))]
    raw = (float(x[top]), height, step * sum(points))
    begin = raw if start is None else start[:3]
    fitted = _fit_top(x, y - base, begin[0], 0.5 * begin[2])
    if fitted is None:
        return (*raw, area)
    return fitted[0], fitted[1] + base, fitted[2], area


def _fit_top(
    x: NDArray[np.float64], y: NDArray[np.float64], centre: float, half: float
) -> tuple[float, float, float] | None:
    """Position, height and full width of the parabola through ln y where it is above half its height; None: no such.

    The window and the parabola are made to agree with each other by repetition.
    """
    step = float(x[1] - x[0])
    good = y > 0.0
    logarithm = np.log(np.where(good, y, 1.0))
    narrowest, widest = _FEWEST_POINTS * step, 0.5 * float(x[-1] - x[0])
    top = 0.0
    for _ in range(_MOST_ROUNDS):
        half = min(max(half, narrowest), widest)
        u = (x - centre) / half
        weight = np.clip((1.0 + 0.5 * _EDGE - np.abs(u)) / _EDGE, 0.0, 1.0) * good
        if np.count_nonzero(weight > 0.5) < 3:
            return None
        curvature, slope, level = np.polyfit(u, logarithm, 2, w=weight)
        if not curvature < 0.0:
            return None
        shift = -0.5 * slope / curvature
        top = level - 0.25 * slope**2 / curvature
        wider = math.sqrt(-math.log(2.0) / curvature)
        if abs(shift) > 1.0 or not x[0] <= centre + shift * half <= x[-1]:
            return None
        centre, half, change = centre + shift * half, wider * half, max(abs(shift), abs(wider - 1.0))
        if change < _SETTLED:
            break
    if not narrowest <= half <= 2.0 * widest:
        return None
    summit = _summit((x - centre) / half, logarithm, good)
    shift, top = (0.0, top) if summit is None else summit
    return centre + shift * half, math.exp(top), 2.0 * half


def _summit(
    u: NDArray[np.float64], logarithm: NDArray[np.float64], good: NDArray[np.bool_]
) -> tuple[float, float] | None:
    """Maximum of a cubic through the same window, in half widths from its centre, and ln y there: bands are skewed."""
    weight = np.clip((1.0 + 0.5 * _EDGE - np.abs(u)) / _EDGE, 0.0, 1.0) * good
    if np.count_nonzero(weight > 0.5) < 5:
        return None
    a, b, c, d = np.polyfit(u, logarithm, 3, w=weight)
    root = b * b - 3.0 * a * c
    if not (b < 0.0 < root):
        return None
    shift = c / (-b + math.sqrt(root))  # of the two stationary points the maximum, without loss of digits as a -> 0
    if abs(shift) > 1.0:
        return None
    return shift, ((a * shift + b) * shift + c) * shift + d


def _crossing(values: NDArray[np.float64], top: int, end: int, direction: int, level: float) -> float:
    """Distance in points from the top to where the spectrum falls through a level, linear between points."""
    flank = values[top : end + 1] if direction > 0 else values[end : top + 1][::-1]
    below = np.flatnonzero(flank < level)
    if not below.size:
        return float(len(flank) - 1)
    k = int(below[0])
    if k == 0:
        return 0.0
    return k - 1 + float((flank[k - 1] - level) / (flank[k - 1] - flank[k]))
