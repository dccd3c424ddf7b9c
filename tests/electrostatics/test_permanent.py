"""Energy, potential and field of the permanent multipoles: open, periodic, mixed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectra_app.electrostatics import Multipoles, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.reciprocal import reciprocal_cutoff
from spectra_app.structure.system import System, concatenate, make_system
from spectra_app.units import COULOMB_CONSTANT
from tests.electrostatics.naive import open_energy

SIGMA = 0.9
TRICLINIC = np.array([[6.0, 0.0, 0.0], [1.3, 5.5, 0.0], [0.7, -1.1, 5.8]])


def random_multipoles(n_atoms: int, seed: int = 3) -> Multipoles:
    generator = torch.Generator().manual_seed(seed)
    q, u, quad = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in (n_atoms, (n_atoms, 3), (n_atoms, 3, 3))
    )
    quad = quad + quad.transpose(1, 2)
    quad = quad - torch.diag_embed(quad.diagonal(dim1=1, dim2=2).mean(1, keepdim=True).expand(-1, 3))
    return Multipoles(q - q.mean(), 0.5 * u, 0.3 * quad)


def random_system(n_atoms: int = 6, cell: np.ndarray | None = TRICLINIC, seed: int = 0) -> System:
    fractional = np.random.default_rng(seed).uniform(size=(n_atoms, 3))
    return make_system(fractional @ TRICLINIC, np.ones(n_atoms), cell)


def evaluate(system: System, multipoles: Multipoles, tolerance: float = 1e-14, sigma: float = SIGMA):
    k = prepare_k_vectors(system, reciprocal_cutoff(tolerance, sigma, 2))
    return prepare_interaction(system, k, sigma).permanent(multipoles)


RANKS = [
    pytest.param(lambda m: Multipoles(m.charges), id="q"),
    pytest.param(lambda m: Multipoles(m.charges, m.dipoles), id="u"),
    pytest.param(lambda m: Multipoles(m.charges, None, m.quadrupoles), id="Q without u"),
    pytest.param(lambda m: m, id="uQ"),
]


@pytest.mark.parametrize("keep", RANKS)
def test_open_energy_is_the_naive_double_sum(keep):
    system, multipoles = random_system(5, cell=None), keep(random_multipoles(5))
    zero = random_multipoles(5)
    u = torch.zeros_like(zero.dipoles) if multipoles.dipoles is None else multipoles.dipoles
    quad = torch.zeros_like(zero.quadrupoles) if multipoles.quadrupoles is None else multipoles.quadrupoles
    expected = open_energy(system.positions, multipoles.charges, u, quad, SIGMA)
    assert evaluate(system, multipoles).energy.item() == pytest.approx(expected.item(), rel=1e-11)


def test_two_point_charges_attract_as_coulomb_says():
    system = make_system(np.array([[0.0, 0, 0], [0, 0, 7.0]]), [1, 1])
    energy = evaluate(system, Multipoles(torch.tensor([1.0, -1.0], dtype=torch.float64)), sigma=0.5).energy
    assert energy.item() == pytest.approx(-COULOMB_CONSTANT / 7.0, rel=1e-12)


def test_dipole_points_towards_the_charge_it_likes():
    # A dipole along +z above a negative charge feels a field that points down: antiparallel, energy positive.
    system = make_system(np.array([[0.0, 0, 0], [0, 0, 6.0]]), [1, 1])
    dipoles = torch.tensor([[0.0, 0, 0], [0, 0, 0.4]], dtype=torch.float64)
    result = evaluate(system, Multipoles(torch.tensor([-1.0, 0.0], dtype=torch.float64), dipoles), sigma=0.4)
    assert result.energy.item() == pytest.approx(COULOMB_CONSTANT * 0.4 / 36.0, rel=1e-9)
    assert result.field[1, 2].item() == pytest.approx(-COULOMB_CONSTANT / 36.0, rel=1e-9)


@pytest.mark.parametrize("keep", RANKS)
@pytest.mark.parametrize("cell", [None, TRICLINIC], ids=["open", "periodic"])
def test_potential_and_field_are_derivatives_of_the_energy(keep, cell):
    system = random_system(cell=cell)
    multipoles = keep(random_multipoles(6))
    charges = multipoles.charges.clone().requires_grad_()
    dipoles = (
        torch.zeros(6, 3, dtype=torch.float64) if multipoles.dipoles is None else multipoles.dipoles.clone()
    ).requires_grad_()
    result = evaluate(system, multipoles._replace(charges=charges, dipoles=dipoles))
    d_charge, d_dipole = torch.autograd.grad(result.energy.sum(), (charges, dipoles))
    assert result.potential.detach().numpy() == pytest.approx(d_charge.numpy(), abs=1e-9)
    assert result.field.detach().numpy() == pytest.approx(-d_dipole.numpy(), abs=1e-9)


@pytest.mark.parametrize(
    ("fractional", "charges", "vectors", "madelung"),
    [
        # M. P. Tosi, Solid State Physics 16 (1964) 1, DOI 10.1016/S0081-1947(08)60515-9
        pytest.param(
            [[0, 0, 0], [0.5, 0.5, 0.5]], [1.0, -1.0], [[0, 1, 1], [1, 0, 1], [1, 1, 0]], 1.7475645946331822, id="NaCl"
        ),
        pytest.param(
            [[0, 0, 0], [0.5, 0.5, 0.5]], [1.0, -1.0], np.eye(3) * 2 / math.sqrt(3), 1.7626747730709883, id="CsCl"
        ),
    ],
)
def test_madelung_constants(fractional, charges, vectors, madelung):
    nearest = 2.8  # A; the smearing is far below it, so the ions are point charges to one another
    cell = np.array(vectors, dtype=float) * nearest
    system = make_system(np.array(fractional) @ cell, [11, 17], cell)
    energy = evaluate(system, Multipoles(torch.tensor(charges, dtype=torch.float64)), sigma=0.35).energy
    assert energy.item() == pytest.approx(-madelung * COULOMB_CONSTANT / nearest, rel=1e-8)


def test_large_periodic_cell_approaches_open_boundaries():
    # The first correction of a tinfoil cubic cell is that of its dipole, -(2 pi/3) k_e P^2/V: removed here by hand.
    multipoles = random_multipoles(4)
    positions = np.random.default_rng(1).uniform(size=(4, 3)) * 3.0
    numbers = np.ones(4)
    isolated = evaluate(make_system(positions, numbers), multipoles)
    errors = []
    for length in (20.0, 40.0):
        system = make_system(positions, numbers, np.eye(3) * length)
        dipole = (multipoles.charges[:, None] * system.positions).sum(0) + multipoles.dipoles.sum(0)
        correction = 2 * math.pi / 3 * COULOMB_CONSTANT * float(dipole @ dipole) / length**3
        periodic = evaluate(system, multipoles, tolerance=1e-10).energy.item() + correction
        errors.append(abs(periodic - isolated.energy.item()))
    # Next come octupole terms, of order L^-5 to L^-7 in the energy.
    assert errors[0] < 2e-3 * abs(isolated.energy.item())
    assert errors[1] < errors[0] / 16


@pytest.mark.parametrize("keep", RANKS)
def test_energy_knows_neither_origin_nor_image(keep):
    multipoles, system = keep(random_multipoles(6)), random_system()
    before = evaluate(system, multipoles).energy.item()
    shifted = system.positions + torch.tensor([0.37, -1.9, 4.2], dtype=torch.float64)
    shifted[2] += 2 * system.cell[0, 0] - system.cell[0, 2]
    assert evaluate(system._replace(positions=shifted), multipoles).energy.item() == pytest.approx(before, rel=1e-10)


@pytest.mark.parametrize("cell", [None, TRICLINIC], ids=["open", "periodic"])
def test_energy_is_invariant_under_rotation_and_permutation(cell, rotation):
    multipoles, system = random_multipoles(6), random_system(cell=cell)
    before = evaluate(system, multipoles)
    turned = system._replace(positions=system.positions @ rotation.T, cell=system.cell @ rotation.T)
    turned_multipoles = Multipoles(
        multipoles.charges, multipoles.dipoles @ rotation.T, rotation @ multipoles.quadrupoles @ rotation.T
    )
    after = evaluate(turned, turned_multipoles)
    assert after.energy.item() == pytest.approx(before.energy.item(), rel=1e-10)
    assert after.field.numpy() == pytest.approx((before.field @ rotation.T).numpy(), abs=1e-9)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = evaluate(system._replace(positions=system.positions[order]), Multipoles(*(m[order] for m in multipoles)))
    assert permuted.potential.numpy() == pytest.approx(before.potential[order].numpy(), abs=1e-10)


def test_a_batch_of_periodic_and_open_structures_equals_each_alone():
    systems = [random_system(4, seed=1), random_system(6, cell=None, seed=2), random_system(5, TRICLINIC * 1.2, seed=3)]
    multipoles = [random_multipoles(s.sizes[0], seed=n) for n, s in enumerate(systems)]
    batch = concatenate(systems)
    together = evaluate(batch, Multipoles(*(torch.cat(parts) for parts in zip(*multipoles, strict=True))))
    alone = [evaluate(s, m) for s, m in zip(systems, multipoles, strict=True)]
    assert together.energy.numpy() == pytest.approx(torch.cat([a.energy for a in alone]).numpy(), rel=1e-12)
    assert together.potential.numpy() == pytest.approx(torch.cat([a.potential for a in alone]).numpy(), abs=1e-10)
    assert together.field.numpy() == pytest.approx(torch.cat([a.field for a in alone]).numpy(), abs=1e-10)


def test_energy_is_continuous_while_vectors_enter_the_cutoff():
    # Stretching a cell by 2% in steps of 0.01% brings vectors in; second differences would show a jump.
    multipoles, system = random_multipoles(6), random_system()
    energies = []
    for stretch in np.linspace(1.0, 1.02, 201):
        cell = system.cell * stretch
        moved = system._replace(positions=system.positions * stretch, cell=cell)
        energies.append(evaluate(moved, multipoles, tolerance=1e-2).energy.item())
    second = np.diff(energies, n=2)
    assert np.abs(second).max() < 20 * np.median(np.abs(second))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_cutoff_follows_the_tolerance(rank):
    sigma, tolerance = 1.3, 1e-5
    x = sigma * reciprocal_cutoff(tolerance, sigma, rank)
    peak = 1.0 if rank == 0 else (2 * rank) ** rank * math.exp(-rank)
    assert x ** (2 * rank) * math.exp(-x * x / 2) / peak == pytest.approx(tolerance, rel=1e-6)
