"""Linked cells against brute force; the padded table; the gather that has no scatter in its adjoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from spectra_app.errors import StructureError
from spectra_app.structure.neighbors import (
    SLOT_MULTIPLE,
    Neighbors,
    build_neighbors,
    gather_neighbors,
    neighbor_pairs,
    neighbor_pairs_brute_force,
    pair_vectors,
)
from spectra_app.structure.pair_loops import pair_vectors_once
from spectra_app.structure.system import System, concatenate, from_ase, make_system
from spectra_app.structure.tightening import tighten

TRICLINIC = np.array([[6.0, 0.0, 0.0], [2.1, 5.5, 0.0], [-1.7, 1.9, 5.2]])
SKEWED = np.array([[4.0, 0.0, 0.0], [3.9, 4.0, 0.0], [-3.7, 3.8, 4.0]])  # not reduced: images beyond the nearest matter
TINY = np.array([[1.9, 0.0, 0.0], [0.6, 2.1, 0.0], [0.3, -0.5, 2.0]])  # much smaller than the cutoff

CASES = {
    "open": (None, 40, 9.0, 3.0),
    "open line": (None, 12, 60.0, 4.5),
    "triclinic": (TRICLINIC, 20, 12.0, 3.5),
    "skewed": (SKEWED, 8, 8.0, 4.1),
    "tiny": (TINY, 2, 3.0, 4.5),
    "one atom": (TINY, 1, 3.0, 5.0),
    "large sparse": (TRICLINIC * 12, 15, 70.0, 6.0),
    "needle": (np.diag([2.2, 2.2, 40.0]), 12, 40.0, 3.0),
}


def as_set(pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> set[tuple[int, ...]]:
    i, j, shift = pairs
    rows = {(int(a), int(b), *map(int, s)) for a, b, s in zip(i, j, shift, strict=True)}
    assert len(rows) == len(i)  # nothing twice
    return rows


@pytest.mark.parametrize("case", CASES)
def test_linked_cells_equal_brute_force(case: str, rng: np.random.Generator) -> None:
    cell, n_atoms, spread, cutoff = CASES[case]
    for _ in range(3):
        # Far outside the cell as well: positions of molecular dynamics are unwrapped.
        positions = rng.uniform(-spread, spread, size=(n_atoms, 3))
        assert as_set(neighbor_pairs(positions, cell, cutoff)) == as_set(
            neighbor_pairs_brute_force(positions, cell, cutoff)
        )


def test_coordination_numbers_of_rock_salt() -> None:
    # Shells at a/2, a/sqrt2, a sqrt3/2: 6, 12 and 8 neighbours (Kittel); 2 atoms in the primitive cell.
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    for factor, count in [(0.55, 6), (0.75, 18), (0.9, 26)]:
        i, _, _ = neighbor_pairs(atoms.positions, atoms.cell.array, factor * 5.64)
        assert np.bincount(i).tolist() == [count, count]


def test_atom_on_the_face_of_the_cell_is_found_once() -> None:
    # Fractional coordinate -1e-17 wraps to exactly 1.0 in floating point.
    positions = np.array([[-1e-17, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 3.0, 3.0]])
    cell = np.eye(3) * 6.0
    assert as_set(neighbor_pairs(positions, cell, 1.5)) == {(0, 1, 0, 0, 0), (1, 0, 0, 0, 0)}


def test_cell_too_flat_for_the_cutoff_is_refused() -> None:
    with pytest.raises(StructureError, match=r"heights.*Repeat the cell, or check its unit"):
        neighbor_pairs(np.zeros((1, 3)), np.diag([0.2, 0.2, 8.0]), 5.0)


def test_lattice_vector_as_long_as_the_cutoff(rng: np.random.Generator) -> None:
    # |r_ij| = cutoff up to the last bit: rounding may find such a pair from one end only, the table must not.
    for _ in range(20):
        system = make_system(rng.uniform(0, 4, size=(3, 3)), np.ones(3), np.diag([4.0, 4.6, 4.2]))
        table = build_neighbors(system, 4.0)
        assert torch.equal(table.reverse[table.reverse], torch.arange(table.other.numel()))


def batch_of_all_kinds() -> System:
    salt = bulk("NaCl", "rocksalt", a=5.64)
    salt.rattle(0.1, seed=4)
    tilted = Atoms("HOF", positions=[[0, 0, 0], [1.4, 0.2, 8.0], [-9, 0.4, 2.0]], cell=TRICLINIC, pbc=True)
    return concatenate([from_ase(molecule("H2O")), from_ase(salt), from_ase(tilted), from_ase(Atoms("He"))])


def test_tightened_table_is_the_one_built_with_the_smaller_cutoff() -> None:
    system = batch_of_all_kinds()
    wide = build_neighbors(system, 4.6)
    moved = system._replace(positions=system.positions + 0.05 * torch.sin(37.0 * system.positions))
    tight, expected = tighten(wide, moved, 4.0), build_neighbors(moved, 4.0)
    assert tight.other.shape == expected.other.shape
    order, same = (torch.argsort(torch.where(t.mask, lengths(moved, t), torch.inf), dim=1) for t in (tight, expected))
    assert torch.equal(tight.mask.sum(1), expected.mask.sum(1))
    mine, theirs = lengths(moved, tight).gather(1, order), lengths(moved, expected).gather(1, same)
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-13)
    vectors = pair_vectors(moved, tight, 4.0)
    backward = vectors.reshape(-1, 3)[tight.reverse].reshape(vectors.shape)
    np.testing.assert_allclose(backward[tight.mask].numpy(), -vectors[tight.mask].numpy(), atol=1e-13)
    assert torch.equal(tight.reverse[tight.reverse], torch.arange(tight.other.numel()))


def lengths(system: System, table: Neighbors) -> torch.Tensor:
    return pair_vectors(system, table, 4.0).norm(dim=-1)


def test_table_is_symmetric_and_complete() -> None:
    system = batch_of_all_kinds()
    table = build_neighbors(system, 4.0)
    n_atoms, n_slots = table.other.shape
    assert n_slots % SLOT_MULTIPLE == 0
    vectors = pair_vectors(system, table, 4.0)
    length = vectors.norm(dim=-1)
    assert (length[table.mask] < 4.0).all()
    assert not table.mask[-1].any()  # the lone atom
    assert torch.equal(
        system.batch[table.other], system.batch[:, None].expand_as(table.other)
    )  # no pair across structures
    # The reversed slot holds the opposite vector, and reversing twice is doing nothing.
    reverse = table.reverse
    assert torch.equal(reverse[reverse], torch.arange(n_atoms * n_slots))
    mask = table.mask.reshape(-1)
    torch.testing.assert_close(vectors.reshape(-1, 3)[reverse][mask], -vectors.reshape(-1, 3)[mask])
    # Count per structure as brute force.
    start = 0
    for structure, size in enumerate(system.sizes):
        part = system.positions[start : start + size].numpy()
        cell = system.cell[structure].numpy() if system.periodic[structure] else None
        assert int(table.mask[start : start + size].sum()) == len(neighbor_pairs_brute_force(part, cell, 4.0)[0])
        start += size


def test_empty_slots_are_harmless() -> None:
    system = make_system(np.zeros((1, 3)), np.array([2]))
    table = build_neighbors(system, 3.0)
    assert not table.mask.any()
    np.testing.assert_array_equal(pair_vectors(system, table, 3.0)[0, 0].numpy(), [3.0, 0.0, 0.0])


def test_skin_table_stays_complete_while_atoms_move(rng: np.random.Generator) -> None:
    positions = rng.uniform(0, 6, size=(12, 3))
    table = build_neighbors(make_system(positions, np.ones(12), TRICLINIC), 3.0 + 0.6)
    direction = rng.normal(size=(12, 3))
    moved = positions + 0.29 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    length = pair_vectors(make_system(moved, np.ones(12), TRICLINIC), table, 9.0).norm(dim=-1)
    assert int((length < 3.0).sum()) == len(neighbor_pairs_brute_force(moved, TRICLINIC, 3.0)[0])


@pytest.mark.parametrize("tail", [(), (3,)])
def test_gather_is_differentiable_twice(tail: tuple[int, ...], rng: np.random.Generator) -> None:
    system = batch_of_all_kinds()
    table = build_neighbors(system, 2.5)
    values = torch.from_numpy(rng.normal(size=(len(system.numbers), *tail))).requires_grad_()
    gathered = gather_neighbors(values, table)
    assert torch.equal(gathered, values[table.other])
    # Without empty slots: their gradient is dropped by the callers' cutoff factor, not by the gather.
    weight = table.mask.double().reshape(*table.mask.shape, *(1 for _ in tail))

    def weighed(v: torch.Tensor) -> torch.Tensor:
        return gather_neighbors(v, table) ** 3 * weight

    assert torch.autograd.gradcheck(weighed, (values,))
    assert torch.autograd.gradgradcheck(weighed, (values,))


def test_pair_vectors_carry_the_strain_derivative() -> None:
    # d/d(strain) of sum |r_ij|^2 / 2 under r -> r (1 + e), cell -> cell (1 + e) is sum r_a r_b.
    system = batch_of_all_kinds()
    table = build_neighbors(system, 3.0)
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    stretch = torch.eye(3, dtype=torch.float64) + strain
    moved = system._replace(positions=system.positions @ stretch, cell=system.cell @ stretch)
    vectors = pair_vectors(moved, table, 1.0)[table.mask]
    (gradient,) = torch.autograd.grad(0.5 * vectors.square().sum(), strain)
    still = pair_vectors(system, table, 1.0)[table.mask]
    torch.testing.assert_close(gradient, still.T @ still)


def test_compiled_pair_vectors_and_their_derivative_are_those_of_the_reference() -> None:
    rng = np.random.default_rng(4)
    cell = np.array([[5.0, 0.0, 0.0], [1.2, 4.6, 0.0], [-0.7, 0.5, 5.3]])
    crystal = make_system(rng.uniform(-1.0, 2.0, (7, 3)) @ cell, np.ones(7, int), cell)
    cluster = make_system(rng.uniform(0.0, 3.0, (4, 3)), np.ones(4, int))
    system = concatenate([crystal, cluster])
    neighbors = build_neighbors(system, 3.5)
    found = []
    for way in (pair_vectors, pair_vectors_once):
        leaves = [x.clone().requires_grad_(True) for x in (system.positions, system.cell)]
        vectors = way(system._replace(positions=leaves[0], cell=leaves[1]), neighbors, 3.5)
        weights = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        weights = weights * neighbors.mask[..., None]
        found.append([vectors, *torch.autograd.grad((weights * vectors).sum(), leaves)])
    for a, b in zip(*found, strict=True):
        assert b.detach().numpy() == pytest.approx(a.detach().numpy(), abs=1e-12)
