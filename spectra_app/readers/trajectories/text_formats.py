"""LAMMPS dump and VASP XDATCAR, read line by line (the readers of ASE hold the whole file in memory)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from ase.data import atomic_numbers

from spectra_app.errors import TrajectoryError
from spectra_app.readers.trajectories.frames import Frame
from spectra_app.readers.trajectories.virtual_sites import FileParticles, particles_of_symbols

# Columns of positions in a dump, best first: unwrapped needs no guess, scaled ones are fractions of the box.
POSITION_COLUMNS = (("xu", "yu", "zu"), ("x", "y", "z"), ("xsu", "ysu", "zsu"), ("xs", "ys", "zs"))


VELOCITY_COLUMNS = ("vx", "vy", "vz")
LAMMPS_TIME_FS = {"metal": 1e3, "real": 1.0}  # unit styles whose length is A (LAMMPS manual, "units"); their time in fs


def read_lammps_dump(path: Path, units: str | None = None) -> Iterator[Frame]:
    """Frames of a LAMMPS text dump in A and fs, atoms sorted by id.

    Args:
        path: the file; without velocities and times it needs no unit style, as lengths are A in metal and real.
        units: unit style, ``metal`` or ``real``; None takes the file's own (``dump_modify units yes``).

    Raises:
        TrajectoryError: velocities without a unit style, another style, two styles, or no positions.
    """
    with path.open(encoding="utf-8") as file:
        while (raw := _dump_frame(file)) is not None:
            units = _lammps_units(path, units, raw.units)
            names = raw.names
            for columns in POSITION_COLUMNS:
                if set(columns) <= set(names):
                    break
            else:
                raise TrajectoryError(f"dump {path}", got=f"columns {' '.join(names)}", wanted="x y z or xu yu zu")
            positions = raw.numbers(columns)
            if columns[0].startswith("xs"):
                positions = positions @ (np.eye(3) if raw.cell is None else raw.cell)
            velocities = None
            if set(VELOCITY_COLUMNS) <= set(names):
                if units is None:
                    raise TrajectoryError(
                        f"velocities of dump {path}",
                        got="columns vx vy vz and no unit style",
                        wanted="metal (A/ps) or real (A/fs)",
                        todo="Give --lammps-units, or write the dump with 'dump_modify ID units yes'",
                    )
                velocities = raw.numbers(VELOCITY_COLUMNS) / LAMMPS_TIME_FS[units]
            time_fs = None if raw.time is None or units is None else raw.time * LAMMPS_TIME_FS[units]
            yield Frame(positions, raw.cell, velocities, time_fs, raw.step, raw.pbc)


def _lammps_units(path: Path, said: str | None, found: str | None) -> str | None:
    """The unit style: what the user said or the file says; they must agree."""
    style = said if found is None else found
    if style is not None and style not in LAMMPS_TIME_FS:
        raise TrajectoryError(
            f"units of dump {path}",
            got=style,
            wanted=" or ".join(LAMMPS_TIME_FS),
            todo="Convert the dump to A and ps or fs",
        )
    if said is not None and style != said:
        raise TrajectoryError(
            f"units of dump {path}", got=f"{style} in the file", wanted=said, todo="Leave out --lammps-units"
        )
    return style


def lammps_dump_particles(path: Path, species: Sequence[str] | None) -> FileParticles:
    """FileParticles from the column ``element``, or from ``type`` and the symbols of types 1, 2, ...

    Raises:
        TrajectoryError: neither is there, or a symbol that is none.
    """
    with path.open(encoding="utf-8") as file:
        raw = _dump_frame(file)
    if raw is None:
        raise TrajectoryError(f"dump {path}", got="no frame")
    names, table = raw.names, raw.table
    if "element" in names:
        symbols = [str(symbol) for symbol in table[:, names.index("element")]]
    elif "type" in names and species is not None:
        types = table[:, names.index("type")].astype(int)
        if types.max() > len(species):
            raise TrajectoryError(f"dump {path}", got=f"atom type {types.max()}", wanted=f"{len(species)} species")
        symbols = [species[kind - 1] for kind in types]
    else:
        raise TrajectoryError(
            f"elements of dump {path}",
            got=f"columns {' '.join(names)}",
            wanted="a column 'element', or the symbols of types 1, 2, ...",
            todo="Give --species, or a --topology",
        )
    return particles_of_symbols(symbols, path)


class _DumpFrame(NamedTuple):
    """One snapshot of a dump: ``table`` [atom, column] is text, sorted by id; ``units`` stands in the first only."""

    step: int
    time: float | None
    units: str | None
    cell: np.ndarray | None
    pbc: tuple[bool, bool, bool]
    names: list[str]
    table: np.ndarray

    def numbers(self, columns: Sequence[str]) -> np.ndarray:
        """[atom, column] of some columns."""
        return self.table[:, [self.names.index(column) for column in columns]].astype(np.float64)


def _dump_frame(file: TextIO) -> _DumpFrame | None:
    """The next snapshot; None at the end."""
    step, n_atoms, cell, pbc, time, units = 0, -1, None, (True, True, True), None, None
    for line in file:
        if line.startswith("ITEM: TIMESTEP"):
            step = int(next(file))
        elif line.startswith("ITEM: TIME"):
            time = float(next(file))
        elif line.startswith("ITEM: UNITS"):
            units = next(file).strip()
        elif line.startswith("ITEM: NUMBER OF ATOMS"):
            n_atoms = int(next(file))
        elif line.startswith("ITEM: BOX BOUNDS"):
            words = line.split()[3:]
            pbc = (words[-3][0] == "p", words[-2][0] == "p", words[-1][0] == "p")
            cell = _dump_cell(words, [next(file).split() for _ in range(3)])
        elif line.startswith("ITEM: ATOMS"):
            names = line.split()[2:]
            table = np.array([row.split() for row in islice(file, n_atoms)], dtype=object)
            if table.shape != (n_atoms, len(names)):
                raise EOFError("the file ends inside a frame")
            if "id" in names:
                table = table[np.argsort(table[:, names.index("id")].astype(int), kind="stable")]
            return _DumpFrame(step, time, units, cell, pbc, names, table)
    return None


def _dump_cell(words: list[str], bounds: list[list[str]]) -> np.ndarray | None:
    """Cell [vector, xyz], A, of a box given as orthogonal, restricted or general triclinic bounds."""
    if sum(word[0] == "p" for word in words[-3:]) < 2:  # two: a slab
        return None
    values = np.array(bounds, dtype=float)
    if "abc" in words:
        return values[:, :3]
    low, high = values[:, 0].copy(), values[:, 1].copy()
    if values.shape[1] == 2:
        return np.diag(high - low)
    xy, xz, yz = values[:, 2]
    # The bounds of a tilted box enclose it (LAMMPS manual, Howto_triclinic).
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    lengths = high - low
    return np.array([[lengths[0], 0.0, 0.0], [xy, lengths[1], 0.0], [xz, yz, lengths[2]]])


def read_xdatcar(path: Path) -> Iterator[Frame]:
    """Frames of a VASP XDATCAR, with one cell or (ISIF = 3) a header before every frame."""
    with path.open(encoding="utf-8") as file:
        cell, symbols = _xdatcar_header(file, file.readline())
        while line := file.readline():
            if not line.strip().startswith("Direct"):
                cell, symbols = _xdatcar_header(file, line)
                file.readline()
            fractional = np.array([row.split()[:3] for row in islice(file, len(symbols))], dtype=float)
            if fractional.shape != (len(symbols), 3):
                raise EOFError("the file ends inside a frame")
            yield Frame(fractional @ cell, cell)


def xdatcar_numbers(path: Path) -> np.ndarray:
    """Atomic numbers [atom] of an XDATCAR."""
    with path.open(encoding="utf-8") as file:
        return _numbers(_xdatcar_header(file, file.readline())[1], path)


def _xdatcar_header(file: TextIO, title: str) -> tuple[np.ndarray, list[str]]:
    """Cell [vector, xyz], A, and the symbol of every atom."""
    if not title:
        raise EOFError("the file is empty")
    scale = float(file.readline())
    cell = np.array([file.readline().split()[:3] for _ in range(3)], dtype=float)
    # A negative scale is the volume (VASP manual, POSCAR).
    cell = cell * (scale if scale > 0 else (-scale / abs(np.linalg.det(cell))) ** (1.0 / 3.0))
    names, counts = file.readline().split(), [int(word) for word in file.readline().split()]
    return cell, [name for name, count in zip(names, counts, strict=True) for _ in range(count)]


def _numbers(symbols: Sequence[str], path: Path) -> np.ndarray:
    unknown = sorted(set(symbols) - set(atomic_numbers))
    if unknown:
        raise TrajectoryError(f"elements of {path}", got=f"'{unknown[0]}'", wanted="chemical symbols")
    return np.array([atomic_numbers[symbol] for symbol in symbols])
