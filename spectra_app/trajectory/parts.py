"""Parts of a run: molecules or atoms whose contributions to dipole and polarizability are recorded (layout.py).

Their centres are not stored: they follow from the stored configurations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from ase.data import chemical_symbols

from spectra_app.dynamics.contributions import sum_by_part
from spectra_app.errors import StructureError
from spectra_app.frame_array import FrameArray
from spectra_app.system import System
from spectra_app.trajectory.layout import Level, Parts
from spectra_app.trajectory.molecules import find_molecules, formula_of
from spectra_app.trajectory.writer import open_run_file


def find_parts(
    level: Level, positions_A: np.ndarray, numbers: np.ndarray, cell_A: np.ndarray | None
) -> tuple[Parts, np.ndarray]:
    """The parts of a structure, and the cell shifts that make its molecules whole.

    Whole molecules have dipoles of their own, and P of a cell that breathes does not jump with the images of their
    atoms.

    Args:
        level: what a part is.
        positions_A: [atom, xyz], A.
        numbers: [atom], atomic numbers.
        cell_A: [vector, xyz], A, or None.

    Returns:
        the parts; integer shift [atom, vector].

    Raises:
        StructureError: molecules are wanted of a network that has none.
    """
    molecules = find_molecules(positions_A, numbers, cell_A)
    symbols = [chemical_symbols[z] for z in numbers.tolist()]
    if level == "atoms":
        return Parts(
            level, np.arange(len(numbers)), tuple(symbols), None if molecules.endless else molecules.number
        ), molecules.shift
    if molecules.endless:
        raise StructureError(
            "parts molecules",
            got="bonds that run through the whole cell, a network",
            wanted="molecules that end",
            todo="Record --parts atoms",
        )
    n_molecules = int(molecules.number.max()) + 1
    members: list[list[str]] = [[] for _ in range(n_molecules)]
    for symbol, molecule in zip(symbols, molecules.number.tolist(), strict=True):
        members[molecule].append(symbol)
    kinds = tuple(formula_of(names) for names in members)
    return Parts(level, molecules.number, kinds, np.arange(n_molecules)), molecules.shift


def common_parts(level: Level, system: System) -> tuple[System, Parts]:
    """The parts of replicas, and the replicas with their molecules whole.

    Args:
        level: what a part is.
        system: replicas of one composition, each bonded in its own place.

    Raises:
        StructureError: molecules are wanted of a network; or the replicas are bonded in different ways.
    """
    n_atoms = system.sizes[0]
    numbers = system.numbers[:n_atoms].cpu().numpy()
    cells, positions = system.cell.cpu().numpy(), system.positions.cpu().numpy().reshape(-1, n_atoms, 3)
    periodic = bool(system.periodic[0])
    found = [
        find_parts(level, place, numbers, cell if periodic else None)
        for place, cell in zip(positions, cells, strict=True)
    ]
    parts = found[0][0]
    for replica, (other, _) in enumerate(found):
        first, second = parts.molecules, other.molecules
        same = np.array_equal(parts.atom_part, other.atom_part)
        if not same or not np.array_equal(first if first is not None else (), second if second is not None else ()):
            raise StructureError(
                f"parts of replica {replica}", got="bonds between other atoms", wanted="the bonds of replica 0"
            )
    whole = np.stack([place + shift @ cell for place, (_, shift), cell in zip(positions, found, cells, strict=True)])
    return system._replace(positions=torch.from_numpy(whole.reshape(-1, 3)).to(system.positions)), parts


def parts_observables(parts: Parts | None, has_polarizability: bool) -> list[str]:
    """Names of the observables that parts bring into a run file."""
    if parts is None:
        return []
    return ["dipole_parts", "polarizability_parts"] if has_polarizability else ["dipole_parts"]


class RecordedArray(FrameArray):
    """[frame, ...] of a run file of which only the frames asked for are in memory.

    Args:
        path: the run file.
        name: of the dataset.
        shape: with the frames that were complete when the file was opened.
    """

    def __init__(self, path: Path, name: str, shape: tuple[int, ...]) -> None:
        self._path, self._name = path, name
        self.shape = shape
        self.dtype = np.dtype(np.float32)

    def read(self, frames: slice, rest: tuple[Any, ...]) -> np.ndarray:
        """See ``FrameArray.read``."""
        with open_run_file(self._path) as file:
            return np.asarray(file[self._name][(frames, *rest)])


class Centres(FrameArray):
    """Centres of mass [frame, replica, part, xyz], A, of the recorded frames, each from the nearest configuration.

    Where the cell changes they are scaled to its mean, as one cell serves all frames of a spectrum in parts.

    Args:
        positions_A: of each replica [configuration, atom, xyz], unwrapped.
        nearest: [frame], number of the configuration.
        atom_part: [atom] part of every atom.
        masses_amu: [atom].
        cells_A: [configuration, replica, vector, xyz] where they change, else None.
    """

    def __init__(
        self,
        positions_A: Sequence[RecordedArray],
        nearest: np.ndarray,
        atom_part: np.ndarray,
        masses_amu: np.ndarray,
        cells_A: np.ndarray | None = None,
    ) -> None:
        self._positions, self._nearest, self._cells = positions_A, nearest, cells_A
        self._atom_part = atom_part
        total = sum_by_part(masses_amu[None, None], atom_part)[0, 0]
        self._weights = (masses_amu / total[atom_part])[:, None]
        self._mean_cell = None if cells_A is None else np.mean(cells_A, axis=(0, 1))
        self.shape = (len(nearest), len(positions_A), len(total), 3)
        self.dtype = np.dtype(np.float64)

    def read(self, frames: slice, rest: tuple[Any, ...]) -> np.ndarray:
        """See ``FrameArray.read``."""
        at = self._nearest[frames]
        first, last = (int(at.min()), int(at.max()) + 1) if len(at) else (0, 0)
        positions = np.stack([replica[first:last] for replica in self._positions], axis=1)[at - first]
        centres = sum_by_part(self._weights * positions, self._atom_part)
        if self._cells is not None:
            centres = centres @ np.linalg.inv(self._cells[at]) @ self._mean_cell
        return np.asarray(centres[(slice(None), *rest)])


@dataclass(frozen=True)
class RunParts:
    """Recorded contributions of a run; numbers are read when asked for.

    Attributes:
        path: the run file.
        level: ``molecules`` or ``atoms``.
        kinds: [part] formula of the molecule, or element.
        atom_part: [atom] part an atom belongs to.
        molecules: [part] number of its molecule; None in a network.
        n_frames: recorded frames.
        n_replicas: independent copies.
        has_polarizability: whether the model gave one.
    """

    path: Path
    level: Level
    kinds: tuple[str, ...]
    atom_part: np.ndarray
    molecules: np.ndarray | None
    n_frames: int
    n_replicas: int
    has_polarizability: bool

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
        return RecordedArray(self.path, f"observables/{name}/value", shape)


def read_parts(path: Path, file: h5py.File, n_frames: int, n_replicas: int) -> RunParts | None:
    """The parts of an open run file; None where it has none.

    Args:
        path: of the file.
        file: the open file.
        n_frames: complete frames.
        n_replicas: independent copies.
    """
    group = file["parameters/spectra_app"].get("parts")
    if group is None:
        return None
    return RunParts(
        path,
        group.attrs["level"],
        tuple(group["kinds"].asstr()[()].tolist()),
        group["atom_part"][()],
        group["molecules"][()] if "molecules" in group else None,
        n_frames,
        n_replicas,
        "polarizability_parts" in file["observables"],
    )
