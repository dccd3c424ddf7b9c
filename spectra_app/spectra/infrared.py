"""Infrared spectra in absolute units from a series of dipoles (molecule) or cell polarizations (liquid, solid)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_app import units
from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError
from spectra_app.spectra import guards, prefactors
from spectra_app.spectra.assemble import Arrays, assemble, estimator_history, estimator_parameters
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.guards import Checks
from spectra_app.spectra.optics import kramers_kronig, optical_constants
from spectra_app.spectra.plan import EstimatorSettings, Series, as_estimator_settings
from spectra_app.spectra.prefactors import QuantumFactor
from spectra_app.spectra.result import Spectrum, column, error_description

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class InfraredSpectrum(Spectrum):
    """Infrared spectrum; of a cell (eps'' and what follows) or of an isolated molecule (km/mol).  Arrays are [nu]."""

    alpha_n_per_cm: Array | None = field(
        default=None, metadata=column("cm^-1", "absorption coefficient times refractive index")
    )
    alpha_n_per_cm_error: Array | None = field(default=None, metadata=column("cm^-1", error_description("alpha n")))
    eps_imag: Array | None = field(default=None, metadata=column("1", "imaginary part of the dielectric function"))
    eps_imag_error: Array | None = field(default=None, metadata=column("1", error_description("imaginary part")))
    eps_real: Array | None = field(
        default=None, metadata=column("1", "real part of the dielectric function, with eps_inf")
    )
    eps_real_error: Array | None = field(default=None, metadata=column("1", error_description("real part")))
    refractive_index: Array | None = field(default=None, metadata=column("1", "refractive index n"))
    refractive_index_error: Array | None = field(
        default=None, metadata=column("1", error_description("refractive index"))
    )
    extinction: Array | None = field(default=None, metadata=column("1", "extinction coefficient k"))
    extinction_error: Array | None = field(
        default=None, metadata=column("1", error_description("extinction coefficient"))
    )
    absorption_per_cm: Array | None = field(
        default=None, metadata=column("cm^-1", "absorption coefficient 4 pi nu k (Napierian)")
    )
    absorption_per_cm_error: Array | None = field(
        default=None, metadata=column("cm^-1", error_description("absorption coefficient"))
    )
    reflectivity: Array | None = field(default=None, metadata=column("1", "reflectivity at normal incidence"))
    reflectivity_error: Array | None = field(default=None, metadata=column("1", error_description("reflectivity")))
    molar_absorptivity: Array | None = field(
        default=None, metadata=column("L mol^-1 cm^-1", "decadic molar absorptivity")
    )
    molar_absorptivity_error: Array | None = field(
        default=None, metadata=column("L mol^-1 cm^-1", error_description("absorptivity"))
    )
    intensity_km_per_mol: Array | None = field(
        default=None, metadata=column("km/mol per cm^-1", "molar intensity per wavenumber")
    )
    intensity_km_per_mol_error: Array | None = field(
        default=None, metadata=column("km/mol per cm^-1", error_description("intensity"))
    )

    @property
    def title(self) -> str:
        """What this is."""
        return "Infrared spectrum"

    @property
    def main(self) -> str:
        """``alpha_n_per_cm`` of a cell, ``intensity_km_per_mol`` of a molecule."""
        return "alpha_n_per_cm" if self.alpha_n_per_cm is not None else "intensity_km_per_mol"

    @property
    def jcamp_type(self) -> str:
        """DATA TYPE."""
        return "INFRARED SPECTRUM"


def infrared_spectrum(
    dipole_eA: Any,
    *,
    timestep_fs: float,
    temperature_K: float,
    volume_A3: Any = None,
    eps_inf: float | None = None,
    n_molecules: float | None = None,
    quantity: Literal["dipole", "current"] = "dipole",
    quantum_factor: QuantumFactor = "none",
    settings: EstimatorSettings | SpectraSettings | None = None,
    checks: Checks = "error",
) -> InfraredSpectrum:
    """Infrared spectrum in absolute units.

    Cell: ``eps'' = b/(6 eps0 V omega) S_Mdot``, ``alpha n = omega eps''/c``; with eps_inf also eps' (Kramers-Kronig,
    plus eps_inf), n, k, absorption, reflectivity.  Molecule (no volume): ``N_A b/(6 eps0 c) S_mudot``, whose integral
    over a band is its intensity in km/mol.  The classical form carries the harmonic quantum correction already
    (prefactors.py); no other is applied unless named.

    Args:
        dipole_eA: [frame, xyz] or [frame, replica, xyz], e A: physical dipole (volume times P, unwrapped),
            or its time derivative in e A/fs with ``quantity="current"``.
        timestep_fs: time between frames.
        temperature_K: temperature of the run.
        volume_A3: volume of the cell, a number or an array to be averaged; None for an isolated molecule.
        eps_inf: high-frequency dielectric constant; None leaves out eps' and what needs it.
        n_molecules: molecules in the cell, for the molar absorptivity and km/mol per molecule.
        quantity: what the series is.
        quantum_factor: exchange the harmonic quantum correction for ``standard`` or ``schofield``.
        settings: estimator, resolution, window, blocks; None takes the defaults.
        checks: ``error`` refuses a branch jump, ``warn`` warns of it, ``off`` looks for NaN only.

    Raises:
        SeriesError: wrong shape, NaN, too few frames, branch jump, time step, temperature or volume not positive.
        ConfigError: unknown name in a setting; eps_inf below 1.
    """
    guards.refuse_slab(dipole_eA, volume_A3)
    settings = as_estimator_settings(settings)
    guards.check_positive("timestep_fs", timestep_fs, "fs")
    guards.check_positive("temperature_K", temperature_K, "K")
    if quantity not in ("dipole", "current"):
        raise ConfigError("quantity", got=repr(quantity), wanted="dipole or current")
    if eps_inf is not None and not eps_inf >= 1.0:
        raise ConfigError("eps_inf", got=eps_inf, wanted="at least 1")
    volume = None if volume_A3 is None else guards.check_positive("volume_A3", float(np.mean(volume_A3)), "A^3")
    values = guards.as_replicas(dipole_eA, "dipole", (3,))
    warnings = guards.check_series(values, "dipole", checks, continuous=quantity == "dipole")
    series = Series(values, float(timestep_fs), derivative=quantity == "dipole")
    density = spectral_density(series, np.ones((1, 3)), settings)
    omega = density.omega_per_fs
    factor = np.ones_like(omega)
    factor[1:] = prefactors.quantum_factor(quantum_factor, omega[1:], temperature_K)

    def compute(trace: Array) -> Arrays:
        if volume is None:
            return {"intensity_km_per_mol": prefactors.molar_intensity_per_density(temperature_K) * factor * trace[0]}
        return _cell(omega, factor * trace[0], temperature_K, volume, eps_inf, n_molecules)

    def compute_main(trace: Array) -> Array:  # neither Kramers-Kronig nor what follows
        if volume is None:
            return compute(trace)[main]
        return prefactors.absorption_per_density(temperature_K, volume) * factor * trace[0]

    main = "intensity_km_per_mol" if volume is None else "alpha_n_per_cm"
    parts = assemble(
        series, density, settings, compute, main, keep_zero=False, warnings=warnings, compute_main=compute_main
    )
    formula = "N_A/(6 eps0 c kB T) S" if volume is None else "eps'' = S/(6 eps0 V kB T omega)"
    return InfraredSpectrum(
        wavenumber_per_cm=parts.wavenumber_per_cm,
        peaks=parts.peaks,
        report=parts.report,
        history=(
            *estimator_history(series, density, settings),
            f"infrared: {formula}; quantum factor: {quantum_factor} (the harmonic one is contained)",
        ),
        parameters={
            "temperature_K": float(temperature_K),
            "timestep_fs": float(timestep_fs),
            "volume_A3": volume,
            "eps_inf": eps_inf,
            "n_molecules": n_molecules,
            "quantity": quantity,
            "quantum_factor": quantum_factor,
            **estimator_parameters(settings),
        },
        **parts.fields(),
    )


def _cell(
    omega: Array, trace: Array, temperature_K: float, volume_A3: float, eps_inf: float | None, n_molecules: float | None
) -> Arrays:
    """Everything a cell has, on the full grid; the point at zero frequency is a placeholder."""
    eps_imag = np.zeros_like(trace)
    eps_imag[1:] = prefactors.susceptibility_per_density(omega[1:], temperature_K, volume_A3) * trace[1:]
    out = {
        "alpha_n_per_cm": prefactors.absorption_per_density(temperature_K, volume_A3) * trace,
        "eps_imag": eps_imag,
    }
    if eps_inf is not None:
        scale = prefactors.beta(temperature_K) / (6.0 * units.EPSILON_0 * volume_A3)
        out["eps_real"] = eps_inf + kramers_kronig(omega, scale * trace)
        out.update(optical_constants(omega, out["eps_real"], eps_imag))
    if n_molecules is not None:
        out.update(_molar(out, volume_A3, n_molecules))
    return out


def _molar(cell: Arrays, volume_A3: float, n_molecules: float) -> Arrays:
    """Per mole of molecules: decadic absorptivity [L/mol/cm] and, from alpha n, the intensity [km/mol per cm^-1].

    alpha = ln(10) epsilon c_molar; c_molar = N / (N_A V) in mol/L with 1 A^3 = 1e-27 L.  km/mol: alpha n / c_molar with
    1 L mol^-1 cm^-1 = 0.1 m^2/mol and 1 km/mol per cm^-1 = 10 m^2/mol.
    """
    molar_per_litre = n_molecules / (units.AVOGADRO * volume_A3 * 1e-27)
    out = {"intensity_km_per_mol": cell["alpha_n_per_cm"] / molar_per_litre * 1e-2}
    if "absorption_per_cm" in cell:
        out["molar_absorptivity"] = cell["absorption_per_cm"] / (math.log(10.0) * molar_per_litre)
    return out
