"""Thermostats and barostats before the independent judge of physical_validation (DOI 10.1371/journal.pone.0202764).

Kinetic energies against the Maxwell-Boltzmann distribution; two ensembles against each other: the logarithm of the
ratio of their distributions of energy and volume is a straight line of known slope, whatever the potential.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics import MolecularDynamics, make_particles
from spectra_app.dynamics.integrators import update_forces
from spectra_app.dynamics.state import kinetic_energy
from spectra_app.structure.system import from_ase
from spectra_app.units import BOLTZMANN
from tests.toy_potential import ToyPotential

logging.getLogger("pymbar").setLevel(logging.ERROR)  # it advises on JAX
validation = pytest.importorskip("physical_validation")

pytestmark = pytest.mark.physics
SAMPLES, EVERY = 4, 70  # far apart, of many replicas: what one shows twice counts once
LIMIT = 4.0  # standard errors
UNITS: dict[str, Any] = {
    "kb": BOLTZMANN, "energy_str": "eV", "energy_conversion": 96.48533, "length_str": "A", "length_conversion": 0.1,
    "volume_str": "A^3", "volume_conversion": 1e-3, "temperature_str": "K", "temperature_conversion": 1.0,
    "pressure_str": "GPa", "pressure_conversion": 1e4, "time_str": "fs", "time_conversion": 1e-3,
}  # fmt: skip


@dataclass(frozen=True)
class Substance:
    """What is sampled, at two temperatures."""

    atoms: Atoms
    model: ToyPotential
    kelvin: tuple[float, float]
    settings: dict[str, object]

    @property
    def bath(self) -> tuple[float, ...]:
        return (self.kelvin[0],) * 120 + (self.kelvin[1],) * 120


# Soft spheres on a face-centred lattice: a liquid would lose the shape of its cell.
CRYSTAL = Substance(
    Atoms("Ar4", scaled_positions=[[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], cell=[3.5] * 3, pbc=True),
    ToyPotential(bonds=False, repulsion=1.0),
    (60.0, 90.0),
    {"timestep_fs": 6.0, "thermostat_time_fs": 100.0, "barostat_time_fs": 3000.0, "pressure_GPa": 4.0, "skin_A": 0.7},
)


def sampled(substance: Substance, kelvin: tuple[float, ...], **settings: object) -> dict[str, np.ndarray]:
    """K, U and V [sample, replica] of as many replicas as temperatures."""
    atoms, model = substance.atoms, substance.model
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), len(kelvin))
    chosen = {**substance.settings, "temperature_K": kelvin, "seed": 8, **settings}
    first = MolecularDynamics(
        model, particles, MDSettings.model_validate({**chosen, "ensemble": "nvt", "thermostat": "langevin"})
    )
    state, _ = first.start()
    state = state._replace(streams=state.streams[:1])  # one for all is faster
    for _ in range(150):  # modes of a crystal that exchange no energy begin in equilibrium
        state, _ = first._produce(state)
    dynamics = MolecularDynamics(model, particles, MDSettings.model_validate(chosen))
    there, _ = dynamics.start()
    state = there._replace(velocities=state.velocities, streams=state.streams, positions=state.positions)
    state, _ = update_forces(state, state.positions, state.cell, dynamics.force_field, 0)
    found: dict[str, list[np.ndarray]] = {"K": [], "U": [], "V": []}
    for step in range(1, 150 + SAMPLES * EVERY + 1):
        state, _ = dynamics._produce(state)
        if step > 150 and step % EVERY == 0:
            found["K"].append(kinetic_energy(state.velocities, particles).numpy())
            found["U"].append(state.energy.numpy())
            found["V"].append(torch.linalg.det(state.cell).numpy())
    assert not dynamics.force_field.lost
    return {name: np.stack(values) for name, values in found.items()}


def as_data(values: dict[str, np.ndarray], n_atoms: int, kelvin: float, pressure_GPa: float | None = None) -> Any:
    """What the judge reads, of samples [sample, replica]: independent enough to stand in any order."""
    kinetic, potential, volume = (values[name].ravel() for name in "KUV")
    ensemble = {"temperature": kelvin, "natoms": n_atoms}
    kind = {"volume": float(volume[0])} if pressure_GPa is None else {"pressure": pressure_GPa}
    return validation.data.SimulationData(
        units=validation.data.UnitData(**UNITS),
        ensemble=validation.data.EnsembleData("NVT" if pressure_GPa is None else "NPT", **ensemble, **kind),
        system=validation.data.SystemData(natoms=n_atoms, nconstraints=0, ndof_reduction_tra=3, ndof_reduction_rot=0),
        observables=validation.data.ObservableData(
            kinetic_energy=kinetic, potential_energy=potential, total_energy=kinetic + potential, volume=volume
        ),
    )


def halves(values: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Of the first and of the second half of the replicas."""
    middle = values["K"].shape[1] // 2
    return {n: v[:, :middle] for n, v in values.items()}, {n: v[:, middle:] for n, v in values.items()}


def check_kinetic(data: Any) -> None:
    assert validation.kinetic_energy.distribution(data, strict=True, verbosity=0) > 1e-3
    deviations = validation.kinetic_energy.distribution(data, strict=False, verbosity=0)
    assert max(deviations) < LIMIT


@pytest.mark.parametrize("thermostat", ["bussi", "nose-hoover", "langevin"])
def test_canonical_ensemble(thermostat: str) -> None:
    values = sampled(CRYSTAL, CRYSTAL.bath, ensemble="nvt", thermostat=thermostat)
    cold, hot = (
        as_data(half, len(CRYSTAL.atoms), kelvin) for half, kelvin in zip(halves(values), CRYSTAL.kelvin, strict=True)
    )
    check_kinetic(cold)
    check_kinetic(hot)
    assert max(validation.ensemble.check(cold, hot, verbosity=0)) < LIMIT
    wrong = as_data(halves(values)[1], len(CRYSTAL.atoms), CRYSTAL.kelvin[1] + 40.0)  # the judge can say no
    assert validation.kinetic_energy.distribution(wrong, strict=True, verbosity=0) < 1e-3
    assert max(validation.ensemble.check(cold, wrong, verbosity=0)) > LIMIT


@pytest.mark.parametrize(
    ("cell", "thermostat"), [("isotropic", "bussi"), ("anisotropic", "nose-hoover"), ("full", "bussi")]
)
def test_isothermal_isobaric_ensemble_at_two_temperatures(cell: str, thermostat: str) -> None:
    values = sampled(CRYSTAL, CRYSTAL.bath, ensemble="npt", thermostat=thermostat, cell=cell)
    pressure = MDSettings.model_validate(CRYSTAL.settings).pressure_GPa
    cold, hot = (
        as_data(half, len(CRYSTAL.atoms), kelvin, pressure)
        for half, kelvin in zip(halves(values), CRYSTAL.kelvin, strict=True)
    )
    check_kinetic(cold)
    check_kinetic(hot)
    assert max(validation.ensemble.check(cold, hot, verbosity=0)) < LIMIT


@pytest.mark.parametrize("cell", ["isotropic", "full"])
def test_isothermal_isobaric_ensemble_at_two_pressures(cell: str) -> None:
    low, high, kelvin = 4.0, 4.3, 90.0
    runs = [sampled(CRYSTAL, (kelvin,) * 120, ensemble="npt", cell=cell, pressure_GPa=p) for p in (low, high)]
    first, second = (as_data(run, len(CRYSTAL.atoms), kelvin, p) for run, p in zip(runs, (low, high), strict=True))
    assert max(validation.ensemble.check(first, second, verbosity=0)) < LIMIT
    wrong = as_data(runs[1], len(CRYSTAL.atoms), kelvin, high + 0.4)
    assert max(validation.ensemble.check(first, wrong, verbosity=0)) > LIMIT
