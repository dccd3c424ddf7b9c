"""The split sum by compiled loops against the plain one: energies, potentials, and every first derivative."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from spectra_app.electrostatics import Multipoles, Smearing, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics import interaction as chooser
from spectra_app.electrostatics.cluster import SplitInteraction
from spectra_app.electrostatics.far import FarInteraction
from spectra_app.electrostatics.interaction import near_pairs
from spectra_app.electrostatics.near_kernels import N_FUNCTIONS, function_table
from spectra_app.electrostatics.pair_list import near_list
from spectra_app.electrostatics.slab import SlabInteraction
from spectra_app.structure.system import System, concatenate, make_system

SIGMA, CUTOFF = 0.9, 11.0
CELL = np.array([[6.2, 0.0, 0.0], [1.1, 5.8, 0.0], [-0.7, 0.6, 6.4]])


def crystal(n_atoms: int = 9, seed: int = 0, cell: np.ndarray = CELL) -> System:
    rng = np.random.default_rng(seed)
    return make_system(rng.uniform(-1.0, 2.0, (n_atoms, 3)) @ cell, np.ones(n_atoms, dtype=int), cell)


def slab(n_atoms: int = 9, height: float = 22.0) -> System:
    """A layer of 4 A above the first two vectors of the cell."""
    normal = np.cross(CELL[0], CELL[1])
    normal /= np.linalg.norm(normal)
    positions = np.random.default_rng(0).uniform(-1.0, 2.0, (n_atoms, 3)) * [1.0, 1.0, 4.0 / 3.0]
    cell = np.stack([*CELL[:2], height * normal])
    return make_system(positions @ np.stack([*CELL[:2], normal]), np.ones(n_atoms, dtype=int), cell, slab=True)


def structures(case: str) -> System:
    """One cell, two of them, or a slab."""
    if case == "batch":
        return concatenate([crystal(), crystal(7, 1, 1.1 * CELL)])
    return slab() if case == "slab" else crystal()


def multipoles(n_atoms: int, neutral: bool = True) -> Multipoles:
    generator = torch.Generator().manual_seed(n_atoms)
    q, u, root = (
        torch.randn(n_atoms, *shape, generator=generator, dtype=torch.float64) for shape in ((), (3,), (3, 3))
    )
    quad = 0.2 * (root + root.transpose(1, 2))
    quad = quad - quad.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3).double()
    return Multipoles(q - q.mean() if neutral else q, 0.5 * u, quad)


def both(system: System, sigma: float | Smearing) -> tuple[object, object]:
    k = prepare_k_vectors(system, CUTOFF / 0.9, "sum")
    assert k is not None
    pairs = near_pairs(system, k, sigma)
    assert pairs is not None
    split = prepare_interaction(system, k, sigma, 2, pairs)
    inner = split.inner if isinstance(split, SlabInteraction) else split
    assert isinstance(inner, SplitInteraction)
    return prepare_interaction(system, k, sigma, 2), split


@pytest.fixture(autouse=True)
def _far_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "NEAR_REACH", 7.0)


@pytest.mark.parametrize("neutral", [True, False])
@pytest.mark.parametrize("given", ["q", "qu", "quQ"])
@pytest.mark.parametrize("case", ["one", "batch", "widths", "slab"])
def test_energy_and_its_gradients_are_those_of_the_plain_sum(case: str, given: str, neutral: bool) -> None:
    system = structures(case)
    n_atoms = len(system.positions)
    sigma = SIGMA if case != "widths" else Smearing((0.9, 1.3), torch.arange(n_atoms) % 2)
    found = []
    for which in (0, 1):
        r, h = system.positions.clone().requires_grad_(True), system.cell.clone().requires_grad_(True)
        m = Multipoles(*(x.clone().requires_grad_(True) for x in multipoles(n_atoms, neutral)))
        chosen = Multipoles(m.charges, m.dipoles if "u" in given else None, m.quadrupoles if "Q" in given else None)
        energy = both(system._replace(positions=r, cell=h), sigma)[which].energy(chosen)  # type: ignore[attr-defined]
        weights = torch.linspace(1.0, 2.0, len(energy), dtype=torch.float64)
        leaves = [r, h, *(x for x in chosen if x is not None)]
        found.append([energy, *torch.autograd.grad((weights * energy).sum(), leaves)])
    for plain, split in zip(*found, strict=True):
        values = _traceless(split.detach()), _traceless(plain.detach())
        assert values[0] == pytest.approx(values[1], abs=2e-6 * np.abs(values[1]).max() + 1e-7)


def _traceless(values: Tensor) -> np.ndarray:
    """Gradients by quadrupoles matter up to a multiple of the identity."""
    if values.dim() == 3 and len(values) > 2:
        values = values - values.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3).to(values)
    return values.numpy()


@pytest.mark.parametrize("case", ["one", "batch", "widths", "slab"])
def test_potentials_and_fields_are_those_of_the_plain_sum(case: str) -> None:
    system = structures(case)
    n_atoms = len(system.positions)
    sigma = SIGMA if case != "widths" else Smearing((0.9, 1.3), torch.arange(n_atoms) % 2)
    plain, split = both(system, sigma)
    whole = multipoles(n_atoms)
    expected, found = plain.permanent(whole), split.permanent(whole)  # type: ignore[attr-defined]
    again = split.potentials(whole)  # type: ignore[attr-defined]
    assert found.energy.numpy() == pytest.approx(expected.energy.numpy(), rel=2e-6)
    for values in (found[1:], again):
        assert values[0].numpy() == pytest.approx(expected.potential.numpy(), abs=1e-4)
        assert values[1].numpy() == pytest.approx(expected.field.numpy(), abs=1e-4)
    generator = torch.Generator().manual_seed(3)
    q = torch.randn(n_atoms, 4, generator=generator, dtype=torch.float64)
    u = torch.randn(n_atoms, 4, 3, generator=generator, dtype=torch.float64)
    for sources in ((q, u), (q, None), (None, u)):
        for a, b in zip(split.act(*sources), plain.act(*sources), strict=True):  # type: ignore[attr-defined]
            assert a.numpy() == pytest.approx(b.numpy(), abs=1e-4)


def test_few_vectors_are_summed_in_loops_and_a_strained_cell_is_not() -> None:
    system = crystal()
    assert isinstance(both(system, SIGMA)[1].far, FarInteraction)  # type: ignore[attr-defined]
    strained = system._replace(cell=system.cell.clone().requires_grad_(True))
    assert not isinstance(both(strained, SIGMA)[1].far, FarInteraction)  # type: ignore[attr-defined]


def test_a_list_holds_until_a_pair_could_have_come_into_reach() -> None:
    system = crystal()
    kept = near_list(system, 4.0)
    rng = np.random.default_rng(1)
    step = rng.normal(size=(9, 3))
    step /= np.linalg.norm(step, axis=1).max()
    near = system._replace(positions=system.positions + 0.45 * torch.from_numpy(step))
    assert near_list(near, 4.0, kept) is kept
    assert near_list(system._replace(positions=system.positions + 0.55 * torch.from_numpy(step)), 4.0, kept) is not kept
    assert near_list(system, 4.1, kept) is not kept
    swollen = system._replace(positions=1.05 * system.positions, cell=1.05 * system.cell)
    assert near_list(swollen, 4.0, kept) is kept
    assert near_list(swollen._replace(cell=1.3 * system.cell, positions=1.3 * system.positions), 4.0, kept) is not kept


def test_sums_do_not_depend_on_when_a_list_was_made() -> None:
    """A restart makes its list where it begins: the numbers must be the same bits."""
    system, moved = crystal(), crystal()
    moved = moved._replace(positions=moved.positions + 0.1)
    k = prepare_k_vectors(system, CUTOFF, "sum")
    whole = multipoles(9)
    energies = [
        prepare_interaction(system, k, SIGMA, 2, near_list(start, 7.0 * 1.5 * SIGMA)).energy(whole)
        for start in (system, moved)
    ]
    assert torch.equal(*energies)


def test_radial_functions_are_derivatives_of_one_another() -> None:
    table = function_table(0.9, 1.8, 6.0, 0.05, 1.0)
    r2 = 0.05 * np.arange(len(table))
    r = np.sqrt(r2[40])
    wide, narrow = (math.erf(r / (math.sqrt(2.0) * sigma)) / r for sigma in (1.8, 0.9))
    assert table[40, 0] == pytest.approx(narrow - wide, rel=1e-12)
    for n in range(N_FUNCTIONS):
        slope = (-table[42, n] + 8 * table[41, n] - 8 * table[39, n] + table[38, n]) / (12 * 0.05)
        assert slope == pytest.approx(-0.5 * table[40, n + 1], rel=1e-4)
