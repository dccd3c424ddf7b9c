"""Bounds of alpha and kappa: with them the response has a minimum in every geometry, without them it has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectra_app.electrostatics import Multipoles, Smearing, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.reciprocal import reciprocal_cutoff
from spectra_app.electrostatics.response import Susceptibility
from spectra_app.electrostatics.self_consistent import self_consistent
from spectra_app.electrostatics.stability import (
    bounded_kappa,
    bounded_polarizability,
    kept_kappa,
    largest_kappa,
    largest_polarizability,
    self_energies,
)
from spectra_app.errors import ConvergenceError
from spectra_app.structure.neighbors import build_neighbors, pair_vectors
from spectra_app.structure.system import make_system
from spectra_app.units import COULOMB_CONSTANT, EPSILON_0

SIGMA = 0.9
CELL = np.array([[5.0, 0.0, 0.0], [0.9, 4.6, 0.0], [0.3, -0.7, 4.8]])


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_bounds_are_the_self_terms():
    # U_self = (1/(2 eps0 (2 pi)^{3/2})) (q^2/sigma + u^2/(3 sigma^3)) = q^2/(2 kappa_max) + u^2/(2 alpha_max)
    common = 1.0 / (EPSILON_0 * (2.0 * math.pi) ** 1.5)
    assert largest_kappa(SIGMA) == pytest.approx(0.9 * SIGMA / common)
    assert largest_polarizability(SIGMA) == pytest.approx(0.9 * 3.0 * SIGMA**3 / common)
    assert largest_polarizability(1.0) * COULOMB_CONSTANT == pytest.approx(0.9 * 3.760, rel=1e-3)  # A^3


def test_a_charge_and_its_opposite_in_one_place_have_no_energy_with_their_self_terms():
    system = make_system(np.array([[0.0, 0, 0], [1e-6, 0, 0]]), np.array([1, 1]))
    charges = torch.tensor([0.7, -0.7], dtype=torch.float64)
    pairs = prepare_interaction(system, None, SIGMA, 0).permanent(Multipoles(charges, None, None)).energy
    assert float(pairs) == pytest.approx(-float(self_energies(charges, SIGMA).sum()), rel=1e-9)
    classes = Smearing((SIGMA, 2 * SIGMA), torch.tensor([0, 1]))
    assert self_energies(charges, classes).numpy() == pytest.approx(self_energies(charges, SIGMA).numpy() / [1.0, 2.0])


def test_small_values_stay_and_large_ones_bend_under_the_bound():
    limit = largest_polarizability(SIGMA)
    root = double(5, 3, 3)
    tensors = root @ root.transpose(1, 2)
    small = bounded_polarizability(1e-6 * tensors, SIGMA)
    assert small.numpy() == pytest.approx((1e-6 * tensors).numpy(), rel=1e-4, abs=1e-9)
    large = bounded_polarizability(1e4 * tensors, SIGMA)
    assert large.numpy() == pytest.approx(large.transpose(1, 2).numpy(), abs=0.0)
    values = torch.linalg.eigvalsh(bounded_polarizability(tensors, SIGMA))
    before = torch.linalg.eigvalsh(tensors)
    assert values.numpy() == pytest.approx((before / (1.0 + before / limit)).numpy(), rel=1e-9)
    assert float(torch.linalg.eigvalsh(large).max()) < limit
    scalars = torch.tensor([0.0, 0.02, 3.0], dtype=torch.float64)
    as_tensors = bounded_polarizability(scalars[:, None, None] * torch.eye(3, dtype=torch.float64), SIGMA)
    assert bounded_polarizability(scalars, SIGMA).numpy() == pytest.approx(as_tensors[:, 1, 1].numpy())


def test_bounds_differentiate_twice():
    root = double(2, 3, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda r: bounded_polarizability(r @ r.transpose(1, 2), SIGMA), (root,))


def test_every_atom_has_the_bound_of_its_own_width():
    sigma = Smearing((0.9, 1.5), torch.tensor([1, 0, 0, 1]))
    huge = 1e6 * torch.eye(3, dtype=torch.float64).expand(4, 3, 3)
    widths = torch.tensor([1.5, 0.9, 0.9, 1.5], dtype=torch.float64)
    limits = [largest_polarizability(float(w)) for w in widths]
    assert bounded_polarizability(huge, sigma)[:, 1, 1].tolist() == pytest.approx(limits, rel=1e-5)
    assert bounded_polarizability(huge[:, 0, 0], sigma).tolist() == pytest.approx(limits, rel=1e-5)
    assert bounded_kappa(huge[:, 0, 0], sigma, None).tolist() == pytest.approx(
        [largest_kappa(float(w)) for w in widths]
    )


@pytest.mark.parametrize("widths", [(0.9,), (0.6, 1.6)], ids=["alike", "mixed"])
def test_the_laplacian_of_pairs_stays_below_the_bound(widths):
    """No eigenvalue of C^1/2 K C^1/2 above 0.9; with the bound of the wider atoms alone there would be."""
    system = make_system(2.2 + 0.25 * double(12, 3, seed=3).numpy(), [8] * 12)
    neighbors = build_neighbors(system, 2.0)
    sigma = Smearing(widths, torch.arange(12) % len(widths))
    c = torch.tensor([0.9 / largest_kappa(widths[int(n)]) for n in sigma.classes], dtype=torch.float64)
    i, j = torch.arange(12)[:, None].expand_as(neighbors.other), neighbors.other
    everyone = torch.where(neighbors.mask, 50.0, 0.0).double()
    one_bond = everyone * (i + j == 2) * (i != j)  # of atoms 0 and 2, both narrow
    star = everyone * ((i == 0) | (j == 0))

    def largest(bounded: torch.Tensor) -> float:
        laplacian = torch.diag(bounded.sum(1)).index_put_((i, j), -bounded, accumulate=True)
        return float(torch.linalg.eigvalsh(torch.sqrt(c)[:, None] * laplacian * torch.sqrt(c)).max())

    for kappa in (everyone, one_bond, star):
        assert largest(kappa) > 1.0
        assert largest(bounded_kappa(kappa, sigma, neighbors)) < 0.9
    assert largest(bounded_kappa(one_bond, sigma, neighbors)) == pytest.approx(0.45, rel=1e-2)  # not too low
    if len(widths) == 2:
        assert largest(bounded_kappa(one_bond, widths[1], neighbors)) > 1.0


@pytest.mark.parametrize("widths", [(0.9,), (0.6, 1.6)], ids=["alike", "mixed"])
@pytest.mark.parametrize("size", [1e-3, 0.05, 20.0])
def test_what_is_left_of_kappa_is_found_from_what_is_left(widths, size):
    places = 2.2 + 0.5 * double(12, 3, seed=3).numpy()
    places[5] += 30.0
    system = make_system(places, [8] * 12)
    neighbors = build_neighbors(system, 1.2)
    sigma = Smearing(widths, torch.arange(12) % len(widths))
    one_way = size * (1.0 + double(12, 12, seed=1).abs())
    rows = torch.arange(12)[:, None].expand_as(neighbors.other)
    both = (one_way + one_way.T)[rows, neighbors.other]
    pairs = torch.where(neighbors.mask, both, torch.zeros_like(both))
    assert float(pairs.sum(1)[5]) == 0.0  # an atom without neighbours
    for kappa, total in ((one_way[0], one_way[0]), (pairs, pairs.sum(1))):
        left = bounded_kappa(kappa, sigma, neighbors)
        share = (left if left.dim() == 1 else left.sum(1)) / total
        wanted = torch.where(total > 0.0, share, torch.ones_like(share))
        torch.testing.assert_close(kept_kappa(left, sigma, neighbors), wanted, rtol=1e-7, atol=1e-9)
    if len(widths) == 1:
        alike = kept_kappa(bounded_kappa(pairs, widths[0], neighbors), widths[0], neighbors)
        torch.testing.assert_close(alike, wanted, rtol=1e-7, atol=1e-9)


WIDTHS = pytest.mark.parametrize("widths", [(SIGMA,), (SIGMA, 1.6)], ids=["alike", "mixed"])


@WIDTHS
@pytest.mark.parametrize("cell", [None, CELL], ids=["open", "periodic"])
@pytest.mark.parametrize("form", ["u", "qu", "pu", "p"])
def test_no_geometry_has_a_catastrophe(form: str, cell: np.ndarray | None, widths: tuple[float, ...]):
    """Twelve atoms in a heap, tenths of an Angstrom apart, with a thousand times too much alpha and kappa."""
    heap = 2.2 + 0.25 * double(12, 3, seed=3).numpy()
    system = make_system(heap, [8] * 12, cell)
    neighbors = build_neighbors(system, 2.0)
    vectors = pair_vectors(system, neighbors, 2.0)
    root = double(12, 3, 3, seed=1)
    alpha = 30.0 * root @ root.transpose(1, 2) if "u" in form else None
    kappa = None
    if "q" in form:
        kappa = torch.full((12,), 50.0, dtype=torch.float64)
    elif "p" in form:
        kappa = torch.where(neighbors.mask, 50.0 * torch.exp(-(vectors * vectors).sum(-1)), 0.0)
    sigma = Smearing(widths, torch.arange(12) % len(widths))
    interaction = prepare_interaction(system, prepare_k_vectors(system, reciprocal_cutoff(1e-6, widths, 1)), sigma, 1)
    charges = double(12, seed=2)
    permanent = interaction.permanent(Multipoles(charges - charges.mean(), 0.3 * double(12, 3, seed=4)))
    free = Susceptibility(alpha, kappa, neighbors, vectors)
    with pytest.raises(ConvergenceError):
        self_consistent(system, interaction, free, permanent, 1e-6, False)
    bounded = Susceptibility(
        None if alpha is None else bounded_polarizability(alpha, sigma),
        None if kappa is None else bounded_kappa(kappa, sigma, neighbors),
        neighbors,
        vectors,
    )
    _, energy, by_atom = self_consistent(system, interaction, bounded, permanent, 1e-6, True)
    assert float(energy) < 0.0
    assert float(torch.linalg.eigvalsh(by_atom.sum(0)).min()) > 0.0
