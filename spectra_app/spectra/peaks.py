"""Peaks of a spectrum: position, height, width and integral, each with an error from the jackknife."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from spectra_app.spectra.band_fit import fit_band
from spectra_app.spectra.uncertainty import Resampling, resampling_error

_MIN_PROMINENCE = 0.03
"""Smallest prominence of a peak, in units of the highest point of the spectrum."""
_MIN_SIGNIFICANCE = 3.0
"""Smallest prominence of a peak, in standard errors of top minus valley.  A broad band holds many ripples to choose
from: two errors of the top alone cut a band 150 cm^-1 wide in two in half of the runs of 10 ps."""
_STRONG = 0.1
"""Points of which the relative error is taken, in units of the highest point."""
Measured = tuple[float, float, float]
"""Position, height, width."""
Sharpened = tuple[NDArray[np.float64], list[NDArray[np.float64]]]
"""A spectrum and its resamples, all [nu]."""


@dataclass(frozen=True)
class Peak:
    """One band.

    Attributes:
        position_per_cm: wavenumber of the maximum of the fitted top (see ``find_peaks``), as height and width of the
            line before the window broadened it, to first order.
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
    sharpened: Sharpened | None = None,
) -> tuple[Peak, ...]:
    """Peaks of a spectrum in order of wavenumber.

    A peak rises over its surroundings by 3% of the highest point and by three standard errors of the difference between
    top and valley, and stands at least one resolution from a higher one.  Each resampled spectrum is measured between
    the same two valleys.

    Position, height and width are those of a polynomial of fourth degree in the logarithm, above the higher valley,
    fitted to the band within 1.4 half widths by the likelihood of a spectral estimate (band_fit.py):
    exact for a Gaussian line, within 1% for a Lorentzian.  The highest point of a noisy broad band jumps from ripple to
    ripple and is too high; the fit moves smoothly, which the jackknife needs.  Where it does not settle, as on a line
    of a few points that is narrower than the window, the top is that of a parabola through the highest three.

    Args:
        wavenumber_per_cm: [nu], uniform.
        values: [nu], any unit.
        errors: [nu], same unit; NaN where unknown.
        resamples: spectra [nu] without each group, or scattered samples.
        resolution_per_cm: full width at half maximum of the window's spectral kernel.
        resampling: what the resamples are.
        sharpened: spectrum [nu] and resamples with the broadening by the window taken off; bands are searched and
            integrated in ``values``; position, height and width are measured here.
    """
    noise = _pooled(values, errors)
    return _find(wavenumber_per_cm, values, noise, resamples, resolution_per_cm, resampling, sharpened)


def _find(
    wavenumber_per_cm: NDArray[np.float64],
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    resamples: Iterable[NDArray[np.float64]],
    resolution_per_cm: float,
    resampling: Resampling,
    sharpened: Sharpened | None,
) -> tuple[Peak, ...]:
    """``find_peaks`` with errors that are taken as they are."""
    step = float(wavenumber_per_cm[1] - wavenumber_per_cm[0])
    top = float(np.max(values, initial=0.0))
    if not top > 0.0:
        return ()
    # A maximum at the first point (relaxation, Bose factor) is no peak; scipy's search leaves ends out.
    found, properties = signal.find_peaks(
        values, prominence=_MIN_PROMINENCE * top, distance=max(1, round(resolution_per_cm / step))
    )
    strong = properties["prominences"] >= _MIN_SIGNIFICANCE * _prominence_errors(values, errors, found, properties)
    others = list(resamples)
    sharp, sharp_others = (values, others) if sharpened is None else sharpened
    peaks = []
    tops = found[strong]
    for i, index in enumerate(tops):
        left = _valley(values, tops[i - 1] if i > 0 else 0, index)
        right = _valley(values, index, tops[i + 1] if i + 1 < len(tops) else len(values) - 1)
        best = _measure(wavenumber_per_cm, sharp, left, right)
        spread = np.full(4, math.nan)
        if len(others) > 1:
            band = slice(left, right + 1)
            tops_and_areas = (
                (*_measure(wavenumber_per_cm, other, left, right, best), float(np.trapezoid(plain[band], dx=step)))
                for other, plain in zip(sharp_others, others, strict=True)
            )
            spread = resampling_error(map(np.array, tops_and_areas), resampling)
        peaks.append(
            Peak(
                position_per_cm=best[0],
                position_error_per_cm=float(spread[0]),
                height=best[1],
                height_error=float(spread[1]),
                width_per_cm=best[2],
                width_error_per_cm=float(spread[2]),
                integral=float(np.trapezoid(values[left : right + 1], dx=step)),
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
    sharpened: Sharpened | None = None,
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
        sharp = None if sharpened is None else (sign * sharpened[0], [sign * other for other in sharpened[1]])
        for peak in _find(wavenumber_per_cm, side, errors, cut, resolution_per_cm, resampling, sharp):
            inside = (wavenumber_per_cm >= peak.from_per_cm) & (wavenumber_per_cm <= peak.to_per_cm)
            if np.max(side[inside]) >= _MIN_PROMINENCE * strongest:
                found.append(dataclasses.replace(peak, height=sign * peak.height, integral=sign * peak.integral))
    return tuple(sorted(found, key=lambda peak: peak.position_per_cm))


def _pooled(values: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors [nu] with one relative error for all points, the median over the strong ones; 0 where unknown.

    The relative error of a spectral density is the same everywhere (a chi-squared variable), but a few blocks know it
    to a third only at each point.
    """
    strong = np.isfinite(errors) & (values >= _STRONG * np.max(values)) & (values > 0.0)
    return values * (float(np.median(errors[strong] / values[strong])) if strong.any() else 0.0)


def _prominence_errors(
    values: NDArray[np.float64], errors: NDArray[np.float64], tops: NDArray[np.int64], properties: dict[str, NDArray]
) -> NDArray[np.float64]:
    """Standard error [peak] of top minus valley, from errors of the spectrum [nu]; 0 where unknown."""
    noise = np.where(np.isfinite(errors), errors, 0.0)
    left, right = properties["left_bases"], properties["right_bases"]
    return np.asarray(np.hypot(noise[tops], noise[np.where(values[left] > values[right], left, right)]))


def _valley(values: NDArray[np.float64], start: int, stop: int) -> int:
    """Index of the lowest point between two indices, both included."""
    return int(start) + int(np.argmin(values[start : stop + 1]))


def _measure(
    wavenumber: NDArray[np.float64], values: NDArray[np.float64], left: int, right: int, start: Measured | None = None
) -> Measured:
    """Position, height and width of the band between two valleys.

    Args:
        wavenumber: [nu] uniform.
        values: [nu].
        left: index of the valley below.
        right: index of the valley above.
        start: a measurement of nearly the same band from which the fit begins; None begins with the whole band.
    """
    x, y = wavenumber[left : right + 1], values[left : right + 1]
    step = float(wavenumber[1] - wavenumber[0])
    base = max(float(y[0]), float(y[-1]))
    top = int(np.argmax(y))
    height = float(y[top])
    offset, highest = _vertex(y - base, top)
    points = [_crossing(y, top, end, side, 0.5 * highest + base) for end, side in ((len(y) - 1, 1), (0, -1))]
    raw = (float(x[top]) + step * offset, highest + base, step * sum(points))
    if start is not None:
        centre, half = start[0], 0.5 * start[2]
    else:
        # Median and equivalent width of the area, which no ripple moves: wider than the top of any usual line.
        area_above = np.cumsum(np.maximum(y - base, 0.0))
        centre = float(np.interp(0.5 * area_above[-1], area_above, x))
        half = 0.7 * step * float(area_above[-1]) / max(height - base, np.finfo(np.float64).tiny)
    fitted = fit_band(x, y - base, max(base, 0.0), centre, half)
    return raw if fitted is None else (fitted[0], fitted[1] + base, fitted[2])


def _vertex(values: NDArray[np.float64], top: int) -> tuple[float, float]:
    """Where the maximum lies, in points from the highest one, and how high: a parabola through three logarithms.

    The top of a line that is narrower than the window is that of the window's kernel, which a Gaussian is close to.  Of
    values that have no logarithm the parabola goes through themselves; at an end the highest point is the maximum.
    """
    if not 0 < top < len(values) - 1:
        return 0.0, float(values[top])
    three = values[top - 1 : top + 2]
    has_logarithms = bool(three.min() > 0.0)
    before, at, after = np.log(three) if has_logarithms else three
    bend, slope = 0.5 * (before + after) - at, 0.5 * (after - before)
    if not bend < 0.0:
        return 0.0, float(values[top])
    offset = float(-0.5 * slope / bend)
    highest = float(at + 0.5 * slope * offset)
    return offset, math.exp(highest) if has_logarithms else highest


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
