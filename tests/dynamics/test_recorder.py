from __future__ import annotations

import numpy as np
import pytest
import torch

from spectra_app.config import MDSettings
from spectra_app.dynamics import (
    MolecularDynamics,
    ObservableBlock,
    Recorder,
    TrajectoryBlock,
    physical_dipoles,
    physical_polarizabilities,
)
from spectra_app.dynamics.recorder import Rows, Statistics
from spectra_app.dynamics.state import make_particles
from spectra_app.errors import SimulationError
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.structure.system import from_ase
from tests.toy_potential import ToyPotential, dumbbells

SCALE = PhysicalScale(1.5, 0.0, 1.0)


class Memory:
    """A writer that keeps blocks."""

    def __init__(self) -> None:
        self.observables: list[ObservableBlock] = []
        self.trajectory: list[TrajectoryBlock] = []

    def append_observables(self, block: ObservableBlock) -> None:
        self.observables.append(block)

    def append_trajectory(self, block: TrajectoryBlock) -> None:
        self.trajectory.append(block)


def test_physical_dipoles_and_polarizabilities_by_hand(rng: np.random.Generator) -> None:
    # A slab whose normal is z, eps_e = 4: twice the latent dipole in the plane, half of it across.
    axes = np.broadcast_to(np.diag([2.0, 2.0, 0.5]), (2, 3, 3))
    latent = rng.normal(size=(5, 2, 3))
    np.testing.assert_array_equal(physical_dipoles(latent, axes), latent * [2.0, 2.0, 0.5])
    by_part = np.stack([latent, -3.0 * latent], axis=2)
    np.testing.assert_array_equal(physical_dipoles(by_part, axes), by_part * [2.0, 2.0, 0.5])
    alpha = rng.normal(size=(5, 2, 3, 3))
    wanted = alpha * [[4.0, 4.0, 1.0], [4.0, 4.0, 1.0], [1.0, 1.0, 0.25]]
    np.testing.assert_allclose(physical_polarizabilities(alpha, axes), wanted, rtol=1e-14)
    several = physical_polarizabilities(np.stack([alpha, alpha], axis=2), axes)
    np.testing.assert_allclose(several[:, :, 1], wanted, rtol=1e-14)


def test_statistics_are_those_of_a_straight_fit(rng: np.random.Generator) -> None:
    time = np.arange(200) * 0.5
    energy = -1234.0 + 3e-5 * time + 1e-3 * rng.normal(size=200)
    kelvin = 300.0 + rng.normal(size=200)
    statistics = Statistics().add(time[:70], energy[:70], kelvin[:70]).add(time[70:], energy[70:], kelvin[70:])
    assert statistics.drift_eV_per_fs == pytest.approx(np.polyfit(time, energy, 1)[0], rel=1e-8)
    assert statistics.temperature_K == pytest.approx(kelvin.mean(), rel=1e-12)
    assert np.isnan(Statistics().drift_eV_per_fs)


def record(n_steps: int, dtype: torch.dtype = torch.float64) -> tuple[Memory, list[object]]:
    atoms = dumbbells()
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), 2)
    dynamics = MolecularDynamics(ToyPotential(dtype), particles, MDSettings(replicas=2, steps=n_steps))
    memory = Memory()
    recorder = Recorder(particles, SCALE, memory, 0.5, record_stride=2, trajectory_stride=5, has_polarizability=True)
    state, prediction = dynamics.start()
    seen: list[object] = []
    for step in range(n_steps + 1):
        recorder.observe(step, state, prediction)
        seen.append((state, prediction))
        state, prediction = dynamics._produce(state)
    recorder.flush()
    return memory, seen


def test_polarizability_is_asked_for_where_it_is_recorded() -> None:
    atoms = dumbbells()
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), 1)
    settings = MDSettings(steps=7, equilibration_steps=2, record_stride=3)
    dynamics, wanted = MolecularDynamics(ToyPotential(), particles, settings), []

    class Spy(Recorder):
        def rows(self, recorded_step, state, prediction):  # type: ignore[no-untyped-def]
            if recorded_step >= 0:
                wanted.append((recorded_step, bool(prediction.polarizability.any())))
            return super().rows(recorded_step, state, prediction)

    memory = Memory()
    spy = Spy(particles, SCALE, memory, 0.5, record_stride=3, trajectory_stride=5, has_polarizability=True)
    dynamics.run(spy)
    spy.flush()
    assert wanted == [(step, step % 3 == 0) for step in range(8)]
    assert memory.observables[0].values["polarizability"].any(axis=(2, 3)).all()


def test_rows_of_many_steps_at_once_fill_the_same_blocks() -> None:
    memory, seen = record(230)
    particles = make_particles(from_ase(dumbbells()), torch.from_numpy(dumbbells().get_masses()), 2)
    again = Memory()
    recorder = Recorder(particles, SCALE, again, 0.5, record_stride=2, trajectory_stride=5, has_polarizability=True)
    rows = [recorder.rows(step, *instant) for step, instant in enumerate(seen)]  # type: ignore[misc]
    for start, end in ((0, 3), (3, 3), (3, 120), (120, 231)):  # more than one block, none, several, the rest
        recorder.take(Rows.joined(rows[start:end]))
    recorder.flush()
    assert [block.step.tolist() for block in again.observables] == [b.step.tolist() for b in memory.observables]
    for block, wanted in zip(again.observables, memory.observables, strict=True):
        for name, values in wanted.values.items():
            np.testing.assert_array_equal(block.values[name], values)
    assert len(again.trajectory) == len(memory.trajectory)
    for frames, wanted_frames in zip(again.trajectory, memory.trajectory, strict=True):
        for name in ("step", "positions_A", "velocities_A_per_fs", "cell_A"):
            np.testing.assert_array_equal(getattr(frames, name), getattr(wanted_frames, name))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_recorded_numbers_are_those_of_the_states(dtype: torch.dtype) -> None:
    memory, seen = record(301, dtype)
    step = np.concatenate([block.step for block in memory.observables])
    np.testing.assert_array_equal(step, np.arange(0, 302, 2))
    assert [len(block.step) for block in memory.observables] == [100, 51]
    np.testing.assert_array_equal(np.concatenate([b.step for b in memory.trajectory]), np.arange(0, 302, 5))
    alpha = np.concatenate([block.values["polarizability"] for block in memory.observables])
    energy = np.concatenate([block.values["energy"] for block in memory.observables])
    latent = np.concatenate([block.values["dipole_latent"] for block in memory.observables])
    positions = np.concatenate([block.positions_A for block in memory.trajectory])
    for row in (0, 40, 150):
        _, prediction = seen[2 * row]
        physical = (prediction.polarizability * SCALE.eps_e).double().numpy()
        np.testing.assert_allclose(alpha[row], physical, rtol=1e-6)
        np.testing.assert_array_equal(energy[row], prediction.energy.numpy())
        np.testing.assert_array_equal(latent[row], prediction.dipole.double().numpy())
    for row in (0, 13, 60):
        np.testing.assert_array_equal(positions[row].reshape(-1, 3), seen[5 * row][0].positions.numpy())


def test_nan_names_the_recorded_step_and_is_not_written() -> None:
    atoms = dumbbells()
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()))
    dynamics = MolecularDynamics(ToyPotential(), particles, MDSettings())
    memory = Memory()
    recorder = Recorder(particles, SCALE, memory, 0.5, 1, 4, True)
    state, prediction = dynamics.start()
    for step in range(10):
        broken = prediction._replace(dipole=prediction.dipole * (float("nan") if step == 7 else 1.0))
        recorder.observe(step, state, broken)
    with pytest.raises(SimulationError, match="recorded step 7: got NaN"):
        recorder.flush()
    assert not memory.observables
