"""What velocity Verlet does to a harmonic mode, exactly, and how it is undone (docs/theory.md, "Finite time step").

The integrator follows ``x(n+1) - 2 x(n) + x(n-1) = -(w h)^2 x(n)`` for a mode of true angular frequency w and a time
step h, whose solution turns with the numerical frequency w'::

    sin(w' h / 2) = w h / 2
    v(n) = (x(n+1) - x(n-1)) / (2 h):        <v^2> = w^2 (1 - w^2 h^2 / 4) <x^2>
    conserved:                               m v^2 / 2 + (1 - w^2 h^2 / 4) m w^2 x^2 / 2

Equipartition holds for the conserved energy, so that velocities at full steps have ``<m v^2> = kB T`` for every mode
(whether a thermostat sets the temperature or a run at constant energy is told its own), and positions
``<m w^2 x^2> = kB T / (1 - w^2 h^2 / 4)``.  BAOAB keeps positions exact instead: both averages times
``1 - w^2 h^2 / 4``.  The spectral density of the rate of anything linear in positions (dipole, polarizability) thus
appears at w' with its area multiplied by

    verlet:  (w'/w)^2 / (1 - w^2 h^2 / 4)        baoab:  (w'/w)^2
    and that of recorded velocities, or of rates linear in them, by  1  and  1 - w^2 h^2 / 4.

A density per unit of w' becomes one per unit of w with ``dw'/dw = 1 / sqrt(1 - w^2 h^2 / 4)``.  All of it is exact for
any superposition of harmonic modes; overtones and combinations are taken as if they were modes of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spectra_app import units
from spectra_app.errors import ConfigError, SeriesError

Array = NDArray[np.float64]
Integrator = Literal["verlet", "baoab"]
Motion = Literal["positions", "velocities"]

_ROUNDING = 1e-9
"""An integration step may exceed the recorded one by rounding only."""


@dataclass(frozen=True)
class TimestepCorrection:
    """Axis and intensity of a spectrum freed of the integrator's time step.

    Attributes:
        timestep_fs: time step h of the integration (not of the record).
        motion: what the recorded series is linear in: ``positions`` (dipole, polarizability, positions) or
            ``velocities`` at full steps (velocities, and currents made of them).
        integrator: ``verlet`` (velocity Verlet, constant energy or a thermostat on the velocities), or ``baoab``.
    """

    timestep_fs: float
    motion: Motion
    integrator: Integrator = "verlet"

    def numerical_frequency(self, omega_per_fs: Array) -> Array:
        """Angular frequency w' [nu] at which a mode of true angular frequency [nu] appears, rad/fs."""
        return np.asarray(2.0 / self.timestep_fs * np.arcsin(0.5 * self.timestep_fs * omega_per_fs))

    def true_frequency(self, omega_per_fs: Array) -> Array:
        """Angular frequency w [nu] of a mode that appears at [nu], rad/fs."""
        return np.asarray(2.0 / self.timestep_fs * np.sin(0.5 * self.timestep_fs * omega_per_fs))

    def area_factor(self, omega_per_fs: Array) -> Array:
        """What the integrator multiplied the area of a mode with, [nu] at true angular frequencies, rad/fs."""
        omega = np.asarray(omega_per_fs, dtype=np.float64)
        stiffness = 1.0 - 0.25 * (omega * self.timestep_fs) ** 2
        out = np.ones_like(omega)
        if self.motion == "positions":
            ratio = np.divide(self.numerical_frequency(omega), omega, out=np.ones_like(omega), where=omega > 0.0)
            out = ratio**2 / stiffness
        return out * stiffness if self.integrator == "baoab" else out

    def density_factor(self, omega_per_fs: Array) -> Array:
        """What takes the density at w'(w) to the true density at w, [nu]: ``(dw'/dw) / area factor``."""
        jacobian = 1.0 / np.sqrt(1.0 - 0.25 * (np.asarray(omega_per_fs) * self.timestep_fs) ** 2)
        return np.asarray(jacobian / self.area_factor(omega_per_fs))

    def effect_at(self, wavenumber_per_cm: float) -> tuple[float, float]:
        """Shift [cm^-1] and area factor that the integrator gave a mode of this true wavenumber."""
        omega = np.array([units.wavenumber_to_angular_frequency(wavenumber_per_cm)])
        seen = float(units.angular_frequency_to_wavenumber(float(self.numerical_frequency(omega)[0])))
        return seen - wavenumber_per_cm, float(self.area_factor(omega)[0])


def timestep_correction(
    integration_timestep_fs: float | None, record_timestep_fs: float, motion: Motion, integrator: Integrator = "verlet"
) -> TimestepCorrection | None:
    """The correction of a series, or None where none is wanted.

    Args:
        integration_timestep_fs: time step of the integration; None: no correction.
        record_timestep_fs: time between recorded frames, not shorter.
        motion: what the series is linear in.
        integrator: ``verlet`` or ``baoab``.

    Raises:
        SeriesError: a time step that is not positive, or longer than that of the record.
        ConfigError: unknown integrator.
    """
    if integrator not in ("verlet", "baoab"):
        raise ConfigError("integrator", got=repr(integrator), wanted="verlet or baoab")
    if integration_timestep_fs is None:
        return None
    step = float(integration_timestep_fs)
    if not (math.isfinite(step) and 0.0 < step <= record_timestep_fs * (1.0 + _ROUNDING)):
        wanted = f"above 0 and at most the time between frames, {record_timestep_fs:g} fs"
        raise SeriesError("integration_timestep_fs", got=repr(integration_timestep_fs), wanted=wanted)
    return TimestepCorrection(min(step, record_timestep_fs), motion, integrator)


def timestep_effect(
    wavenumber_per_cm: float,
    integration_timestep_fs: float,
    motion: Motion = "positions",
    integrator: Integrator = "verlet",
) -> tuple[float, float]:
    """Shift [cm^-1] and factor on the area of a band that a time step causes: (17.4, 1.040) at 3600 cm^-1 and 0.5 fs.

    Args:
        wavenumber_per_cm: true wavenumber of the band.
        integration_timestep_fs: time step of the integration.
        motion: ``positions`` for infrared and Raman series, ``velocities`` for recorded velocities.
        integrator: ``verlet`` or ``baoab``.

    Raises:
        SeriesError: a time step that is not positive, or one with which a mode of this wavenumber is unstable.
    """
    omega = units.wavenumber_to_angular_frequency(wavenumber_per_cm)
    correction = timestep_correction(integration_timestep_fs, math.inf, motion, integrator)
    assert correction is not None
    if not omega * correction.timestep_fs < 2.0:
        wanted = f"below {2.0 / omega:.3g} fs, beyond which a mode at {wavenumber_per_cm:g} cm^-1 is unstable"
        raise SeriesError("integration_timestep_fs", got=integration_timestep_fs, wanted=wanted)
    return correction.effect_at(wavenumber_per_cm)
