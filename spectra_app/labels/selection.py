"""The most different of many structures: farthest-point selection by the environments of their atoms.

An atom is described by how near its nearest neighbours are: of every element the ``N_NEAREST`` largest values of
1/r - 1/r_c, sorted, 1/A (zero where there are fewer within r_c).  The description does not change when a structure is
turned, shifted or its atoms are numbered otherwise, and a bond weighs more than a distant neighbour.  A structure is
as far from others as that atom of it is which is farthest from every atom of its element in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from spectra_app.structure.neighbors import neighbor_pairs

CUTOFF_A = 5.0
N_NEAREST = 8  # of every element
SAME = 1e-6  # 1/A; nearer ones are the same structure, turned or shifted


@dataclass(frozen=True)
class Surroundings:
    """Atoms of many structures, described.

    Attributes:
        values: [atom, column].
        species: [atom], atomic number.
        frame: [atom], number of the structure, ascending.
    """

    values: np.ndarray
    species: np.ndarray
    frame: np.ndarray


def describe(structures: Sequence[Atoms]) -> Surroundings:
    """Every atom of structures by its nearest neighbours; see the module.

    Args:
        structures: open, periodic, or both.
    """
    elements = np.unique(np.concatenate([atoms.numbers for atoms in structures]))
    values = np.concatenate([_nearness(atoms, elements) for atoms in structures])
    species = np.concatenate([atoms.numbers for atoms in structures])
    return Surroundings(values, species, np.repeat(np.arange(len(structures)), [len(atoms) for atoms in structures]))


def _nearness(atoms: Atoms, elements: np.ndarray) -> np.ndarray:
    """[atom, element and rank], 1/A, of one structure."""
    cell = _cell(atoms)
    i, j, shift = neighbor_pairs(atoms.positions, cell, CUTOFF_A)
    vectors = atoms.positions[j] - atoms.positions[i] + (0.0 if cell is None else shift @ cell)
    near = 1.0 / np.linalg.norm(vectors, axis=1) - 1.0 / CUTOFF_A
    found = np.zeros((len(atoms), len(elements), N_NEAREST))
    for place, element in enumerate(elements):
        of_it = atoms.numbers[j] == element
        order = np.lexsort((-near[of_it], i[of_it]))
        first, values = i[of_it][order], near[of_it][order]
        rank = np.arange(len(first)) - np.searchsorted(first, first)
        kept = rank < N_NEAREST
        found[first[kept], place, rank[kept]] = values[kept]
    return found.reshape(len(atoms), -1)


def _cell(atoms: Atoms) -> np.ndarray | None:
    """Cell vectors [vector, xyz], A, open directions so long that no image is within the cutoff; None: open."""
    if not atoms.pbc.any():
        return None
    cell = atoms.cell.complete().array.copy()
    along = cell[atoms.pbc]
    for axis in np.flatnonzero(~atoms.pbc):
        normal = np.linalg.svd(along)[2][len(along)]  # perpendicular to those that are settled
        extent = float(np.ptp(atoms.positions @ normal))
        cell[axis] = normal * (extent + 2.0 * CUTOFF_A)
        along = np.concatenate([along, cell[axis][None]])
    return cell


def farthest_points(
    environments: Surroundings, count: int, start: np.ndarray | None = None, least: float = SAME
) -> list[int]:
    """Numbers of the most different structures, in the order in which they were picked.

    Each is the one that is farthest from those picked before; the first one is farthest from the mean of all.

    Args:
        environments: of all structures.
        count: how many, at most.
        start: [atom], how far every atom is from what is known without any pick; None: from the mean of its element,
            for the first pick alone.
        least: nothing nearer than this is picked.
    """
    frames = environments.frame
    of_element = [np.flatnonzero(environments.species == z) for z in np.unique(environments.species)]
    squares = np.einsum("ac,ac->a", environments.values, environments.values)
    away = np.full(len(frames), np.inf)
    if start is not None:
        away = start.astype(float).copy()
    picked: list[int] = []
    n_frames = int(frames.max()) + 1
    while len(picked) < min(count, n_frames):
        if start is None and not picked:
            distances = np.concatenate([_from_mean(environments.values[here]) for here in of_element])
            lengths = np.empty(len(frames))
            lengths[np.concatenate(of_element)] = distances
        else:
            lengths = away
        by_frame = np.zeros(n_frames)
        np.maximum.at(by_frame, frames, lengths)
        best = int(by_frame.argmax())
        if (picked or start is not None) and by_frame[best] <= least:
            break
        picked.append(best)
        for here in of_element:
            new = here[frames[here] == best]
            if len(new) == 0:
                continue
            # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b: one matrix product instead of all differences.
            product = environments.values[here] @ environments.values[new].T
            nearest = (squares[new][None] - 2.0 * product).min(axis=1) + squares[here]
            away[here] = np.minimum(away[here], np.sqrt(np.maximum(nearest, 0.0)))
        away[frames == best] = 0.0
    return picked


def _from_mean(values: np.ndarray) -> np.ndarray:
    return np.linalg.norm(values - values.mean(axis=0), axis=1)
