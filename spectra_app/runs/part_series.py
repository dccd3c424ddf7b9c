"""Parts of a run: molecules or atoms whose contributions to dipole and polarizability are recorded (layout.py).

Their centres are not stored: they follow from the stored configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import numpy as np

from spectra_app.arrays import Boundary, FrameArray, Frames, RecordedArray
from spectra_app.runs.layout import Level
from spectra_app.runs.opening import RunFile


class Centres(FrameArray):
    """Centres of mass [frame, replica, part, xyz], A, of the recorded frames, each from the nearest configuration.

    Where the cell changes they are scaled to its mean, as one cell serves all frames of a spectrum in parts.

    Args:
        positions_A: [configuration, replica, atom, xyz], unwrapped.
        nearest: [frame], number of the configuration.
        atom_part: [atom] part of every atom.
        masses_amu: [atom].
        cells_A: [configuration, replica, vector, xyz] where they change, else None.
    """

    def __init__(
        self,
        positions_A: Frames,
        nearest: np.ndarray,
        atom_part: np.ndarray,
        masses_amu: np.ndarray,
        cells_A: Frames | None = None,
    ) -> None:
        self._positions, self._nearest, self._cells = positions_A, nearest, cells_A
        self._order = np.argsort(atom_part, kind="stable")  # atoms of a part one after the other
        self._first = np.flatnonzero(np.diff(atom_part[self._order], prepend=-1))
        total = np.add.reduceat(masses_amu[self._order], self._first)
        self._weights = (masses_amu / total[atom_part])[:, None]
        self._mean_cell = None if cells_A is None else np.asarray(cells_A).mean(axis=(0, 1))
        self.shape = (len(nearest), positions_A.shape[1], len(total), 3)
        self.dtype = np.dtype(np.float64)

    def read(self, frames: slice, rest: tuple[Any, ...]) -> np.ndarray:
        """See ``FrameArray.read``."""
        at = self._nearest[frames]
        first, last = (int(at.min()), int(at.max()) + 1) if len(at) else (0, 0)
        positions = self._weights * self._positions[first:last][at - first]  # [frame, replica, atom, xyz]
        centres = np.add.reduceat(positions[:, :, self._order], self._first, axis=2)
        if self._cells is not None:
            centres = centres @ np.linalg.inv(self._cells[first:last][at - first]) @ self._mean_cell
        return np.asarray(centres[(slice(None), *rest)])


@dataclass(frozen=True)
class RunParts:
    """Recorded contributions of a run; numbers are read when asked for.

    Attributes:
        file: the run file.
        level: ``molecules`` or ``atoms``.
        kinds: [part] formula of the molecule, or element.
        atom_part: [atom] part an atom belongs to.
        molecules: [part] number of its molecule; None in a network.
        n_frames: recorded frames.
        n_replicas: independent copies.
        has_polarizability: whether the model gave one.
        boundary: of the system.
        replicas: numbers of those that are seen; None: all.
    """

    file: RunFile
    level: Level
    kinds: tuple[str, ...]
    atom_part: np.ndarray
    molecules: np.ndarray | None
    n_frames: int
    n_replicas: int
    has_polarizability: bool
    boundary: Boundary
    replicas: tuple[int, ...] | None = None

    @cached_property
    def dipole_eA(self) -> RecordedArray:  # noqa: N802
        """[frame, replica, part, xyz], e A, physical, continuous in time; ``np.asarray`` reads it whole."""
        return self._recorded("dipole_parts", (3,))

    @cached_property
    def polarizability_e2A2_per_eV(self) -> RecordedArray | None:  # noqa: N802
        """[frame, replica, part, xyz, xyz], e^2 A^2/eV, physical, or None."""
        return self._recorded("polarizability_parts", (3, 3)) if self.has_polarizability else None

    def _recorded(self, name: str, tail: tuple[int, ...]) -> RecordedArray:
        shape = (self.n_frames, self.n_replicas, len(self.kinds), *tail)
        name = f"observables/{name}/value"
        kind = np.dtype(np.float32)
        options: dict[str, Any] = {"in_blocks": False, "boundary": self.boundary, "replicas": self.replicas}
        return RecordedArray(self.file.open, name, shape, kind, **options)


def read_parts(
    source: RunFile,
    file: h5py.File,
    n_frames: int,
    n_replicas: int,
    boundary: Boundary,
    replicas: tuple[int, ...] | None = None,
) -> RunParts | None:
    """The parts of an open run file; None where it has none.

    Args:
        source: the file.
        file: the same, open.
        n_frames: complete frames.
        n_replicas: independent copies.
        boundary: of the system.
        replicas: numbers of those that are seen; None: all.
    """
    group = file["parameters/spectra_app"].get("parts")
    if group is None:
        return None
    return RunParts(
        source,
        group.attrs["level"],
        tuple(group["kinds"].asstr()[()].tolist()),
        group["atom_part"][()],
        group["molecules"][()] if "molecules" in group else None,
        n_frames,
        n_replicas,
        "polarizability_parts" in file["observables"],
        boundary,
        replicas,
    )
