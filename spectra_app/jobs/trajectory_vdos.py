"""Velocities of a trajectory of any program, for the density of states: no model is needed.

Where a trajectory has velocities they are taken.  Where it has none the displacements of the atoms are, and ``vdos``
makes rates of them by forward differences whose factor sin(w dt/2)/(w dt/2) it corrects.  In a cell that changes,
displacements are those in the frame of the cell, step by step (s(2) - s(1)) . (h(1) + h(2))/2 with fractional
coordinates s: an atom many cells away does not move with a cell that breathes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import SeriesError
from spectra_app.spectra.stream import StoredSeries

if TYPE_CHECKING:
    from spectra_app.config import SpectraSettings
    from spectra_app.readers.trajectories.frames import Frame
    from spectra_app.spectra import VDOS

IN_MEMORY_BYTES = 128 * 2**20
"""Up to this size velocities are an array, beyond a temporary file (TMPDIR)."""
CHUNK_BYTES = 8 * 2**20
_SAME_STEP = 0.02  # relative; the first two times of a file may be rounded, all of them together are not


@dataclass(frozen=True)
class TrajectoryVelocities:
    """What ``read_velocities`` found.

    Attributes:
        values: [frame, atom, xyz], velocities in A/fs or displacements since the first frame in A; an array or an
            array-like whose frames are read from disk.
        quantity: which of the two, as ``vdos`` calls them.
        timestep_fs: time between frames, fs.
        numbers: [atom], atomic numbers.
        masses_amu: [atom], amu.
        periodic: whether there is a cell, by which positions were unwrapped.
        notes: sentences for the user.
    """

    values: Any
    quantity: Literal["velocities", "positions"]
    timestep_fs: float
    numbers: NDArray[np.int64]
    masses_amu: NDArray[np.float64]
    periodic: bool
    notes: tuple[str, ...]


def read_velocities(
    path: Path | str,
    topology: Path | str | None = None,
    timestep_fs: float | None = None,
    species: Sequence[str] | None = None,
    lammps_units: str | None = None,
) -> TrajectoryVelocities:
    """Velocities, or displacements where there are none, of a trajectory; memory does not grow with its length.

    Args:
        path: all that ``open_trajectory`` reads.
        topology: file with the elements, for formats that carry none.
        timestep_fs: time between frames, fs, where the file does not say it.
        species: chemical symbols of LAMMPS types 1, 2, ...
        lammps_units: unit style of a LAMMPS dump with velocities, ``metal`` or ``real``.

    Raises:
        TrajectoryError: see ``open_trajectory``; velocities in some frames only.
        StructureError: the first frame cannot be treated.
        SeriesError: no room for the temporary file.
    """
    from spectra_app.readers.trajectories.dispatch import open_trajectory  # which brings torch

    trajectory = open_trajectory(path, topology, timestep_fs, species, lammps_units)
    clock = _Times()
    notes: tuple[str, ...] = () if trajectory.left_out is None else (trajectory.left_out,)
    if trajectory.first.velocities_A_per_fs is not None:
        # Velocities need no unwrapped positions.
        values = _collect(_velocities(clock.watch(trajectory.checked()), trajectory.path), np.float32)
        quantity: Literal["velocities", "positions"] = "velocities"
    else:
        values = _collect(_displacements(clock.watch(trajectory.frames())), np.float64)
        quantity = "positions"
        notes = (*notes, "no velocities in the file: rates of the positions, by differences that are corrected")
    found = clock.mean_step()
    step = trajectory.timestep_fs
    if timestep_fs is None and found is not None and abs(found - step) <= _SAME_STEP * step:
        step = found
    return TrajectoryVelocities(
        values, quantity, step, trajectory.numbers, trajectory.masses_amu, trajectory.periodic, notes
    )


def vdos_of_trajectory(
    path: Path | str,
    settings: SpectraSettings | None = None,
    *,
    topology: Path | str | None = None,
    timestep_fs: float | None = None,
    species: Sequence[str] | None = None,
    lammps_units: str | None = None,
) -> tuple[VDOS, tuple[str, ...]]:
    """Vibrational density of states of a trajectory of any program, and sentences for the user.

    It integrates to 3 N - 3 degrees of freedom.  In rigid molecules fewer move: the shape is right all the same.

    Args:
        path: the trajectory.
        settings: of the spectrum.
        topology: see ``read_velocities``.
        timestep_fs: likewise, fs.
        species: likewise.
        lammps_units: likewise.

    Raises:
        TrajectoryError: see ``read_velocities``.
        SeriesError: see ``vdos``; positions that jump in a file without a cell.
    """
    from ase.data import chemical_symbols

    from spectra_app.spectra import vdos

    found = read_velocities(path, topology, timestep_fs, species, lammps_units)
    spectrum = vdos(
        found.values,
        found.masses_amu,
        timestep_fs=found.timestep_fs,
        symbols=[chemical_symbols[z] for z in found.numbers.tolist()],
        degrees_of_freedom=3 * len(found.numbers) - 3,
        quantity=found.quantity,
        settings=settings,
        # Unwrapped positions do not jump, and atoms may diffuse; without a cell nobody knows whether they were wrapped.
        checks="off" if found.periodic else "error",
    )
    return replace(spectrum, history=(f"trajectory {path}", *found.notes, *spectrum.history)), found.notes


class _Times:
    """First and last time of the frames that pass by."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._last: float | None = None
        self._count = 0

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames."""
        for frame in frames:
            self._first = frame.time_fs if self._count == 0 else self._first
            self._last = frame.time_fs
            self._count += 1
            yield frame

    def mean_step(self) -> float | None:
        """Mean spacing, fs; None where the file has no times."""
        if self._first is None or self._last is None or self._count < 2:
            return None
        return (self._last - self._first) / (self._count - 1)


def _velocities(frames: Iterable[Frame], path: Path) -> Iterator[NDArray[np.float64]]:
    for index, frame in enumerate(frames):
        if frame.velocities_A_per_fs is None:
            raise SeriesError(
                f"velocities of {path}, frame {index}", got="none", wanted="velocities in every frame, as in the first",
                todo="Write positions and velocities at the same steps",
            )  # fmt: skip
        yield frame.velocities_A_per_fs


def _displacements(frames: Iterable[Frame]) -> Iterator[NDArray[np.float64]]:
    """Displacements since the first frame [atom, xyz], A, of unwrapped positions."""
    total: NDArray[np.float64] | None = None
    before: Frame | None = None
    for frame in frames:
        total = np.zeros_like(frame.positions_A) if total is None or before is None else total + _step(before, frame)
        before = frame
        yield total


def _step(before: Frame, frame: Frame) -> NDArray[np.float64]:
    """Displacement [atom, xyz], A, between two frames, in the frame of the cell."""
    first, second = before.cell_A, frame.cell_A
    if first is None or second is None or np.array_equal(first, second):
        return frame.positions_A - before.positions_A
    fractional = frame.positions_A @ np.linalg.inv(second) - before.positions_A @ np.linalg.inv(first)
    return np.asarray(fractional @ (0.5 * (first + second)))


def _collect(rows: Iterator[NDArray[np.float64]], dtype: Any) -> NDArray[Any] | StoredSeries:
    """Rows [atom, xyz] as one array [frame, atom, xyz], or as a temporary file where they are many."""
    chunks = _chunks(rows, dtype)
    held: list[NDArray[Any]] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += chunk.nbytes
        if size > IN_MEMORY_BYTES:
            break
    else:
        return np.concatenate(held)
    try:
        return StoredSeries.from_chunks(chain(held, chunks), dtype=dtype)
    except OSError as error:
        raise SeriesError(
            "temporary file of the velocities",
            got=error.strerror or error,
            todo="Let TMPDIR name a folder with more space",
        ) from None


def _chunks(rows: Iterator[NDArray[np.float64]], dtype: Any) -> Iterator[NDArray[Any]]:
    block: list[NDArray[Any]] = []
    for row in rows:
        block.append(row.astype(dtype))
        if len(block) * block[0].nbytes >= CHUNK_BYTES:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)
