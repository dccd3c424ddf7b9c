"""Dipoles of a cell that no formula gives at an instant: followed from one recorded frame to the next.

Calculators of other programs (``couplings.ase_potential``) give what they can: a polarization that is known up to
quanta, or Born charges alone.  Both say how the dipole changes, and the changes are added up from the first frame on.

``modulo``: the dipole M is known up to e times lattice vectors.  In units of them, m = M h^-1 with h the cell (rows are
vectors), the change is the nearest branch's,

    M'(2) - M'(1) = (m(2) - m(1) - round(m(2) - m(1))) . (h(1) + h(2))/2

which is also the current through a cell that changes (docs/theory.md, "Current in a changing cell"): atoms that move
with the cell have the same m.

``path``: the integral of the current sum_i Z*_i v_i along the way of the atoms, by the trapezoidal rule,

    M'(2) - M'(1) = sum_i (Z*_i(1) + Z*_i(2))/2 . ds_i,    ds_i = (r_i(2) h(2)^-1 - r_i(1) h(1)^-1) . (h(1) + h(2))/2

with Z*[field, displacement].  Z* is the gradient of M, so this is exact where M is of second order in the displacements
of a step, whatever the step; what it leaves is of third order.

Sums are taken frame after frame in one fixed order: a restart repeats them bit for bit, wherever blocks begin.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.changing_cell import row_times
from spectra_app.dynamics.instant import Instant
from spectra_app.errors import SimulationError

DipoleRule = Literal["function", "modulo", "path"]
"""How a model knows the dipole: as a function of the positions, up to quanta of polarization, or by Born charges."""

UNCLEAR = 0.4  # quanta: a change between frames beyond this may belong to either of two branches
PATH_FRAMES = 20  # buffered with the Born charges of all atoms: 20 MB of 10,000 atoms


class FollowedDipole(Protocol):
    """A rule that follows the dipole along a run."""

    @property
    def max_frames(self) -> int | None: ...  # noqa: D102
    def add(self, instant: Instant) -> None: ...  # noqa: D102
    def take(self, raw: dict[str, np.ndarray]) -> np.ndarray: ...  # noqa: D102
    def carry(self) -> list[Tensor] | None: ...  # noqa: D102
    def restore(self, carry: Any) -> None: ...  # noqa: D102


def follow(rule: DipoleRule, n_replicas: int) -> FollowedDipole | None:
    """What follows the dipole of a run; None where it is a function of the positions.

    Args:
        rule: of the model.
        n_replicas: independent copies.
    """
    if rule == "function":
        return None
    return _Branch() if rule == "modulo" else _Path(n_replicas)


class _Branch:
    """The dipole that is known up to quanta; carries the last (M', m, h) of each replica."""

    max_frames = None

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def add(self, instant: Instant) -> None:
        """Nothing: the dipole of a branch and the cell are columns of the table already."""

    def take(self, raw: dict[str, np.ndarray]) -> np.ndarray:
        """The dipole [frame, replica, xyz], e A, of further frames.

        Args:
            raw: ``dipole_latent`` [frame, replica, xyz], e A, of any branch; ``cell`` [frame, replica, vector, xyz], A.

        Raises:
            SimulationError: a change of which nobody can say to which branch it belongs.
        """
        dipoles, cells = raw["dipole_latent"], raw["cell"]
        reduced = row_times(dipoles, np.linalg.inv(cells))
        out = np.empty_like(dipoles)
        for frame, (here, cell) in enumerate(zip(reduced, cells, strict=True)):
            if self._last is None:
                out[frame] = dipoles[frame]
            else:
                total, before, cell_before = self._last
                change = here - before
                change = change - np.round(change)
                self._check(change)
                out[frame] = total + row_times(change, 0.5 * (cell + cell_before))
            self._last = (out[frame].copy(), here.copy(), cell.copy())
        return out

    def _check(self, change: np.ndarray) -> None:
        far = np.abs(change[np.isfinite(change)]).max(initial=0.0)  # a replica that has ended is NaN
        if far > UNCLEAR:
            raise SimulationError(
                "polarization between two recorded frames",
                got=f"a change by {far:.2f} quanta (e times a cell vector)",
                wanted=f"at most {UNCLEAR}, else nobody can say which branch it belongs to",
                todo="Record more often (md.record_stride), or take a larger cell",
            )

    def carry(self) -> list[Tensor] | None:
        """What a restart needs (call after ``take``)."""
        return _tensors(self._last)

    def restore(self, carry: Any) -> None:
        """Continue from ``carry``."""
        self._last = None if carry is None else (carry[0].numpy(), carry[1].numpy(), carry[2].numpy())


class _Path:
    """The integral of the current; carries the last (M' [replica, xyz], Z* and r of all atoms, h)."""

    max_frames = PATH_FRAMES

    def __init__(self, n_replicas: int) -> None:
        self._n_replicas = n_replicas
        self._frames: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._last: tuple[np.ndarray, ...] | None = None

    def add(self, instant: Instant) -> None:
        """Keep Born charges, positions and cell of an instant, or of several frames of one replica."""
        born = instant.prediction.born_charges
        assert born is not None
        n_structures = len(instant.cell)
        columns = [
            value.double().cpu().numpy().reshape(-1, self._n_replicas, *shape)
            for value, shape in (
                (born, (len(born) // n_structures, 3, 3)),
                (instant.positions, (len(born) // n_structures, 3)),
                (instant.cell, (3, 3)),
            )
        ]
        self._frames += [(frame[0].copy(), frame[1].copy(), frame[2].copy()) for frame in zip(*columns, strict=True)]

    def take(self, raw: dict[str, np.ndarray]) -> np.ndarray:
        """The dipole [frame, replica, xyz], e A, of all frames added since the last call.

        Args:
            raw: of the same frames; not used.
        """
        out = np.empty((len(self._frames), self._n_replicas, 3))
        for frame, (born, positions, cell) in enumerate(self._frames):
            if self._last is None:
                out[frame] = 0.0
            else:
                total, born_before, before, cell_before = self._last
                moved = _displacement(before, positions, cell_before, cell)
                mean = 0.5 * (born_before + born)
                by_atom = (mean * moved[..., None, :]).sum(axis=-1)  # [replica, atom, field]
                out[frame] = total + by_atom.sum(axis=1)
            self._last = (out[frame].copy(), born, positions, cell)
        self._frames = []
        return out

    def carry(self) -> list[Tensor] | None:
        """What a restart needs (call after ``take``)."""
        return _tensors(self._last)

    def restore(self, carry: Any) -> None:
        """Continue from ``carry``."""
        self._last = None if carry is None else tuple(value.numpy() for value in carry)


def _displacement(before: np.ndarray, after: np.ndarray, cell_before: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Displacements ds of the module [replica, atom, xyz], A; plain differences in a fixed cell."""
    if np.array_equal(cell_before, cell):
        return after - before
    moved = row_times(after, np.linalg.inv(cell)[:, None]) - row_times(before, np.linalg.inv(cell_before)[:, None])
    return row_times(moved, 0.5 * (cell_before + cell)[:, None])


def _tensors(values: tuple[np.ndarray, ...] | None) -> list[Tensor] | None:
    return None if values is None else [torch.from_numpy(np.ascontiguousarray(value)) for value in values]
