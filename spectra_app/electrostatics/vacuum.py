"""Which way to sum a structure in a cell that is mostly vacuum, so that it costs what its atoms cost.

The vectors of the plain sum grow with the volume, whatever is in it.  Two ways make vacuum free of charge:

- a cluster, with vacuum on all sides: its own pairs directly, the rest smoothly (``cluster``);
- a layer, with vacuum along one cell vector: a shorter cell and the exact difference of the two (``layer``).

Both are as exact as the plain sum: with x = sigma k_c, the reach of its kernel in Fourier space, the wide kernel of a
cluster falls by exp(-x^2/2) across the vacuum, and so do the lateral waves of a layer.  The choice is a function of the
structure alone, in steps (widths by a factor of 2^(1/4), heights by 1/32), so that it stays while atoms move, and a run
that is continued makes the same one as a run that went on.  Everything here happens on the host; on a GPU, where
positions would have to be read back, the plain sum is used throughout.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from spectra_app.electrostatics.lattice import KVectors, expected_count
from spectra_app.electrostatics.mesh import MESH_ATOMS, mesh_available
from spectra_app.electrostatics.smearing import Smearing, narrowest, widest
from spectra_app.structure.loops import may_use_loops
from spectra_app.structure.system import System

# Costs in units of one atom x vector of the plain sum (15 ns, energy and gradient of all multipoles, one thread).
_PER_VECTOR = 15.0  # besides the atoms
_PER_PAIR = 40.0  # of a cluster: two kernels
_MORE_STEPS = 2.0**17  # of Python, in either way
_MOST_PAIRS = 2.0**22  # of a cluster: they are held in memory
_DENSE_A3 = 15.0  # volume per atom below which there is no vacuum worth a look: 1.5 times that of water

_WIDTH_STEPS = 4  # to a factor of 2
_HEIGHT_STEPS = 32  # to the whole height
_LOWEST_GAIN = 0.75  # of the height: a layer is not worth less


class Way(NamedTuple):
    """How a structure is summed.

    Attributes:
        kind: ``"open"``: directly; ``"plain"``: over all its reciprocal vectors; ``"cluster"`` and ``"layer"``: see
            above; ``"slab"``: as a layer, of a structure that is a slab anyway.
        size: width of a cluster's wide kernel, A; height of a layer's cell in units of that which it has.
        axis: cell vector along which a layer has its vacuum.
    """

    kind: Literal["open", "plain", "cluster", "layer", "slab"]
    size: float = 0.0
    axis: int = 2


class _Room(NamedTuple):
    """Vacuum of one structure.

    Attributes:
        fraction: [vector], widest gap between atoms and their images along each cell vector, in units of the vector.
        height_A: [vector], A, distance between the faces of the cell.
        shifts: [atom, vector], cell vectors that bring all atoms between the middles of the same gaps.
    """

    fraction: np.ndarray
    height_A: np.ndarray
    shifts: np.ndarray


def choose_ways(system: System, k: KVectors, sigma: float | Smearing) -> tuple[list[Way], np.ndarray | None]:
    """The way to sum every structure of a batch.

    Args:
        system: the structures.
        k: reciprocal vectors of the plain sum.
        sigma: smearing, A, of all atoms or by classes.

    Returns:
        one way for each structure; cell shifts [atom, vector] that make clusters and layers compact, None where there
        are none.
    """
    ways = [Way("plain") if periodic else Way("open") for periodic in k.periodic]
    if k.method != "auto" or not may_use_loops(k.device):
        return ways, None
    slabs = [False] * len(ways) if system.slab is None else system.slab.tolist()
    shifts: np.ndarray | None = None
    end = 0
    for s, n_atoms in enumerate(system.sizes):
        start, end = end, end + n_atoms
        volume = float(k.volumes[s])
        if _reciprocal_cost(n_atoms, k.count(s)) < 2.0 * _MORE_STEPS or volume < _DENSE_A3 * n_atoms:
            continue
        positions = system.positions[start:end].detach().double().numpy()
        if not np.isfinite(positions).all():
            continue  # a run that went wrong says so by its energy
        room = _room(positions, k.cells[s], slabs[s])
        ways[s] = _cheapest(room, k, s, n_atoms, narrowest(sigma) * k.cutoff, widest(sigma), slabs[s])
        if ways[s].kind != "plain":
            shifts = np.zeros((len(system.positions), 3)) if shifts is None else shifts
            shifts[start:end] = room.shifts
    return ways, shifts


def _reciprocal_cost(n_atoms: int, n_vectors: float) -> float:
    most = MESH_ATOMS if mesh_available() else math.inf
    return n_vectors * (min(n_atoms, most) + _PER_VECTOR)


def _cheapest(room: _Room, k: KVectors, structure: int, n_atoms: int, reach: float, widest_A: float, slab: bool) -> Way:
    """The way with the lowest estimated cost; ``reach`` is sigma k_c, without unit."""
    n_vectors = k.count(structure)
    best, least = Way("plain"), _reciprocal_cost(n_atoms, n_vectors) - _MORE_STEPS
    distance = room.fraction * room.height_A  # at least as far are the images along each vector
    if float(distance.min()) > widest_A * reach and n_atoms**2 <= _MOST_PAIRS:
        wide = 2.0 ** (math.floor(_WIDTH_STEPS * math.log2(float(distance.min()) / reach)) / _WIDTH_STEPS)
        n_wide = expected_count(float(k.volumes[structure]), reach / wide)
        cost = _PER_PAIR * n_atoms**2 + _reciprocal_cost(n_atoms, n_wide)
        if cost < least and wide >= widest_A:
            best, least = Way("cluster", wide), cost
    axis = 2 if slab else int(distance.argmax())
    vacuum = max(reach * widest_A, _lateral_spacing(k.cells[structure], axis) * reach**2 / (4.0 * math.pi))
    share = 1.0 - room.fraction[axis] + vacuum / room.height_A[axis]
    share = math.ceil(_HEIGHT_STEPS * float(share)) / _HEIGHT_STEPS
    if room.fraction[axis] > 0.0 and share <= _LOWEST_GAIN:
        cost = _reciprocal_cost(n_atoms, share * n_vectors)
        if cost < least:
            best = Way("slab" if slab else "layer", share, axis)
    return best


def _room(positions: np.ndarray, cell: np.ndarray, slab: bool) -> _Room:
    """Atoms of a slab keep their places along the third vector, which is not periodic."""
    inverse = np.linalg.inv(cell)
    fractional = positions @ inverse
    inside = fractional - np.floor(fractional)
    if slab:
        inside[:, 2] = fractional[:, 2]
    inside = np.sort(inside, axis=0)
    between = np.diff(inside, axis=0, append=inside[:1] + 1.0)
    place, axes = between.argmax(axis=0), np.arange(3)
    if slab:
        place[2] = -1
    fraction = between[place, axes]
    shifts = -np.floor(fractional - inside[place, axes] - 0.5 * fraction)
    if slab:
        shifts[:, 2] = 0.0
    return _Room(fraction, 1.0 / np.linalg.norm(inverse, axis=0), shifts)


def _lateral_spacing(cell: np.ndarray, axis: int) -> float:
    """2 pi/G, A, G the shortest reciprocal vector of the lattice of the other two cell vectors."""
    lateral = cell[[(axis + 1) % 3, (axis + 2) % 3]]
    metric = np.linalg.inv(lateral @ lateral.T)
    steps = np.stack(np.meshgrid(np.arange(-3, 4), np.arange(-3, 4), indexing="ij"), axis=-1).reshape(-1, 2)
    squares = np.einsum("ni,ij,nj->n", steps, metric, steps)
    return 1.0 / math.sqrt(float(squares[squares > 0.0].min()))
