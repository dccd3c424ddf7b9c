"""Spectra that are drawn of normal modes, with the columns of those from molecular dynamics: one plot holds both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra_app import units
from spectra_app.harmonic.intensities import InfraredStrengths, RamanStrengths, stick_spectrum
from spectra_app.harmonic.modes import DEGENERATE_PER_CM, NormalModes
from spectra_app.harmonic.polar_modes import (
    Complex,
    PolarModes,
    absorption_areas,
    dielectric_function,
    static_tensor,
)
from spectra_app.spectra.cell_optics import POLARIZED_COLUMNS
from spectra_app.spectra.optics import loss_function, optical_constants
from spectra_app.spectra.peaks import Peak
from spectra_app.spectra.prefactors import RamanPrefactor, raman_factor
from spectra_app.spectra.raman_table import RAMAN_COLUMNS, RamanTable
from spectra_app.spectra.result import Spectrum, column
from spectra_app.spectra.uncertainty import LengthReport, Verdict
from spectra_app.spectra.writers import Column

Array = NDArray[np.float64]

_SHOWN = 1e-3  # share of the strongest line from which on a mode is listed as a band


@dataclass(frozen=True, eq=False, kw_only=True)
class HarmonicInfrared(Spectrum):
    """Infrared spectrum of normal modes; arrays are [nu].  Of a molecule km/mol, of a crystal alpha n and eps."""

    intensity_km_per_mol: Array | None = field(
        default=None, metadata=column("km mol^-1 per cm^-1", "molar intensity; its integral over a band is km/mol")
    )
    alpha_n_per_cm: Array | None = field(
        default=None, metadata=column("cm^-1", "absorption coefficient times refractive index, mean over orientations")
    )
    polarized: Mapping[str, Array] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What this is."""
        return "harmonic infrared spectrum"

    @property
    def main(self) -> str:
        """Molar intensity of a molecule, alpha n of a crystal."""
        return "alpha_n_per_cm" if self.intensity_km_per_mol is None else "intensity_km_per_mol"

    @property
    def jcamp_type(self) -> str:
        """DATA TYPE."""
        return "INFRARED SPECTRUM"

    def columns(self) -> dict[str, Column]:
        """Table; the quantities of every polarization last."""
        table = super().columns()
        for name, values in self.polarized.items():
            quantity, _, axis = name.rpartition("_")
            unit, description = POLARIZED_COLUMNS[quantity]
            table[name] = Column(values, unit, f"{description}, {axis}")
        return table


@dataclass(frozen=True, eq=False, kw_only=True)
class HarmonicRaman(RamanTable):
    """Raman spectrum of normal modes, mean over orientations; arrays are [nu]."""

    total: Array = field(metadata=RAMAN_COLUMNS["total"])
    vv: Array = field(metadata=RAMAN_COLUMNS["vv"])
    vh: Array = field(metadata=RAMAN_COLUMNS["vh"])

    @property
    def title(self) -> str:
        """What this is."""
        return "harmonic Raman spectrum"


def infrared_lines(
    modes: NormalModes, strengths: InfraredStrengths, cell: PolarModes | None, damping_per_cm: float, end_per_cm: float
) -> HarmonicInfrared:
    """Infrared spectrum: Lorentzians of a molecule, the damped dielectric function of a crystal.

    Args:
        modes: normal modes.
        strengths: of them.
        cell: of a crystal; None: a molecule, or a slab, whose lines are km/mol of the structure.
        damping_per_cm: full width at half maximum, cm^-1.
        end_per_cm: of the table, cm^-1.
    """
    grid = _grid(damping_per_cm, end_per_cm)
    areas = strengths.intensities_km_per_mol if cell is None else absorption_areas(cell)
    parameters: dict[str, object] = {"damping_per_cm": damping_per_cm}
    drawn: dict[str, Any] = {}
    if cell is None:
        drawn["intensity_km_per_mol"] = stick_spectrum(grid, modes.frequencies_per_cm, areas, damping_per_cm)
    else:
        eps = dielectric_function(cell, grid, damping_per_cm)
        mean = np.trace(eps.imag, axis1=1, axis2=2) / 3.0
        drawn = {"alpha_n_per_cm": 2.0 * math.pi * grid * mean, "polarized": _polarized(grid, eps)}
        parameters |= {
            "eps_inf": cell.eps_inf.tolist(),
            "eps_static": static_tensor(cell).tolist(),
            "volume_A3": cell.volume_A3,
        }
    return HarmonicInfrared(
        wavenumber_per_cm=grid,
        report=_report(damping_per_cm, end_per_cm),
        history=(f"{len(modes.frequencies_per_cm)} normal modes, lines {damping_per_cm:g} cm^-1 wide",),
        parameters=parameters,
        peaks=_bands(modes.frequencies_per_cm, areas, damping_per_cm),
        **drawn,
    )


def _polarized(grid: Array, eps: Complex) -> dict[str, Array]:
    """Everything that follows from eps [nu, xyz, xyz] for light polarized along x, y, z: columns by name."""
    omega = units.wavenumber_to_angular_frequency(1.0) * grid
    columns: dict[str, Array] = {}
    for axis, label in enumerate(("xx", "yy", "zz")):
        real, imag = eps[:, axis, axis].real.copy(), eps[:, axis, axis].imag.copy()
        one = {"eps_real": real, "eps_imag": imag, **optical_constants(omega, real, imag)}
        one["loss"] = loss_function(real, imag)
        columns |= {f"{name}_{label}": values for name, values in one.items()}
    return columns


def raman_lines(
    modes: NormalModes,
    strengths: RamanStrengths,
    *,
    damping_per_cm: float,
    end_per_cm: float,
    temperature_K: float,
    laser_nm: float,
    prefactor: RamanPrefactor = "stokes",
    geometries: tuple[str, ...] = (),
) -> HarmonicRaman:
    """Raman spectrum: Lorentzians of area a'^2 and gamma'^2 (``reduced``), times the prefactor at their wavenumber.

    Raises:
        ConfigError: not a Porto symbol.
    """
    grid = _grid(damping_per_cm, end_per_cm)
    real = modes.frequencies_per_cm > 0.0
    weights = np.zeros(len(real))
    omega = units.wavenumber_to_angular_frequency(1.0) * modes.frequencies_per_cm[real]
    wanted, reduced = (raman_factor(name, omega, temperature_K, laser_nm) for name in (prefactor, "reduced"))
    weights[real] = wanted / reduced

    def lines(of_modes: Array) -> Array:
        return stick_spectrum(grid, modes.frequencies_per_cm, weights * of_modes, damping_per_cm)

    vv = strengths.isotropic + 4.0 / 45.0 * strengths.anisotropic
    vh = strengths.anisotropic / 15.0
    return HarmonicRaman(
        wavenumber_per_cm=grid,
        report=_report(damping_per_cm, end_per_cm),
        history=(f"{len(weights)} normal modes, lines {damping_per_cm:g} cm^-1 wide",),
        parameters={
            "damping_per_cm": damping_per_cm,
            "temperature_K": temperature_K,
            "laser_nm": laser_nm,
            "prefactor": prefactor,
        },
        peaks=_bands(modes.frequencies_per_cm, weights * (vv + vh), damping_per_cm),
        total=lines(vv + vh),
        vv=lines(vv),
        vh=lines(vh),
        geometries={name: lines(strengths.of_geometry(name)) for name in geometries},
    )


def _grid(damping_per_cm: float, end_per_cm: float) -> Array:
    """Eight points to a line."""
    step = min(1.0, damping_per_cm / 8.0)
    return np.asarray(step * np.arange(1, int(end_per_cm / step) + 1), dtype=np.float64)


def _bands(frequencies: Array, strengths: Array, damping: float) -> tuple[Peak, ...]:
    """Modes as bands, degenerate ones as one; those that are seen."""
    merged: list[tuple[float, float]] = []
    for frequency, strength in zip(frequencies, strengths, strict=True):
        if frequency <= 0.0 or strength <= 0.0:
            continue
        if merged and frequency - merged[-1][0] < DEGENERATE_PER_CM:
            total = merged[-1][1] + strength
            merged[-1] = ((merged[-1][0] * merged[-1][1] + frequency * strength) / total, total)
        else:
            merged.append((float(frequency), float(strength)))
    strongest = max((strength for _, strength in merged), default=0.0)
    return tuple(
        Peak(
            position_per_cm=frequency,
            position_error_per_cm=0.0,
            height=strength / (0.5 * math.pi * damping),
            height_error=0.0,
            width_per_cm=damping,
            width_error_per_cm=0.0,
            integral=strength,
            integral_error=0.0,
            from_per_cm=frequency - 2.0 * damping,
            to_per_cm=frequency + 2.0 * damping,
        )
        for frequency, strength in merged
        if strength > _SHOWN * strongest
    )


def _report(damping: float, end: float) -> LengthReport:
    """Nothing was sampled."""
    sentence = f"Harmonic limit at the minimum: nothing is sampled, lines are drawn {damping:g} cm^-1 wide."
    nothing = math.nan
    return LengthReport(
        Verdict.LONG_ENOUGH, sentence, 0.0, 1, 1, nothing, damping, damping, end, end, 0.0, nothing, 0.0, 0.0
    )
