from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics import ForceField, MDState, MolecularDynamics, Particles, make_particles
from spectra_app.dynamics.integrators import update_forces, velocity_verlet
from spectra_app.dynamics.state import kinetic_energy
from spectra_app.errors import ConfigError, SimulationError, StructureError
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, from_ase
from spectra_app.units import FORCE_TO_ACCELERATION
from tests.toy_potential import ToyPotential, dumbbells


def particles_of(atoms: Atoms, replicas: int = 1) -> Particles:
    return make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), replicas)


def dynamics_of(atoms: Atoms, model: ToyPotential, **settings: object) -> MolecularDynamics:
    return MolecularDynamics(model, particles_of(atoms), MDSettings.model_validate(settings))


def stretched_dumbbell(model: ToyPotential, stretch: float) -> tuple[Particles, ForceField, MDState]:
    atoms = Atoms("OH", positions=[[0, 0, 0], [0, 0, 1.0 + stretch]])
    particles = particles_of(atoms)
    force_field = ForceField(model, particles.system, skin_A=2.0)
    state, _ = MolecularDynamics(model, particles, MDSettings()).start()
    state = state._replace(velocities=torch.zeros_like(state.velocities))
    return particles, force_field, update_forces(state, state.positions, state.cell, force_field, 0)[0]


def test_bond_vibrates_with_the_analytic_frequency_and_error_of_order_h_squared() -> None:
    model = ToyPotential(bond_k=30.0, repulsion=0.0)
    amplitude, duration_fs = 0.05, 20.0
    masses = Atoms("OH").get_masses()
    omega = np.sqrt(30.0 * FORCE_TO_ACCELERATION * (1.0 / masses).sum())
    errors = []
    for timestep in (0.5, 0.25):
        particles, force_field, state = stretched_dumbbell(model, amplitude)
        largest = 0.0
        for step in range(1, int(duration_fs / timestep) + 1):
            state, _ = velocity_verlet(state, particles, force_field, timestep)
            length = float(state.positions[1, 2] - state.positions[0, 2])
            exact = 1.0 + amplitude * np.cos(omega * step * timestep)
            largest = max(largest, abs(length - exact))
        errors.append(largest)
    assert errors[1] < 0.02 * amplitude
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


def test_energy_error_is_of_order_h_squared() -> None:
    spread = []
    for timestep in (0.4, 0.2):
        dynamics = dynamics_of(dumbbells(), ToyPotential(), timestep_fs=timestep, ensemble="nve", temperature_K=200.0)
        state, _ = dynamics.start()
        energies = []
        for _ in range(int(40 / timestep)):
            state, _ = velocity_verlet(state, dynamics.particles, dynamics.force_field, timestep)
            energies.append(float(state.energy + kinetic_energy(state.velocities, dynamics.particles)))
        spread.append(np.std(energies))
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.15)


def test_motion_runs_backwards() -> None:
    dynamics = dynamics_of(dumbbells(), ToyPotential(), skin_A=1.0)
    start, _ = dynamics.start()
    state = start
    advance = partial(velocity_verlet, particles=dynamics.particles, evaluate=dynamics.force_field, timestep_fs=0.5)
    for _ in range(100):
        state, _ = advance(state)
    assert float((state.positions - start.positions).abs().max()) > 0.05
    state = state._replace(velocities=-state.velocities)
    for _ in range(100):
        state, _ = advance(state)
    torch.testing.assert_close(state.positions, start.positions, rtol=0, atol=1e-11)
    torch.testing.assert_close(state.velocities, -start.velocities, rtol=0, atol=1e-12)


def total_momentum(state: MDState, particles: Particles) -> torch.Tensor:
    return (particles.masses * state.velocities).view(particles.n_replicas, -1, 3).sum(dim=1)


@pytest.mark.parametrize(
    ("ensemble", "thermostat"),
    [("nve", "bussi"), ("nvt", "bussi"), ("nvt", "langevin"), ("nvt", "nose-hoover"), ("npt", "bussi")],
)
def test_total_momentum_stays_zero(ensemble: str, thermostat: str) -> None:
    settings = MDSettings.model_validate({"ensemble": ensemble, "thermostat": thermostat, "replicas": 2})
    particles = particles_of(dumbbells(), 2)
    dynamics = MolecularDynamics(ToyPotential(), particles, settings)
    state, _ = dynamics.start()
    for _ in range(100):
        state, _ = dynamics._produce(state)
    scale = float((particles.masses * state.velocities).abs().sum())
    assert float(total_momentum(state, particles).abs().max()) < 1e-12 * scale


def test_replicas_start_with_different_velocities_and_the_seed_decides() -> None:
    particles = particles_of(dumbbells(), 3)

    def velocities(seed: int) -> torch.Tensor:
        return MolecularDynamics(ToyPotential(), particles, MDSettings(replicas=3, seed=seed)).start()[0].velocities

    first = velocities(5)
    parts = first.view(3, -1)
    assert float((parts[0] - parts[1]).abs().min()) > 0.0
    torch.testing.assert_close(first, velocities(5), rtol=0, atol=0)
    assert float((first - velocities(6)).abs().max()) > 1e-4


def test_positions_stay_unwrapped_and_mean_the_same_as_wrapped_ones() -> None:
    model = ToyPotential()
    dynamics = dynamics_of(dumbbells(), model, skin_A=1.0)
    state, _ = dynamics.start()
    # Everything drifts through several cells.
    state = state._replace(velocities=state.velocities + torch.tensor([0.2, -0.15, 0.1]))
    last = state.positions
    for _ in range(150):
        state, prediction = velocity_verlet(state, dynamics.particles, dynamics.force_field, 1.0)
        assert float((state.positions - last).abs().max()) < 1.0
        last = state.positions
    cell = state.cell[0]
    assert float((state.positions @ torch.linalg.inv(cell)).abs().max()) > 2.0
    # Wrap whole bonds (the toy's bonds know no images) and evaluate afresh.
    images = torch.floor(state.positions[0::2] @ torch.linalg.inv(cell)).repeat_interleave(2, dim=0)
    wrapped = dynamics.particles.system._replace(positions=state.positions - images @ cell)
    fresh = model(wrapped, build_neighbors(wrapped, model.cutoff))
    torch.testing.assert_close(prediction.energy, fresh.energy, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(prediction.forces, fresh.forces, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("ensemble", "cell"), [("nvt", "isotropic"), ("npt", "isotropic"), ("npt", "anisotropic"), ("npt", "full")]
)
def test_neighbor_table_with_skin_gives_what_a_fresh_table_gives(ensemble: str, cell: str) -> None:
    model = ToyPotential(repulsion=1.0)
    # A strong, fast barostat shrinks the cell: the budget of the skin must follow it.
    dynamics = dynamics_of(
        dumbbells(), model, ensemble=ensemble, skin_A=0.4, barostat_time_fs=50.0, pressure_GPa=5.0, temperature_K=600.0,
        cell=cell,
    )  # fmt: skip
    state, _ = dynamics.start()
    n_steps = 200
    for step in range(n_steps):
        state, prediction = dynamics._produce(state)
        if step % 5 == 0:
            system: System = dynamics.particles.system._replace(positions=state.positions, cell=state.cell)
            fresh = model(system, build_neighbors(system, model.cutoff))
            torch.testing.assert_close(prediction.energy, fresh.energy, rtol=1e-11, atol=1e-11)
    assert 2 < dynamics.force_field.n_rebuilds < n_steps / (3 if cell == "isotropic" else 2)
    if ensemble == "npt":
        assert float(torch.linalg.det(state.cell)) < 0.9 * float(torch.linalg.det(dynamics.particles.system.cell))


def test_external_field_accelerates_charges() -> None:
    atoms = Atoms("OH", positions=[[0, 0, 0], [0, 0, 1.0]])
    dynamics = dynamics_of(atoms, ToyPotential(repulsion=0.0), field_V_per_A=(0.1, -0.2, 0.3))
    state, _ = dynamics.start()
    torch.testing.assert_close(state.forces[0], torch.tensor([0.04, -0.08, 0.12], dtype=torch.float64))


def test_nan_is_met_with_the_step() -> None:
    from spectra_app.dynamics import Recorder

    model = ToyPotential()
    dynamics = dynamics_of(dumbbells(), model, steps=200, equilibration_steps=30)
    recorder = Recorder(dynamics.particles, model.scale, None, 0.5, 1, 4, True)
    model.fail_at = 18  # call 1 is the start, call 18 the forces of step 17: positions are NaN in step 18
    with pytest.raises(SimulationError, match=r"near step 18 .*nan A in one step.*smaller md\.timestep_fs"):
        dynamics.run(recorder)


def test_explosion_is_met() -> None:
    from spectra_app.dynamics import Recorder

    dynamics = dynamics_of(dumbbells(), ToyPotential(bond_k=3000.0), steps=200, timestep_fs=3.0, ensemble="nve")
    with pytest.raises(SimulationError, match="a stable run at 300 K"):
        dynamics.run(Recorder(dynamics.particles, ToyPotential().scale, None, 3.0, 1, 4, True))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="npt for an open structure"):
        dynamics_of(Atoms("OH", positions=[[0, 0, 0], [0, 0, 1]]), ToyPotential(), ensemble="npt")
    with pytest.raises(ConfigError, match="npt: got langevin, wanted bussi or nose-hoover"):
        dynamics_of(dumbbells(), ToyPotential(), ensemble="npt", thermostat="langevin")
    with pytest.raises(StructureError, match="a single atom"):
        particles_of(Atoms("O", positions=[[0, 0, 0]]))
