"""CP2K: printed moments, dipole trajectories and polarizability trajectories.

Moments, in the log or in ``*-moments*.dat`` (&DFT &PRINT &MOMENTS,
https://manual.cp2k.org/trunk/CP2K_INPUT/FORCE_EVAL/DFT/PRINT/MOMENTS.html), a block per time step::

    Dipole vectors are based on the periodic (Berry phase) operator.
    They are defined modulo integer multiples of the cell matrix [Debye].
    [X] [   46.55265580     0.00000000     0.00000000 ] [i]
    [Y]=[    0.00000000    54.46353324     0.00000000 ]*[j]
    [Z] [    0.00000000     0.00000000    54.47313965 ] [k]
    Dipole moment [Debye]
      X=   -0.07183634 Y=   -0.07690441 Z=    1.13302571     Total=     1.13790246

The columns of that matrix are the polarization quanta, e times the cell vectors: the cell comes with the dipole.

Dipole trajectories (&LOCALIZE &PRINT &TOTAL_DIPOLE): ``# iter_level dipole(x,y,z)[atomic units] dipole(x,y,z)[debye]
delta_dipole(x,y,z)[atomic units]`` and rows ``1_0 ...``.  Polarizability trajectories (&MOTION &PRINT &POLAR_MATRIX):
``#   Step   Time [fs]   xx [a.u.]   xy [a.u.] ...``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import SeriesError
from spectra_app.readers.series.layouts import Layout
from spectra_app.readers.series.request import MATRIX_ORDER, XYZ, Request
from spectra_app.readers.series.text import Head
from spectra_app.units import DEBYE_TO_E_ANGSTROM

BLOCK_FRAMES = 2**15
_MOMENT = "Dipole moment [Debye]"
_NUMBER = r"([-+]?\d+\.\d+(?:[EeDd][-+]?\d+)?)"
_COMPONENTS = re.compile(rf"X=\s*{_NUMBER}\s+Y=\s*{_NUMBER}\s+Z=\s*{_NUMBER}")
_QUANTUM = re.compile(rf"\[([XYZ])\]\s*=?\s*\[\s*{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s*\]")
_ITERATION = re.compile(r"^\s*(?:\d+_)*(\d+)(?=\s)")


def has_moments(head: Head) -> bool:
    """Whether this is a file of printed moments, or a log that may contain them."""
    marks = (_MOMENT, "Dipole vectors are based on the periodic", "CP2K| version string", "Reference Point [Bohr]")
    return any(mark in head.text for mark in marks)


def iteration_to_step(line: str) -> str:
    """``1_12  0.1 ...`` with its step number alone in front."""
    return _ITERATION.sub(r"\1", line, count=1)


def is_dipole_trajectory(head: Head) -> bool:
    """Whether the header is that of a dipole trajectory."""
    return any("dipole(x,y,z)[" in line for line in head.lines)


def dipole_layout(head: Head, request: Request) -> Layout:
    """Columns of a dipole trajectory: the step, then the dipole in atomic units.

    Raises:
        SeriesError: fewer columns than that.
    """
    if request.quantity != "dipole" or head.width < 4:
        raise SeriesError(f"{head.path} of CP2K", got=f"{head.width} columns of dipoles", wanted="step x y z ...")
    factor = request.factor(head.path, "au")
    return Layout((1, 2, 3), XYZ, factor, "dipole", counter=0, clean=iteration_to_step)


def polar_layout(head: Head, request: Request) -> Layout:
    """Columns of a polarizability trajectory.

    Raises:
        SeriesError: another number of columns.
    """
    if request.quantity != "polarizability" or head.width != 11:
        raise SeriesError(f"{head.path} of CP2K", got=f"{head.width} columns", wanted="step, time and nine components")
    factor = request.factor(head.path, "au")
    return Layout(tuple(range(2, 11)), MATRIX_ORDER, factor, "polarizability", time=(1, 1.0), clock_name="Time [fs]")


def is_polar_trajectory(head: Head) -> bool:
    """Whether the header is that of a polarizability trajectory."""
    return any(line.startswith("Step") and "Time [fs]" in line and "xx [a.u.]" in line for line in head.comments)


def read_moments(path: Path) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64] | None]]:
    """Dipoles [frame, xyz] and quanta [frame, vector, xyz] (None for a molecule), e A, block by block.

    Raises:
        SeriesError: a block cut off or unreadable, or quanta in some frames only; names the line.
    """
    dipoles: list[list[float]] = []
    quanta: list[NDArray[np.float64]] = []
    matrix: dict[str, list[float]] = {}
    periodic: bool | None = None
    expected = False  # the line after "Dipole moment [Debye]" holds the components
    number = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if expected:
                dipoles.append(_dipole(path, number, line))
                expected = False
                periodic = bool(matrix) if periodic is None else periodic
                if (len(matrix) == 3) != periodic:
                    raise SeriesError(
                        f"{path}, line {number}", got=f"{len(matrix)} rows of the cell matrix", wanted="3"
                    )
                if periodic:
                    quanta.append(np.array([matrix[a] for a in "XYZ"]).T * DEBYE_TO_E_ANGSTROM)
                matrix = {}
                if len(dipoles) == BLOCK_FRAMES:
                    yield np.array(dipoles) * DEBYE_TO_E_ANGSTROM, np.array(quanta) if periodic else None
                    dipoles, quanta = [], []
            elif "[" in line:
                expected = _MOMENT in line
                row = _QUANTUM.search(line)
                if row:
                    matrix[row[1]] = [_float(word) for word in row.groups()[1:]]
    if expected:
        raise SeriesError(
            f"{path}, line {number}", got="the end of the file", wanted="X= Y= Z=", todo="The file may be truncated"
        )
    if dipoles:
        yield np.array(dipoles) * DEBYE_TO_E_ANGSTROM, np.array(quanta) if periodic else None


def _dipole(path: Path, number: int, line: str) -> list[float]:
    found = _COMPONENTS.search(line)
    if found is None:
        raise SeriesError(f"{path}, line {number}", got=line.strip()[:60] or "nothing", wanted="X= ... Y= ... Z= ...")
    return [_float(word) for word in found.groups()]


def _float(word: str) -> float:
    return float(word.replace("D", "E").replace("d", "e"))
