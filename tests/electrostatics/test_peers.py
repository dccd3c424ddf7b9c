"""Against independent codes and a lattice sum written out here, by another splitting and automatic differentiation.

torch-pme (BSD-3-Clause) does point charges; nvalchemi-toolkit-ops (Apache-2.0) multipoles, its sigma being that of the
Gaussian density, ours over sqrt 2.  The lattice sum below needs neither.
"""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from ase.neighborlist import primitive_neighbor_list
from torch import Tensor
from torch.func import grad, hessian, vmap

from spectra_app.electrostatics import Multipoles, mesh, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.reciprocal import reciprocal_cutoff
from spectra_app.structure.system import System, make_system
from spectra_app.units import COULOMB_CONSTANT, EPSILON_0
from tests.electrostatics.test_permanent import random_multipoles

SIGMA, OTHER = 0.8, 1.125  # A: of the multipoles, and where the reference splits the sum
CELL = np.array([[5.2, 0.0, 0.0], [1.4, 4.7, 0.0], [-0.8, 1.1, 5.6]])
N_ATOMS = 4
METHODS = [
    "sum",
    pytest.param("mesh", marks=pytest.mark.skipif(not mesh.mesh_available(), reason="finufft is not installed")),
]
RANKS = [pytest.param(1, id="q"), pytest.param(2, id="u"), pytest.param(3, id="uQ")]  # how many of q, u, Q


def system() -> System:
    fractional = np.random.default_rng(8).uniform(size=(N_ATOMS, 3))
    return make_system(fractional @ CELL, np.ones(N_ATOMS), CELL)


def leaves(rank: int) -> list[Tensor]:
    """Positions and the multipoles of a rank, all with gradients."""
    return [t.clone().requires_grad_() for t in (system().positions, *random_multipoles(N_ATOMS)[:rank])]


def ours(variables: list[Tensor], method: str) -> Tensor:
    moved = system()._replace(positions=variables[0])
    k = prepare_k_vectors(moved, reciprocal_cutoff(1e-14, SIGMA, 2), method)
    return prepare_interaction(moved, k, SIGMA).permanent(Multipoles(*variables[1:])).energy.sum()


def assert_same(variables: list[Tensor], energy: Tensor, expected: Tensor, relative: float) -> None:
    """Energies, forces, and gradients by every multipole."""
    assert energy.item() == pytest.approx(expected.item(), rel=relative)
    pairs = zip(torch.autograd.grad(energy, variables), torch.autograd.grad(expected, variables), strict=True)
    for variable, (got, wanted) in zip(variables, pairs, strict=True):
        if variable.dim() == 3:  # a peer may know only the traceless part of a quadrupole
            got, wanted = (g - torch.eye(3) * g.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] for g in (got, wanted))
            got, wanted = got + got.transpose(1, 2), wanted + wanted.transpose(1, 2)
        assert (got - wanted).norm() < relative * wanted.norm()


def all_pairs(cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Every ordered pair within the cutoff: i, j, and the shift of its image, without i = j unshifted."""
    i, j, shift = primitive_neighbor_list(
        "ijS", (True,) * 3, CELL, system().positions.numpy(), cutoff, self_interaction=False
    )
    return torch.as_tensor(i), torch.as_tensor(j), torch.as_tensor(shift @ CELL)


@pytest.mark.parametrize("method", METHODS)
def test_charges_are_those_of_torch_pme(method):
    # Point charges by Ewald at another splitting, less what smearing takes off every pair.
    torchpme = pytest.importorskip("torchpme", reason="torch-pme is not installed")
    variables = leaves(1)
    positions, charges = variables
    i, j, shift = all_pairs(cutoff=9.0)
    distances = (positions[j] + shift - positions[i]).norm(dim=1)
    potential = torchpme.CoulombPotential(smearing=OTHER)
    calculator = torchpme.EwaldCalculator(potential, lr_wavelength=0.35, full_neighbor_list=True).to(torch.float64)
    at_atoms = calculator(charges[:, None], torch.as_tensor(CELL), positions, torch.stack([i, j], 1), distances)
    smearing = torch.erfc(distances / (math.sqrt(2.0) * SIGMA)) / distances
    pairs = (charges[:, None] * at_atoms).sum() - 0.5 * (charges[i] * charges[j] * smearing).sum()
    expected = COULOMB_CONSTANT * pairs
    assert_same(variables, ours(variables, method), expected, relative=1e-9)


def act(kernel, q: Tensor, u: Tensor, quad: Tensor):
    """The function (q + u.grad + (1/2) Q : grad grad) kernel."""
    return lambda x: q * kernel(x) + u @ grad(kernel)(x) + 0.5 * (quad * hessian(kernel)(x)).sum()


def pair_sum(kernel, vectors: Tensor, first: list[Tensor], second: list[Tensor]) -> Tensor:
    """sum of L_i L_j kernel(r_i - r_j) over pairs; grad_j = -grad_i."""

    def one(x: Tensor, qi: Tensor, ui: Tensor, quad_i: Tensor, qj: Tensor, uj: Tensor, quad_j: Tensor) -> Tensor:
        return act(act(kernel, qj, -uj, quad_j), qi, ui, quad_i)(x)

    return vmap(one)(vectors, *first, *second).sum()


def lattice_sum(variables: list[Tensor]) -> Tensor:
    """Near pairs T_SIGMA - T_OTHER in real space, T_OTHER over all reciprocal vectors of a box, less its own terms."""
    positions, q, u, quad = variables

    def smeared(sigma: float):
        def kernel(x: Tensor) -> Tensor:
            distance = torch.sqrt((x * x).sum())
            return torch.erf(distance / (math.sqrt(2.0) * sigma)) / distance

        return kernel

    def at_origin(x: Tensor) -> Tensor:  # T_OTHER to the fourth order
        a = 1.0 / (math.sqrt(2.0) * OTHER)
        s = a * a * (x * x).sum()
        return 2 * a / math.sqrt(math.pi) * (1 - s / 3 + s * s / 10)

    i, j, shift = all_pairs(cutoff=7.5 * OTHER)
    moments = [q, u, quad]
    vectors = positions[i] - positions[j] - shift
    near, far = smeared(SIGMA), smeared(OTHER)
    total = pair_sum(lambda x: near(x) - far(x), vectors, [m[i] for m in moments], [m[j] for m in moments])
    total = total - pair_sum(at_origin, torch.zeros_like(positions), moments, moments)
    integers = torch.tensor([n for n in itertools.product(range(-9, 10), repeat=3) if any(n)], dtype=torch.float64)
    k = 2 * math.pi * integers @ torch.linalg.inv(torch.as_tensor(CELL)).T
    strength = torch.complex(q - 0.5 * torch.einsum("ka,iab,kb->ki", k, quad, k), k @ u.T)
    modes = (strength * torch.exp(1j * (k @ positions.T))).sum(1)
    squared = (k * k).sum(1)
    weight = torch.exp(-0.5 * OTHER**2 * squared) / squared
    volume = abs(np.linalg.det(CELL))
    return 0.5 * COULOMB_CONSTANT * total + (weight * modes.abs() ** 2).sum() / (2 * EPSILON_0 * volume)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rank", RANKS)
def test_multipoles_are_those_of_a_lattice_sum_written_out(rank, method):
    variables = leaves(rank)
    missing = [torch.zeros(N_ATOMS, *[3] * order, dtype=torch.float64) for order in range(rank, 3)]
    assert_same(variables, ours(variables, method), lattice_sum([*variables, *missing]), relative=1e-9)


@pytest.mark.parametrize("rank", RANKS)
def test_multipoles_are_those_of_nvalchemi_toolkit_ops(rank):
    # Their Coulomb constant differs from CODATA 2022 by 8e-9; their kernels are compiled in the first call (a minute).
    pytest.importorskip("nvalchemiops", reason="nvalchemi-toolkit-ops (with Warp 400 MB) is not installed")
    variables = leaves(rank)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Warp finds no GPU
        from nvalchemiops.torch.interactions.electrostatics import (
            multipole_electrostatic_energy,
            pack_multipole_moments,
        )

        expected = multipole_electrostatic_energy(
            variables[0],
            pack_multipole_moments(*variables[1:]),
            torch.as_tensor(CELL),
            sigma=SIGMA / math.sqrt(2.0),
            k_cutoff=reciprocal_cutoff(1e-14, SIGMA, 2),
        ).sum()
        assert_same(variables, ours(variables, "sum"), expected, relative=1e-7)
