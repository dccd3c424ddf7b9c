"""Reciprocal vectors of a batch: listed on the host when first asked for, and kept as long as the cells stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from spectra_app.structure.system import System

EwaldMethod = Literal["auto", "sum", "mesh"]

_KEPT_UP_TO = 2**15  # vectors of a list that is kept for other batches: 1024 lists of 0.2 MB, at most


@dataclass(frozen=True, eq=False)
class KVectors:
    """Half of the reciprocal lattice inside the cutoff (k and -k count once).

    Attributes:
        cells: [structure, vector, xyz], A, on the host; zeros for an open structure, which has no vectors.
        cutoff: A^-1.
        method: how the sums are done: ``"sum"``, ``"mesh"``, or ``"auto"``, the fastest way (``vacuum.choose_ways``,
            ``mesh.choose_engine``).
        dtype: of the tables.
        device: where the tables live.
        monomials: their products by rank, filled when first used (``transforms.signed_monomials``).
        of_cell: what sums in a fixed cell take from it, by cell and smearing, likewise (``reciprocal.cell_sums``).
    """

    cells: np.ndarray
    cutoff: float
    method: EwaldMethod
    dtype: torch.dtype
    device: torch.device
    monomials: dict[int, Tensor] = field(default_factory=dict, repr=False)
    of_cell: dict[tuple[int, float], tuple[Tensor, ...]] = field(default_factory=dict, repr=False)
    _others: dict[tuple[bytes, float], KVectors] = field(default_factory=dict, repr=False)

    @cached_property
    def integers(self) -> Tensor:
        """Miller-like integers [structure, k, vector], zero where padded."""
        lists = [_half_lattice(cell, self.cutoff) for cell in self.cells]
        table = np.zeros((len(lists), max(1, *(len(points) for points in lists)), 3))
        for row, points in zip(table, lists, strict=True):
            row[: len(points)] = points
        return torch.as_tensor(table).to(device=self.device, dtype=self.dtype)

    @cached_property
    def periodic(self) -> tuple[bool, ...]:
        """Which structures have a cell."""
        return tuple(bool(cell.any()) for cell in self.cells)

    @cached_property
    def volumes(self) -> np.ndarray:
        """[structure], A^3, zero for an open one."""
        return np.abs(np.linalg.det(self.cells))

    def count(self, structure: int) -> float:
        """About how many vectors a structure has; nothing is listed for it."""
        return expected_count(float(self.volumes[structure]), self.cutoff)

    def select(self, structures: Sequence[int]) -> KVectors:
        """The vectors of some structures of the batch; the same object every time."""
        return self.of(self.cells[list(structures)], self.cutoff)

    def of(self, cells: np.ndarray, cutoff: float) -> KVectors:
        """The vectors of other cells [structure, vector, xyz], A, or up to another cutoff; the same object every time.

        Args:
            cells: [structure, vector, xyz], A.
            cutoff: A^-1.
        """
        if cutoff == self.cutoff and cells.shape == self.cells.shape and bool((cells == self.cells).all()):
            return self
        key = (cells.tobytes(), cutoff)
        if key not in self._others:
            self._others[key] = KVectors(cells, cutoff, self.method, self.dtype, self.device)
        return self._others[key]


def k_vectors(system: System, cutoff: float, method: EwaldMethod = "auto") -> KVectors:
    """Reciprocal vectors of every structure of a batch (open structures get none).

    Args:
        system: the structures.
        cutoff: A^-1.
        method: how the sums over them are done.
    """
    cells = system.cell.detach().to("cpu", torch.float64).numpy()
    periodic = system.periodic.to("cpu").numpy()
    cells = np.where(periodic[:, None, None], cells, 0.0)
    k = KVectors(cells, cutoff, method, system.positions.dtype, system.positions.device)
    _ = k.periodic  # now: traced code does not see into numpy
    few = max(k.count(s) for s in range(len(cells))) < _KEPT_UP_TO
    if few or k.device.type != "cpu":
        _ = k.integers  # nor can anything travel to a device while a graph is captured; many may never be asked for
    return k


def expected_count(volume_A3: float, cutoff: float) -> float:
    """About how many vectors half of the lattice of a cell has: half of the sphere over the volume of one.

    Args:
        volume_A3: of the cell.
        cutoff: A^-1.
    """
    return volume_A3 * cutoff**3 / (12.0 * math.pi**2)


def _half_lattice(cell: np.ndarray, cutoff: float) -> np.ndarray:
    """Integer triples n, one of each pair (n, -n), with |2 pi n inv(cell)^T| < cutoff; none for an open structure."""
    if not cell.any():
        return np.zeros((0, 3))
    if expected_count(float(abs(np.linalg.det(cell))), cutoff) < _KEPT_UP_TO:
        return _kept_half_lattice(cell.tobytes(), cutoff)
    return _listed(cell, cutoff)


@lru_cache(maxsize=1024)  # training meets the same cells in every epoch
def _kept_half_lattice(cell_bytes: bytes, cutoff: float) -> np.ndarray:
    return _listed(np.frombuffer(cell_bytes).reshape(3, 3), cutoff).astype(np.int16)


def _listed(cell: np.ndarray, cutoff: float) -> np.ndarray:
    reach = np.floor(cutoff * np.linalg.norm(cell, axis=1) / (2.0 * np.pi)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    first_half = (
        (grid[:, 0] > 0)
        | ((grid[:, 0] == 0) & (grid[:, 1] > 0))
        | ((grid[:, 0] == 0) & (grid[:, 1] == 0) & (grid[:, 2] > 0))
    )
    grid = grid[first_half]
    k = 2.0 * np.pi * grid @ np.linalg.inv(cell).T
    return grid[(k * k).sum(axis=1) < cutoff**2]
