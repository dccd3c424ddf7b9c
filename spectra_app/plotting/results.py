"""From the results of ``spectra_app.spectra`` to curves: thin adapters that know only ``columns()`` and ``peaks``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spectra_app.errors import DatasetError
from spectra_app.plotting.curves import Curve, PeakMark, make_curve
from spectra_app.plotting.protocols import PeakLike, SpectrumLike

_QUANTITIES: dict[str, tuple[str, str]] = {
    "alpha_n_per_cm": (r"absorption $\alpha n$", "cm^-1"),
    "absorption_per_cm": ("absorption coefficient", "cm^-1"),
    "molar_absorptivity": ("molar absorptivity", "L mol^-1 cm^-1"),
    "intensity_km_per_mol": ("infrared intensity", "km/mol per cm^-1"),
    "refractive_index": ("refractive index n", ""),
    "extinction": ("extinction k", ""),
    "reflectivity": ("reflectivity", ""),
    "eps_real": (r"permittivity $\varepsilon'$", ""),
    "eps_imag": (r"dielectric loss $\varepsilon''$", ""),
    "depolarization": ("depolarization ratio", ""),
    "conductivity_S_per_m": ("conductivity", "S m^-1"),
    # names in the headers of published tables
    "absorption coefficient times refractive index": (r"absorption $\alpha n$", "cm^-1"),
    "mol-abs": ("molar absorptivity", "L mol^-1 cm^-1"),
    "n": ("refractive index n", ""),
    "k": ("extinction k", ""),
}
"""{column: (quantity on the axis, unit)}."""

_KINDS: dict[str, str] = {
    "raman": "Raman intensity",
    "infrared spectrum in parts": "infrared absorption",
    "density of states": "density of states",
    "sum-frequency": "surface susceptibility",
}
"""{word in the title of a spectrum: quantity of its other columns}."""


def describe_column(name: str, title: str = "") -> tuple[str, str]:
    """Quantity for the axis, and the unit where the name implies one.

    Args:
        name: name of the column.
        title: what the spectrum is, e.g. "Raman spectrum".
    """
    if name in _QUANTITIES:
        return _QUANTITIES[name]
    for word, quantity in _KINDS.items():
        if word in title.lower():
            return quantity, ""
    return name.replace("_", " "), ""


def curve_from_spectrum(spectrum: SpectrumLike, name: str | None = None, label: str = "") -> Curve:
    """One column of a result, with its standard error and, for the main column, its peaks.

    Args:
        spectrum: result of ``spectra_app.spectra``.
        name: column; None takes the main one.
        label: text of the legend.

    Raises:
        DatasetError: no such column.
    """
    columns = spectrum.columns()
    chosen = spectrum.main if name is None else name
    if chosen not in columns or chosen == "wavenumber_per_cm":
        known = ", ".join(key for key in columns if key != "wavenumber_per_cm" and not key.endswith("_error"))
        raise DatasetError(f"{spectrum.title}, column '{chosen}'", got="no such column", wanted=f"one of {known}")
    values, written, _ = columns[chosen]
    quantity, unit = describe_column(chosen, spectrum.title)
    error = columns[f"{chosen}_error"][0] if f"{chosen}_error" in columns else None
    return make_curve(
        columns["wavenumber_per_cm"][0],
        values,
        label,
        unit=unit or ("" if written == "1" else written),
        quantity=quantity,
        error=error if error is not None and np.isfinite(error).any() else None,
        peaks=peak_marks(spectrum.peaks) if chosen == spectrum.main else (),
    )


def raman_curves(spectrum: SpectrumLike) -> tuple[list[Curve], Curve]:
    """VV and VH curves (VV carries the peaks that lie on it) and the depolarization ratio of a Raman result."""
    parallel = curve_from_spectrum(spectrum, "vv", "VV")
    marks = [PeakMark(m.wavenumber_per_cm, _at(parallel, m), m.error_per_cm) for m in peak_marks(spectrum.peaks)]
    labelled = make_curve(
        parallel.x,
        parallel.y,
        "VV",
        unit=parallel.unit,
        quantity=parallel.quantity,
        error=parallel.error,
        peaks=marks,
    )
    return [labelled, curve_from_spectrum(spectrum, "vh", "VH")], curve_from_spectrum(spectrum, "depolarization")


def harmonic_curves(
    infrared: SpectrumLike | None, raman: SpectrumLike | None, cells: float = 1.0, label: str = "harmonic"
) -> dict[str, list[Curve]]:
    """Lines of normal modes, to be drawn beside the spectra of a run, by kind: ``ir``, ``raman`` where there are any.

    Args:
        infrared: of normal modes; None leaves it out.
        raman: likewise; VV is drawn.
        cells: how many times the structure of the modes is in the run: Raman intensity grows with the crystal.
        label: text of the legend.
    """
    curves: dict[str, list[Curve]] = {}
    if infrared is not None:
        curves["ir"] = [replace(curve_from_spectrum(infrared, label=label), peaks=())]
    if raman is not None:
        parallel = curve_from_spectrum(raman, "vv", f"{label} VV")
        curves["raman"] = [replace(parallel, y=cells * parallel.y)]
    return {kind: lines for kind, lines in curves.items() if lines[0].y.any()}  # copper has none


def vdos_curves(spectrum: SpectrumLike) -> list[Curve]:
    """Total and elements of a density of states."""
    names = [name for name in spectrum.columns() if name not in ("wavenumber_per_cm", "total") and "_error" not in name]
    return [curve_from_spectrum(spectrum, "total", "total"), *(curve_from_spectrum(spectrum, n, n) for n in names)]


def peak_marks(peaks: Sequence[PeakLike], at_most: int = 8) -> tuple[PeakMark, ...]:
    """The highest peaks of a spectrum as marks, in order of wavenumber.

    Args:
        peaks: of a result.
        at_most: more labels than this make a figure harder to read.
    """
    highest = sorted(peaks, key=lambda peak: -peak.height)[:at_most]
    marks = []
    for peak in sorted(highest, key=lambda peak: peak.position_per_cm):
        error = float(peak.position_error_per_cm)
        marks.append(PeakMark(peak.position_per_cm, peak.height, error if math.isfinite(error) else None))
    return tuple(marks)


def absorption_times_index(index: Curve, extinction: Curve) -> Curve:
    """The measured counterpart of ``alpha_n_per_cm``: 4 pi nu k n, from tables of n and k (interpolated to those of k).

    Args:
        index: refractive index n.
        extinction: extinction coefficient k.
    """
    inside = (extinction.x >= index.x[0]) & (extinction.x <= index.x[-1])
    x = extinction.x[inside]
    values = 4.0 * math.pi * x * extinction.y[inside] * np.interp(x, index.x, index.y)
    quantity, unit = _QUANTITIES["alpha_n_per_cm"]
    return make_curve(x, values, "experiment", unit=unit, quantity=quantity, is_reference=extinction.is_reference)


def _at(curve: Curve, mark: PeakMark) -> float:
    return float(np.interp(mark.wavenumber_per_cm, curve.x, curve.y))
