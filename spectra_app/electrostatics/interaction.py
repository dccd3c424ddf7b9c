"""The Coulomb interaction of a batch as one linear operator: multipoles in, potential and field at the atoms out.

Open structures are summed directly, periodic ones over reciprocal vectors; a slab gets its dipole correction on top.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from spectra_app.electrostatics.direct import DirectInteraction
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.reciprocal import EwaldMethod, KVectors, ReciprocalInteraction, k_vectors
from spectra_app.electrostatics.slab import SlabInteraction
from spectra_app.system import System


class Interaction(Protocol):
    """The interaction at fixed positions.  Everything it returns excludes the atoms' own smeared self-terms."""

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """Energy, potential and field of the permanent multipoles of every atom."""

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """Potential and field of several sets of sources at once.

        Args:
            charges: [atom, source], e, or None.
            dipoles: [atom, source, xyz], e A, or None.

        Returns:
            potential [atom, source], V; field [atom, source, xyz], V/A.
        """


def prepare_k_vectors(system: System, k_cutoff: float, method: EwaldMethod = "auto") -> KVectors | None:
    """Reciprocal vectors of a batch, or None where no structure is periodic.

    They depend on the cells alone: compute them once for a run at fixed cell.

    Args:
        system: the structures.
        k_cutoff: A^-1.
        method: how the sums over them are done: plain (``sum``), on a ``mesh``, or ``auto``, the faster of the two.
    """
    return k_vectors(system, k_cutoff, method) if bool(system.periodic.any()) else None


def prepare_interaction(system: System, k: KVectors | None, sigma: float, highest_rank: int = 2) -> Interaction:
    """The interaction of a batch at its positions, periodic and open structures mixed.

    Args:
        system: the structures.
        k: from ``prepare_k_vectors``.
        sigma: smearing of the kernel, A.
        highest_rank: of the multipoles that will be put in: 0 charges, 1 dipoles, 2 quadrupoles.
    """
    if k is None:
        return DirectInteraction(system, sigma, highest_rank)
    if system.n_structures == 1 or bool(system.periodic.all()):
        summed = ReciprocalInteraction(system, k, sigma)
        return summed if system.slab is None else SlabInteraction(system, summed, sigma)
    return _MixedInteraction(system, k, sigma, highest_rank)


class _MixedInteraction:
    """Periodic and open structures of one batch, each in its own way."""

    def __init__(self, system: System, k: KVectors, sigma: float, highest_rank: int) -> None:
        self._shape = (system.n_structures, len(system.positions))
        self._parts: list[tuple[Tensor, Tensor, Interaction]] = []
        for periodic in (True, False):
            structures = torch.nonzero(system.periodic == periodic)[:, 0]
            atoms = torch.nonzero(system.periodic[system.batch] == periodic)[:, 0]
            part = _select(system, structures, atoms)
            own_k = k.select(structures) if periodic else None
            self._parts.append((structures, atoms, prepare_interaction(part, own_k, sigma, highest_rank)))

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``."""
        n_structures, n_atoms = self._shape
        energy = multipoles.charges.new_zeros(n_structures)
        potential = multipoles.charges.new_zeros(n_atoms)
        field = multipoles.charges.new_zeros(n_atoms, 3)
        for structures, atoms, interaction in self._parts:
            own = Multipoles(*(None if m is None else m[atoms] for m in multipoles))  # type: ignore[arg-type]
            done = interaction.permanent(own)
            energy = energy.index_add(0, structures, done.energy)
            potential = potential.index_add(0, atoms, done.potential)
            field = field.index_add(0, atoms, done.field)
        return Electrostatics(energy, potential, field)

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


def _select(system: System, structures: Tensor, atoms: Tensor) -> System:
    """The given structures of a batch as a batch of their own."""
    renumber = torch.zeros(system.n_structures, dtype=torch.int64, device=atoms.device)
    renumber[structures] = torch.arange(len(structures), device=atoms.device)
    return system._replace(
        positions=system.positions[atoms],
        numbers=system.numbers[atoms],
        cell=system.cell[structures],
        periodic=system.periodic[structures],
        batch=renumber[system.batch[atoms]],
        charge=system.charge[structures],
        slab=None if system.slab is None else system.slab[structures],
        sizes=tuple(system.sizes[int(s)] for s in structures),
    )
