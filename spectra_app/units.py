"""The one table of constants and conversions.

Inside the package everything is in eV, Angstrom, fs, e, amu and kelvin; numbers are converted only where they enter or
leave.  Values are CODATA 2022 (https://physics.nist.gov/constants); the derived ones are computed here, and
``tests/test_units.py`` compares every one of them with ``scipy.constants``.
"""

from __future__ import annotations

import math

# --- exact SI constants (2019 redefinition) and CODATA 2022 values ---------------------------------------------------
_ELEMENTARY_CHARGE_C = 1.602176634e-19
_BOLTZMANN_J_PER_K = 1.380649e-23
_PLANCK_J_S = 6.62607015e-34
_SPEED_OF_LIGHT_M_PER_S = 299792458.0
_AVOGADRO_PER_MOL = 6.02214076e23
_VACUUM_PERMITTIVITY_F_PER_M = 8.8541878188e-12
_ATOMIC_MASS_KG = 1.66053906892e-27
_BOHR_M = 5.29177210544e-11
_HARTREE_J = 4.3597447222060e-18

# --- internal units ---------------------------------------------------------------------------------------------------
EPSILON_0 = _VACUUM_PERMITTIVITY_F_PER_M * 1e-10 / _ELEMENTARY_CHARGE_C
"""Vacuum permittivity [e^2 eV^-1 A^-1]."""

COULOMB_CONSTANT = 1.0 / (4.0 * math.pi * EPSILON_0)
"""k_e = 1 / (4 pi epsilon_0) [eV A e^-2]."""

BOLTZMANN = _BOLTZMANN_J_PER_K / _ELEMENTARY_CHARGE_C
"""k_B [eV K^-1]."""

HBAR = _PLANCK_J_S / (2.0 * math.pi) / _ELEMENTARY_CHARGE_C * 1e15
"""Reduced Planck constant [eV fs]."""

SPEED_OF_LIGHT = _SPEED_OF_LIGHT_M_PER_S * 1e10 * 1e-15
"""c [A fs^-1]."""

SPEED_OF_LIGHT_CM_PER_FS = _SPEED_OF_LIGHT_M_PER_S * 1e2 * 1e-15
"""c [cm fs^-1]; omega [rad fs^-1] = 2 pi c nu with nu in cm^-1."""

AVOGADRO = _AVOGADRO_PER_MOL
"""N_A [mol^-1]."""

AMU_A2_PER_FS2_TO_EV = _ATOMIC_MASS_KG * 1e-20 / 1e-30 / _ELEMENTARY_CHARGE_C
"""Energy of 1 amu A^2 fs^-2 [eV]: kinetic energy = 0.5 m v^2 times this."""

FORCE_TO_ACCELERATION = 1.0 / AMU_A2_PER_FS2_TO_EV
"""Acceleration of 1 amu under 1 eV A^-1 [A fs^-2]."""

# --- conversions at the border ----------------------------------------------------------------------------------------
BOHR_TO_ANGSTROM = _BOHR_M * 1e10
HARTREE_TO_EV = _HARTREE_J / _ELEMENTARY_CHARGE_C
RYDBERG_TO_EV = 0.5 * HARTREE_TO_EV
EV_TO_KCAL_PER_MOL = _ELEMENTARY_CHARGE_C * _AVOGADRO_PER_MOL / 4184.0
"""1 eV per particle [kcal/mol], the thermochemical calorie of 4.184 J."""
DEBYE_TO_E_ANGSTROM = 1e-21 / _SPEED_OF_LIGHT_M_PER_S / _ELEMENTARY_CHARGE_C * 1e10
"""1 debye [e A] (1e-21 C m^2 s^-1 / c by definition)."""
EV_PER_A3_TO_GPA = _ELEMENTARY_CHARGE_C * 1e30 * 1e-9
E_PER_A2_TO_C_PER_M2 = _ELEMENTARY_CHARGE_C * 1e20
"""Polarization per volume: 1 e A A^-3 [C m^-2]."""
E2_PER_EV_A_FS_TO_S_PER_M = _ELEMENTARY_CHARGE_C * 1e10 * 1e15
"""Conductivity: 1 e^2 eV^-1 A^-1 fs^-1 [S m^-1]."""
G_PER_CM3_PER_AMU_PER_A3 = _ATOMIC_MASS_KG * 1e3 / 1e-24
"""Mass density: 1 amu A^-3 [g cm^-3]."""


def wavenumber_to_angular_frequency(wavenumber_per_cm: float) -> float:
    """Angular frequency [rad fs^-1] of a wavenumber [cm^-1]: omega = 2 pi c nu."""
    return 2.0 * math.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber_per_cm


def angular_frequency_to_wavenumber(omega_per_fs: float) -> float:
    """Wavenumber [cm^-1] of an angular frequency [rad fs^-1]: nu = omega / (2 pi c)."""
    return omega_per_fs / (2.0 * math.pi * SPEED_OF_LIGHT_CM_PER_FS)


def polarizability_to_a3(alpha_e2_a2_per_ev: float) -> float:
    """Polarizability volume [A^3] of a polarizability [e^2 A^2 eV^-1]: alpha[A^3] = k_e alpha."""
    return COULOMB_CONSTANT * alpha_e2_a2_per_ev
