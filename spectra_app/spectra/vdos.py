"""Vibrational density of states: mass-weighted velocity spectrum, total and per element."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra_app import units
from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError, SeriesError
from spectra_app.spectra import guards
from spectra_app.spectra.assemble import Arrays, assemble, estimator_history, estimator_parameters
from spectra_app.spectra.estimators import spectral_density
from spectra_app.spectra.guards import Checks
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, as_estimator_settings
from spectra_app.spectra.result import Spectrum, column, error_description
from spectra_app.spectra.verlet import Integrator, timestep_correction
from spectra_app.spectra.writers import Column

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class VDOS(Spectrum):
    """Vibrational density of states; the total integrates to the number of degrees of freedom.

    Attributes:
        elements: symbol -> [nu] part of an element; the parts add up to the total.
        element_errors: symbol -> [nu].
        degrees_of_freedom: integral of the total from zero to Nyquist.
        temperature_K: kinetic temperature of the velocities (of the sampled motion, where they come from positions).
    """

    total: Array = field(metadata=column("per cm^-1", "density of states, all atoms"))
    total_error: Array = field(metadata=column("per cm^-1", error_description("density of states")))
    elements: Mapping[str, Array] = field(default_factory=dict)
    element_errors: Mapping[str, Array] = field(default_factory=dict)
    degrees_of_freedom: float
    temperature_K: float

    @property
    def title(self) -> str:
        """What this is."""
        return "Vibrational density of states"

    @property
    def main(self) -> str:
        """The total."""
        return "total"

    @property
    def jcamp_type(self) -> str:
        """DATA TYPE; the standard has no name for it."""
        return "VIBRATIONAL DENSITY OF STATES"

    def columns(self) -> dict[str, Column]:
        """Table, then one pair of columns per element."""
        table = super().columns()
        for symbol, values in self.elements.items():
            table[symbol] = Column(values, "per cm^-1", f"density of states, {symbol}")
            text = error_description(f"density of states of {symbol}")
            table[f"{symbol}_error"] = Column(self.element_errors[symbol], "per cm^-1", text)
        return table


def vdos(
    velocities_A_per_fs: Any,
    masses_amu: ArrayLike,
    *,
    timestep_fs: float,
    symbols: Sequence[str] | None = None,
    degrees_of_freedom: float | None = None,
    quantity: Literal["velocities", "positions"] = "velocities",
    integration_timestep_fs: float | None = None,
    integrator: Integrator = "verlet",
    settings: EstimatorSettings | SpectraSettings | None = None,
    checks: Checks = "error",
) -> VDOS:
    """``D(nu)`` proportional to ``sum_i m_i S_{v_i}``, normalised to the number of degrees of freedom.

    The normalisation uses the kinetic energy of the series itself, so no temperature is needed and the integral holds
    exactly; by equipartition ``D = (2 c / kB T) sum_i m_i S_{v_i}``.

    Args:
        velocities_A_per_fs: [frame, atom, xyz] or [frame, replica, atom, xyz], A/fs; an HDF5 dataset is read in blocks.
            Unwrapped positions in A with ``quantity="positions"``.
        masses_amu: [atom] amu.
        timestep_fs: time between frames.
        symbols: [atom] names of the groups to resolve, e.g. chemical symbols; None gives the total only.
        degrees_of_freedom: integral of the total; None takes 3 N.
        quantity: what the series is.
        integration_timestep_fs: time step of the integration (not of the record), whose known effect on wavenumbers and
            intensities is taken off (verlet.py); None leaves it in.
        integrator: ``verlet``, or ``baoab`` where the recorded part itself ran with that thermostat.
        settings: estimator; None takes the defaults.
        checks: ``error`` refuses a jump of positions, ``warn`` warns of it, ``off`` looks for NaN only.

    Raises:
        SeriesError: wrong shape, NaN, too few frames, masses that do not match, no motion.
        ConfigError: unknown quantity.
    """
    settings = as_estimator_settings(settings)
    guards.check_positive("timestep_fs", timestep_fs, "fs")
    if quantity not in ("velocities", "positions"):
        raise ConfigError("quantity", got=repr(quantity), wanted="velocities or positions")
    values = guards.as_replicas(velocities_A_per_fs, quantity, (-1, 3))
    masses = _checked_masses(masses_amu, symbols, values.shape[2])
    warnings = guards.check_series(values, quantity, checks, continuous=quantity == "positions")
    groups = tuple(dict.fromkeys(symbols)) if symbols is not None else ("all",)
    member = np.array([[True] * len(masses)] if symbols is None else [[s == g for s in symbols] for g in groups])
    correction = timestep_correction(integration_timestep_fs, float(timestep_fs), quantity, integrator)
    series = EstimatorInput(values, float(timestep_fs), derivative=quantity == "positions", correction=correction)
    density = spectral_density(series, np.repeat(member * masses, 3, axis=1), settings)
    n_free = 3.0 * len(masses) if degrees_of_freedom is None else float(degrees_of_freedom)
    step = float(density.wavenumber_per_cm[1])
    power = density.total.sum(axis=0)
    area = step * float(power.sum() - 0.5 * (power[0] + power[-1]))  # trapezoid: exact for the transform of C(0)
    if not area > 0.0:
        raise SeriesError(quantity, got="no motion", wanted="a trajectory that moves")

    def compute(channels: Array) -> Arrays:
        # The normalisation is one number, common to all parts; its own error is far below that of any point.
        parts = channels * (n_free / area)
        return {"total": parts.sum(axis=0), **{f"element {g}": parts[i] for i, g in enumerate(groups)}}

    parts = assemble(series, density, settings, compute, "total", keep_zero=True, warnings=warnings)
    resolved = groups if symbols is not None else ()
    # int dnu S = <x x> / (2 c) over positive wavenumbers; m v^2 = kB T per degree of freedom.
    kinetic = 2.0 * units.SPEED_OF_LIGHT_CM_PER_FS * area * units.AMU_A2_PER_FS2_TO_EV
    return VDOS(
        wavenumber_per_cm=parts.wavenumber_per_cm,
        peaks=parts.peaks,
        report=parts.report,
        history=(
            *estimator_history(series, density, settings),
            *parts.correction_history,
            f"vdos: mass-weighted {quantity}, integral {n_free:g} degrees of freedom",
        ),
        parameters={
            "timestep_fs": float(timestep_fs),
            "degrees_of_freedom": n_free,
            "quantity": quantity,
            **parts.correction_parameters,
            **estimator_parameters(settings),
        },
        total=parts.values["total"],
        total_error=parts.errors["total"],
        elements={g: parts.values[f"element {g}"] for g in resolved},
        element_errors={g: parts.errors[f"element {g}"] for g in resolved},
        degrees_of_freedom=n_free,
        temperature_K=kinetic / (n_free * units.BOLTZMANN),
    )


def _checked_masses(masses_amu: ArrayLike, symbols: Sequence[str] | None, n_atoms: int) -> Array:
    """Masses [atom] that match the series.

    Raises:
        SeriesError: another number of masses or symbols than atoms, or masses that are not positive.
    """
    masses = np.asarray(masses_amu, dtype=np.float64)
    if masses.shape != (n_atoms,):
        raise SeriesError("masses_amu", got=f"shape {masses.shape}", wanted=f"one per atom, ({n_atoms},)")
    if not (np.all(np.isfinite(masses)) and np.all(masses > 0.0) and math.isfinite(float(masses.sum()))):
        raise SeriesError("masses_amu", got=float(masses.min()), wanted="positive numbers of amu")
    if symbols is not None and len(symbols) != n_atoms:
        raise SeriesError("symbols", got=f"{len(symbols)} names", wanted=f"one per atom, {n_atoms}")
    return masses
