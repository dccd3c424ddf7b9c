"""The Coulomb interaction of a batch as one linear operator: multipoles in, potential and field at the atoms out.

Open structures are summed directly, periodic ones over reciprocal vectors, or, where they are mostly vacuum, in a way
that does not pay for it (``vacuum``); a slab gets its dipole correction on top.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spectra_app.electrostatics.cluster import ClusterInteraction, compacted
from spectra_app.electrostatics.direct import DirectInteraction
from spectra_app.electrostatics.lattice import EwaldMethod, KVectors, k_vectors
from spectra_app.electrostatics.layer import layer_interaction
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.protocol import Interaction
from spectra_app.electrostatics.reciprocal import ReciprocalInteraction
from spectra_app.electrostatics.slab import SlabInteraction
from spectra_app.electrostatics.smearing import Smearing, narrowest, of_atoms, simplified
from spectra_app.electrostatics.vacuum import Way, choose_ways
from spectra_app.structure.system import System, select_structures

__all__ = ["Interaction", "prepare_interaction", "prepare_k_vectors"]


def prepare_k_vectors(system: System, k_cutoff: float, method: EwaldMethod = "auto") -> KVectors | None:
    """Reciprocal vectors of a batch, or None where no structure is periodic.

    They depend on the cells alone: compute them once for a run at fixed cell.

    Args:
        system: the structures.
        k_cutoff: A^-1.
        method: how the sums over them are done: plain (``sum``), on a ``mesh``, or ``auto``, the fastest way.
    """
    return k_vectors(system, k_cutoff, method) if bool(system.periodic.any()) else None


def prepare_interaction(
    system: System, k: KVectors | None, sigma: float | Smearing, highest_rank: int = 2
) -> Interaction:
    """The interaction of a batch at its positions, periodic and open structures mixed.

    Args:
        system: the structures.
        k: from ``prepare_k_vectors``.
        sigma: smearing, A, of all atoms or by classes.
        highest_rank: of the multipoles that will be put in: 0 charges, 1 dipoles, 2 quadrupoles.
    """
    if k is None:
        return DirectInteraction(system, simplified(sigma), highest_rank)
    ways, shifts = choose_ways(system, k, sigma)
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
        summed = ClusterInteraction(system, k.of(k.cells, reach / way.size), sigma, way.size, highest_rank)
    else:
        summed = ReciprocalInteraction(system, k, sigma)
    return summed if system.slab is None else SlabInteraction(system, summed, sigma)


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
