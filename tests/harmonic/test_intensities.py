"""Absolute infrared and Raman strengths of oscillators known by hand; what is drawn of them."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units as ase_units
from scipy import constants
from scipy.integrate import trapezoid

from spectra_app.errors import ConfigError
from spectra_app.harmonic.intensities import (
    KM_PER_MOL_PER_E2_PER_AMU,
    infrared_strengths,
    raman_strengths,
    stick_spectrum,
)
from spectra_app.harmonic.lines import infrared_lines, raman_lines
from spectra_app.harmonic.modes import normal_modes
from spectra_app.harmonic.polar_modes import PolarModes
from spectra_app.units import COULOMB_CONSTANT
from tests.harmonic.springs import LINEAR, TRIANGLE, hessian

BOND = LINEAR[:2]
MASSES = np.array([1.008, 15.999])


def bond_modes():
    return normal_modes(hessian(BOND, [(0, 1)], 40.0), MASSES, BOND, "molecule")


def test_the_unit_of_infrared_intensities() -> None:
    si = constants.N_A * constants.e**2 / (12.0 * constants.epsilon_0 * constants.c**2 * constants.atomic_mass)
    assert pytest.approx(si / 1e3, rel=1e-6) == KM_PER_MOL_PER_E2_PER_AMU
    debye = (1.0 / ase_units.Debye) ** 2  # (D/e A)^2
    assert pytest.approx(42.2561 * debye, rel=1e-4) == KM_PER_MOL_PER_E2_PER_AMU  # km/mol of 1 (D/A)^2/amu


def test_two_charges_on_a_spring_absorb_by_their_reduced_mass() -> None:
    charge = 0.4
    born = charge * np.eye(3)[None] * np.array([1.0, -1.0])[:, None, None]
    found = infrared_strengths(bond_modes(), born)
    reduced = MASSES.prod() / MASSES.sum()
    assert found.intensities_km_per_mol[0] == pytest.approx(KM_PER_MOL_PER_E2_PER_AMU * charge**2 / reduced, rel=1e-9)
    assert np.abs(found.charges[0]).argmax() == 2
    np.testing.assert_allclose(found.oscillator_strengths[0], np.diag([0, 0, charge**2 / reduced]), atol=1e-12)


def test_strengths_of_all_modes_keep_the_sum_rule() -> None:
    rng = np.random.default_rng(1)
    born = rng.normal(size=(3, 3, 3))
    born -= born.mean(axis=0)
    masses = np.array([3.0, 1.0, 2.0])
    modes = normal_modes(hessian(TRIANGLE, [(0, 1), (1, 2), (0, 2)], 30.0), masses, TRIANGLE, "crystal")
    total = (infrared_strengths(modes, born).charges ** 2).sum()
    assert total == pytest.approx((born**2 / masses[:, None, None]).sum(), rel=1e-10)


def test_raman_strengths_of_a_stretching_bond() -> None:
    along, across = 0.05, 0.02  # d alpha/d r of one atom, e^2 A/eV
    slope = np.zeros((2, 3, 3, 3))
    slope[0, 2], slope[1, 2] = np.diag([across, across, along]), -np.diag([across, across, along])
    found = raman_strengths(bond_modes(), slope)
    reduced = MASSES.prod() / MASSES.sum()
    mean, gap = COULOMB_CONSTANT * (along + 2 * across) / 3, COULOMB_CONSTANT * (along - across)
    assert found.isotropic[0] == pytest.approx(mean**2 / reduced, rel=1e-9)
    assert found.anisotropic[0] == pytest.approx(gap**2 / reduced, rel=1e-9)
    assert found.activities_A4_per_amu[0] == pytest.approx((45 * mean**2 + 7 * gap**2) / reduced, rel=1e-9)
    assert found.depolarization[0] == pytest.approx(3 * gap**2 / (45 * mean**2 + 4 * gap**2), rel=1e-9)
    assert found.of_geometry("x(zz)x")[0] == pytest.approx((COULOMB_CONSTANT * along) ** 2 / reduced, rel=1e-9)
    assert found.of_geometry("x(zy)x")[0] == pytest.approx(0.0, abs=1e-20)
    with pytest.raises(ConfigError, match="polarization geometry"):
        found.of_geometry("z(zz)z")


def test_a_mode_without_activity_has_no_depolarization() -> None:
    found = raman_strengths(bond_modes(), np.zeros((2, 3, 3, 3)))
    assert np.isnan(found.depolarization).all()


def test_lines_have_the_area_of_their_modes() -> None:
    x = np.arange(0.0, 20000.0, 0.5)
    drawn = stick_spectrum(x, np.array([-50.0, 900.0, 3000.0]), np.array([7.0, 1.0, 2.5]), 10.0)
    assert trapezoid(drawn, x) == pytest.approx(3.5, rel=5e-3)
    assert x[drawn.argmax()] == 3000.0
    assert drawn.max() == pytest.approx(2.5 * 2.0 / np.pi / 10.0, rel=1e-3)


def test_spectra_of_modes_have_the_columns_of_those_of_dynamics() -> None:
    modes = bond_modes()
    born = 0.4 * np.eye(3)[None] * np.array([1.0, -1.0])[:, None, None]
    strengths = infrared_strengths(modes, born)
    infrared = infrared_lines(modes, strengths, None, 10.0, 6000.0)
    area = trapezoid(infrared.intensity_km_per_mol, infrared.wavenumber_per_cm)
    assert area == pytest.approx(strengths.intensities_km_per_mol[0], rel=1e-2)
    assert infrared.units["intensity_km_per_mol"] == "km mol^-1 per cm^-1"
    assert infrared.peaks[0].position_per_cm == pytest.approx(modes.frequencies_per_cm[0])
    slope = np.zeros((2, 3, 3, 3))
    slope[0, 2], slope[1, 2] = 0.05 * np.eye(3), -0.05 * np.eye(3)
    strong = raman_strengths(modes, slope)
    options = {"damping_per_cm": 10.0, "end_per_cm": 6000.0, "temperature_K": 300.0, "laser_nm": 532.0}
    reduced = raman_lines(modes, strong, prefactor="reduced", geometries=("x(zz)x",), **options)
    assert trapezoid(reduced.vv, reduced.wavenumber_per_cm) == pytest.approx(strong.isotropic[0], rel=1e-2)
    assert reduced.vh.max() < 1e-20
    assert "x(zz)x" in reduced.columns()
    stokes = raman_lines(modes, strong, **options)
    assert stokes.units["total"].startswith("1e-30 cm^2")


def test_bands_of_a_crystal_are_those_of_its_curve() -> None:
    modes = bond_modes()
    born = 0.4 * np.eye(3)[None] * np.array([1.0, -1.0])[:, None, None]
    strengths = infrared_strengths(modes, born)
    cell = PolarModes(modes.frequencies_per_cm, strengths.charges, 70.0, 2.1 * np.eye(3))
    infrared = infrared_lines(modes, strengths, cell, 10.0, 40000.0)
    (band,) = infrared.peaks
    assert infrared.main == "alpha_n_per_cm"
    top = np.interp(band.position_per_cm, infrared.wavenumber_per_cm, infrared.alpha_n_per_cm)
    assert band.height == pytest.approx(top, rel=1e-2)  # between points of the grid
    area = trapezoid(infrared.alpha_n_per_cm, infrared.wavenumber_per_cm)
    assert band.integral == pytest.approx(area, rel=2e-3)
