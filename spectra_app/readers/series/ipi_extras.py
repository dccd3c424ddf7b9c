"""Extras that i-PI writes with ``<trajectory extra_type='dipole'> extras </trajectory>``: one file per bead.

https://docs.ipi-code.org/output-files.html::

     #EXTRAS(dipole)# Step:           0
     -7.32726709e+00   5.91220593e+00   8.81240635e+00

A frame is three numbers of a dipole or nine of a polarizability, in one row or several.  Without ``--unit`` they are
atomic units, which i-PI itself takes ``dipole`` for.  The mean over the beads is the estimator of (thermostatted)
ring-polymer dynamics: A(t) = (1/P) sum_b A(q_b(t)), whose correlation function is the Kubo-transformed one (Craig and
Manolopoulos, DOI 10.1063/1.1777575).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import SeriesError
from spectra_app.readers.series.clock import Clock
from spectra_app.readers.series.request import Request
from spectra_app.readers.series.text import Head, numbers_of

BLOCK_FRAMES = 2**15
_MARK = "EXTRAS"
_TITLE = re.compile(r"#EXTRAS(?:_COMPONENT_RAW|_BIAS)?\((?P<name>[^)]*)\)#\s*Step:\s*(?P<step>\d+)")
_BEAD = re.compile(r"^(?P<stem>.+_)(?P<bead>\d+)$")
_Frames = tuple[list[int], NDArray[np.float64]]


def is_extras(head: Head) -> bool:
    """Whether a file is one of extras."""
    return any(line.startswith((f"{_MARK}(", f"{_MARK}_")) and ")#" in line for line in head.comments)


def bead_files(path: Path) -> list[Path]:
    """The files of all beads of a run, in order; the file alone where there is one bead, or no number in its name.

    Raises:
        SeriesError: another bead than the first one is named, or one is missing.
    """
    found = _BEAD.match(path.name)
    if found is None:
        return [path]
    width = len(found["bead"])
    others = sorted(
        other
        for other in path.parent.glob(f"{found['stem']}{'[0-9]' * width}")
        if other.name[:-width] == found["stem"] and other.is_file()
    )
    if len(others) == 1:
        return [path]
    if int(found["bead"]) != 0:
        raise SeriesError(
            f"extras {path} of i-PI",
            got=f"bead {int(found['bead'])} of {len(others)}",
            wanted=f"{others[0].name}: the mean over all beads is taken",
            todo="For one bead alone copy its file to a name without a number",
        )
    missing = {f"{found['stem']}{bead:0{width}d}" for bead in range(len(others))} - {other.name for other in others}
    if missing:
        raise SeriesError(f"extras {path} of i-PI", got=f"no {sorted(missing)[0]}", wanted="the files of all beads")
    return others


def read_extras(files: list[Path], request: Request, clock: Clock) -> Iterator[NDArray[np.float64]]:
    """Means over the beads, block by block: dipoles [frame, xyz] or polarizabilities [frame, xyz, xyz], our units.

    Args:
        files: of the beads.
        request: quantity and unit.
        clock: told the steps.

    Raises:
        SeriesError: another quantity, another number of components, or beads that end at different steps.
    """
    shape = (3,) if request.quantity == "dipole" else (3, 3)
    factor = request.factor(files[0], request.unit or "au")
    beads = [_frames(path, request, int(np.prod(shape))) for path in files]
    while True:
        blocks = [next(bead, None) for bead in beads]
        first = blocks[0]
        steps = None if first is None else first[0]
        for path, block in zip(files, blocks, strict=True):
            if (None if block is None else block[0]) != steps:
                raise SeriesError(
                    f"extras of the beads, {files[0].name} and {path.name}",
                    got="other steps in one than in the other",
                    wanted="the same in all",
                    todo="A run may be going on, or was cut off: cut all files after the same step",
                )
        if first is None:
            return
        clock.add(np.array(first[0], dtype=float))
        total = sum(block[1] for block in blocks if block is not None)
        yield np.asarray(total).reshape(-1, *shape) * (factor / len(files))


def _frames(path: Path, request: Request, size: int) -> Iterator[_Frames]:
    """Steps and numbers [frame, component] of one file, block by block."""
    steps: list[int] = []
    numbers: list[list[float]] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        while lines := list(islice(file, 2 * BLOCK_FRAMES)):
            for line in lines:
                if _MARK in line:
                    title = _TITLE.search(line)
                    if title is None or title["name"].strip() != request.quantity:
                        got = line.strip()[:60] if title is None else f"extra_type '{title['name']}'"
                        wanted = f"extra_type='{request.quantity}' in <trajectory>"
                        raise SeriesError(f"extras {path} of i-PI", got=got, wanted=wanted)
                    if numbers and len(numbers[-1]) != size:
                        raise _wrong_size(path, steps[-1], numbers[-1], size)
                    steps.append(int(title["step"]))
                    numbers.append([])
                    continue
                found = numbers_of(line)
                if line.strip() and (found is None or not numbers):
                    raise SeriesError(f"extras {path} of i-PI", got=f"'{line.strip()[:40]}'", wanted="numbers")
                numbers[-1].extend(found or [])
            if len(steps) > 1:  # the last frame may go on in the next lines
                yield steps[:-1], _array(path, steps, numbers[:-1], size)
                steps, numbers = steps[-1:], numbers[-1:]
    if steps:
        yield steps, _array(path, steps, numbers, size)


def _array(path: Path, steps: list[int], numbers: list[list[float]], size: int) -> NDArray[np.float64]:
    for step, row in zip(steps, numbers, strict=False):
        if len(row) != size:
            raise _wrong_size(path, step, row, size)
    values = np.array(numbers)
    if not np.isfinite(values).all():
        raise SeriesError(f"extras {path} of i-PI", got="NaN or infinity", wanted="finite numbers")
    return values


def _wrong_size(path: Path, step: int, row: list[float], size: int) -> SeriesError:
    return SeriesError(
        f"extras {path} of i-PI, step {step}", got=f"{len(row)} numbers", wanted=str(size), todo="It may be cut off"
    )
