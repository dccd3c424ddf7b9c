"""Are the positions in A?  Distances to nearest neighbours over covalent radii tell it without any model.

In matter the distance of an atom to its nearest neighbour is about the sum of their covalent radii (Cordero et al.,
Dalton Trans. 2008, 2832, DOI 10.1039/b801115j).  A ratio of 1.9 means bohr read as A, 0.53 the reverse, 0.1 nm.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from spectra_app.errors import StructureError
from spectra_app.structure.neighbors import neighbor_pairs

REACH_A = 6.0  # neighbours are looked for up to here
LEAST_RATIO = 0.70  # median over atoms of nearest distance over covalent radii; 0.76 of a triple bond, N2
LARGEST_RATIO = 1.55  # likewise; ions reach 1.5
CLASH_RATIO = 0.50  # of one pair: no bond, however hot, is as short
_MOST_FREE = 2  # so few atoms may stand as far apart as they like
_NOBLE = (2, 10, 18, 36, 54, 86)  # atoms of noble gases are further apart: 1.8 in liquid argon


class ClosestPair(NamedTuple):
    """Two atoms that are closest in units of their covalent radii.

    Attributes:
        atoms: their indices.
        symbols: their elements.
        distance_A: A.
        ratio: distance over the sum of their covalent radii.
        through_face: whether they meet only through a face of the cell.
    """

    atoms: tuple[int, int]
    symbols: tuple[str, str]
    distance_A: float
    ratio: float
    through_face: bool

    def __str__(self) -> str:
        (i, j), (a, b) = self.atoms, self.symbols
        where = " through a face of the cell" if self.through_face else ""
        return f"atoms {i} ({a}) and {j} ({b}), {self.distance_A:.3f} A apart{where}"


class NearestNeighbors(NamedTuple):
    """Nearest neighbours of all atoms.

    Attributes:
        ratio: [atom], distance to the nearest neighbour over the sum of covalent radii; inf where there is none.
        closest: the pair of the smallest ratio; None where no atom has a neighbour.
    """

    ratio: np.ndarray
    closest: ClosestPair | None


def nearest_neighbors(
    positions: np.ndarray, numbers: np.ndarray, cell: np.ndarray | None, reach_A: float = REACH_A
) -> NearestNeighbors:
    """Nearest neighbours in units of covalent radii.

    Args:
        positions: [atom, xyz], A.
        numbers: [atom], atomic numbers.
        cell: [vector, xyz], A; None for an open structure.
        reach_A: neighbours further away are not seen.

    Raises:
        StructureError: a cell so flat that its images cannot be searched.
    """
    best = np.full(len(positions), np.inf)
    i, j, shift = neighbor_pairs(positions, cell, reach_A)
    if len(i) == 0:
        return NearestNeighbors(best, None)
    vectors = positions[j] - positions[i] + (0.0 if cell is None else shift @ cell)
    distance = np.linalg.norm(vectors, axis=1)
    ratio = distance / (covalent_radii[numbers[i]] + covalent_radii[numbers[j]])
    np.minimum.at(best, i, ratio)
    nearest = int(ratio.argmin())
    first, second = sorted((int(i[nearest]), int(j[nearest])))
    symbols = chemical_symbols[int(numbers[first])], chemical_symbols[int(numbers[second])]
    across = bool(np.any(shift[nearest] != 0))
    pair = ClosestPair((first, second), symbols, float(distance[nearest]), float(ratio[nearest]), across)
    return NearestNeighbors(best, pair)


def median_ratio(ratio: np.ndarray) -> float | None:
    """Median of the ratios [atom] of the atoms that have a neighbour; None where none has."""
    finite = ratio[np.isfinite(ratio)]
    return float(np.median(finite)) if len(finite) else None


def check_distances(
    positions: np.ndarray, numbers: np.ndarray, cell: np.ndarray | None, name: str, stretched: bool = True
) -> None:
    """Refuse a structure whose lengths are not in A, or in which two atoms clash.

    Args:
        positions: [atom, xyz], A.
        numbers: [atom], atomic numbers.
        cell: [vector, xyz], A (of a slab with its vacuum); None for an open structure.
        name: how the structure is called in the error.
        stretched: also refuse atoms that are too far apart; noble gases and pairs of atoms are never.

    Raises:
        StructureError: names the closest pair, its distance, and the likely unit.
    """
    found = nearest_neighbors(positions, numbers, cell)
    closest, median = found.closest, median_ratio(found.ratio)
    if closest is None or median is None:
        return
    everywhere = f"nearest neighbours at {median:.2f} times the sum of covalent radii"
    if median < LEAST_RATIO:
        raise StructureError(
            f"{name}, {closest}",
            got=everywhere,
            wanted="about 1 for positions in A",
            todo="At 0.53 lengths in A were taken for bohr and converted, at 0.1 they are in nm: convert positions and "
            "cell to A",
        )
    if closest.ratio < CLASH_RATIO:
        todo = "Check that no atom is there twice"
        if closest.through_face:
            todo = "Check the cell: its unit (A, not bohr or nm) and its vectors"
        raise StructureError(
            f"{name}, {closest}",
            got=f"{closest.ratio:.2f} of the sum of their covalent radii",
            wanted=f"at least {CLASH_RATIO:g}",
            todo=todo,
        )
    usual = np.isfinite(found.ratio) & ~np.isin(numbers, _NOBLE)
    median = median_ratio(found.ratio[usual])
    if stretched and median is not None and usual.sum() > _MOST_FREE and median > LARGEST_RATIO:
        raise StructureError(
            f"{name}, {closest}",
            got=f"nearest neighbours at {median:.2f} times the sum of covalent radii",
            wanted="about 1 for positions in A",
            todo="Bohr read as A gives 1.9: convert positions and cell to A",
        )
