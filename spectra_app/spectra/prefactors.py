"""What turns a spectral density into an absolute spectrum: every factor by name, each applied once.

In all formulas ``S(omega) = int dt exp(-i omega t) <A(0) A(t)>`` is classical and two-sided, ``b = 1 / (k_B T)``.

Infrared (McQuarrie, Statistical Mechanics, ch. 21; Thomas et al., Phys. Chem. Chem. Phys. 15, 6608, 2013)
    cell:      eps''(omega) = b / (6 eps0 V omega) S_Mdot(omega),  alpha n = omega eps'' / c
    molecule:  A(nu) = N_A b / (6 eps0 c) S_mudot(omega)
These contain the harmonic quantum correction already: the factor b hbar omega / (1 - exp(-b hbar omega)) between a
classical and a quantum oscillator cancels against 1 - exp(-b hbar omega) of absorption minus stimulated emission.

Raman (Placzek; D. A. Long, The Raman Effect, ch. 5; A is the polarizability volume alpha / (4 pi eps0))
    stokes:   d sigma / (d Omega d nu) = (2 pi)^4 (nu_L - nu)^4 c  b hbar / (omega (1 - exp(-b hbar omega)))  S_Adot
    reduced:  2 c b S_Adot, whose integral over the line of an oscillator is (dA/dQ)^2 in A^4/amu
    none:     S_Adot
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spectra_app import units
from spectra_app.errors import ConfigError

QuantumFactor = Literal["none", "harmonic", "standard", "schofield"]
RamanPrefactor = Literal["stokes", "reduced", "none"]

_A2_TO_KM_CM = 1e-21
"""1 A^2 cm^-1 [km]: a cross-section times a wavenumber."""
_A2_TO_1E30_CM2 = 1e14
"""1 A^2 [1e-30 cm^2]."""
_PER_A_TO_PER_CM = 1e8

RAMAN_UNITS: dict[RamanPrefactor, str] = {
    "stokes": "1e-30 cm^2 sr^-1 per cm^-1",
    "reduced": "A^4 amu^-1 per cm^-1",
    "none": "A^6 fs^-1",
}


def beta(temperature_K: float) -> float:
    """1 / (k_B T) [eV^-1]."""
    return 1.0 / (units.BOLTZMANN * temperature_K)


def susceptibility_per_density(
    omega_per_fs: NDArray[np.float64], temperature_K: float, volume_A3: float
) -> NDArray[np.float64]:
    """Eps'' for a unit trace of S_Mdot: b / (6 eps0 V omega) [fs e^-2 A^-2], [nu]; omega [rad/fs] must not be zero."""
    return np.asarray(beta(temperature_K) / (6.0 * units.EPSILON_0 * volume_A3 * omega_per_fs))


def absorption_per_density(temperature_K: float, volume_A3: float) -> float:
    """Alpha n [cm^-1] for a unit trace of S_Mdot [e^2 A^2 fs^-1]: b / (6 eps0 V c)."""
    return _PER_A_TO_PER_CM * beta(temperature_K) / (6.0 * units.EPSILON_0 * volume_A3 * units.SPEED_OF_LIGHT)


def molar_intensity_per_density(temperature_K: float) -> float:
    """A(nu) [km/mol per cm^-1] for a unit trace of S_mudot [e^2 A^2 fs^-1]: N_A b / (6 eps0 c)."""
    cross_section = beta(temperature_K) / (6.0 * units.EPSILON_0 * units.SPEED_OF_LIGHT)
    return units.AVOGADRO * _A2_TO_KM_CM * cross_section


def quantum_factor(name: QuantumFactor, omega_per_fs: NDArray[np.float64], temperature_K: float) -> NDArray[np.float64]:
    """Factor [nu] on absorption that exchanges the harmonic quantum correction for another one.

    The classical absorption above carries Q_harmonic = x / (1 - exp(-x)), x = b hbar omega, already.  ``none`` and
    ``harmonic`` therefore return 1; ``standard`` returns 2 / (1 + exp(-x)) / Q_harmonic, ``schofield``
    exp(x/2) / Q_harmonic (Ramirez et al., J. Chem. Phys. 121, 3973, 2004).

    Args:
        name: name of the correction that the result carries.
        omega_per_fs: [nu] rad/fs, not zero.
        temperature_K: temperature.

    Raises:
        ConfigError: unknown name.
    """
    x = beta(temperature_K) * units.HBAR * omega_per_fs
    harmonic_inverse = -np.expm1(-x) / x
    if name in ("none", "harmonic"):
        return np.ones_like(x)
    if name == "standard":
        return np.asarray(2.0 / (1.0 + np.exp(-x)) * harmonic_inverse)
    if name == "schofield":
        return np.asarray(np.exp(0.5 * x) * harmonic_inverse)
    raise ConfigError("quantum_factor", got=repr(name), wanted="none, harmonic, standard or schofield")


def raman_factor(
    prefactor: RamanPrefactor, omega_per_fs: NDArray[np.float64], temperature_K: float, laser_nm: float
) -> NDArray[np.float64]:
    """Factor [nu] that takes S_alphadot [e^4 A^4 eV^-2 fs^-1] to a Raman spectrum in ``RAMAN_UNITS[prefactor]``.

    Args:
        prefactor: ``stokes``, ``reduced`` or ``none`` (module docstring).
        omega_per_fs: [nu] rad/fs, not zero.
        temperature_K: temperature.
        laser_nm: wavelength of the laser in vacuum.

    Raises:
        ConfigError: unknown name.
    """
    to_volume = units.COULOMB_CONSTANT**2  # alpha [e^2 A^2/eV] -> A^3, squared
    b = beta(temperature_K)
    if prefactor == "none":
        return np.full_like(omega_per_fs, to_volume)
    if prefactor == "reduced":
        # 1 / (k_B T) in eV^-1 turns fs^-2 into amu^-1 A^-2: 1 amu A^2 fs^-2 is AMU_A2_PER_FS2_TO_EV.
        scale = 2.0 * units.SPEED_OF_LIGHT_CM_PER_FS * b * units.AMU_A2_PER_FS2_TO_EV
        return np.full_like(omega_per_fs, to_volume * scale)
    if prefactor == "stokes":
        nu = units.angular_frequency_to_wavenumber(1.0) * omega_per_fs
        scattered_per_A = 2.0 * math.pi * np.clip(1e7 / laser_nm - nu, 0.0, None) / _PER_A_TO_PER_CM
        occupation = b * units.HBAR / (omega_per_fs * -np.expm1(-b * units.HBAR * omega_per_fs))
        scale = to_volume * units.SPEED_OF_LIGHT_CM_PER_FS * _A2_TO_1E30_CM2
        return np.asarray(scale * scattered_per_A**4 * occupation)
    raise ConfigError("prefactor", got=repr(prefactor), wanted="stokes, reduced or none")
