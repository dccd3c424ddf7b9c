"""Ionic conductivity from the dipole of a cell whose charges move on: Green and Kubo's integral of the current.

``sigma(w) = b/(3 V) int_0^inf dt cos(w t) <J(0) J(t)> = b S_J(w) / (6 V)``, J = dM/dt, S_J the two-sided density summed
over three axes (docs/theory.md, "Conductivity").  eps'' contains it as sigma/(eps0 w).

The value at zero frequency comes from differences of M over some tens of fs, whose density equals that of the current
there exactly (all else is folded with zeros of the sinc), smoothed as its logarithm asks for: the cepstral estimate of
transport coefficients (cepstral.py), with its analytic error.
"""

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
from spectra_app.spectra.plan import EstimatorInput, EstimatorSettings, as_estimator_settings
from spectra_app.spectra.result import Spectrum, column, error_description
from spectra_app.spectra.stream import integrate
from spectra_app.spectra.uncertainty import resampling_error

Array = NDArray[np.float64]

_COARSE_FS = 50.0
"""Longest time over which M is differenced for the value at zero: half a period of 300 cm^-1, the cage of an ion."""
_COARSE_FRAMES = 1024
"""A short run keeps at least so many differences, where it has them."""
_PIECE_NUMBERS = 2**20


@dataclass(frozen=True)
class StaticConductivity:
    """Conductivity at zero frequency.

    Attributes:
        value_S_per_m: S/m, mean of the three axes.
        error_S_per_m: its standard error.
        sentence: both, for a person.
    """

    value_S_per_m: float
    error_S_per_m: float
    sentence: str


@dataclass(frozen=True, eq=False, kw_only=True)
class ConductivitySpectrum(Spectrum):
    """Real part of the conductivity, [nu], and its value at zero frequency."""

    conductivity_S_per_m: Array = field(metadata=column("S m^-1", "real part of the conductivity"))
    conductivity_S_per_m_error: Array = field(metadata=column("S m^-1", error_description("conductivity")))
    static: StaticConductivity

    @property
    def title(self) -> str:
        """What this is."""
        return "Conductivity"

    @property
    def main(self) -> str:
        """The conductivity."""
        return "conductivity_S_per_m"

    @property
    def jcamp_type(self) -> str:
        """DATA TYPE."""
        return "INFRARED SPECTRUM"


def conductivity_per_density(temperature_K: float, volume_A3: float) -> float:
    """Conductivity [S/m] for a unit trace of S_J [e^2 A^2 fs^-1]: b / (6 V)."""
    return units.E2_PER_EV_A_FS_TO_S_PER_M * prefactors.beta(temperature_K) / (6.0 * volume_A3)


def static_conductivity(
    dipole_eA: Any,
    *,
    timestep_fs: float,
    temperature_K: float,
    volume_A3: Any,
    quantity: Literal["dipole", "current"] = "dipole",
    checks: Checks = "error",
) -> StaticConductivity:
    """Conductivity at zero frequency and its error (module docstring).

    Args:
        dipole_eA: [frame, xyz] or [frame, replica, xyz], e A, physical and unwrapped, or its time derivative in e A/fs
            with ``quantity="current"``.
        timestep_fs: time between frames.
        temperature_K: temperature.
        volume_A3: volume of the cell, a number or an array to be averaged.
        quantity: what the series is.
        checks: as in ``infrared_spectrum``.

    Raises:
        SeriesError: wrong shape, NaN, too few frames, branch jump, bad time step, temperature or volume.
        ConfigError: unknown quantity.
    """
    guards.check_positive("timestep_fs", timestep_fs, "fs")
    guards.check_positive("temperature_K", temperature_K, "K")
    volume = guards.check_positive("volume_A3", float(np.mean(volume_A3)), "A^3")
    if quantity not in ("dipole", "current"):
        raise ConfigError("quantity", got=repr(quantity), wanted="dipole or current")
    values = guards.as_replicas(dipole_eA, "dipole", (3,))
    guards.emit(guards.check_series(values, "dipole", checks, continuous=quantity == "dipole", drift=False))
    if quantity == "current":
        values = integrate(values, float(timestep_fs))
    n_frames = int(values.shape[0])
    stride = max(1, min(round(_COARSE_FS / timestep_fs), n_frames // _COARSE_FRAMES))
    series = EstimatorInput(_every(values, stride), stride * float(timestep_fs), derivative=True)
    settings = EstimatorSettings(method="cepstral", max_wavenumber_per_cm=None)
    density = spectral_density(series, np.ones((1, 3)), settings)
    scale = conductivity_per_density(temperature_K, volume)
    value = scale * float(density.total[0, 0])
    error = scale * float(resampling_error([one[0, 0] for one in density.resamples()], density.resampling))
    return StaticConductivity(value, error, f"Conductivity {value:.3g} +- {error:.2g} S/m at zero frequency.")


def conductivity_spectrum(
    dipole_eA: Any,
    *,
    timestep_fs: float,
    temperature_K: float,
    volume_A3: Any,
    quantity: Literal["dipole", "current"] = "dipole",
    settings: EstimatorSettings | SpectraSettings | None = None,
    checks: Checks = "error",
) -> ConductivitySpectrum:
    """Real part of the conductivity over wavenumber, S/m.

    Args:
        dipole_eA: as in :func:`static_conductivity`.
        timestep_fs: time between frames.
        temperature_K: temperature.
        volume_A3: volume of the cell, a number or an array to be averaged.
        quantity: what the series is.
        settings: estimator; None takes the defaults.
        checks: as in ``infrared_spectrum``.

    Raises:
        SeriesError: wrong shape, NaN, too few frames, branch jump, bad time step, temperature or volume.
        ConfigError: unknown quantity.
    """
    settings = as_estimator_settings(settings)
    static = static_conductivity(
        dipole_eA,
        timestep_fs=timestep_fs,
        temperature_K=temperature_K,
        volume_A3=volume_A3,
        quantity=quantity,
        checks=checks,
    )
    volume = float(np.mean(volume_A3))
    values = guards.as_replicas(dipole_eA, "dipole", (3,))
    series = EstimatorInput(values, float(timestep_fs), derivative=quantity == "dipole")
    density = spectral_density(series, np.ones((1, 3)), settings)
    scale = conductivity_per_density(temperature_K, volume)
    name = "conductivity_S_per_m"

    def compute(trace: Array) -> Arrays:
        return {name: scale * trace[0]}

    parts = assemble(series, density, settings, compute, name, keep_zero=True, warnings=())
    return ConductivitySpectrum(
        wavenumber_per_cm=parts.wavenumber_per_cm,
        peaks=parts.peaks,
        report=parts.report,
        history=(
            *estimator_history(series, density, settings),
            "conductivity: S_J/(6 V kB T)",
            static.sentence,
        ),
        parameters={
            "temperature_K": float(temperature_K),
            "timestep_fs": float(timestep_fs),
            "volume_A3": volume,
            "quantity": quantity,
            "static_conductivity_S_per_m": static.value_S_per_m,
            "static_conductivity_error_S_per_m": static.error_S_per_m,
            **estimator_parameters(settings),
        },
        conductivity_S_per_m=parts.values[name],
        conductivity_S_per_m_error=parts.errors[name],
        static=static,
    )


def _every(values: Any, stride: int) -> Array:
    """Every so many frames of a series [frame, replica, xyz], read a piece at a time."""
    n_frames, n_replicas = int(values.shape[0]), int(values.shape[1])
    step = stride * max(1, math.ceil(_PIECE_NUMBERS / (3 * n_replicas * stride)))
    pieces = [
        np.asarray(values[start : start + step], dtype=np.float64)[::stride] for start in range(0, n_frames, step)
    ]
    return np.concatenate(pieces)
