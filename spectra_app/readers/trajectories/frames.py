"""Frames of an existing trajectory, and what must hold along time: even steps, the same atoms, continuous positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from spectra_app.errors import SpectraAppError, TrajectoryError
from spectra_app.structure.distances import check_distances
from spectra_app.structure.system import check_structure, slab_cell
from spectra_app.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN

MAX_JUMP = 0.4  # of the cell between frames, after taking the nearest image: beyond it the image is ambiguous
MAX_OUTRUN = 10.0  # positions that move this much faster than the velocities, root mean square: units do not fit
LEAST_MOVE_A = 1e-3  # below it the digits of the positions decide (LAMMPS dumps have six)
MAX_TEMPERATURE_K = 1e6  # of velocities; a thousand times too fast is a million times too hot
TIME_TOLERANCE = 0.01  # relative; XTC stores times as float32 and programs round them to 1e-3 ps


@dataclass(frozen=True)
class Frame:
    """One configuration.

    Attributes:
        positions_A: [atom, xyz], A.
        cell_A: [vector, xyz], A; None for an open structure.
        velocities_A_per_fs: [atom, xyz], or None.
        time_fs: time that the file gives, fs; None where it gives none.
        step: step number that the file gives; None where it gives none.
        pbc: whether each cell vector is periodic, where there is a cell.
    """

    positions_A: np.ndarray
    cell_A: np.ndarray | None
    velocities_A_per_fs: np.ndarray | None = None
    time_fs: float | None = None
    step: int | None = None
    pbc: tuple[bool, bool, bool] = (True, True, True)

    @property
    def slab(self) -> bool:
        """Periodic along two of the three cell vectors."""
        return self.cell_A is not None and sum(self.pbc) == 2


@dataclass(frozen=True)
class Trajectory:
    """A trajectory that is read frame by frame, as often as wanted.

    Attributes:
        path: the file.
        numbers: [atom], atomic numbers.
        masses_amu: [atom], amu.
        timestep_fs: time between frames, fs.
        read: starts reading at the first frame.
        n_frames: number of frames, or None where only reading to the end tells.
        first: the first frame.
        integrator: name and timestep_fs of the integrator, from the metadata of a run file; None where the file does
            not say it.
        left_out: what of the file is left out, in words; None: nothing.
    """

    path: Path
    numbers: np.ndarray
    masses_amu: np.ndarray
    timestep_fs: float
    read: Callable[[], Iterator[Frame]]
    n_frames: int | None
    first: Frame
    integrator: dict[str, Any] | None = None
    left_out: str | None = None

    @property
    def periodic(self) -> bool:
        """Whether the first frame has a cell."""
        return self.first.cell_A is not None

    def frames(self) -> Iterator[Frame]:
        """Frames with unwrapped positions, checked; memory does not grow with their number.

        Raises:
            TrajectoryError: uneven time, a jump, another number of atoms, or a damaged file; names the frame.
        """
        yield from unwrap(self.checked(), self.path)

    def checked(self) -> Iterator[Frame]:
        """Frames with positions as they stand in the file, checked.

        Raises:
            TrajectoryError: uneven time, another number of atoms, or a damaged file; names the frame.
        """
        frames = settle_slabs(readable(self.read(), self.path, len(self.numbers)))
        yield from check_times(frames, self.path)


def make_trajectory(
    path: Path,
    numbers: np.ndarray,
    masses_amu: np.ndarray,
    read: Callable[[], Iterator[Frame]],
    timestep_fs: float | None = None,
    n_frames: int | None = None,
) -> Trajectory:
    """Look at the first two frames, find the time step and check the structure.

    Args:
        path: the file, for messages.
        numbers: [atom], atomic numbers.
        masses_amu: [atom], amu.
        read: starts reading at the first frame.
        timestep_fs: time between frames, fs; None takes it from the file.
        n_frames: number of frames if known.

    Raises:
        TrajectoryError: fewer than two frames, no time step anywhere, or velocities that do not fit the positions.
        StructureError: the first frame cannot be treated.
    """
    source = settle_slabs(readable(read(), path, len(numbers)))
    start = list(islice(source, 2))
    if len(start) < 2:
        raise TrajectoryError(f"trajectory {path}", got=f"{len(start)} frame(s)", wanted="at least two")
    first, second = start
    cell = np.zeros((3, 3)) if first.cell_A is None else first.cell_A
    pbc = np.array(first.pbc) & (first.cell_A is not None)
    check_structure(first.positions_A, cell, pbc, f"{path}, frame 0")
    check_distances(first.positions_A, numbers, first.cell_A, f"{path}, frame 0")
    if timestep_fs is None:
        if first.time_fs is None or second.time_fs is None:
            raise TrajectoryError(
                f"time step of {path}",
                got="none in the file",
                wanted="the time between frames in fs",
                todo="Give it with --timestep-fs",
            )
        timestep_fs = second.time_fs - first.time_fs
    if not timestep_fs > 0.0:
        raise TrajectoryError(
            f"time step of {path}",
            got=f"{timestep_fs:g} fs",
            wanted="a positive number",
            todo="Give it with --timestep-fs",
        )
    check_velocities(first, second, masses_amu, float(timestep_fs), path)
    return Trajectory(path, numbers, masses_amu, float(timestep_fs), read, n_frames, first)


def check_velocities(first: Frame, second: Frame, masses_amu: np.ndarray, timestep_fs: float, path: Path) -> None:
    """Velocities of two consecutive frames against temperature and displacement: a wrong unit is off by a factor 1000.

    In equilibrium ``<|r(t) - r(0)|^2> <= <v^2> t^2``: atoms never move faster than their velocities.

    Raises:
        TrajectoryError: hotter than any simulation, or positions that outrun the velocities.
    """
    before, after = first.velocities_A_per_fs, second.velocities_A_per_fs
    if before is None or after is None:
        return
    squares = np.maximum((before**2).mean(), (after**2).mean())
    kinetic = max(float((masses_amu[:, None] * v**2).mean()) for v in (before, after))
    temperature = kinetic * AMU_A2_PER_FS2_TO_EV / BOLTZMANN
    _, moved = unwrap(iter((first, second)), path)
    distance = float(np.sqrt(((moved.positions_A - first.positions_A) ** 2).mean()))
    expected = float(np.sqrt(squares)) * timestep_fs
    got = None
    if temperature > MAX_TEMPERATURE_K:
        got = f"{temperature:.3g} K"
    elif distance > max(MAX_OUTRUN * expected, LEAST_MOVE_A):
        got = f"atoms that move {distance:.3g} A between frames and {expected:.3g} A by their velocities"
    if got is not None:
        raise TrajectoryError(
            f"velocities of {path}",
            got=got,
            wanted="velocities that fit the positions",
            todo="Check the unit of the velocities (LAMMPS: --lammps-units) and --timestep-fs",
        )


def readable(frames: Iterator[Frame], path: Path, n_atoms: int) -> Iterator[Frame]:
    """Frames of the right size; whatever a reading library raises becomes one line that names the frame.

    Raises:
        TrajectoryError: damaged file, NaN, or another number of atoms.
    """
    index = 0
    while True:
        try:
            frame = next(frames)
        except StopIteration:
            return
        except SpectraAppError:
            raise
        except Exception as error:  # every library has its own kinds for a truncated file
            raise TrajectoryError(
                f"trajectory {path}, frame {index}", got=f"{type(error).__name__}: {error}", wanted="a complete frame"
            ) from None
        if frame.positions_A.shape != (n_atoms, 3):
            raise TrajectoryError(
                f"trajectory {path}, frame {index}", got=f"{len(frame.positions_A)} atoms", wanted=f"{n_atoms}"
            )
        if not np.isfinite(frame.positions_A).all():
            raise TrajectoryError(f"trajectory {path}, frame {index}", got="NaN or infinite positions")
        velocities = frame.velocities_A_per_fs
        if velocities is not None and (velocities.shape != (n_atoms, 3) or not np.isfinite(velocities).all()):
            got = f"velocities of shape {velocities.shape}, or NaN among them"
            raise TrajectoryError(f"trajectory {path}, frame {index}", got=got, wanted=f"({n_atoms}, 3) numbers")
        yield frame
        index += 1


def settle_slabs(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Frames of a slab in the cell of ``slab_cell``, as high in every frame as in the first."""
    height: float | None = None
    for frame in frames:
        if frame.slab and frame.cell_A is not None:
            cell = slab_cell(frame.positions_A, frame.cell_A, np.array(frame.pbc))
            height = float(np.linalg.norm(cell[2])) if height is None else height
            cell[2] *= height / np.linalg.norm(cell[2])
            frame = replace(frame, cell_A=cell, pbc=(True, True, False))
        yield frame


def check_times(frames: Iterator[Frame], path: Path) -> Iterator[Frame]:
    """Frames whose times, or step numbers where there are no times, are evenly spaced.

    Raises:
        TrajectoryError: names the first frame that breaks the rhythm.
    """
    interval, before = None, None
    for index, frame in enumerate(frames):
        now = frame.time_fs if frame.time_fs is not None else frame.step
        if now is not None and before is not None:
            gap = now - before
            interval = gap if interval is None else interval
            slack = TIME_TOLERANCE * abs(interval) + 4.0 * np.finfo(np.float32).eps * abs(now)
            if not (interval > 0 and abs(gap - interval) <= slack):
                unit = "fs" if frame.time_fs is not None else "steps"
                raise TrajectoryError(
                    f"trajectory {path}, frame {index}",
                    got=f"{gap:g} {unit} after the frame before",
                    wanted=f"{interval:g} {unit}, as between the first frames",
                    todo="Cut the trajectory where it is evenly spaced",
                )
        before = now
        yield frame


def unwrap(frames: Iterator[Frame], path: Path) -> Iterator[Frame]:
    """Frames whose positions are continuous in time: every atom continues at the image nearest to where it was.

    Serves wrapped trajectories, also those in which whole molecules are wrapped; one that is unwrapped stays as it is.
    What is compared are fractional coordinates, each in the cell of its own frame: an atom many cells away moves with
    a cell that breathes.

    Raises:
        TrajectoryError: an atom moved so far that its image is ambiguous.
    """
    before: np.ndarray | None = None  # fractional coordinates
    for index, frame in enumerate(frames):
        if frame.cell_A is None:
            yield frame
            continue
        inverse = np.linalg.inv(frame.cell_A)
        if before is not None:
            moved = frame.positions_A @ inverse - before
            images = np.rint(moved)
            if frame.slab:
                images[:, 2] = 0.0  # nothing is wrapped along the normal
            jump = np.abs(moved - images).max(axis=1)
            if jump.max() > MAX_JUMP:
                atom = int(jump.argmax())
                raise TrajectoryError(
                    f"trajectory {path}, frame {index}",
                    got=f"atom {atom} moved by {jump[atom]:.2f} of the cell since the frame before",
                    wanted=f"at most {MAX_JUMP}",
                    todo="Store frames more often: positions cannot be unwrapped",
                )
            frame = replace(frame, positions_A=frame.positions_A - images @ frame.cell_A)
        before = frame.positions_A @ inverse
        yield frame
