"""Which atoms are bonded to which, from distances and covalent radii, once at the start of a run.

Two atoms are bonded where they are closer than ``BOND_FACTOR`` times the sum of their covalent radii (Cordero et al.,
Dalton Trans. 2008, 2832, DOI 10.1039/b801115j): 1.26 A for O-H, while the shortest hydrogen bonds begin at 1.4 A.
Alkali and alkaline-earth metals are ions and bond to nothing: their radii reach over the first shell of water.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from ase.data import covalent_radii
from ase.formula import Formula
from ase.symbols import symbols2numbers

from spectra_app.structure.neighbors import neighbor_pairs

BOND_FACTOR = 1.3
_IONS = frozenset(symbols2numbers("LiNaKRbCsFrBeMgCaSrBaRa"))


class Molecules(NamedTuple):
    """Groups of bonded atoms.

    Attributes:
        number: [atom], number of its molecule, rising with the molecules' first atoms.
        shift: [atom, vector], integer S with which the positions r + S cell make every molecule whole.
        endless: whether a molecule is bonded to its own image: a network or chain through the whole cell.
    """

    number: np.ndarray
    shift: np.ndarray
    endless: bool


def find_molecules(positions_A: np.ndarray, numbers: np.ndarray, cell_A: np.ndarray | None) -> Molecules:
    """Groups of atoms that bonds connect, across the faces of the cell too.

    Args:
        positions_A: [atom, xyz], A; wrapped or not.
        numbers: [atom], atomic numbers.
        cell_A: [vector, xyz], A; None for an open structure.
    """
    radius = np.where(np.isin(numbers, list(_IONS)), 0.0, covalent_radii[numbers])
    reach = 2.0 * BOND_FACTOR * float(radius.max())
    bonds: defaultdict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    if reach > 0.0:
        i, j, image = neighbor_pairs(positions_A, cell_A, reach)
        vectors = positions_A[j] - positions_A[i] + (0.0 if cell_A is None else image @ cell_A)
        near = np.linalg.norm(vectors, axis=1) < BOND_FACTOR * (radius[i] + radius[j])
        for first, second, step in zip(i[near].tolist(), j[near].tolist(), image[near], strict=True):
            bonds[first].append((second, step))
    number = np.full(len(numbers), -1, dtype=np.int64)
    shift = np.zeros((len(numbers), 3), dtype=np.int64)
    endless, n_molecules = False, 0
    for seed in range(len(numbers)):
        if number[seed] >= 0:
            continue
        number[seed], waiting = n_molecules, [seed]
        while waiting:
            atom = waiting.pop()
            for other, step in bonds[atom]:
                place = shift[atom] + step
                if number[other] < 0:
                    number[other], shift[other] = n_molecules, place
                    waiting.append(other)
                else:
                    endless = endless or bool((shift[other] != place).any())
        n_molecules += 1
    return Molecules(number, shift, endless)


def formula_of(symbols: list[str]) -> str:
    """Formula in the order of Hill, e.g. ``H2O``, ``C2H6O``, ``Na``."""
    return str(Formula.from_list(symbols).format("hill"))
