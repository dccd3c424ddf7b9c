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
_CROWN = 0.25
"""Share of the full width to either side of the top from which the position is fitted."""


@dataclass(frozen=True)
class Peak:
    """One band.

    Attributes:
        position_per_cm: wavenumber of the maximum, from a parabola fitted to the top half of the width.
        position_error_per_cm: its standard error.
        height: value at the maximum, unit of the spectrum.
        height_error: its standard error.
        width_per_cm: full width at half of the prominence.
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
    resolution from a higher one.  Each resampled spectrum is searched between the same two valleys.

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
        width = _crossing(values, index, right, 1, 0.5 * values[index]) + _crossing(
            values, index, left, -1, 0.5 * values[index]
        )
        crown = _crown(values, int(index), left, right, width)
        best = _measure(wavenumber_per_cm, values, left, right, crown)
        spread = np.full(4, math.nan)
        if len(others) > 1:
            measured = np.array([_measure(wavenumber_per_cm, other, left, right, crown) for other in others])
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
    wavenumber: NDArray[np.float64], values: NDArray[np.float64], left: int, right: int, crown: slice
) -> tuple[float, float, float, float]:
    """Position, height, width and integral of the highest point between two valleys."""
    step = float(wavenumber[1] - wavenumber[0])
    top = left + int(np.argmax(values[left : right + 1]))
    height = float(values[top])
    level = 0.5 * (height + max(float(values[left]), float(values[right])))
    width = step * (_crossing(values, top, right, 1, level) + _crossing(values, top, left, -1, level))
    area = float(np.trapezoid(values[left : right + 1], dx=step))
    return _position(wavenumber[crown], values[crown]), height, width, area


def _crown(values: NDArray[np.float64], top: int, left: int, right: int, points: float) -> slice:
    """The points about a top from which its position is fitted: a quarter of the width to either side, at least one."""
    reach = max(1, round(_CROWN * points))
    return slice(max(left, top - reach, 0), min(right, top + reach, len(values) - 1) + 1)


def _position(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Maximum of the least-squares parabola through the crown of a peak; the highest point where it has none.

    The highest point itself jumps from ripple to ripple of a noisy broad band, and a jackknife of such a statistic says
    nothing; the fit moves smoothly.
    """
    highest = float(x[np.argmax(y)])
    if len(x) < 3:
        return highest
    centre, scale = float(np.mean(x)), 0.5 * float(x[-1] - x[0])
    curvature, slope, _ = np.polyfit((x - centre) / scale, y, 2)
    if not curvature < 0.0 or abs(slope) > -2.0 * curvature:
        return highest
    return centre - scale * float(slope) / (2.0 * float(curvature))


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
