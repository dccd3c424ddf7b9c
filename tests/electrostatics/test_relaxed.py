"""Self-consistent response in compiled loops against the same equations in torch, operation by operation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from spectra_app.electrostatics import Multipoles, prepare_interaction, prepare_k_vectors, self_consistent
from spectra_app.electrostatics.far import FarInteraction
from spectra_app.electrostatics.interaction import near_pairs
from spectra_app.electrostatics.lattice import k_vectors
from spectra_app.electrostatics.pair_list import pairs_once
from spectra_app.electrostatics.reciprocal import ReciprocalInteraction
from spectra_app.electrostatics.response import Susceptibility
from spectra_app.electrostatics.self_consistent import Relaxed, electrostatic_energy
from spectra_app.electrostatics.smearing import Smearing
from spectra_app.errors import ConvergenceError
from spectra_app.structure.neighbors import build_neighbors, neighbor_pairs_brute_force, pair_vectors
from spectra_app.structure.system import System
from tests.electrostatics.test_near import CELL, CUTOFF, SIGMA, crystal, multipoles, slab

TOLERANCE = 1e-11
N_ATOMS = 9


def case(scale: float = 1.0, kind: str = "cell") -> tuple[System, list[Tensor]]:
    """A structure, and what its energy depends on: positions, multipoles, alpha and kappa."""
    system = crystal(N_ATOMS) if kind == "cell" else slab(N_ATOMS)
    generator = torch.Generator().manual_seed(5)
    root = torch.randn(N_ATOMS, 3, 3, generator=generator, dtype=torch.float64)
    neighbors = build_neighbors(system, 3.0)
    squared = pair_vectors(system, neighbors, 3.0).square().sum(-1)
    kappa = torch.where(neighbors.mask, 0.004 * torch.exp(-squared / 3.0), 0.0)
    return system, [
        system.positions,
        *multipoles(N_ATOMS, neutral=False),
        0.004 * scale * root @ root.transpose(1, 2),
        scale * kappa,
    ]


def solve(
    inputs: list[Tensor], system: System, uniform_fields: bool, guess: Tensor | None, widths: bool
) -> tuple[Relaxed, list[Tensor]]:
    """The solution and the gradients of its energy."""
    positions, q, u, quad, alpha, kappa = leaves = [x.clone().requires_grad_(True) for x in inputs]
    moved = system._replace(positions=positions)
    sigma = Smearing((SIGMA, 1.2), torch.arange(N_ATOMS) % 2) if widths else SIGMA
    k = prepare_k_vectors(moved, CUTOFF, "sum")
    interaction = prepare_interaction(moved, k, sigma, 2, near_pairs(moved, k, sigma))
    neighbors = build_neighbors(system, 3.0)
    susceptibility = Susceptibility(alpha, kappa, neighbors, pair_vectors(system, neighbors, 3.0))
    found = electrostatic_energy(
        moved, interaction, Multipoles(q, u, quad), susceptibility, TOLERANCE, uniform_fields, True, guess
    )
    return found, list(torch.autograd.grad(found.energy.sum(), leaves))


@pytest.mark.parametrize("widths", [False, True])
@pytest.mark.parametrize("uniform_fields", [True, False])
@pytest.mark.parametrize("start", ["cold", "warm", "of fewer sources"])
@pytest.mark.parametrize("kind", ["cell", "slab"])
def test_loops_give_what_the_reference_gives(
    kind: str, start: str, uniform_fields: bool, widths: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, inputs = case(kind=kind)
    guess = None
    if start != "cold":
        generator = torch.Generator().manual_seed(1)
        guess = torch.randn(N_ATOMS, 4 if start == "warm" and uniform_fields else 1, 4, generator=generator).double()
    loops, gradients = solve(inputs, system, uniform_fields, guess, widths)
    assert type(loops.energy.grad_fn).__name__ == "_EnergyBackward"
    monkeypatch.setattr(self_consistent, "relax_in_loops", lambda *_: None)
    wanted, their_gradients = solve(inputs, system, uniform_fields, guess, widths)
    assert type(wanted.energy.grad_fn).__name__ != "_EnergyBackward"
    assert loops.solution is not None
    assert wanted.solution is not None
    induced = zip(loops.induced, wanted.induced, strict=True)
    pairs = [(loops.energy, wanted.energy), (loops.solution, wanted.solution), *induced]
    pairs += [(loops.polarizability_by_atom, wanted.polarizability_by_atom), (loops.moments, wanted.moments)]
    for a, b in pairs:
        assert a.detach().numpy() == pytest.approx(b.detach().numpy(), abs=1e-8 * float(b.detach().abs().max()) + 1e-12)
    for a, b in zip(gradients, their_gradients, strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-8 * float(b.abs().max()))


def test_a_polarization_catastrophe_is_told_by_the_reference() -> None:
    system, inputs = case(scale=30.0)
    with pytest.raises(ConvergenceError, match="polarization catastrophe"):
        solve(inputs, system, False, None, False)


def test_the_smooth_part_is_the_reciprocal_sum() -> None:
    system = crystal(N_ATOMS)
    k = k_vectors(system, CUTOFF, "sum")
    loops, torch_sum = FarInteraction(system, k, SIGMA), ReciprocalInteraction(system, k, SIGMA)
    whole = multipoles(N_ATOMS, neutral=False)
    assert float(loops.energy(whole)) == pytest.approx(float(torch_sum.energy(whole)), rel=1e-12)
    for a, b in zip(loops.potentials(whole), torch_sum.potentials(whole), strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-10)


@pytest.mark.parametrize("cutoff", [2.0, 4.0, 9.0])
@pytest.mark.parametrize(("n_atoms", "cell"), [(9, CELL), (40, 2.0 * CELL), (1, CELL)])
def test_pairs_are_those_of_brute_force_once_and_sorted(n_atoms: int, cell: np.ndarray, cutoff: float) -> None:
    positions = np.random.default_rng(2).uniform(-2.0, 3.0, (n_atoms, 3)) @ cell
    n, j, shift = pairs_once(positions, cell, cutoff)
    i, their_j, their_shift = neighbor_pairs_brute_force(positions, cell, cutoff)
    rows = {tuple(row) for row in np.column_stack([i, their_j, their_shift]).tolist()}
    found = np.column_stack([np.repeat(np.arange(n_atoms), n), j, shift]).astype(int).tolist()
    assert found == sorted(found)
    mirrored = [[b, a, *(-np.array(s)).tolist()] for a, b, *s in found]
    assert rows == {tuple(row) for row in found + mirrored}
    assert len(rows) == 2 * len(found)
