"""Farthest-point selection: invariant descriptions, and picks that a slow search makes too."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from spectra_app.labels.selection import CUTOFF_A, N_NEAREST, describe, farthest_points


def test_values_are_those_of_a_count_by_hand():
    atoms = molecule("H2O")  # O, H, H
    found = describe([atoms]).values.reshape(3, 2, N_NEAREST)  # elements H, O
    d = atoms.get_all_distances()
    near = lambda r: 1.0 / r - 1.0 / CUTOFF_A  # noqa: E731
    np.testing.assert_allclose(found[0, 0, :2], near(d[0, 1:]))
    assert not found[0, 0, 2:].any()
    assert not found[0, 1].any()
    np.testing.assert_allclose(found[1, 0, 0], near(d[1, 2]))
    np.testing.assert_allclose(found[1, 1, 0], near(d[0, 1]))


@pytest.mark.parametrize("kind", ["molecule", "crystal", "slab"])
def test_turning_shifting_numbering_change_nothing(rotation, kind, rng):
    atoms = {
        "molecule": molecule("CH3CH2OH"),
        "crystal": bulk("NaCl", "rocksalt", a=5.0).repeat((2, 1, 1)),
        "slab": fcc111("Cu", (2, 2, 2), vacuum=1.0),  # images along the normal would be within the cutoff
    }[kind]
    atoms.positions += 0.1 * rng.normal(size=atoms.positions.shape)
    turn, order = rotation.numpy(), rng.permutation(len(atoms))
    other = atoms[order]
    other.positions = other.positions @ turn.T + [1.0, -2.0, 0.5]
    other.set_cell(atoms.cell.array @ turn.T)
    np.testing.assert_allclose(describe([other]).values, describe([atoms]).values[order], atol=1e-9)
    if kind == "crystal":
        other = atoms.copy()
        other.positions[0] += atoms.cell.array[1] - 2 * atoms.cell.array[0]
        np.testing.assert_allclose(describe([other]).values, describe([atoms]).values, atol=1e-9)
    if kind == "slab":
        thick = atoms.copy()
        thick.cell[2] *= 5.0
        np.testing.assert_allclose(describe([thick]).values, describe([atoms]).values, atol=1e-9)


def slow(environments, count):
    picked = []
    frames = np.unique(environments.frame)

    def distance(frame, others):
        worst = 0.0
        for atom in np.flatnonzero(environments.frame == frame):
            kin = environments.species == environments.species[atom]
            if others is None:
                centre = environments.values[kin].mean(axis=0)
                worst = max(worst, np.linalg.norm(environments.values[atom] - centre))
                continue
            rows = np.flatnonzero(kin & np.isin(environments.frame, others))
            worst = max(worst, min(np.linalg.norm(environments.values[atom] - environments.values[b]) for b in rows))
        return worst

    while len(picked) < count:
        scores = [-1.0 if f in picked else distance(f, picked or None) for f in frames]
        picked.append(int(np.argmax(scores)))
    return picked


def test_picks_are_those_of_a_slow_search(rng):
    frames = []
    for _ in range(12):
        atoms = molecule("CH3OH")
        atoms.positions += 0.15 * rng.normal(size=atoms.positions.shape)
        frames.append(atoms)
    found = describe(frames)
    assert farthest_points(found, 6) == slow(found, 6)


def test_near_duplicates_come_last_and_copies_never(rng):
    different = [molecule(name) for name in ("H2O", "H2O2")]
    stretched = [Atoms("OH", [[0, 0, 0], [0, 0, r]]) for r in (0.9, 0.97, 1.1, 1.4)]
    frames = [*stretched, *different]
    crowd = [atoms.copy() for atoms in frames for _ in range(5)]
    for atoms in crowd:
        atoms.positions += 1e-3 * rng.normal(size=atoms.positions.shape)
    picked = farthest_points(describe([*frames, *crowd]), len(frames))
    kinds = [p if p < len(frames) else (p - len(frames)) // 5 for p in picked]
    assert sorted(kinds) == list(range(len(frames)))
    assert len(farthest_points(describe([*different, *different]), 4)) == 2  # the same again is no other structure


def test_what_is_known_already_is_not_picked():
    frames = [Atoms("OH", [[0, 0, 0], [0, 0, r]]) for r in (0.9, 1.0, 1.5)]
    found = describe(frames)
    known = np.array([0.01, 0.01, 0.3, 0.3, 0.01, 0.01])
    assert farthest_points(found, 3, start=known, least=0.1) == [1]
