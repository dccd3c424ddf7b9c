"""Integrals of a spectrum over bands, with errors that know how neighbouring points move together.

A few blocks know the error of one number badly: the five of a short run say between 0.4 and 10% for the same band.  A
spectrum says more, as distant wavenumbers of a stationary series move independently: products of deviations at points
closer than two resolutions are summed, and the others, which vanish but for noise, left out.  What moves all
wavenumbers together only the blocks see; the larger of the two is the error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import ConfigError
from spectra_app.spectra.uncertainty import Resampling, resampling_error

_REACH = 2.0
"""Resolutions within which points of a spectrum move together: the square of the kernel's overlap is gone beyond."""
Array = NDArray[np.float64]
Band = tuple[float, float]


@dataclass(frozen=True)
class BandIntegral:
    """Integral of a spectrum between two wavenumbers.

    Attributes:
        from_per_cm: begin.
        to_per_cm: end.
        value: unit of the spectrum times cm^-1.
        error: its standard error; NaN where unknown.
    """

    from_per_cm: float
    to_per_cm: float
    value: float
    error: float


def checked_bands(bands_per_cm: Sequence[Band]) -> tuple[Band, ...]:
    """Bands as pairs of rising wavenumbers.

    Raises:
        ConfigError: a band that is no pair, or does not rise from zero or more.
    """
    bands = []
    for band in bands_per_cm:
        if len(band) != 2 or not 0.0 <= float(band[0]) < float(band[1]):
            raise ConfigError("band", got=tuple(band), wanted="(from, to) in cm^-1, rising from zero or more")
        bands.append((float(band[0]), float(band[1])))
    return tuple(bands)


def integrate_bands(
    wavenumber_per_cm: Array,
    values: Array,
    resamples: Sequence[Array],
    resampling: Resampling,
    bands_per_cm: Sequence[Band],
    resolution_per_cm: float,
) -> tuple[BandIntegral, ...]:
    """Trapezoids over the whole grid, then over every band; neighbouring bands add up.

    Args:
        wavenumber_per_cm: [nu] from zero, uniform.
        values: [nu].
        resamples: spectra [nu] without each group, or scattered samples.
        resampling: what the resamples are.
        bands_per_cm: pairs of wavenumbers; what lies beyond the grid counts as zero.
        resolution_per_cm: full width at half maximum of the window's spectral kernel.
    """
    last = float(wavenumber_per_cm[-1])
    edges = np.array([(0.0, last), *((min(a, last), min(b, last)) for a, b in bands_per_cm)])

    def areas(spectrum: Array) -> Array:
        steps = 0.5 * (spectrum[1:] + spectrum[:-1]) * np.diff(wavenumber_per_cm)
        below = np.interp(edges, wavenumber_per_cm, np.concatenate([[0.0], np.cumsum(steps)]))
        return np.asarray(below[:, 1] - below[:, 0])

    found = areas(values)
    errors = np.full(len(found), np.nan)
    if len(resamples) > 1:
        errors = resampling_error([areas(one) for one in resamples], resampling)
        if resampling == "jackknife":
            reach = round(_REACH * resolution_per_cm / float(wavenumber_per_cm[1] - wavenumber_per_cm[0]))
            inside = [(wavenumber_per_cm >= a) & (wavenumber_per_cm <= b) for a, b in edges]
            near = np.array([_error_of_neighbours(resamples, where, reach) for where in inside])
            errors = np.maximum(errors, near * float(wavenumber_per_cm[1] - wavenumber_per_cm[0]))
    names = [(0.0, last), *bands_per_cm]
    return tuple(BandIntegral(a, b, float(v), float(e)) for (a, b), v, e in zip(names, found, errors, strict=True))


def _error_of_neighbours(resamples: Sequence[Array], where: NDArray[np.bool_], reach: int) -> float:
    """Error of the sum of some points of a spectrum, from the deviations of points that are near each other.

    Args:
        resamples: spectra [nu] without each group.
        where: [nu] the points.
        reach: points further apart than this are independent.
    """
    left_out = np.stack([one[where] for one in resamples])
    n_groups, n_points = left_out.shape
    deviations = left_out - left_out.mean(axis=0)
    sums = np.concatenate([np.zeros((n_groups, 1)), np.cumsum(deviations, axis=1)], axis=1)
    points = np.arange(n_points)
    near = sums[:, np.minimum(points + reach + 1, n_points)] - sums[:, np.maximum(points - reach, 0)]
    return math.sqrt(max(0.0, (n_groups - 1) / n_groups * float(np.sum(deviations * near))))
