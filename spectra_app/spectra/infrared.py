"""Infrared spectra in absolute units from a series of dipoles (molecule) or cell polarizations (liquid, solid)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError
from spectra_app.spectra import guards, prefactors
from spectra_app.spectra.assemble import assemble, estimator_history, estimator_parameters
from spectra_app.spectra.cell_optics import POLARIZED_COLUMNS, Axes, InfraredQuantities, Polarizations, make_axes
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.guards import Checks
from spectra_app.spectra.integrals import Band, BandIntegral, checked_bands
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, as_estimator_settings
from spectra_app.spectra.prefactors import QuantumFactor
from spectra_app.spectra.result import Spectrum, column, error_description
from spectra_app.spectra.verlet import Integrator, Motion, timestep_correction
from spectra_app.spectra.writers import Column

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class InfraredSpectrum(Spectrum):
    """Infrared spectrum; of a cell (eps'' and what follows) or of an isolated molecule (km/mol).  Arrays are [nu].

    With a tensor eps_inf, eps' and eps'' are trace/3, and what depends on the polarization stands in ``polarized``.

    Attributes:
        polarizations: label (``xx`` or ``1`` ...) -> [xyz] unit vector; empty where eps_inf is a number.
        polarized: ``<column>_<label>`` -> [nu], the columns of ``POLARIZED_COLUMNS`` (cell_optics.py).
        polarized_errors: by the same names.
        integral: of the main column over wavenumber, from zero to the end of the table: cm^-2, or km/mol.
        bands: its integrals over the bands asked for.
    """

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

    polarizations: Mapping[str, Array] = field(default_factory=dict)
    polarized: Mapping[str, Array] = field(default_factory=dict)
    polarized_errors: Mapping[str, Array] = field(default_factory=dict)
    integral: BandIntegral | None = None
    bands: tuple[BandIntegral, ...] = ()

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

    def columns(self) -> dict[str, Column]:
        """Table, then the columns of every polarization, each with its error."""
        table = super().columns()
        for name, values in self.polarized.items():
            quantity, label = name.rsplit("_", 1)
            unit, text = POLARIZED_COLUMNS[quantity]
            table[name] = Column(values, unit, f"{text}, polarization {label}")
            table[f"{name}_error"] = Column(self.polarized_errors[name], unit, error_description(f"{text}, {label}"))
        return table


_FIELDS = frozenset(entry.name for entry in dataclasses.fields(InfraredSpectrum))


def infrared_spectrum(
    dipole_eA: Any,
    *,
    timestep_fs: float,
    temperature_K: float,
    volume_A3: Any = None,
    eps_inf: float | ArrayLike | None = None,
    polarizations: Polarizations | ArrayLike = "laboratory",
    n_molecules: float | None = None,
    quantity: Literal["dipole", "current"] = "dipole",
    quantum_factor: QuantumFactor = "none",
    bands_per_cm: Sequence[Band] = (),
    integration_timestep_fs: float | None = None,
    integrator: Integrator = "verlet",
    settings: EstimatorSettings | SpectraSettings | None = None,
    checks: Checks = "error",
) -> InfraredSpectrum:
    """Infrared spectrum in absolute units.

    Cell: ``eps'' = b/(6 eps0 V omega) S_Mdot``, ``alpha n = omega eps''/c``; with eps_inf also eps' (Kramers-Kronig,
    plus eps_inf), n, k, absorption, reflectivity, and for a tensor eps_inf all of these and the loss function per
    polarization (cell_optics.py).  Molecule (no volume): ``N_A b/(6 eps0 c) S_mudot``, whose integral
    over a band is its intensity in km/mol.  The classical form carries the harmonic quantum correction already
    (prefactors.py); no other is applied unless named.

    Args:
        dipole_eA: [frame, xyz] or [frame, replica, xyz], e A: physical dipole (volume times P, unwrapped),
            or its time derivative in e A/fs with ``quantity="current"``.
        timestep_fs: time between frames.
        temperature_K: temperature of the run.
        volume_A3: volume of the cell, a number or an array to be averaged; None for an isolated molecule.
        eps_inf: high-frequency dielectric constant, a number or the tensor [xyz, xyz] of a crystal; None leaves out
            eps' and what needs it.
        polarizations: of a tensor: ``laboratory`` (x, y, z), ``principal`` (axes of eps_inf), or vectors [axis, xyz].
        n_molecules: molecules in the cell, for the molar absorptivity and km/mol per molecule.
        quantity: what the series is.
        quantum_factor: exchange the harmonic quantum correction for ``standard`` or ``schofield``.
        bands_per_cm: pairs of wavenumbers over which the spectrum is integrated besides the whole (sum_rule.py).
        integration_timestep_fs: time step of the integration (not of the record), whose known effect on wavenumbers and
            intensities is taken off (verlet.py); None leaves it in.
        integrator: ``verlet``, or ``baoab`` where the recorded part itself ran with that thermostat.
        settings: estimator, resolution, window, blocks; None takes the defaults.
        checks: ``error`` refuses a branch jump, ``warn`` warns of it, ``off`` looks for NaN only.

    Raises:
        SeriesError: wrong shape, NaN, too few frames, branch jump, time step, temperature or volume not positive.
        ConfigError: unknown name in a setting; eps_inf below 1 or not symmetric; polarizations not orthonormal; a
            tensor for a molecule.
    """
    guards.refuse_slab(dipole_eA, volume_A3)
    settings = as_estimator_settings(settings)
    guards.check_positive("timestep_fs", timestep_fs, "fs")
    guards.check_positive("temperature_K", temperature_K, "K")
    if quantity not in ("dipole", "current"):
        raise ConfigError("quantity", got=repr(quantity), wanted="dipole or current")
    number, axes = _eps_inf(eps_inf, polarizations, volume_A3 is None)
    bands = checked_bands(bands_per_cm)
    volume = None if volume_A3 is None else guards.check_positive("volume_A3", float(np.mean(volume_A3)), "A^3")
    values = guards.as_replicas(dipole_eA, "dipole", (3,))
    warnings = guards.check_series(values, "dipole", checks, continuous=quantity == "dipole")
    motion: Motion = "positions" if quantity == "dipole" else "velocities"
    correction = timestep_correction(integration_timestep_fs, float(timestep_fs), motion, integrator)
    series = EstimatorInput(
        values,
        float(timestep_fs),
        derivative=quantity == "dipole",
        mixing=None if axes is None else axes.matrix,
        correction=correction,
    )
    density = spectral_density(series, np.ones((1, 3)) if axes is None else np.eye(3), settings)
    omega = density.omega_per_fs
    factor = np.ones_like(omega)
    factor[1:] = prefactors.quantum_factor(quantum_factor, omega[1:], temperature_K)
    wanted = InfraredQuantities(omega, factor, temperature_K, volume, number, axes, n_molecules)
    parts = assemble(
        series,
        density,
        settings,
        wanted.compute,
        wanted.main,
        keep_zero=False,
        warnings=warnings,
        compute_main=wanted.compute_main,
        bands_per_cm=bands,
    )
    formula = "N_A/(6 eps0 c kB T) S" if volume is None else "eps'' = S/(6 eps0 V kB T omega)"
    return InfraredSpectrum(
        wavenumber_per_cm=parts.wavenumber_per_cm,
        peaks=parts.peaks,
        report=parts.report,
        history=(
            *estimator_history(series, density, settings),
            *parts.correction_history,
            f"infrared: {formula}; quantum factor: {quantum_factor} (the harmonic one is contained)",
        ),
        parameters={
            "temperature_K": float(temperature_K),
            "timestep_fs": float(timestep_fs),
            "volume_A3": volume,
            "eps_inf": number if axes is None else np.asarray(eps_inf, dtype=np.float64).tolist(),
            **({} if axes is None else {"polarizations": {name: v.tolist() for name, v in axes.vectors.items()}}),
            "n_molecules": n_molecules,
            "quantity": quantity,
            "quantum_factor": quantum_factor,
            **parts.correction_parameters,
            **estimator_parameters(settings),
        },
        polarizations={} if axes is None else axes.vectors,
        polarized=_by_polarization(parts.values, axes),
        polarized_errors=_by_polarization(parts.errors, axes),
        integral=parts.integrals[0],
        bands=parts.integrals[1:],
        **{name: array for name, array in parts.fields().items() if name in _FIELDS},
    )


def _eps_inf(
    eps_inf: float | ArrayLike | None, polarizations: Polarizations | ArrayLike, molecule: bool
) -> tuple[float | None, Axes | None]:
    """Eps_inf as a number, or as axes with theirs."""
    if eps_inf is None:
        return None, None
    if np.ndim(eps_inf) == 0:
        number = float(cast(float, eps_inf))
        if not number >= 1.0:
            raise ConfigError("eps_inf", got=eps_inf, wanted="at least 1")
        return number, None
    if molecule:
        raise ConfigError("eps_inf", got="a tensor without a volume", wanted="a tensor for a cell only")
    return None, make_axes(np.asarray(eps_inf, dtype=np.float64), polarizations)


def _by_polarization(arrays: Mapping[str, Array], axes: Axes | None) -> dict[str, Array]:
    """Those of the arrays that belong to a polarization, in the order of the axes."""
    labels = () if axes is None else tuple(axes.vectors)
    names = [f"{name}_{label}" for label in labels for name in POLARIZED_COLUMNS]
    return {name: arrays[name] for name in names}
