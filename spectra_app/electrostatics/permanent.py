"""Chooses how the permanent multipoles of a batch are summed: directly (open) or over reciprocal vectors (periodic)."""

from __future__ import annotations

import torch

from spectra_app.electrostatics.direct import direct_electrostatics
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles, dense_layout
from spectra_app.electrostatics.reciprocal import KVectors, k_vectors, reciprocal_electrostatics
from spectra_app.system import System


def prepare_k_vectors(system: System, k_cutoff: float) -> KVectors | None:
    """Reciprocal vectors of a batch, or None where no structure is periodic.

    They depend on the cells alone: compute them once for a run at fixed cell.
    """
    return k_vectors(system, k_cutoff) if bool(system.periodic.any()) else None


def electrostatics(system: System, multipoles: Multipoles, k: KVectors | None, sigma: float) -> Electrostatics:
    """Energy, potential and field of the permanent multipoles of a batch, periodic and open structures mixed.

    Args:
        system: the structures.
        multipoles: their permanent multipoles.
        k: from ``prepare_k_vectors``.
        sigma: smearing of the kernel, A.
    """
    if k is None:
        return direct_electrostatics(system, multipoles, dense_layout(system), sigma)
    if system.n_structures == 1 or bool(system.periodic.all()):
        return reciprocal_electrostatics(system, multipoles, dense_layout(system), k, sigma)
    energy = system.positions.new_zeros(system.n_structures)
    potential = system.positions.new_zeros(len(system.positions))
    field = torch.zeros_like(system.positions)
    for periodic in (True, False):
        structures = torch.nonzero(system.periodic == periodic)[:, 0]
        atoms = torch.nonzero(system.periodic[system.batch] == periodic)[:, 0]
        part = _select(system, structures, atoms)
        own = Multipoles(
            multipoles.charges[atoms],
            None if multipoles.dipoles is None else multipoles.dipoles[atoms],
            None if multipoles.quadrupoles is None else multipoles.quadrupoles[atoms],
        )
        layout = dense_layout(part)
        if periodic:
            done = reciprocal_electrostatics(part, own, layout, KVectors(k.integers[structures], k.cutoff), sigma)
        else:
            done = direct_electrostatics(part, own, layout, sigma)
        energy = energy.index_add(0, structures, done.energy)
        potential = potential.index_add(0, atoms, done.potential)
        field = field.index_add(0, atoms, done.field)
    return Electrostatics(energy, potential, field)


def _select(system: System, structures: torch.Tensor, atoms: torch.Tensor) -> System:
    """The given structures of a batch as a batch of their own."""
    renumber = torch.zeros(system.n_structures, dtype=torch.int64, device=atoms.device)
    renumber[structures] = torch.arange(len(structures), device=atoms.device)
    return System(
        positions=system.positions[atoms],
        numbers=system.numbers[atoms],
        cell=system.cell[structures],
        periodic=system.periodic[structures],
        batch=renumber[system.batch[atoms]],
        charge=system.charge[structures],
        sizes=tuple(system.sizes[int(s)] for s in structures),
    )
