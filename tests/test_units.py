"""The table of constants against scipy.constants (an independent copy of CODATA)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import constants as si

from spectra_app import units

# scipy ships CODATA 2018 or 2022 by version; the two differ by less than 2e-9 relative in what is measured.
RTOL = 3e-9
ANGSTROM = si.angstrom
FEMTO = si.femto

EXPECTED = {
    "EPSILON_0": si.epsilon_0 * ANGSTROM / si.e,  # e^2 eV^-1 A^-1: F/m = C/(V m)
    "COULOMB_CONSTANT": si.e / (4 * math.pi * si.epsilon_0 * ANGSTROM),  # eV A e^-2
    "BOLTZMANN": si.physical_constants["Boltzmann constant in eV/K"][0],
    "HBAR": si.physical_constants["reduced Planck constant in eV s"][0] / FEMTO,
    "SPEED_OF_LIGHT": si.c * FEMTO / ANGSTROM,
    "SPEED_OF_LIGHT_CM_PER_FS": si.c * FEMTO / si.centi,
    "AVOGADRO": si.N_A,
    "AMU_A2_PER_FS2_TO_EV": si.atomic_mass * (ANGSTROM / FEMTO) ** 2 / si.eV,
    "FORCE_TO_ACCELERATION": (si.eV / ANGSTROM) / si.atomic_mass * FEMTO**2 / ANGSTROM,
    "BOHR_TO_ANGSTROM": si.physical_constants["Bohr radius"][0] / ANGSTROM,
    "EV_TO_KCAL_PER_MOL": si.e * si.N_A / (1000.0 * si.calorie),
    "HARTREE_TO_EV": si.physical_constants["Hartree energy in eV"][0],
    "RYDBERG_TO_EV": si.physical_constants["Rydberg constant times hc in eV"][0],
    "DEBYE_TO_E_ANGSTROM": 1e-21 / si.c / si.e / ANGSTROM,
    "EV_PER_A3_TO_GPA": si.eV / ANGSTROM**3 / si.giga,
    "E_PER_A2_TO_C_PER_M2": si.e / ANGSTROM**2,
    "E2_PER_EV_A_FS_TO_S_PER_M": si.e**2 / si.eV / ANGSTROM / FEMTO,
    "G_PER_CM3_PER_AMU_PER_A3": si.atomic_mass / si.gram * (si.centi / ANGSTROM) ** 3,
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_constant_equals_scipy(name: str) -> None:
    assert getattr(units, name) == pytest.approx(EXPECTED[name], rel=RTOL)


def test_every_constant_is_compared() -> None:
    public = {name for name, value in vars(units).items() if name.isupper() and isinstance(value, float)}
    assert {name for name in public if not name.startswith("_")} == set(EXPECTED)


def test_values_known_by_heart() -> None:
    # docs/theory.md, and the debye of every textbook: 0.2081943 e A.
    assert pytest.approx(14.3996454784, rel=2e-9) == units.COULOMB_CONSTANT
    assert pytest.approx(5.5263494e-3, rel=1e-7) == units.EPSILON_0
    assert pytest.approx(0.2081943, rel=1e-6) == units.DEBYE_TO_E_ANGSTROM
    assert pytest.approx(160.2176634, rel=1e-9) == units.EV_PER_A3_TO_GPA
    assert pytest.approx(96.4853321233e-4, rel=1e-8) == units.FORCE_TO_ACCELERATION


def test_wavenumber_is_inverse_wavelength_of_light() -> None:
    # Light of 1000 cm^-1 has a wavelength of 10 um and so a period of 33.3564 fs.
    period_fs = 2 * math.pi / units.wavenumber_to_angular_frequency(1000.0)
    assert period_fs == pytest.approx(10e-6 / si.c / FEMTO, rel=1e-12)
    nu = np.array([0.5, 180.0, 3404.0])
    there = [units.wavenumber_to_angular_frequency(float(v)) for v in nu]
    back = [units.angular_frequency_to_wavenumber(w) for w in there]
    np.testing.assert_allclose(back, nu, rtol=1e-14)


def test_polarizability_volume_of_the_hydrogen_atom() -> None:
    # 4.5 bohr^3 exactly: alpha[SI] = 4 pi eps0 alpha'; in e^2 A^2/eV divide by k_e.
    bohr3 = 4.5 * (si.physical_constants["Bohr radius"][0] / ANGSTROM) ** 3
    in_au = 4.5 * units.BOHR_TO_ANGSTROM**2 / units.HARTREE_TO_EV  # e^2 a0^2 / E_h
    assert units.polarizability_to_a3(in_au) == pytest.approx(bohr3, rel=1e-9)
