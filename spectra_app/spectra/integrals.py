"""Integrals of a spectrum over bands, with errors that know how neighbouring points move together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import ConfigError
from spectra_app.spectra.uncertainty import Resampling, resampling_error

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
) -> tuple[BandIntegral, ...]:
    """Trapezoids over the whole grid, then over every band; neighbouring bands add up.

    Args:
        wavenumber_per_cm: [nu] from zero, uniform.
        values: [nu].
        resamples: spectra [nu] without each group, or scattered samples.
        resampling: what the resamples are.
        bands_per_cm: pairs of wavenumbers; what lies beyond the grid counts as zero.
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
    names = [(0.0, last), *bands_per_cm]
    return tuple(BandIntegral(a, b, float(v), float(e)) for (a, b), v, e in zip(names, found, errors, strict=True))
