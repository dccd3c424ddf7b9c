"""Covalent fragments of the training frames: may the charge of every element start from, and stay at, zero?

In the charge-conserving variants q_i = z_Z + sum_j p_ij with p_ij between neighbours only.  Where every molecule is
neutral, z = 0 says so from the start: charge only moves from atom to atom.  Learned, z drifts instead to values that
give CH2 or CO groups a net charge, which energies and forces of a molecule hardly notice (its atoms see each other
through the network as well) but its dipole does: on dipeptides the groups of a chain came out with 0.1 e each.
Ions need z: a chloride ion in water has no neighbour to take its charge from.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import gcd

import numpy as np
from ase.data import covalent_radii
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from spectra_app.neighbors import neighbor_pairs
from spectra_app.training.dataset import Frame

_BOND = 1.3  # of the sum of covalent radii; a hydrogen bond is at 1.9
_MOST_FRAMES = 100
_ENOUGH = 0.9  # of the frames: a bond stretched beyond recognition in a few must not decide


def fragments(frame: Frame) -> np.ndarray:
    """Number of the covalent fragment of each atom [atom]; images of the cell belong together."""
    radii = covalent_radii[frame.atoms.numbers]
    cell = frame.atoms.cell.array if frame.atoms.pbc.all() else None
    i, j, shift = neighbor_pairs(frame.atoms.positions, cell, _BOND * 2.0 * float(radii.max()))
    vectors = frame.atoms.positions[j] - frame.atoms.positions[i] + (0.0 if cell is None else shift @ cell)
    bonded = np.linalg.norm(vectors, axis=1) < _BOND * (radii[i] + radii[j])
    n_atoms = len(radii)
    graph = coo_matrix((np.ones(int(bonded.sum())), (i[bonded], j[bonded])), shape=(n_atoms, n_atoms))
    return connected_components(graph, directed=False)[1]


def all_fragments_neutral(frames: Sequence[Frame]) -> bool:
    """Whether composition alone proves every covalent fragment neutral.

    It does where a structure carries no charge and all its fragments have one empirical formula (H2O, or H4O2 where a
    proton is shared): a molecule, a crystal network, a pure liquid.  It does not in a salt solution or a mixture.  Nine
    frames in ten have to say so.

    Args:
        frames: labelled structures; at most 100, evenly spread, are looked at.
    """
    places = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MOST_FRAMES)).astype(int))
    return float(np.mean([_neutral(frames[place]) for place in places])) >= _ENOUGH


def _neutral(frame: Frame) -> bool:
    if frame.atoms.info.get("charge", 0.0) != 0.0:
        return False
    kinds, species = np.unique(frame.atoms.numbers, return_inverse=True)
    labels = fragments(frame)
    counts = np.zeros((labels.max() + 1, len(kinds)), dtype=int)
    np.add.at(counts, (labels, species), 1)
    formulas = {tuple(int(n) // reduce(gcd, (int(m) for m in row)) for n in row) for row in counts}
    return len(formulas) == 1
