"""Thermochemistry is that of ase.thermochemistry, for every shape of molecule and for a crystal."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.thermochemistry import HarmonicThermo, IdealGasThermo

from spectra_app.harmonic.modes import NormalModes
from spectra_app.harmonic.thermochemistry import thermochemistry

SHAPES = {"Ar": ("monatomic", []), "CO2": ("linear", [667.0, 667.0, 1333.0, 2349.0])}
SHAPES["H2O"] = ("nonlinear", [1595.0, 3657.0, 3756.0])


def made(atoms, frequencies) -> NormalModes:
    n = len(frequencies)
    return NormalModes(np.array(frequencies), np.zeros((n, len(atoms), 3)), atoms.get_masses(), np.zeros(3))


@pytest.mark.parametrize("name", SHAPES)
def test_gases_are_those_of_ase(name: str) -> None:
    shape, frequencies = SHAPES[name]
    atoms = Atoms("Ar") if name == "Ar" else molecule(name)
    gas = IdealGasThermo(
        [one * units.invcm for one in frequencies], geometry=shape, atoms=atoms, symmetrynumber=2, spin=0.5
    )
    found = thermochemistry(
        made(atoms, frequencies),
        atoms.positions,
        "molecule",
        temperature_K=350.0,
        pressure_bar=2.0,
        symmetry_number=2,
        spin=0.5,
    )
    assert found.internal_energy_eV == pytest.approx(gas.get_enthalpy(350.0, verbose=False), rel=3e-5)
    assert found.entropy_eV_per_K == pytest.approx(gas.get_entropy(350.0, 2e5, verbose=False), rel=3e-5)
    assert found.free_energy_eV == pytest.approx(gas.get_gibbs_energy(350.0, 2e5, verbose=False), rel=3e-5)


def test_a_crystal_is_that_of_ase_and_imaginary_modes_are_left_out() -> None:
    frequencies = [100.0, 300.0, 1100.0]
    solid = HarmonicThermo([one * units.invcm for one in frequencies])
    atoms = molecule("H2O")
    found = thermochemistry(made(atoms, [-80.0, *frequencies]), atoms.positions, "crystal", temperature_K=300.0)
    assert found.left_out == 1
    assert found.free_energy_eV == pytest.approx(solid.get_helmholtz_energy(300.0, verbose=False), rel=3e-5)
    cold = thermochemistry(made(atoms, frequencies), atoms.positions, "crystal", temperature_K=0.1)
    assert cold.internal_energy_eV == pytest.approx(cold.zero_point_eV)
    assert cold.entropy_eV_per_K == pytest.approx(0.0, abs=1e-12)
