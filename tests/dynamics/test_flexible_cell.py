"""Cells that change their shape, against ensemble theory: what is sampled is known in closed form or by quadrature."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import MDSettings
from spectra_app.dynamics import ForceField, MDState, MolecularDynamics, Particles, make_particles
from spectra_app.dynamics.flexible_cell import exponential, rotation_to_symmetric, velocity_verlet_flexible
from spectra_app.dynamics.forces import Evaluated
from spectra_app.dynamics.integrators import update_forces
from spectra_app.dynamics.skin import flat_cells
from spectra_app.dynamics.state import maxwell_boltzmann
from spectra_app.dynamics.thermostats import bussi_rescaling
from spectra_app.errors import ConfigError, SimulationError
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase
from spectra_app.units import BOLTZMANN, EV_PER_A3_TO_GPA
from tests.toy_potential import ToyPotential, dumbbells

KELVIN = 300.0
THERMAL = BOLTZMANN * KELVIN
TRICLINIC = np.array([[8.0, 0.3, -0.2], [1.1, 7.0, 0.4], [-0.7, 0.9, 9.0]])


def gas(replicas: int, n_atoms: int, cell: np.ndarray) -> Particles:
    places = np.random.default_rng(5).uniform(size=(n_atoms, 3)) @ cell
    atoms = Atoms(("OH" * n_atoms)[:n_atoms], positions=places, cell=cell, pbc=True)
    return make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), replicas)


Elastic = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""cell [replica, vector, xyz] -> energy [replica], V stress [replica, xyz, xyz]; no forces."""


def no_energy(cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(len(cell), dtype=torch.float64), torch.zeros_like(cell)


def sample(
    particles: Particles, elastic: Elastic, shape: str, pressure: float, tau: float, steps: int, every: int
) -> np.ndarray:
    """Cells [sample, vector, xyz] of the ensemble at a pressure, eV/A^3."""
    replicas = particles.n_replicas

    def evaluate(positions: torch.Tensor, cell: torch.Tensor, *_: Any) -> Evaluated:
        energy, moment = elastic(cell)
        prediction: Any = SimpleNamespace(
            energy=energy, forces=torch.zeros_like(positions), stress=moment / torch.linalg.det(cell)[:, None, None]
        )
        return Evaluated(prediction, positions, cell)

    streams = (torch.Generator().manual_seed(7),)
    system, zeros = particles.system, torch.zeros(replicas, dtype=torch.float64)
    velocities = maxwell_boltzmann(particles, KELVIN, streams)
    state = MDState(
        system.positions, velocities, torch.zeros_like(velocities), zeros, system.cell, zeros, zeros,
        system.positions, system.cell, 0, streams, frame=torch.linalg.inv(system.cell) if shape == "full" else None,
    )  # fmt: skip
    state, _ = update_forces(state, state.positions, state.cell, evaluate, 0)
    cells = []
    for step in range(1, steps + 1):
        state, _ = velocity_verlet_flexible(
            state, particles, evaluate, 2.0, KELVIN, pressure * EV_PER_A3_TO_GPA, tau, 0.46, shape
        )  # type: ignore[arg-type]
        state = bussi_rescaling(state, particles, 2.0, KELVIN, 20.0)
        if step > steps // 6 and step % every == 0:
            cells.append(state.cell.numpy())
    return np.concatenate(cells)


@pytest.mark.parametrize("shape", ["anisotropic", "full", "lateral"])
def test_volume_of_the_ideal_gas(shape: str) -> None:
    # rho(V) ~ V^(N-1) exp(-P V/kT), whatever else the cell may do: a Gamma distribution of shape N.
    n_atoms = 16
    particles = gas(200, n_atoms, TRICLINIC)
    pressure = n_atoms * THERMAL / np.linalg.det(TRICLINIC)
    cells = sample(particles, no_energy, shape, pressure, 6.0, 900, 60)
    volume = np.linalg.det(cells) * pressure / THERMAL
    assert abs(volume.mean() - n_atoms) < 0.02 * n_atoms + 5.0 * np.sqrt(n_atoms / len(volume))
    assert volume.var() == pytest.approx(n_atoms, rel=0.1)
    if shape != "full":
        change = cells / TRICLINIC
        np.testing.assert_allclose(change, change[:, :, :1] * np.ones(3), rtol=1e-8)  # along the vectors
        assert np.ptp(change[:, 0, 0] / change[:, 1, 0]) > 0.1
        assert np.ptp(change[:, 2, 0]) > 0.1 if shape == "anisotropic" else np.ptp(change[:, 2, 0]) < 1e-9


LAME, SHEAR = 0.004, 0.005  # eV/A^3


def strain_of(cells: np.ndarray) -> np.ndarray:
    """Lagrange's strain eta = (F F^T - 1)/2, F = h_0^-1 h, of cells [sample, vector, xyz]."""
    stretch = np.linalg.inv(TRICLINIC) @ cells
    return 0.5 * (stretch @ stretch.transpose(0, 2, 1) - np.eye(3))


def elastic_energy(eta: np.ndarray) -> np.ndarray:
    """U = V_0 (lambda (tr eta)^2/2 + mu eta:eta), eV, of a solid with two elastic constants."""
    trace = np.trace(eta, axis1=1, axis2=2)
    return np.linalg.det(TRICLINIC) * (0.5 * LAME * trace**2 + SHEAR * (eta**2).sum(axis=(1, 2)))


def solid(cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same solid; dU/dE_ab = (F^T S F)_ab with S = dU/d eta."""
    stretch = torch.linalg.inv(torch.from_numpy(TRICLINIC)) @ cell
    eta = torch.from_numpy(strain_of(cell.numpy()))
    trace = eta.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    second = np.linalg.det(TRICLINIC) * (LAME * trace * torch.eye(3, dtype=torch.float64) + 2.0 * SHEAR * eta)
    return torch.from_numpy(elastic_energy(eta.numpy())), stretch.transpose(1, 2) @ second @ stretch


UPPER = tuple(np.triu_indices(3))


def expected_full(n_atoms: int, pressure: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean [6] and covariance [6, 6] of eta by weighing a normal distribution.

    The ensemble is dh V^-2 V^(N-1) exp(-(U + P V)/kT), and dh ~ det(F F^T)^(-1/2) d eta d(rotation).
    """
    width = 1.3 * np.sqrt(THERMAL / (2.0 * SHEAR * np.linalg.det(TRICLINIC)))
    draws = width * rng.normal(size=(600_000, 6))
    eta = np.zeros((len(draws), 3, 3))
    eta[:, UPPER[0], UPPER[1]] = draws
    eta[:, UPPER[1], UPPER[0]] = draws
    squared = np.linalg.det(2.0 * eta + np.eye(3))  # (V/V_0)^2
    real = (squared > 0.0) & (np.linalg.eigvalsh(2.0 * eta + np.eye(3))[:, 0] > 0.0)
    ratio = np.sqrt(np.where(real, squared, 1.0))
    log = (
        (n_atoms - 4) * np.log(ratio)
        - (elastic_energy(eta) + pressure * np.linalg.det(TRICLINIC) * ratio) / THERMAL
        + 0.5 * (draws**2).sum(axis=1) / width**2
    )
    weight = np.where(real, np.exp(log - log.max()), 0.0)
    weight /= weight.sum()
    mean = weight @ draws
    return mean, (weight[:, None] * (draws - mean)).T @ (draws - mean)


def test_strain_of_a_solid_in_a_cell_of_any_shape(rng: np.random.Generator) -> None:
    n_atoms, pressure = 6, 6 * THERMAL / np.linalg.det(TRICLINIC)
    cells = sample(gas(250, n_atoms, TRICLINIC), solid, "full", pressure, 40.0, 1500, 60)
    eta = strain_of(cells)[:, UPPER[0], UPPER[1]]
    mean, covariance = expected_full(n_atoms, pressure, rng)
    spread = np.sqrt(np.diag(covariance))
    assert 0.02 < spread.min() < spread.max() < 0.1
    assert np.abs(mean).max() > 0.1 * spread.max()  # of the measure and the pressure: no small strain theory
    np.testing.assert_allclose(eta.mean(axis=0), mean, atol=5.0 * spread.max() / np.sqrt(0.7 * len(eta)))
    found = np.cov(eta.T) / np.outer(spread, spread)
    np.testing.assert_allclose(found, covariance / np.outer(spread, spread), atol=0.08)
    # Small strains: the compliances, kT S/V.
    compliance = np.array([(LAME + SHEAR) / (SHEAR * (3 * LAME + 2 * SHEAR)), 1.0 / (4.0 * SHEAR)])
    rough = np.sqrt(THERMAL * compliance / np.linalg.det(TRICLINIC))
    np.testing.assert_allclose(spread[[0, 1]], rough, rtol=0.15)
    # The cell does not turn: h_0^-1 h is symmetric.
    stretch = np.linalg.inv(TRICLINIC) @ cells
    np.testing.assert_allclose(stretch, stretch.transpose(0, 2, 1), atol=2e-6)


def test_lengths_of_a_solid(rng: np.random.Generator) -> None:
    # d(log lengths) V^N exp(-(U + P V)/kT)
    n_atoms, pressure = 6, 6 * THERMAL / np.linalg.det(TRICLINIC)
    cells = sample(gas(250, n_atoms, TRICLINIC), solid, "anisotropic", pressure, 40.0, 1500, 60)
    lengths = np.log((cells / TRICLINIC)[:, :, 0])
    grid = np.linspace(-0.25, 0.25, 41)
    points = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)
    there = np.exp(points)[:, :, None] * TRICLINIC
    log = n_atoms * points.sum(axis=1) - (elastic_energy(strain_of(there)) + pressure * np.linalg.det(there)) / THERMAL
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = weight @ points
    covariance = (weight[:, None] * (points - mean)).T @ (points - mean)
    spread = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(lengths.mean(axis=0), mean, atol=5.0 * spread.max() / np.sqrt(0.7 * len(lengths)))
    np.testing.assert_allclose(
        np.cov(lengths.T) / np.outer(spread, spread), covariance / np.outer(spread, spread), atol=0.08
    )


@pytest.mark.parametrize("shape", ["anisotropic", "full", "lateral"])
def test_scaled_momenta_of_free_atoms_never_change(shape: str) -> None:
    # p h^T is what is conjugate to r h^-1: the cell's motion leaves both alone, and without forces so does all else.
    particles = gas(3, 5, TRICLINIC)
    streams, zeros = (torch.Generator().manual_seed(3),), torch.zeros(3, dtype=torch.float64)
    system, velocities = particles.system, maxwell_boltzmann(particles, KELVIN, streams)
    state = MDState(
        system.positions, velocities, torch.zeros_like(velocities), zeros, system.cell, zeros, zeros,
        system.positions, system.cell, 0, streams, frame=torch.linalg.inv(system.cell) if shape == "full" else None,
    )  # fmt: skip

    def evaluate(positions: torch.Tensor, cell: torch.Tensor, *_: Any) -> Evaluated:
        prediction: Any = SimpleNamespace(
            energy=zeros, forces=torch.zeros_like(positions), stress=torch.zeros_like(cell)
        )
        return Evaluated(prediction, positions, cell)

    def scaled_momenta(state: MDState) -> torch.Tensor:
        return torch.einsum("rvx,rax->rav", state.cell, (particles.masses * state.velocities).view(3, 5, 3))

    start = scaled_momenta(state)
    for _ in range(50):
        state, _ = velocity_verlet_flexible(state, particles, evaluate, 1.0, KELVIN, 0.1, 5.0, 0.46, shape)  # type: ignore[arg-type]
    assert float((state.cell / system.cell - 1.0).abs().amax(dim=(1, 2)).min()) > 0.02
    torch.testing.assert_close(scaled_momenta(state), start, rtol=1e-11, atol=1e-13)


def test_table_is_renewed_before_a_sheared_cell_brings_a_new_pair(rng: np.random.Generator) -> None:
    # Atoms that move with the cell alone, by strains of all sizes: whenever the table is kept, it is complete.
    atoms = dumbbells(20, 9.0)
    dynamics = dynamics_of(atoms, cell="full", skin_A=0.5)
    model, system = dynamics.force_field.model, dynamics.particles.system
    kept = 0
    for size in np.linspace(0.005, 0.1, 40):
        stretch = torch.from_numpy(np.eye(3) + size * rng.normal(size=(3, 3)))
        positions, cell = system.positions @ stretch, system.cell @ stretch
        field = ForceField(model, system, 0.5, stress=True, any_shape=True)
        found = field(positions, cell, system.positions, system.cell, 0)
        fresh = system._replace(positions=positions, cell=cell)
        energy = model(fresh, build_neighbors(fresh, model.cutoff)).energy
        torch.testing.assert_close(found.prediction.energy, energy, rtol=1e-11, atol=1e-11)
        kept += found.reference_positions is system.positions
    assert 3 < kept < 37


def test_exponential_is_that_of_the_library(rng: np.random.Generator) -> None:
    for size in (1e-4, 0.05):
        matrix = torch.from_numpy(size * rng.normal(size=(20, 3, 3)))
        torch.testing.assert_close(exponential(matrix), torch.linalg.matrix_exp(matrix), rtol=1e-14, atol=1e-15)


def test_rotation_takes_out_what_is_not_symmetric(rng: np.random.Generator) -> None:
    symmetric = torch.eye(3, dtype=torch.float64) + torch.from_numpy(0.1 * rng.normal(size=(10, 3, 3)))
    symmetric = 0.5 * (symmetric + symmetric.transpose(1, 2))
    turned = symmetric @ torch.linalg.matrix_exp(
        torch.tensor([[0.0, -3e-4, 2e-4], [3e-4, 0.0, -1e-4], [-2e-4, 1e-4, 0.0]], dtype=torch.float64)
    )
    rotation = rotation_to_symmetric(turned)
    identity = torch.eye(3, dtype=torch.float64).expand(10, 3, 3)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), identity, rtol=0, atol=1e-15)
    back = turned @ rotation
    assert float((turned - turned.transpose(1, 2)).abs().max()) > 5e-4
    assert float((back - back.transpose(1, 2)).abs().max()) < 1e-7
    torch.testing.assert_close(back, symmetric, rtol=0, atol=1e-7)


def test_flat_cells_are_met_with_the_reason() -> None:
    atoms = dumbbells()
    one = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()))
    two = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), 2)
    start = two.system.cell
    assert flat_cells(0.7 * start, two.system) == {}
    flat = start.clone()
    flat[1, 0] += 2.0 * flat[1, 1]  # a sheared lattice has the same volume
    torch.testing.assert_close(torch.linalg.det(flat), torch.linalg.det(start))
    assert flat_cells(flat, two.system) == {1: "0.41 of its height at the start"}
    alone = ForceField(ToyPotential(), one.system, 0.5, stress=True, any_shape=True)
    with pytest.raises(
        SimulationError, match=r"shape of the cell: got 0\.4\d of its height.*liquid.*md\.cell isotropic"
    ):
        alone(
            one.system.positions @ (torch.linalg.inv(start[1]) @ flat[1]), flat[1:], one.system.positions, start[1:], 0
        )
    both = ForceField(ToyPotential(), two.system, 0.5, stress=True, any_shape=True)
    stretch = torch.linalg.inv(start) @ flat
    moved = torch.einsum("ax,axy->ay", two.system.positions, stretch[two.system.batch])
    both(moved, flat, two.system.positions, start, 0)
    assert both.lost == {1: "a cell of 0.41 of its height at the start"}


def dynamics_of(atoms: Atoms, **settings: object) -> MolecularDynamics:
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()))
    return MolecularDynamics(ToyPotential(), particles, MDSettings.model_validate({"ensemble": "npt", **settings}))


def test_mean_stress_is_the_pressure_in_every_direction() -> None:
    # <P_int> = P_0 1 for soft spheres on a lattice that starts stretched along one vector.
    places = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 1.0
    shifts = np.stack(np.meshgrid(*[np.arange(2) * 2.0] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = (places[None] + shifts[:, None]).reshape(-1, 3) * np.array([1.9, 1.75, 1.75])
    atoms = Atoms("Ar32", positions=positions, cell=np.array([7.6, 7.0, 7.0]), pbc=True)
    particles = make_particles(from_ase(atoms), torch.from_numpy(atoms.get_masses()), 4)
    model = ToyPotential(bonds=False, repulsion=1.0)
    settings = {
        "ensemble": "npt", "cell": "full", "timestep_fs": 5.0, "temperature_K": 60.0, "pressure_GPa": 4.0,
        "replicas": 4, "barostat_time_fs": 500.0, "thermostat_time_fs": 200.0,
    }  # fmt: skip
    dynamics = MolecularDynamics(model, particles, MDSettings.model_validate(settings))
    state, _ = dynamics.start()
    stress, ratio = [], []
    for step in range(600):
        state, _ = dynamics._produce(state)
        if step >= 200 and step % 5 == 0:
            assert state.stress is not None
            volume = torch.linalg.det(state.cell)[:, None, None]
            flux = torch.einsum("ra,rax,ray->rxy", particles.masses.view(4, 32), *[state.velocities.view(4, 32, 3)] * 2)
            stress.append((flux * 103.642697 / volume - state.stress).numpy() * EV_PER_A3_TO_GPA)
            ratio.append((state.cell[:, 0, 0] / state.cell[:, 1, 1]).numpy())
    found = np.mean(stress, axis=(0, 1))
    np.testing.assert_allclose(found, 4.0 * np.eye(3), atol=0.3)
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.02)  # from 1.086: cubic


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"md\.cell in an external field: got full, wanted isotropic"):
        dynamics_of(dumbbells(), cell="full", field_V_per_A=(0, 0, 0.1))
    layer = dumbbells()
    layer.pbc = [True, True, False]
    layer.cell[2, 2] += 30.0
    with pytest.raises(ConfigError, match=r"wanted nve, nvt, or npt with md\.cell lateral"):
        dynamics_of(layer, cell="anisotropic")
    with pytest.raises(ConfigError, match=r"md\.pressure_GPa of a slab: got 1, wanted 0"):
        dynamics_of(layer, cell="lateral", pressure_GPa=1.0)


def test_layer_keeps_its_vacuum_and_relaxes_along_itself() -> None:
    layer = dumbbells()
    layer.pbc = [True, True, False]
    layer.cell[2, 2] += 30.0
    dynamics = dynamics_of(layer, cell="lateral", barostat_time_fs=20.0)
    state, _ = dynamics.start()
    start = state.cell
    for _ in range(200):
        state, _ = dynamics._produce(state)
    torch.testing.assert_close(state.cell[:, 2], start[:, 2], rtol=0, atol=1e-10)
    area = (
        torch.linalg.cross(state.cell[:, 0], state.cell[:, 1]).norm()
        / torch.linalg.cross(start[:, 0], start[:, 1]).norm()
    )
    assert float(area) > 1.01  # it is under pressure
