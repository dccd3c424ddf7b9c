"""The mesh against the plain sum: the two sums themselves, all that is built on them, and the choice between them."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from spectra_app.electrostatics import Multipoles, mesh, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.mesh import EwaldHint, MeshEngine, choose_engine
from spectra_app.electrostatics.phases import waves, waves_by_trigonometry
from spectra_app.electrostatics.reciprocal import k_vectors, reciprocal_cutoff
from spectra_app.electrostatics.transforms import DenseEngine
from spectra_app.errors import ConfigError, MissingExtraError
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, concatenate, with_gradients
from tests.electrostatics.test_permanent import SIGMA, TRICLINIC, random_multipoles, random_system
from tests.potentials.test_potential import make_potential, structure

needs_mesh = pytest.mark.skipif(not mesh.mesh_available(), reason="finufft, the extra 'mesh', is not installed")
N_ATOMS = 6


def two_systems() -> System:
    """Different cells and numbers of atoms: both tables are padded."""
    return concatenate([random_system(4, seed=1), random_system(7, TRICLINIC * 1.3, seed=2)])


def engines(dtype: torch.dtype = torch.float64, tolerance: float = 1e-12):
    system = two_systems()
    k = k_vectors(system._replace(positions=system.positions.to(dtype)), cutoff=5.0)
    # Two units outside of the cell: images count alike.
    fractional = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    fractional = (3.0 * fractional - 2.0).to(dtype)
    return DenseEngine(fractional, k.integers, k.monomials), MeshEngine(fractional, k, tolerance)


def random(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


@needs_mesh
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float64, 1e-6), (torch.float32, 1e-6)])
@pytest.mark.parametrize("n_components", [1, 2, 5])
def test_both_sums_are_the_plain_ones(dtype, tolerance, n_components):
    dense, fast = engines(dtype, tolerance)
    strengths = random(2, n_components, 7, dtype=dtype)
    for got, expected in zip(fast.to_modes(strengths), dense.to_modes(strengths), strict=True):
        assert (got - expected).norm() < 10 * tolerance * expected.norm()
    parts = random(2, n_components, dense.integers.shape[1], dtype=dtype), random(2, n_components, 1, dtype=dtype)
    cosine, sine = parts[0], parts[0].flip(-1) + parts[1]
    got, expected = fast.to_atoms(cosine, sine), dense.to_atoms(cosine, sine)
    assert (got - expected).norm() < 10 * tolerance * expected.norm()


@needs_mesh
def test_the_sums_are_adjoint_beyond_their_tolerance():
    # Potential and field are then the derivatives of the computed energy, and its Hessian is symmetric.
    _, fast = engines(tolerance=1e-3)
    strengths, n_k = random(2, 3, 7), fast.integers.shape[1]
    cosine, sine = random(2, 3, n_k), random(2, 3, n_k).flip(-1)
    real, imaginary = fast.to_modes(strengths)
    there = (real * cosine + imaginary * sine).sum()
    back = (strengths * fast.to_atoms(cosine, sine)).sum()
    assert there.item() == pytest.approx(back.item(), rel=1e-12)


def everything(method: str, tolerance: float, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """Energy with one-shot response of a triclinic cell, its derivatives, and a second derivative."""
    system = random_system(N_ATOMS)
    q, u, quad = (m.to(dtype).requires_grad_() for m in random_multipoles(N_ATOMS))
    positions = system.positions.to(dtype).requires_grad_()
    strain = torch.zeros(3, 3, dtype=dtype).requires_grad_()
    deformation = torch.eye(3, dtype=dtype) + 0.5 * (strain + strain.T)
    cell = system.cell.to(dtype)
    system = system._replace(positions=positions, cell=cell)
    k = prepare_k_vectors(system, reciprocal_cutoff(tolerance, SIGMA, 2), method)
    moved = system._replace(positions=positions @ deformation, cell=cell @ deformation)
    result = prepare_interaction(moved, k, SIGMA).permanent(Multipoles(q, u, quad))
    alpha, kappa = torch.linspace(0.1, 0.6, N_ATOMS, dtype=dtype), torch.linspace(0.02, 0.05, N_ATOMS, dtype=dtype)
    response = -0.5 * (alpha[:, None] * result.field**2).sum() - 0.5 * (kappa * result.potential**2).sum()
    energy = result.energy.sum() + response
    gradients = torch.autograd.grad(energy, (positions, strain, q, u, quad), create_graph=True)
    double = torch.autograd.grad((gradients[0] ** 2).sum(), (positions, q, u, quad))
    names = ["d position", "strain", "d charge", "d dipole", "d quadrupole"]
    found = {"energy": energy, "potential": result.potential, "field": result.field}
    found |= dict(zip(names, gradients, strict=True))
    found |= dict(zip(["dd position", "dd charge", "dd dipole", "dd quadrupole"], double, strict=True))
    return {name: value.detach() for name, value in found.items()}


@needs_mesh
@pytest.mark.parametrize(
    ("tolerance", "dtype", "error"),
    [(1e-10, torch.float64, 1e-10), (1e-4, torch.float64, 1e-5), (1e-4, torch.float32, 1e-4)],
)
def test_energy_forces_stress_response_and_double_backward(tolerance, dtype, error):
    plain, fast = everything("sum", tolerance, dtype), everything("mesh", tolerance, dtype)
    for name, expected in plain.items():
        assert (fast[name] - expected).norm() < error * expected.norm(), name
    assert not torch.equal(fast["field"], plain["field"])  # it was the mesh


@needs_mesh
def test_two_evaluations_with_the_same_vectors_do_not_disturb_each_other():
    # Both use one plan of the library; the graph of the first is evaluated after the second was built.
    system, multipoles = random_system(N_ATOMS), random_multipoles(N_ATOMS)
    k = prepare_k_vectors(system, 6.0, "mesh")
    positions = system.positions.clone().requires_grad_()

    def energy(r: torch.Tensor) -> torch.Tensor:
        return prepare_interaction(system._replace(positions=r), k, SIGMA).permanent(multipoles).energy.sum()

    alone = torch.autograd.grad(energy(positions), positions)[0]
    first = energy(positions)
    energy(positions.detach() + 0.3)
    assert torch.equal(torch.autograd.grad(first, positions)[0], alone)
    assert copy.deepcopy(k).integers.shape == k.integers.shape  # the plan is not part of the record


def test_the_choice_follows_size_method_and_what_is_installed(monkeypatch):
    k = k_vectors(random_system(), cutoff=5.0)
    fractional = torch.rand(1, N_ATOMS, 3, dtype=torch.float64)
    size = N_ATOMS * k.integers.shape[1]

    def chosen(method: str = "auto") -> str:
        return type(choose_engine(fractional, k_vectors(random_system(), 5.0, method), SIGMA)).__name__

    monkeypatch.setattr(mesh, "mesh_available", lambda: False)
    monkeypatch.setattr(mesh, "MESH_FROM", size)
    monkeypatch.setattr(mesh, "MESH_ATOMS", N_ATOMS)
    assert chosen() == "DenseEngine"
    with pytest.raises(MissingExtraError, match="mesh"):
        chosen("mesh")
    monkeypatch.setattr(mesh, "_HINT_FROM", size)
    mesh._hint.cache_clear()
    with pytest.warns(EwaldHint, match="N log N"):
        chosen()
    assert chosen() == "DenseEngine"  # the hint comes once: a second would be an error here
    with pytest.raises(ConfigError, match="mesh on meta"):
        choose_engine(fractional.to("meta"), k_vectors(random_system(), 5.0, "mesh"), SIGMA)


@needs_mesh
def test_the_mesh_is_taken_from_its_size_on(monkeypatch):
    monkeypatch.setattr(mesh, "MESH_ATOMS", N_ATOMS)
    k = k_vectors(random_system(), cutoff=5.0)
    fractional = torch.rand(1, N_ATOMS, 3, dtype=torch.float64)
    for offset, expected in ((0, MeshEngine), (1, DenseEngine)):
        monkeypatch.setattr(mesh, "MESH_FROM", N_ATOMS * k.integers.shape[1] + offset)
        assert type(choose_engine(fractional, k, SIGMA)) is expected
    assert type(choose_engine(fractional, k_vectors(random_system(), 5.0, "sum"), SIGMA)) is DenseEngine


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 4e-7)])
def test_phases_by_products_are_cosines_and_sines(dtype, error):
    dense = two_systems()
    integers = k_vectors(dense, cutoff=7.0).integers
    fractional = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fractional = fractional.to(dtype)
    expected = waves_by_trigonometry(fractional.double(), integers)
    assert (waves(fractional, integers.to(dtype)) - expected).abs().max() < error
    k = int(integers[1].abs().sum(1).argmax())
    phase = 2 * math.pi * float(np.dot(fractional[1, 3].double().numpy(), integers[1, k].numpy()))
    assert expected[1, 3, k].item() == pytest.approx(math.cos(phase), abs=1e-12)
    assert expected[1, 3, integers.shape[1] + k].item() == pytest.approx(math.sin(phase), abs=1e-12)


@needs_mesh
@pytest.mark.parametrize("variant", ["puipiu", "uiqiu"])
def test_self_consistent_response_is_the_same_on_the_mesh(variant, monkeypatch):
    system = structure()

    def everything_of(method: str) -> dict[str, torch.Tensor]:
        potential = make_potential(variant, response="self-consistent", response_tolerance=1e-10)
        monkeypatch.setattr(potential, "k_vectors", lambda s: prepare_k_vectors(s, potential.k_cutoff, method))
        neighbors = build_neighbors(system, potential.cutoff)
        prediction = potential(system, neighbors, stress=True)
        weights = [p.requires_grad_() for p in potential.latent_head.parameters() if p.dim() > 1]
        moving, _ = with_gradients(system, True, False)
        energy = potential.evaluate(moving, neighbors, potential.k_vectors(system), responses=False).energy
        (forces,) = torch.autograd.grad(energy.sum(), moving.positions, create_graph=True)
        of_the_loss = torch.autograd.grad(forces.square().sum(), weights, allow_unused=True)
        found = prediction._asdict() | {"born": potential.born_charges(system, neighbors)}
        found["loss"] = torch.cat([g.flatten() for g in of_the_loss if g is not None])
        return {name: value for name, value in found.items() if value is not None}

    plain, fast = everything_of("sum"), everything_of("mesh")
    for name, expected in plain.items():
        assert (fast[name] - expected).norm() <= 2e-7 * expected.norm(), name
    assert not torch.equal(fast["forces"], plain["forces"])  # it was the mesh
