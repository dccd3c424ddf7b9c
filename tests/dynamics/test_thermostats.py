"""Thermostats and barostat against ensemble theory, with tolerances of four to five standard errors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics import MDState, MolecularDynamics, Particles, make_particles
from spectra_app.dynamics.barostat import velocity_verlet_npt
from spectra_app.dynamics.forces import Evaluated
from spectra_app.dynamics.integrators import update_forces
from spectra_app.dynamics.state import kinetic_energy, maxwell_boltzmann, remove_drift, temperature
from spectra_app.dynamics.streams import Streams
from spectra_app.dynamics.thermostats import bussi_rescaling, ornstein_uhlenbeck
from spectra_app.structure.system import from_ase
from spectra_app.units import BOLTZMANN, EV_PER_A3_TO_GPA
from tests.toy_potential import ToyPotential, dumbbells

KELVIN = 300.0
THERMAL = BOLTZMANN * KELVIN


def gas(replicas: int, n_atoms: int = 4, box: float = 8.0, symbols: str = "OHOH") -> Particles:
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n_atoms] * 2.0
    atoms = Atoms(symbols, positions=grid, cell=[box] * 3, pbc=True)
    return make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), replicas)


def state_of(particles: Particles, velocities: torch.Tensor, streams: Streams) -> MDState:
    zeros = torch.zeros(particles.n_replicas, dtype=torch.float64)
    system = particles.system
    return MDState(
        system.positions, velocities, torch.zeros_like(velocities), zeros, system.cell, zeros, zeros,
        system.positions, system.cell, 0, streams,
    )  # fmt: skip


def check_canonical(kinetic: np.ndarray, n_free: int, n_independent: int) -> None:
    """Mean N_f kT/2 and variance N_f (kT)^2/2 of the kinetic energy; its variance has an excess of 12/N_f."""
    mean, variance = 0.5 * n_free * THERMAL, 0.5 * n_free * THERMAL**2
    assert abs(kinetic.mean() - mean) < 4.5 * np.sqrt(variance / n_independent)
    assert abs(kinetic.var() - variance) < 4.5 * variance * np.sqrt((2.0 + 12.0 / n_free) / n_independent)


def test_initial_velocities_are_canonical() -> None:
    particles = gas(4000)
    velocities = maxwell_boltzmann(particles, KELVIN, (torch.Generator().manual_seed(1),))
    kinetic = kinetic_energy(velocities, particles)
    check_canonical(kinetic.numpy(), 9, 4000)
    assert float(temperature(kinetic, particles).mean()) == pytest.approx(KELVIN, rel=0.04)


def test_bussi_relaxes_the_mean_exactly_and_reaches_the_canonical_distribution() -> None:
    replicas, tau, step = 6000, 20.0, 2.0
    particles = gas(replicas)
    streams = (torch.Generator().manual_seed(2),)
    hot = 3.0
    velocities = maxwell_boltzmann(particles, KELVIN, streams)
    velocities = (
        velocities
        * torch.sqrt(hot * 4.5 * THERMAL / kinetic_energy(velocities, particles)).repeat_interleave(4)[:, None]
    )
    state = state_of(particles, velocities, streams)
    for n in range(1, 61):
        state = bussi_rescaling(state, particles, step, KELVIN, tau)
        if n in (1, 5, 10):
            # d<K>/dt = -(<K> - Kbar)/tau holds exactly (eq. 4 of the paper).
            expected = 4.5 * THERMAL * (1.0 + (hot - 1.0) * np.exp(-n * step / tau))
            kinetic = kinetic_energy(state.velocities, particles)
            error = float(kinetic.std()) / np.sqrt(replicas)
            assert abs(float(kinetic.mean()) - expected) < 4.5 * error
    kinetic = kinetic_energy(state.velocities, particles)
    check_canonical(kinetic.numpy(), 9, replicas)
    # The reservoir has received exactly what the atoms lost.
    torch.testing.assert_close(kinetic - state.reservoir, torch.full_like(kinetic, hot * 4.5 * THERMAL))


def test_bussi_changes_no_direction_except_by_its_sign() -> None:
    particles = gas(50)
    streams = (torch.Generator().manual_seed(3),)
    before = state_of(particles, maxwell_boltzmann(particles, KELVIN, streams), streams)
    after = bussi_rescaling(before, particles, 1.0, KELVIN, 10.0)
    ratio = (after.velocities / before.velocities).view(50, -1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert len(torch.unique(ratio[:, 0])) == 50


def test_ornstein_uhlenbeck_has_the_exact_memory_and_variance() -> None:
    replicas, decay = 6000, 0.7
    particles = gas(replicas)
    streams = (torch.Generator().manual_seed(4),)
    old = maxwell_boltzmann(particles, KELVIN, streams)
    new = ornstein_uhlenbeck(old, particles, KELVIN, decay, streams)
    check_canonical(kinetic_energy(new, particles).numpy(), 9, replicas)
    memory = float((particles.masses * old * new).sum() / (particles.masses * old * old).sum())
    assert abs(memory - decay) < 4.5 * np.sqrt(1 - decay**2) / np.sqrt(9 * replicas)
    assert float((particles.masses * new).view(replicas, 4, 3).sum(1).abs().max()) < 1e-12


@pytest.mark.parametrize(("thermostat", "seed"), [("bussi", 11), ("langevin", 12), ("nose-hoover", 13)])
def test_harmonic_solid_has_canonical_positions_and_velocities(thermostat: str, seed: int) -> None:
    replicas, spring = 300, 2.0
    grid = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0], [4, 4, 4]], dtype=float)
    atoms = Atoms("Ar4", positions=grid)
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), replicas)
    home = particles.system.positions
    # Equal masses and springs: the centre of mass rests, and 9 modes of frequency 0.022/fs remain.
    model = ToyPotential(onsite=home, onsite_k=spring, repulsion=0.0, bonds=False)
    settings = MDSettings.model_validate(
        {"thermostat": thermostat, "timestep_fs": 10.0, "thermostat_time_fs": 60.0, "skin_A": 5.0, "seed": seed}
    )
    dynamics = MolecularDynamics(model, particles, settings.model_copy(update={"replicas": replicas}))
    state, _ = dynamics.start()
    if thermostat == "nose-hoover":  # it moves phases of equal modes together: what it must do is keep the ensemble
        displaced = remove_drift(torch.randn(home.shape, generator=state.streams[0], dtype=torch.float64), particles)
        positions = home + displaced * (THERMAL / spring) ** 0.5
        state, _ = update_forces(state, positions, state.cell, dynamics.force_field, 0)
    squares, kinetic = [], []
    for step in range(500):
        state, _ = dynamics._produce(state)
        if step >= 100 and step % 40 == 0:  # 400 fs apart: nearly independent
            squares.append(float((state.positions - home).square().sum()) / (9 * replicas))
            kinetic.append(kinetic_energy(state.velocities, particles).numpy())
    samples = 9 * replicas * len(squares)
    # BAOAB is exact for positions; velocity Verlet samples a shadow with an error (omega h)^2/4 = 1%.
    bias = 0.0 if thermostat == "langevin" else 0.02
    assert abs(np.mean(squares) / (THERMAL / spring) - 1.0) < bias + 7.0 * np.sqrt(2.0 / samples)
    kinetics = np.concatenate(kinetic)
    assert abs(kinetics.mean() / (4.5 * THERMAL) - 1.0) < 0.02 + 5.0 * np.sqrt(2.0 / samples)
    assert kinetics.var() / (4.5 * THERMAL**2) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    ("ensemble", "thermostat", "cell"),
    [
        ("nve", "bussi", "isotropic"), ("nvt", "bussi", "isotropic"), ("nvt", "langevin", "isotropic"),
        ("nvt", "nose-hoover", "isotropic"), ("npt", "bussi", "isotropic"), ("npt", "nose-hoover", "isotropic"),
        ("npt", "bussi", "anisotropic"), ("npt", "bussi", "full"), ("npt", "nose-hoover", "lateral"),
    ],
)  # fmt: skip
def test_conserved_energy_stays_while_the_total_energy_wanders(ensemble: str, thermostat: str, cell: str) -> None:
    settings = MDSettings.model_validate(
        {
            "ensemble": ensemble, "thermostat": thermostat, "timestep_fs": 0.1, "thermostat_time_fs": 20.0,
            "barostat_time_fs": 100.0, "pressure_GPa": 0.5, "skin_A": 1.0, "cell": cell,
        }
    )  # fmt: skip
    atoms = dumbbells()
    if cell != "isotropic":
        atoms.cell += np.array([[0, 0.4, -0.7], [1.1, 0, 0.3], [0.2, -0.9, 0]])
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()))
    dynamics = MolecularDynamics(ToyPotential(), particles, settings)
    state, _ = dynamics.start()
    total, conserved = [], []
    for _ in range(600):
        state, _ = dynamics._produce(state)
        total.append(float(state.energy + kinetic_energy(state.velocities, particles)))
        conserved.append(total[-1] - float(state.reservoir))
    assert np.ptp(conserved) < 2e-3
    if ensemble != "nve":
        assert np.ptp(total) > 0.1


def test_barostat_gives_the_volume_distribution_of_the_ideal_gas() -> None:
    # N particles with resting centre of mass: rho(V) ~ V^(N-1) exp(-P V / kT), a Gamma distribution of shape N.
    replicas, n_atoms = 400, 16
    particles = gas(replicas, n_atoms, symbols="OH" * 8)
    streams = (torch.Generator().manual_seed(7),)
    state = state_of(particles, maxwell_boltzmann(particles, KELVIN, streams), streams)
    pressure = n_atoms * THERMAL / 8.0**3

    def no_forces(
        positions: torch.Tensor, cell: torch.Tensor, reference: Any, reference_cell: Any, step: int, history: Any
    ) -> Any:
        zeros = torch.zeros(replicas, dtype=torch.float64)
        prediction = SimpleNamespace(
            energy=zeros, forces=torch.zeros_like(positions), stress=torch.zeros(replicas, 3, 3, dtype=torch.float64)
        )
        return Evaluated(prediction, reference, reference_cell)

    volumes = []
    for step in range(4000):
        # An ideal gas at this pressure is 17 times softer than water: a barostat time of 4 fs acts within 70 fs.
        state, _ = velocity_verlet_npt(
            state, particles, no_forces, 2.0, KELVIN, pressure * EV_PER_A3_TO_GPA, 4.0, compressibility_per_GPa=0.46
        )
        state = bussi_rescaling(state, particles, 2.0, KELVIN, 20.0)
        if step >= 400 and step % 80 == 0:
            volumes.append(torch.linalg.det(state.cell).numpy())
    volume = np.concatenate(volumes) * pressure / THERMAL
    error = np.sqrt(n_atoms / len(volume))
    assert abs(volume.mean() - n_atoms) < 0.02 * n_atoms + 5.0 * error
    assert volume.var() == pytest.approx(n_atoms, rel=0.08)
