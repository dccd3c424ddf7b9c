"""What a figure is made of: a curve with its error, unit and peaks; adapters and conversions, no drawing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app.errors import DatasetError
from spectra_app.units import HBAR, SPEED_OF_LIGHT_CM_PER_FS

Array = NDArray[np.float64]

_LONG_LABEL = 32  # characters

WATER_BANDS: dict[str, float] = {"stretch": 3404.0, "bend": 1644.0, "libration": 686.0, "H-bond stretch": 183.0}
"""Infrared bands of liquid water at 298 K, cm^-1 (Bertie and Lan 1996, doi:10.1366/0003702963905385)."""


@dataclass(frozen=True)
class PeakMark:
    """A peak to be labelled.

    Attributes:
        wavenumber_per_cm: cm^-1; position.
        height: in the unit of its curve.
        error_per_cm: cm^-1; standard error of the position; None where not known.
    """

    wavenumber_per_cm: float
    height: float
    error_per_cm: float | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a figure.

    Attributes:
        x: [point], ascending; cm^-1 for a spectrum.
        y: [point], in ``unit``.
        label: text of the legend; empty: no entry.
        unit: unit of y as text, e.g. "cm^-1"; empty: dimensionless or arbitrary.
        quantity: what y is, e.g. "absorption coefficient".
        error: [point], standard error of y; None draws no band.
        peaks: peaks to be labelled.
        is_reference: drawn thin and dark behind the calculated curves.
    """

    x: Array
    y: Array
    label: str = ""
    unit: str = ""
    quantity: str = ""
    error: Array | None = None
    peaks: tuple[PeakMark, ...] = field(default=())
    is_reference: bool = False


def make_curve(
    x: ArrayLike,
    y: ArrayLike,
    label: str = "",
    *,
    unit: str = "",
    quantity: str = "",
    error: ArrayLike | None = None,
    peaks: Sequence[PeakMark] = (),
    is_reference: bool = False,
) -> Curve:
    """A checked curve with ascending abscissa.

    Args:
        x: [point], cm^-1 for a spectrum.
        y: [point].
        label: text of the legend.
        unit: unit of y.
        quantity: what y is.
        error: [point], standard error of y.
        peaks: peaks to be labelled.
        is_reference: whether it is a reference to compare with.

    Raises:
        DatasetError: lengths differ, fewer than two points, or infinite or missing abscissae.
    """
    name = f"curve {label!r}" if label else "curve"
    abscissa, ordinate = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    spread = None if error is None else np.asarray(error, dtype=np.float64)
    if (
        abscissa.ndim != 1
        or abscissa.shape != ordinate.shape
        or (spread is not None and spread.shape != ordinate.shape)
    ):
        shapes = f"shapes {abscissa.shape}, {ordinate.shape}" + ("" if spread is None else f", error {spread.shape}")
        raise DatasetError(name, got=shapes, wanted="arrays of one and the same length")
    if len(abscissa) < 2:
        raise DatasetError(name, got=f"{len(abscissa)} points", wanted="at least 2")
    if not np.isfinite(abscissa).all():
        raise DatasetError(name, got="NaN or infinity in the abscissa", wanted="finite numbers")
    if not np.isfinite(ordinate).any():
        raise DatasetError(name, got="no finite value", wanted="numbers to draw")
    order = np.argsort(abscissa, kind="stable")
    return Curve(
        x=abscissa[order],
        y=ordinate[order],
        label=label,
        unit=unit,
        quantity=quantity,
        error=None if spread is None else spread[order],
        peaks=tuple(peaks),
        is_reference=is_reference,
    )


def crop(curve: Curve, low: float, high: float) -> Curve:
    """The part of a curve between two abscissae; its peaks with it.

    Args:
        curve: the curve.
        low: cm^-1.
        high: cm^-1.

    Raises:
        DatasetError: fewer than two points remain.
    """
    inside = (curve.x >= low) & (curve.x <= high)
    if inside.sum() < 2:
        found = f"points from {curve.x[0]:.4g} to {curve.x[-1]:.4g}"
        raise DatasetError(f"curve {curve.label!r}", got=found, wanted=f"some between {low:.4g} and {high:.4g} cm^-1")
    return replace(
        curve,
        x=curve.x[inside],
        y=curve.y[inside],
        error=None if curve.error is None else curve.error[inside],
        peaks=tuple(peak for peak in curve.peaks if low <= peak.wavenumber_per_cm <= high),
    )


def scale(curve: Curve, factor: float, unit: str | None = None) -> Curve:
    """A curve with y, its error and its peak heights multiplied by a number.

    Args:
        curve: the curve.
        factor: the number.
        unit: new unit; None keeps the old one.
    """
    return replace(
        curve,
        y=curve.y * factor,
        error=None if curve.error is None else curve.error * abs(factor),
        peaks=tuple(replace(peak, height=peak.height * factor) for peak in curve.peaks),
        unit=curve.unit if unit is None else unit,
    )


def normalise(curve: Curve, low: float = -np.inf, high: float = np.inf) -> Curve:
    """A curve whose largest value between two abscissae is 1.

    Args:
        curve: the curve.
        low: cm^-1.
        high: cm^-1.

    Raises:
        DatasetError: no positive value there.
    """
    top = float(np.nanmax(np.where((curve.x >= low) & (curve.x <= high), curve.y, np.nan), initial=-np.inf))
    if not top > 0.0:
        raise DatasetError(f"curve {curve.label!r}", got="no positive value", wanted="something to scale to 1")
    return scale(curve, 1.0 / top, "")


def match_reference(reference: Curve, computed: Curve, low: float = 0.0, high: float = np.inf) -> Curve:
    """A reference in the unit of a computed curve, so that both fit one axis.

    The same quantity: unchanged.  An extinction coefficient k beside an absorption coefficient in cm^-1: the exact
    4 pi nu k.  Anything else: scaled to the same maximum over the common range, and the label says so.

    Args:
        reference: the reference.
        computed: the curve it will be drawn with.
        low: cm^-1; lower end of the figure.
        high: cm^-1; upper end.

    Raises:
        DatasetError: the two have no wavenumber in common.
    """
    if reference.unit == computed.unit and reference.quantity == computed.quantity:
        return reference
    if reference.quantity == "extinction k" and computed.quantity == "absorption coefficient":
        converted = replace(reference, y=4.0 * np.pi * reference.x * reference.y, unit="cm^-1")
        return replace(converted, error=None, quantity="absorption coefficient")
    low, high = max(low, reference.x[0], computed.x[0]), min(high, reference.x[-1], computed.x[-1])
    inside = (computed.x >= low) & (computed.x <= high)
    if not inside.any():
        raise DatasetError(
            f"reference {reference.label!r}",
            got=f"{reference.x[0]:.4g} to {reference.x[-1]:.4g} cm^-1",
            wanted=f"an overlap with the computed {computed.x[0]:.4g} to {computed.x[-1]:.4g} cm^-1",
        )
    top = float(np.nanmax(computed.y[inside]))
    scaled = scale(normalise(reference, low, high), top, computed.unit)
    return replace(scaled, label=f"{reference.label} (scaled)")


def to_wavenumber(values: Array, unit: str) -> Array:
    """An abscissa in cm^-1.

    Args:
        values: [point], in ``unit``.
        unit: one of "cm^-1", "THz", "eV", "meV", "um", "nm" (the last two are wavelengths).

    Raises:
        DatasetError: another unit, or a wavelength that is not positive.
    """
    if unit in ("um", "nm"):
        if not (values > 0).all():
            raise DatasetError(f"wavelength in {unit}", got=f"{values.min():.4g}", wanted="positive numbers")
        return np.asarray((1e4 if unit == "um" else 1e7) / values)
    factors = {
        "cm^-1": 1.0,
        "THz": 1e-3 / SPEED_OF_LIGHT_CM_PER_FS,  # 1 THz = 1e-3 fs^-1
        "eV": 1.0 / (2.0 * np.pi * HBAR * SPEED_OF_LIGHT_CM_PER_FS),
        "meV": 1e-3 / (2.0 * np.pi * HBAR * SPEED_OF_LIGHT_CM_PER_FS),
    }
    if unit not in factors:
        raise DatasetError("unit of the abscissa", got=repr(unit), wanted=f"one of {', '.join(factors)}, um, nm")
    return np.asarray(values * factors[unit])


def pretty_unit(unit: str) -> str:
    """A unit in matplotlib's mathtext: ``cm^-1`` -> cm with a raised -1, ``A^3`` -> a raised 3.

    Args:
        unit: powers written with ^, factors separated by blanks.
    """
    powers = re.sub(r"\^([-+]?\d+)", r"$^{\1}$", re.sub(r"\b1e([-+]?\d+)\b", r"10^\1", unit))
    return re.sub(r"\bA\b", "Å", powers.replace("Angstrom", "A"))


def axis_label(quantity: str, unit: str, fallback: str = "arb. units") -> str:
    """'Quantity (unit)' with the unit in mathtext and the first letter capital.

    Args:
        quantity: what is drawn.
        unit: its unit; empty takes the fallback.
        fallback: text where there is no unit; empty draws none.
    """
    name = quantity[:1].upper() + quantity[1:]
    text = pretty_unit(unit) if unit else fallback
    if not text:
        return name
    # A label longer than a one-column figure is high takes two lines; mathtext's own signs do not count.
    long = len(re.sub(r"[$^{}\\]", "", name + text)) > _LONG_LABEL
    return f"{name}\n({text})" if long else f"{name} ({text})"


def bands_inside(bands: Mapping[str, float], low: float, high: float) -> dict[str, float]:
    """The named bands that lie between two wavenumbers.

    Args:
        bands: {name: cm^-1}.
        low: cm^-1.
        high: cm^-1.
    """
    return {name: position for name, position in bands.items() if low <= position <= high}
