"""CP2K trajectories: ``PROJECT-pos-1.xyz`` with its cell and its velocities from the files that lie beside it.

The comment line of a frame is `` i =        5, time =        2.500, E =      -17.1646`` (&MOTION &PRINT &TRAJECTORY,
https://manual.cp2k.org/trunk/CP2K_INPUT/MOTION/PRINT/TRAJECTORY.html); ``PROJECT-vel-1.xyz`` has the same form, in
atomic units; ``PROJECT-1.cell`` holds step, time in fs, the nine components of the cell and the volume.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

import ase.io
import numpy as np
from ase.data import atomic_numbers

from spectra_app.errors import TrajectoryError
from spectra_app.readers.trajectories.frames import Frame
from spectra_app.units import BOHR_TO_ANGSTROM, HARTREE_TO_EV, HBAR

_COMMENT = re.compile(r"^\s*i =\s*(\d+), time =\s*([-\d.]+)")
_SPEED = BOHR_TO_ANGSTROM / (HBAR / HARTREE_TO_EV)  # atomic unit of velocity, A/fs


def is_cp2k_xyz(path: Path) -> bool:
    """Whether the comment line of the first frame is CP2K's."""
    if path.suffix.lower() != ".xyz":
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return _COMMENT.match("".join(islice(file, 1, 2))) is not None


def cp2k_numbers(path: Path) -> np.ndarray:
    """Atomic numbers [atom] of a trajectory.

    Raises:
        TrajectoryError: a kind that is no element.
    """
    with path.open(encoding="utf-8") as file:
        frame = _read_frame(file)
    symbols = [] if frame is None else frame[2]
    unknown = sorted(set(symbols) - set(atomic_numbers))
    if unknown or not symbols:
        raise TrajectoryError(f"elements of {path}", got=f"'{(unknown or ['none'])[0]}'", wanted="chemical symbols")
    return np.array([atomic_numbers[symbol] for symbol in symbols])


def read_cp2k_xyz(path: Path, topology: Path | None = None) -> Iterator[Frame]:
    """Frames in A and fs.

    Args:
        path: positions, A.
        topology: a structure whose cell holds for all frames; one without a cell makes an isolated molecule.  None
            takes ``PROJECT-1.cell`` of the same folder.

    Raises:
        TrajectoryError: no cell anywhere, a frame without its cell or velocities, or a file cut off.
    """
    cells = _cells(path, topology)
    velocities = path.with_name(path.name.replace("-pos-", "-vel-"))
    with path.open(encoding="utf-8") as file:
        speeds = _frames(velocities) if velocities != path and velocities.is_file() else None
        while (raw := _read_frame(file)) is not None:
            step, time_fs, _, positions = raw
            moving = None
            if speeds is not None:
                found = next(speeds, None)
                if found is None or found[0] != step:
                    raise TrajectoryError(
                        f"velocities {velocities}", got="the end" if found is None else f"step {found[0]}",
                        wanted=f"step {step} of {path.name}", todo="Print both at the same steps",
                    )  # fmt: skip
                moving = found[3] * _SPEED
            yield Frame(positions, cells(step), moving, time_fs, step)


class _CellFile:
    """Cells of ``PROJECT-1.cell`` by step, read along with the trajectory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = self._read()
        self._step, self._cell = next(self._rows)
        self._next = next(self._rows, None)

    def __call__(self, step: int) -> np.ndarray:
        while self._next is not None and self._next[0] <= step:
            (self._step, self._cell), self._next = self._next, next(self._rows, None)
        # A cell that never changes may be printed as rarely as one likes.
        constant = self._next is None or np.array_equal(self._next[1], self._cell)
        if self._step > step or (self._step != step and not constant):
            raise TrajectoryError(
                f"cell file {self._path}", got=f"step {self._step}", wanted=f"the cell of step {step}",
                todo="Print &CELL as often as &TRAJECTORY",
            )  # fmt: skip
        return self._cell

    def _read(self) -> Iterator[tuple[int, np.ndarray]]:
        with self._path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                words = line.split()
                if not words or words[0].startswith("#"):
                    continue
                if len(words) < 11:
                    raise TrajectoryError(f"{self._path}, line {number}", got=f"{len(words)} columns", wanted="12")
                yield int(words[0]), np.array(words[2:11], dtype=float).reshape(3, 3)


class _FixedCell:
    def __init__(self, cell: np.ndarray | None) -> None:
        self._cell = cell

    def __call__(self, step: int) -> np.ndarray | None:
        return self._cell


def _cells(path: Path, topology: Path | None) -> _CellFile | _FixedCell:
    if topology is not None:
        atoms = next(iter(ase.io.iread(topology, index=0)))
        return _FixedCell(atoms.cell.array.copy() if atoms.pbc.any() else None)
    beside = path.with_name(re.sub(r"-pos-(\d+)\.xyz$", r"-\1.cell", path.name))
    if beside != path and beside.is_file():
        return _CellFile(beside)
    raise TrajectoryError(
        f"cell of {path}", got=f"no {beside.name if beside != path else 'cell file'} beside it", wanted="the cell",
        todo="Give a structure with the cell (without one: an isolated molecule) as --topology",
    )  # fmt: skip


def _frames(path: Path) -> Iterator[tuple[int, float, list[str], np.ndarray]]:
    with path.open(encoding="utf-8") as file:
        while (frame := _read_frame(file)) is not None:
            yield frame


def _read_frame(file: TextIO) -> tuple[int, float, list[str], np.ndarray] | None:
    """Step, time (fs), symbols and vectors [atom, xyz] of the next frame; None at the end."""
    count = file.readline()
    if not count.strip():
        return None
    comment = _COMMENT.match(file.readline())
    rows = [line.split() for line in islice(file, int(count))]
    if comment is None or len(rows) != int(count) or any(len(row) < 4 for row in rows):
        raise EOFError("the file ends inside a frame, or its comment line is not CP2K's")
    vectors = np.array([row[1:4] for row in rows], dtype=float)
    return int(comment[1]), float(comment[2]), [row[0] for row in rows], vectors
