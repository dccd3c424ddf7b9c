"""Nose-Hoover chains against their differential equations, backwards in time, and from earlier checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.integrate import solve_ivp

from spectra_app.config import MDSettings
from spectra_app.dynamics import MDState, MolecularDynamics, make_particles
from spectra_app.dynamics.nose_hoover import chain_steps, nose_hoover
from spectra_app.dynamics.state import kinetic_energy, maxwell_boltzmann, state_from_dict, state_to_dict
from spectra_app.structure.system import from_ase
from spectra_app.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN
from tests.toy_potential import ToyPotential, dumbbells


def chained(atoms: Atoms, model: ToyPotential, replicas: int = 1, **settings: object) -> MolecularDynamics:
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), replicas)
    chosen = {"thermostat": "nose-hoover", "replicas": replicas, **settings}
    return MolecularDynamics(model, particles, MDSettings.model_validate(chosen))


def test_chain_follows_its_equations_and_its_error_is_of_order_h_squared() -> None:
    """Two atoms on springs against an integrator of high order of the equations as they are written, in their units."""
    spring, tau, kelvin, duration = 4.0, 30.0, 250.0, 96.0
    atoms = Atoms("OO", positions=[[0, 0, 0], [0, 3.5, 0]])
    home = torch.from_numpy(atoms.positions)
    mass, n_free = atoms.get_masses()[0] * AMU_A2_PER_FS2_TO_EV, 3
    thermal = BOLTZMANN * kelvin
    q = np.array([n_free, 1.0, 1.0]) * thermal * tau**2  # Q_j, eV fs^2

    def motion(_: float, y: np.ndarray) -> np.ndarray:
        x, v, w, _eta = np.split(y, [6, 12, 15])
        drive = np.array([mass * v @ v - n_free * thermal, q[0] * w[0] ** 2 - thermal, q[1] * w[1] ** 2 - thermal]) / q
        friction = np.array([w[0] * w[1], w[1] * w[2], 0.0])
        return np.concatenate([v, -spring * x / mass - w[0] * v, drive - friction, w])

    errors = []
    for timestep in (2.0, 1.0):
        model = ToyPotential(onsite=home, onsite_k=spring, repulsion=0.0, bonds=False)
        dynamics = chained(
            atoms, model, timestep_fs=timestep, temperature_K=kelvin, thermostat_time_fs=tau, skin_A=5.0, seed=4
        )
        state, _ = dynamics.start()
        assert state.chain is not None
        y0 = np.concatenate(
            [np.zeros(6), state.velocities.numpy().ravel(), state.chain[0, 1].numpy() / tau, np.zeros(3)]
        )
        exact = solve_ivp(motion, (0.0, duration), y0, rtol=1e-11, atol=1e-13).y[:, -1]
        for _ in range(int(duration / timestep)):
            state, _ = dynamics._produce(state)
        assert state.chain is not None
        found = np.concatenate(
            [(state.positions - home).ravel(), state.velocities.ravel(), state.chain[0, 1] / tau, state.chain[0, 0]]
        )
        errors.append(np.abs(found - exact))
    for part in (slice(0, 6), slice(6, 12), slice(12, 15), slice(15, 18)):
        assert errors[0][part].max() / errors[1][part].max() == pytest.approx(4.0, rel=0.2)
    assert errors[1][:6].max() < 0.01


def test_motion_runs_backwards_with_the_chain() -> None:
    dynamics = chained(dumbbells(), ToyPotential(), 2, skin_A=1.0, thermostat_time_fs=15.0)
    start, _ = dynamics.start()
    state = start
    for _ in range(80):
        state, _ = dynamics._produce(state)
    assert start.chain is not None
    assert state.chain is not None
    assert float((state.chain - start.chain).abs().min()) > 1e-3
    turned = torch.stack([state.chain[:, 0], -state.chain[:, 1]], dim=1)
    state = state._replace(velocities=-state.velocities, chain=turned)
    for _ in range(80):
        state, _ = dynamics._produce(state)
    assert state.chain is not None
    torch.testing.assert_close(state.positions, start.positions, rtol=0, atol=1e-11)
    torch.testing.assert_close(state.chain[:, 1], -start.chain[:, 1], rtol=0, atol=1e-10)
    torch.testing.assert_close(state.chain[:, 0], start.chain[:, 0], rtol=0, atol=1e-10)
    torch.testing.assert_close(state.reservoir, start.reservoir, rtol=0, atol=1e-9)


def test_every_replica_has_its_own_chain_and_may_have_its_own_temperature() -> None:
    particles = chained(dumbbells(), ToyPotential(), 2).particles
    kelvin = torch.tensor([200.0, 500.0], dtype=torch.float64)
    both, _ = chained(dumbbells(), ToyPotential(), 2, seed=9).start()
    found = nose_hoover(both, particles, 5.0, kelvin, 40.0)
    for replica in range(2):
        alone = chained(dumbbells(), ToyPotential()).particles
        assert both.chain is not None
        one = both._replace(
            velocities=both.velocities.view(2, -1, 3)[replica],
            chain=both.chain[replica : replica + 1],
            reservoir=both.reservoir[replica : replica + 1],
        )
        one = nose_hoover(one, alone, 5.0, float(kelvin[replica]), 40.0)
        assert one.chain is not None
        assert found.chain is not None
        torch.testing.assert_close(found.velocities.view(2, -1, 3)[replica], one.velocities, rtol=1e-13, atol=0)
        torch.testing.assert_close(found.chain[replica], one.chain[0], rtol=1e-13, atol=1e-15)
        torch.testing.assert_close(found.reservoir[replica], one.reservoir[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("time", [0.001, 0.3, 2.0])
def test_parts_add_up_and_run_backwards(time: float) -> None:
    parts = chain_steps(time)
    assert sum(parts) == pytest.approx(time, rel=1e-14)
    assert parts == parts[::-1]
    assert (len(parts) == 1) == (time < 0.01)


def test_long_times_in_small_steps_exchange_energy_exactly() -> None:
    """Without forces K + chain energy is conserved: fourth order, by a coarse step beside fine ones."""
    particles = chained(dumbbells(), ToyPotential(), 50).particles
    streams = (torch.Generator().manual_seed(5),)
    state, _ = chained(dumbbells(), ToyPotential(), 50, seed=5).start()
    state = state._replace(velocities=2.0**0.5 * maxwell_boltzmann(particles, 300.0, streams))

    def error(step: float) -> float:
        moved: MDState = state
        for _ in range(round(48.0 / step)):
            moved = nose_hoover(moved, particles, step, 300.0, 60.0)
        conserved = kinetic_energy(moved.velocities, particles) - moved.reservoir
        return float((conserved - kinetic_energy(state.velocities, particles)).abs().max())

    coarse, fine = error(4.0), error(2.0)
    assert coarse < 1e-3
    assert coarse / fine > 10.0


def test_state_of_an_earlier_checkpoint_has_no_chain() -> None:
    state, _ = chained(dumbbells(), ToyPotential(), 2).start()
    record = state_to_dict(state)
    again = state_from_dict(record, torch.device("cpu"))
    assert state.chain is not None
    assert again.chain is not None
    torch.testing.assert_close(again.chain, state.chain, rtol=0, atol=0)
    del record["chain"]
    assert state_from_dict(record, torch.device("cpu")).chain is None
