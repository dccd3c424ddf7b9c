"""ASE's own workflows for infrared and Raman spectra run on the calculator unchanged, and agree with ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.vibrations import Infrared
from ase.vibrations.placzek import PlaczekStatic
from ase.vibrations.raman import StaticRamanCalculator

from spectra_app import harmonic_limit, load_model

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


@pytest.fixture(scope="module")
def model():
    return load_model("water", dtype="float64")


@pytest.fixture(scope="module")
def limit(model):
    return harmonic_limit(model, molecule("H2O"))


def with_calculator(model, limit):
    atoms = limit.atoms.copy()
    atoms.calc = model.calculator()
    return atoms


def test_infrared_of_ase(model, limit, tmp_path: Path) -> None:
    vibrations = Infrared(with_calculator(model, limit), name=str(tmp_path / "ir"), delta=0.002)
    vibrations.run()
    vibrations.read()
    frequencies = vibrations.get_frequencies().real[-3:]
    np.testing.assert_allclose(frequencies, limit.modes.frequencies_per_cm, rtol=1e-4)
    # (D/A)^2/amu: 42.2561 km/mol each
    intensities = np.asarray(vibrations.intensities)[-3:] * 42.2561
    np.testing.assert_allclose(intensities, limit.infrared.intensities_km_per_mol, rtol=2e-3)


class Polarizability:
    """What ASE calls for the polarizability of a structure, e^2 A^2/eV."""

    def __init__(self, calculator) -> None:
        self.calculator = calculator

    def __call__(self, atoms):
        atoms = atoms.copy()
        atoms.calc = self.calculator
        atoms.get_potential_energy()
        return atoms.calc.results["polarizability"]


def test_raman_of_ase(model, limit, tmp_path: Path) -> None:
    atoms = with_calculator(model, limit)
    run = StaticRamanCalculator(
        atoms, Polarizability, {"calculator": model.calculator()}, name=str(tmp_path / "raman"), delta=0.002, txt=None
    )
    run.run()
    read = PlaczekStatic(atoms, name=str(tmp_path / "raman"), delta=0.002, txt=None)
    found = np.asarray(read.get_absolute_intensities())[-3:]  # A^4/amu of alpha in A^3
    np.testing.assert_allclose(found, limit.raman.activities_A4_per_amu, rtol=5e-3)
