"""Replicas of one batch: own random numbers, temperatures, sizes; what one does is nobody else's business."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics import MDState, MolecularDynamics, make_particles
from spectra_app.dynamics.state import kinetic_energy, remove_drift, temperature
from spectra_app.dynamics.streams import noise_of_replicas, replica_seeds, streams_from_seeds
from spectra_app.errors import ConfigError
from spectra_app.structure.system import concatenate, from_ase
from tests.toy_potential import ToyPotential, dumbbells

SETTINGS = {"timestep_fs": 0.5, "thermostat_time_fs": 20.0, "barostat_time_fs": 100.0, "pressure_GPa": 1.0, "seed": 5}


def dynamics(structures: list[Atoms], **changes: object) -> MolecularDynamics:
    system = concatenate([from_ase(atoms) for atoms in structures])
    masses = torch.from_numpy(np.concatenate([atoms.get_masses() for atoms in structures]))
    particles = make_particles(system, masses, len(structures))
    return MolecularDynamics(ToyPotential(), particles, MDSettings.model_validate({**SETTINGS, **changes}))


def after(md: MolecularDynamics, n_steps: int) -> MDState:
    state, _ = md.start()
    for _ in range(n_steps):
        state, _ = md._produce(state)
    return state


@pytest.mark.parametrize(
    ("ensemble", "thermostat", "cell"),
    [
        ("nvt", "bussi", "isotropic"), ("nvt", "langevin", "isotropic"), ("nvt", "nose-hoover", "isotropic"),
        ("npt", "bussi", "isotropic"), ("nve", "bussi", "isotropic"), ("npt", "bussi", "anisotropic"),
        ("npt", "bussi", "full"),
    ],
)  # fmt: skip
def test_a_replica_takes_the_steps_that_it_takes_alone_with_its_seed(ensemble: str, thermostat: str, cell: str) -> None:
    # Of another number of atoms and at another temperature than those beside it.
    structures, kelvin = [dumbbells(8), dumbbells(5, seed=2), dumbbells(8, seed=3)], (300.0, 150.0, 450.0)
    chosen = {"ensemble": ensemble, "thermostat": thermostat, "cell": cell}
    together = dynamics(structures, temperature_K=kelvin, **chosen)
    assert together.seeds[0] == 5
    assert len(set(together.seeds)) == 3
    state = after(together, 60)
    positions = state.positions.split(list(together.particles.sizes))
    for k, atoms in enumerate(structures):
        alone = after(dynamics([atoms], temperature_K=kelvin[k], **{**chosen, "seed": together.seeds[k]}), 60)
        torch.testing.assert_close(positions[k], alone.positions, rtol=0, atol=1e-11)
        torch.testing.assert_close(state.cell[k : k + 1], alone.cell, rtol=0, atol=1e-11)
        torch.testing.assert_close(state.reservoir[k : k + 1], alone.reservoir, rtol=0, atol=1e-11)


def test_every_replica_has_its_own_temperature() -> None:
    kelvin = (100.0,) * 8 + (900.0,) * 8
    md = dynamics([dumbbells(seed=k) for k in range(16)], temperature_K=kelvin, thermostat_time_fs=5.0)
    state, _ = md.start()
    found = []
    for step in range(200):
        state, _ = md._produce(state)
        if step >= 60 and step % 5 == 0:
            found.append(temperature(kinetic_energy(state.velocities, md.particles), md.particles).numpy())
    cold, hot = np.mean(found, axis=0).reshape(2, 8).mean(axis=1)
    assert cold == pytest.approx(100.0, rel=0.15)
    assert hot == pytest.approx(900.0, rel=0.15)


def test_temperatures_that_do_not_fit_the_replicas_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"md.temperature_K: got 2 temperatures, wanted one, or one for each of the 3"
    ):
        dynamics([dumbbells()] * 3, temperature_K=(300.0, 310.0))


def test_drift_is_taken_out_of_every_replica_by_itself() -> None:
    md = dynamics([dumbbells(8), dumbbells(3)])
    velocities = remove_drift(torch.randn(22, 3, dtype=torch.float64) + 5.0, md.particles)
    momentum = md.particles.masses * velocities
    for part in momentum.split([16, 6]):
        assert float(part.sum(dim=0).abs().max()) < 1e-10
    assert md.particles.degrees_of_freedom.tolist() == [45.0, 15.0]


def test_seeds_are_those_of_nobody_else() -> None:
    seen = [seed for run in range(50) for seed in replica_seeds(run, 40)]
    assert len(set(seen)) == len(seen)
    assert replica_seeds(7, 40)[:3] == replica_seeds(7, 3)


def test_one_stream_for_all_is_drawn_as_ever() -> None:
    # Checkpoints of earlier versions have one generator for all replicas.
    wanted = torch.randn((3, 9), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    shared = streams_from_seeds([4], torch.device("cpu"))
    torch.testing.assert_close(noise_of_replicas(shared, [9, 9, 9]), wanted, rtol=0, atol=0)
