"""Labels that are wrong are found: units, signs, sums, and what a calculator is told of charges."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from spectra_app.errors import DatasetError
from spectra_app.labels.calculation import FailedCalculation, Label, calculate, tell_charge
from spectra_app.labels.checks import Tally, check_forces
from tests.labels.teachers import Charged, Faulty, clusters


def test_forces_of_a_good_calculator_pass(rng):
    shaken = molecule("H2O")
    shaken.positions += 0.05 * rng.normal(size=(3, 3))
    check = check_forces(shaken, "water", Charged())
    assert check.ratio == pytest.approx(1.0, abs=0.02)
    assert not check.doubtful
    check.refuse()
    relaxed = bulk("Cu", cubic=True)
    check = check_forces(relaxed, "copper", EMT())
    assert check.origin == "copper, shaken"  # a perfect crystal has no forces to be checked
    assert check.ratio == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1 / 51.422, "forces are in Hartree/bohr"),
        (1 / 27.2114, "forces are in Hartree/A"),
        (27.2114, "energy is in Hartree"),
        (0.529177, "per bohr"),
        (-1.0, "wrong sign"),
        (1 / 7.7, "Is it converged"),
    ],
)
def test_units_of_forces_are_recognised(factor, words):
    with pytest.raises(DatasetError, match=words):
        check_forces(clusters(1)[0], "cluster", Faulty(forces_times=factor)).refuse()


def test_a_calculation_gives_what_the_calculator_has():
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.05, seed=1)
    label = calculate(crystal, EMT())
    crystal.calc = EMT()
    np.testing.assert_allclose(label.stress_eV_per_A3, crystal.get_stress(voigt=False))
    np.testing.assert_allclose(label.forces_eV_per_A, crystal.get_forces())
    assert label.dipole_eA is None
    assert calculate(molecule("H2O"), Charged()).stress_eV_per_A3 is None
    with pytest.raises(FailedCalculation, match="RuntimeError: SCF did not converge"):
        calculate(clusters(1)[0], Faulty(fails=[0]))
    with pytest.raises(FailedCalculation, match="not finite"):
        calculate(clusters(1)[0], Faulty(nan=[0]))


class Metal(LennardJones):
    """Free energy and energy differ, as with smeared electrons; the forces are those of the free one."""

    implemented_properties = ["energy", "free_energy", "forces", "dipole"]  # noqa: RUF012

    def calculate(self, *arguments, **kwargs):
        super().calculate(*arguments, **kwargs)
        self.results["energy"] = self.results["free_energy"] + 0.5 * self.atoms.get_volume() if 0 else 7.0
        self.results["dipole"] = np.array([0.1, 0.2, 0.3])


def test_the_energy_is_the_one_that_the_forces_belong_to():
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 1.2]])
    label = calculate(atoms, Metal())
    assert label.energy_eV != 7.0
    np.testing.assert_array_equal(label.dipole_eA, [0.1, 0.2, 0.3])
    assert check_forces(atoms, "argon", Metal()).ratio == pytest.approx(1.0, abs=0.05)
    charged = atoms.copy()
    charged.info["charge"] = 1.0
    label = calculate(charged, Metal())
    assert label.dipole_eA is None  # it depends on the origin
    assert label.deaf


class Listening(Calculator):
    """Has parameters of charge and spin."""

    default_parameters = {"charge": 0, "multiplicity": 1}  # noqa: RUF012


def test_charge_and_spin_are_told_in_every_way():
    atoms = molecule("OH")
    atoms.info.update(charge=-1.0, multiplicity=3)
    calculator = Listening()
    assert tell_charge(atoms, calculator) == -1.0
    assert calculator.parameters["charge"] == -1
    assert isinstance(calculator.parameters["charge"], int)
    assert calculator.parameters["multiplicity"] == 3
    assert atoms.get_initial_charges().sum() == -1.0
    assert atoms.get_initial_magnetic_moments().sum() == 2.0
    assert atoms.info["spin"] == 3
    neutral = molecule("H2O")
    neutral.info["charge"] = 0.0
    assert tell_charge(neutral, calculator) == 0.0
    assert calculator.parameters["charge"] == 0
    assert calculator.parameters["multiplicity"] == 1
    tell_charge(atoms, calculator)
    assert tell_charge(molecule("H2O"), calculator) == 0.0  # nothing of the structure before is left
    assert calculator.parameters == {"charge": 0, "multiplicity": 1}
    assert tell_charge(molecule("H2O"), Listening(charge=2)) == 2.0  # of the calculator's own words
    assert tell_charge(molecule("H2O"), EMT()) is None


def test_net_forces_and_torques_are_told():
    water, pull = molecule("H2O"), np.zeros((3, 3))
    pull[0] = [0.0, 0.0, 0.3]
    tally = Tally()
    tally.add(water, Label(0.0, pull, None, None, None))
    assert tally.facts()["net_force_meV_per_A_per_atom"] == pytest.approx(100.0)
    assert any("do not add up to zero: 100.0 meV/A" in text for text in tally.warnings())
    twist = Tally()
    turning = np.array([[0.0, 0, 0], [0.0, 0.0, 0.2], [0.0, 0.0, -0.2]])  # H atoms lie along y: about x
    twist.add(water, Label(0.0, turning, None, None, None))
    arm = water.positions[1, 1] - water.positions[2, 1]
    assert twist.facts()["net_torque_meV_per_atom"] == pytest.approx(1e3 * abs(0.2 * arm) / 3, rel=1e-4)
    assert [text[:30] for text in twist.warnings()] == ["forces turn isolated structure"]
    fine = Tally()
    fine.add(water, calculate(water, Charged()))
    assert fine.warnings() == []
