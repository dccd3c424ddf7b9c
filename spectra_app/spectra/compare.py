"""A spectrum beside a reference: overlap of the two, and the shift of every band, with errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app.errors import SeriesError
from spectra_app.spectra.peaks import Peak, find_peaks

Array = NDArray[np.float64]

REACH_PER_CM = 150.0
"""Bands further apart than this are not the same band."""
_FEWEST_POINTS = 8


class PositionedPeak(Protocol):
    """What a computed peak must have; ``Peak`` has it, and so has a mark read back from a file."""

    @property
    def position_per_cm(self) -> float:
        """cm^-1."""

    @property
    def position_error_per_cm(self) -> float:
        """cm^-1; NaN where not known."""


@dataclass(frozen=True)
class BandShift:
    """One band in both spectra.

    Attributes:
        position_per_cm: computed, cm^-1.
        reference_per_cm: in the reference, cm^-1.
        shift_per_cm: computed minus reference.
        shift_error_per_cm: standard error of the computed position (that of the reference is not known).
        width_per_cm: full width at half maximum, computed; NaN where not known.
        reference_width_per_cm: in the reference, at the same resolution.
    """

    position_per_cm: float
    reference_per_cm: float
    shift_per_cm: float
    shift_error_per_cm: float
    width_per_cm: float
    reference_width_per_cm: float


@dataclass(frozen=True)
class Comparison:
    """A spectrum beside a reference.

    Attributes:
        label: name of the reference.
        overlap: ``int f g / sqrt(int f^2 int g^2)`` over the common range: 1 for the same shape, whatever the scale.
        overlap_error: its standard error from that of the computed spectrum.
        from_per_cm: lower end of the common range.
        to_per_cm: upper end.
        bands: bands found in both, in order of wavenumber.
        only_computed_per_cm: positions of computed bands without a partner.
        only_reference_per_cm: positions of bands of the reference without a partner.
    """

    label: str
    overlap: float
    overlap_error: float
    from_per_cm: float
    to_per_cm: float
    bands: tuple[BandShift, ...]
    only_computed_per_cm: tuple[float, ...]
    only_reference_per_cm: tuple[float, ...]

    def lines(self) -> list[str]:
        """The comparison as a small table."""
        error = f" +- {self.overlap_error:.1g}" if math.isfinite(self.overlap_error) else ""
        out = [
            f"{self.label}: overlap {self.overlap:.3f}{error} ({self.from_per_cm:.0f} to {self.to_per_cm:.0f} cm^-1)"
        ]
        if self.bands:
            out.append(f"{'computed':>14}{'reference':>11}{'shift':>14}{'width':>7}{'ref.':>6}   cm^-1")
        for band in self.bands:
            spread = f" +- {max(band.shift_error_per_cm, 1.0):.0f}" if math.isfinite(band.shift_error_per_cm) else ""
            widths = [f"{w:.0f}" if math.isfinite(w) else "-" for w in (band.width_per_cm, band.reference_width_per_cm)]
            out.append(
                f"{f'{band.position_per_cm:.0f}{spread}':>14}{band.reference_per_cm:>11.0f}"
                f"{f'{band.shift_per_cm:+.0f}{spread}':>14}{widths[0]:>7}{widths[1]:>6}"
            )
        for text, positions in (
            ("only computed", self.only_computed_per_cm),
            ("only in the reference", self.only_reference_per_cm),
        ):
            if positions:
                out.append(f"{text}: " + ", ".join(f"{position:.0f}" for position in positions))
        return out


def compare_spectra(
    wavenumber_per_cm: ArrayLike,
    values: ArrayLike,
    reference_wavenumber_per_cm: ArrayLike,
    reference_values: ArrayLike,
    *,
    errors: ArrayLike | None = None,
    peaks: Sequence[PositionedPeak] | None = None,
    resolution_per_cm: float = 20.0,
    reach_per_cm: float = REACH_PER_CM,
    label: str = "reference",
) -> Comparison:
    """Overlap with a reference and the shift of every band.

    The reference is smoothed to the resolution of the computed spectrum (a Gaussian of that full width) and put on its
    grid; bands are partners where each is the other's nearest, within ``reach_per_cm``.

    Args:
        wavenumber_per_cm: [nu] rising, cm^-1.
        values: [nu] any unit.
        reference_wavenumber_per_cm: [point] cm^-1, any order and spacing.
        reference_values: [point] any unit: the overlap does not see a factor.
        errors: [nu] standard errors of the values; None: no error of the overlap.
        peaks: bands of the computed spectrum; None searches for them.
        resolution_per_cm: of the computed spectrum.
        reach_per_cm: largest distance of partners.
        label: name of the reference.

    Raises:
        SeriesError: the two have no common range, or one of them is zero there.
    """
    nu, f = np.asarray(wavenumber_per_cm, dtype=np.float64), np.asarray(values, dtype=np.float64)
    x, y = np.asarray(reference_wavenumber_per_cm, dtype=np.float64), np.asarray(reference_values, dtype=np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[good], kind="stable")
    x, y = x[good][order], y[good][order]
    inside = (nu >= x[0]) & (nu <= x[-1]) & np.isfinite(f) if len(x) else np.zeros(len(nu), dtype=bool)
    if np.count_nonzero(inside) < _FEWEST_POINTS:
        span = f"{x[0]:.0f} to {x[-1]:.0f} cm^-1" if len(x) else "no point"
        raise SeriesError(f"reference {label}", got=span, wanted=f"a range within {nu[0]:.0f} to {nu[-1]:.0f} cm^-1")
    nu, f = nu[inside], f[inside]
    sigma = np.full(len(nu), math.nan) if errors is None else np.asarray(errors, dtype=np.float64)[inside]
    grid = np.linspace(nu[0], nu[-1], len(nu))
    g = _smooth(np.interp(grid, x, y), float(grid[1] - grid[0]), resolution_per_cm)
    g = np.interp(nu, grid, g)
    overlap, overlap_error = _overlap(nu, f, g, sigma, resolution_per_cm)
    own = find_peaks(grid, np.interp(grid, nu, f), np.full(len(grid), math.nan), [], resolution_per_cm)
    mine = own if peaks is None else [p for p in peaks if nu[0] <= p.position_per_cm <= nu[-1]]
    theirs = find_peaks(grid, g, np.full(len(grid), math.nan), [], resolution_per_cm)
    pairs = _partners([p.position_per_cm for p in mine], [p.position_per_cm for p in theirs], reach_per_cm)
    return Comparison(
        label=label,
        overlap=overlap,
        overlap_error=overlap_error,
        from_per_cm=float(nu[0]),
        to_per_cm=float(nu[-1]),
        bands=tuple(_band(mine[i], theirs[j]) for i, j in pairs),
        only_computed_per_cm=tuple(p.position_per_cm for i, p in enumerate(mine) if i not in dict(pairs)),
        only_reference_per_cm=tuple(p.position_per_cm for j, p in enumerate(theirs) if j not in dict(pairs).values()),
    )


def _smooth(values: Array, step: float, fwhm: float) -> Array:
    """A uniform curve smeared with a Gaussian of a full width, its ends weighted as far as they reach."""
    width = fwhm / math.sqrt(8.0 * math.log(2.0)) / step
    reach = min(math.ceil(4.0 * width), len(values) - 1)
    if reach < 1:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    middle = slice(reach, reach + len(values))
    return np.convolve(values, kernel)[middle] / np.convolve(np.ones_like(values), kernel)[middle]


def _overlap(nu: Array, f: Array, g: Array, sigma: Array, resolution_per_cm: float) -> tuple[float, float]:
    """Overlap, and its error where points closer than the resolution err together."""
    weight = np.gradient(nu)
    ff, gg, fg = (float(np.sum(weight * a * b)) for a, b in ((f, f), (g, g), (f, g)))
    if not (ff > 0.0 and gg > 0.0):
        raise SeriesError("spectra to compare", got="one that is zero", wanted="intensity in the common range")
    overlap = fg / math.sqrt(ff * gg)
    slope = weight * (g / math.sqrt(ff * gg) - overlap * f / ff)  # d overlap / d f
    together = np.maximum(resolution_per_cm / weight, 1.0)
    return overlap, float(np.sqrt(np.sum((slope * sigma) ** 2 * together)))


def _partners(mine: Sequence[float], theirs: Sequence[float], reach: float) -> list[tuple[int, int]]:
    """Pairs of indices that are each other's nearest."""
    if not mine or not theirs:
        return []
    distance = np.abs(np.subtract.outer(np.array(mine), np.array(theirs)))
    nearest, back = distance.argmin(axis=1), distance.argmin(axis=0)
    return [(i, int(j)) for i, j in enumerate(nearest) if back[j] == i and distance[i, j] <= reach]


def _band(mine: PositionedPeak, theirs: Peak) -> BandShift:
    return BandShift(
        position_per_cm=mine.position_per_cm,
        reference_per_cm=theirs.position_per_cm,
        shift_per_cm=mine.position_per_cm - theirs.position_per_cm,
        shift_error_per_cm=float(mine.position_error_per_cm),
        width_per_cm=float(getattr(mine, "width_per_cm", math.nan)),
        reference_width_per_cm=theirs.width_per_cm,
    )
