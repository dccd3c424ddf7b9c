"""Branch jumps of a periodic polarization: found and removed with the polarization quantum e R.

The dipole of a periodic cell is defined modulo e times a lattice vector R (King-Smith and Vanderbilt,
doi:10.1103/PhysRevB.47.1651).  Codes print it on some branch, so a series jumps by a quantum when it leaves the branch.
In units of the quanta, ``f = M^-1 P``, an increment nearer to a whole number n than to zero is such a jump; the whole
numbers summed up so far, times the quanta, are taken off again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import SeriesError

AMBIGUOUS = 0.4
"""Of a quantum between frames, beyond the whole number: the branch cannot be told."""


class BranchFollower:
    """Follows the branch of a dipole series, block by block.

    Args:
        path: for messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: NDArray[np.float64] | None = None
        self._carry = np.zeros(3)
        self._count = 0
        self.jumps = 0
        self.first_jump: int | None = None

    def add(self, dipole_eA: NDArray[np.float64], quanta_eA: NDArray[np.float64]) -> NDArray[np.float64]:
        """The next dipoles on the branch of the first.

        Args:
            dipole_eA: [frame, xyz].
            quanta_eA: [vector, xyz] e times the cell, or [frame, vector, xyz].

        Raises:
            SeriesError: an increment is near half a quantum; names the frame.
        """
        inverse = np.linalg.inv(quanta_eA)
        fraction = np.einsum("...x,...xv->...v", dipole_eA, inverse)
        steps = np.diff(fraction, axis=0, prepend=fraction[:1] if self._before is None else self._before[None])
        whole = np.rint(steps)
        far = np.abs(steps - whole) > AMBIGUOUS
        if far.any():
            frame, vector = (int(i) for i in np.argwhere(far)[0])
            raise SeriesError(
                f"branch of the polarization in {self._path}, frame {self._count + frame}",
                got=f"a step of {steps[frame, vector]:.2f} quanta along cell vector {vector + 1}",
                wanted=f"within {AMBIGUOUS} of a whole number",
                todo="Print the dipole more often, or check the cell",
            )
        moved = whole.any(axis=1)
        if self.first_jump is None and moved.any():
            self.first_jump = self._count + int(np.argmax(moved))
        self.jumps += int(np.count_nonzero(moved))
        self._count += len(dipole_eA)
        self._before = fraction[-1]
        branch = self._carry + np.cumsum(whole, axis=0)  # [frame, vector]
        self._carry = branch[-1]
        return dipole_eA - np.einsum("...v,...vx->...x", branch, quanta_eA)
