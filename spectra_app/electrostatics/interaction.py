"""The Coulomb interaction of a batch as one linear operator: multipoles in, potential and field at the atoms out.

Open structures are summed directly, periodic ones over reciprocal vectors, or, where they are mostly vacuum, in a way
that does not pay for it (``vacuum``); a slab gets its dipole correction on top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics.cluster import SplitInteraction, compacted
from spectra_app.electrostatics.direct import DirectInteraction
from spectra_app.electrostatics.far import FarInteraction
from spectra_app.electrostatics.lattice import EwaldMethod, KVectors, k_vectors
from spectra_app.electrostatics.layer import layer_interaction, shortened
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.near import NearInteraction
from spectra_app.electrostatics.pair_list import NearList, near_list
from spectra_app.electrostatics.protocol import Interaction
from spectra_app.electrostatics.reciprocal import ReciprocalInteraction
from spectra_app.electrostatics.slab import SlabInteraction
from spectra_app.electrostatics.smearing import Smearing, narrowest, of_atoms, simplified, widest
from spectra_app.electrostatics.vacuum import Way, choose_ways
from spectra_app.structure.loops import may_use_loops
from spectra_app.structure.system import System, select_structures

__all__ = ["Interaction", "near_pairs", "prepare_interaction", "prepare_k_vectors"]

WIDE = 1.5  # width of the smooth part of a split sum, in units of the widest cloud, for
_WIDE_FOR = 192  # atoms: pairs cost sigma^3 N, vectors N^2/sigma^3, and both as much where sigma grows with N^(1/6)
_MOST_IN_LOOPS = 2**23  # atoms x vectors up to which compiled loops beat matrix products
NEAR_REACH = 5.0  # of its short part, in units of that width


def prepare_k_vectors(system: System, k_cutoff: float, method: EwaldMethod = "auto") -> KVectors | None:
    """Reciprocal vectors of a batch, or None where no structure is periodic.

    They depend on the cells alone: compute them once for a run at fixed cell.

    Args:
        system: the structures.
        k_cutoff: A^-1.
        method: how the sums over them are done: plain (``sum``), on a ``mesh``, or ``auto``, the fastest way.
    """
    return k_vectors(system, k_cutoff, method) if bool(system.periodic.any()) else None


def _wide(system: System, sigma: float | Smearing) -> float:
    """Width of the smooth part, A: a function of structure and model alone."""
    steps = round(2.0 * math.log2(max(system.sizes) / _WIDE_FOR))  # few different ones, whose vectors are kept
    return WIDE * widest(sigma) * min(2.0 ** (max(steps, 0) / 12.0), 2.0)


def near_pairs(
    system: System, k: KVectors | None, sigma: float | Smearing, kept: NearList | None = None
) -> NearList | None:
    """Pairs of the short part of a split sum; None where cells are not summed so (open structures, a GPU).

    Args:
        system: the structures.
        k: from ``prepare_k_vectors``.
        sigma: smearing, A, of all atoms or by classes.
        kept: a list of the same run, which is returned while it holds.
    """
    if k is None or not may_use_loops(k.device) or not all(k.periodic):
        return None
    if not bool(torch.isfinite(system.positions).all()):
        return None
    return near_list(system, NEAR_REACH * _wide(system, sigma), kept)


def prepare_interaction(
    system: System,
    k: KVectors | None,
    sigma: float | Smearing,
    highest_rank: int = 2,
    pairs: NearList | None = None,
) -> Interaction:
    """The interaction of a batch at its positions, periodic and open structures mixed.

    Args:
        system: the structures.
        k: from ``prepare_k_vectors``.
        sigma: smearing, A, of all atoms or by classes.
        highest_rank: of the multipoles that will be put in: 0 charges, 1 dipoles, 2 quadrupoles.
        pairs: from ``near_pairs``; cells are then summed in two parts, by compiled loops with one derivative.
    """
    if k is None:
        return DirectInteraction(system, simplified(sigma), highest_rank)
    ways, shifts = choose_ways(system, k, sigma)
    if pairs is not None and all(way.kind in ("plain", "slab") for way in ways):
        return _split(ways[0] if len(ways) == 1 else Way("plain"), system, k, sigma, pairs)
    if shifts is not None:
        system = compacted(system, torch.as_tensor(shifts).to(system.positions))
    if len(set(ways)) == 1:
        return _interaction(ways[0], system, k, sigma, highest_rank)
    return _MixedInteraction(ways, system, k, sigma, highest_rank)


def _interaction(way: Way, system: System, k: KVectors, sigma: float | Smearing, highest_rank: int) -> Interaction:
    """The interaction of structures that are all summed in one way."""
    reach, sigma = narrowest(sigma) * k.cutoff, simplified(sigma)
    if way.kind == "open":
        return DirectInteraction(system, sigma, highest_rank)
    if way.kind in ("layer", "slab"):
        return layer_interaction(system, k, sigma, way.size, way.axis, open_normal=way.kind == "slab")
    summed: Interaction
    if way.kind == "cluster":
        near = DirectInteraction(system, sigma, highest_rank, less=way.size)
        far = ReciprocalInteraction(system, k.of(k.cells, reach / way.size), way.size)
        summed = SplitInteraction(system, near, far, sigma, way.size)
    else:
        summed = ReciprocalInteraction(system, k, sigma)
    return summed if system.slab is None else SlabInteraction(system, summed, sigma)


def _split(way: Way, system: System, k: KVectors, sigma: float | Smearing, pairs: NearList) -> Interaction:
    """Cells, or slabs in cells of theirs, in two parts; a slab in a shorter cell, where no pair reaches across it."""
    wide, reach = _wide(system, sigma), narrowest(sigma) * k.cutoff
    if way.kind == "slab":
        height = float(np.linalg.norm(k.cells[0, 2]))
        above = system.positions.detach().double().numpy() @ k.cells[0, 2] / height
        if way.size * height - np.ptp(above) > pairs.reach:
            system, k, _ = shortened(system, k, way.size, way.axis)
    near, smooth = NearInteraction(system, pairs, sigma, wide), k.of(k.cells, reach / wide)
    split = SplitInteraction(system, near, _far(system, smooth, wide), sigma, wide)
    return split if system.slab is None else SlabInteraction(system, split, sigma)


def _far(system: System, k: KVectors, wide: float) -> Interaction:
    """The smooth part: by compiled loops where there are few vectors, and no derivative by the cell is wanted."""
    few = system.n_structures == 1 and len(system.positions) * k.count(0) < _MOST_IN_LOOPS
    return (
        FarInteraction(system, k, wide)
        if few and not system.cell.requires_grad
        else ReciprocalInteraction(system, k, wide)
    )


class _MixedInteraction:
    """Structures of one batch that are summed in different ways."""

    def __init__(
        self, ways: Sequence[Way], system: System, k: KVectors, sigma: float | Smearing, highest_rank: int
    ) -> None:
        self._shape = (system.n_structures, len(system.positions))
        self._parts: list[tuple[Tensor, Tensor, Interaction]] = []
        for way in dict.fromkeys(ways):
            chosen = [s for s, other in enumerate(ways) if other == way]
            structures = torch.tensor(chosen, device=system.batch.device)
            atoms = torch.nonzero(torch.isin(system.batch, structures))[:, 0]
            part = select_structures(system, structures, atoms)
            inner = _interaction(way, part, k.select(chosen), of_atoms(sigma, atoms), highest_rank)
            self._parts.append((structures, atoms, inner))

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``."""
        n_structures, n_atoms = self._shape
        energy = multipoles.charges.new_zeros(n_structures)
        potential = multipoles.charges.new_zeros(n_atoms)
        field = multipoles.charges.new_zeros(n_atoms, 3)
        for structures, atoms, interaction in self._parts:
            done = interaction.permanent(_of(multipoles, atoms))
            energy = energy.index_add(0, structures, done.energy)
            potential = potential.index_add(0, atoms, done.potential)
            field = field.index_add(0, atoms, done.field)
        return Electrostatics(energy, potential, field)

    def potentials(self, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        return self.permanent(multipoles)[1:]

    def energy(self, multipoles: Multipoles) -> Tensor:
        """See ``Interaction``."""
        energy = multipoles.charges.new_zeros(self._shape[0])
        for structures, atoms, interaction in self._parts:
            energy = energy.index_add(0, structures, interaction.energy(_of(multipoles, atoms)))
        return energy

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        some = charges if charges is not None else dipoles
        assert some is not None
        potential, field = some.new_zeros(some.shape[:2]), some.new_zeros(*some.shape[:2], 3)
        for _, atoms, interaction in self._parts:
            parts = interaction.act(
                None if charges is None else charges[atoms], None if dipoles is None else dipoles[atoms]
            )
            potential = potential.index_add(0, atoms, parts[0])
            field = field.index_add(0, atoms, parts[1])
        return potential, field


def _of(multipoles: Multipoles, atoms: Tensor) -> Multipoles:
    """The multipoles of some atoms."""
    return Multipoles(*(None if m is None else m[atoms] for m in multipoles))  # type: ignore[arg-type]
