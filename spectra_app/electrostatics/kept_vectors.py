"""Reciprocal vectors of cells that stay the same object, as along a run at fixed cell."""

from __future__ import annotations

from torch import Tensor

from spectra_app.electrostatics.interaction import prepare_k_vectors
from spectra_app.electrostatics.lattice import KVectors
from spectra_app.structure.system import System


class KeptVectors:
    """The vectors of the last batches of cells.

    Args:
        k_cutoff: A^-1.

    Attributes:
        room: batches that are kept.
    """

    def __init__(self, k_cutoff: float) -> None:
        self._k_cutoff, self.room = k_cutoff, 1
        self._kept: dict[int, tuple[Tensor, KVectors | None]] = {}

    def of(self, system: System) -> KVectors | None:
        """The vectors of a batch, made where its cells are not those of a batch before."""
        kept = self._kept.get(id(system.cell))
        if kept is None or kept[0] is not system.cell:
            while len(self._kept) >= self.room:
                self._kept.pop(next(iter(self._kept)))
            kept = self._kept[id(system.cell)] = (system.cell, prepare_k_vectors(system, self._k_cutoff))
        return kept[1]

    def clear(self) -> None:
        """Forget all."""
        self._kept = {}
