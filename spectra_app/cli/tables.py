"""Plain tables of dipoles and polarizabilities from any other code: CSV, whitespace text, NPY, NPZ."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spectra_app.errors import SeriesError
from spectra_app.spectra import timestep_from_times
from spectra_app.units import BOHR_TO_ANGSTROM, COULOMB_CONSTANT, DEBYE_TO_E_ANGSTROM, HARTREE_TO_EV

TEXT_SUFFIXES = (".csv", ".txt", ".dat", ".tsv")
ARRAY_SUFFIXES = (".npy", ".npz")
DIPOLE_UNITS = {"eA": 1.0, "D": DEBYE_TO_E_ANGSTROM, "au": BOHR_TO_ANGSTROM}
"""To e A: e A; debye; e bohr."""
POLARIZABILITY_UNITS = {
    "e2A2/eV": 1.0,
    "A3": 1.0 / COULOMB_CONSTANT,
    "au": BOHR_TO_ANGSTROM**2 / HARTREE_TO_EV,
}
"""To e^2 A^2/eV: itself; polarizability volume in A^3; atomic units e^2 a0^2/E_h = a0^3."""
MATRIX_ORDER = ("xx", "xy", "xz", "yx", "yy", "yz", "zx", "zy", "zz")
VOIGT_ORDER = ("xx", "yy", "zz", "yz", "xz", "xy")
SAME_TIMESTEP = 1e-3  # relative difference between a given time step and that of a time column


@dataclass(frozen=True)
class Series:
    """A time series.

    Attributes:
        values: dipoles [frame, (replica,) xyz], e A, or polarizabilities [frame, (replica,) xyz, xyz], e^2 A^2/eV.
        timestep_fs: fs.
    """

    values: np.ndarray
    timestep_fs: float


def is_table(path: Path) -> bool:
    """Whether a path names a plain table rather than a run file."""
    return path.suffix.lower() in TEXT_SUFFIXES + ARRAY_SUFFIXES


def read_dipoles(
    path: Path, unit: str | None, timestep_fs: float | None, columns: str | None = None, key: str | None = None
) -> Series:
    """Dipoles [frame, (replica,) xyz], e A.

    Args:
        path: .csv .txt .dat .tsv (three columns) or .npy .npz ([frame, xyz] or [frame, replica, xyz]).
        unit: a key of ``DIPOLE_UNITS``.
        timestep_fs: time between rows, fs; None takes a column named ``time_fs`` or ``time_ps``.
        columns: names or numbers (from 1) of the three columns, comma-separated.
        key: name of the array in an NPZ file.

    Raises:
        SeriesError: whatever is missing, unreadable or of another shape.
    """
    table, names = _read(path, key)
    factor = _factor(unit, DIPOLE_UNITS, path)
    step = _timestep(path, table, names, timestep_fs)
    if names is None:
        if table.ndim not in (2, 3) or table.shape[-1] != 3:
            raise SeriesError(
                f"array in {path}", got=f"shape {table.shape}", wanted="[frame, xyz] or [frame, replica, xyz]"
            )
        return Series(table * factor, step)
    chosen = _choose(path, table, names, columns, (3,))
    return Series(table[:, chosen] * factor, step)


def read_polarizabilities(
    path: Path, unit: str | None, timestep_fs: float | None, columns: str | None = None, key: str | None = None
) -> Series:
    """Polarizabilities [frame, (replica,) xyz, xyz], e^2 A^2/eV.

    Text tables have nine columns (xx xy xz yx yy yz zx zy zz) or six (xx yy zz yz xz xy, Voigt); a header whose names
    end in xx, xy, ... decides the order instead.  Other arguments as ``read_dipoles``.

    Raises:
        SeriesError: whatever is missing, unreadable or of another shape.
    """
    table, names = _read(path, key)
    factor = _factor(unit, POLARIZABILITY_UNITS, path)
    step = _timestep(path, table, names, timestep_fs)
    if names is None:
        if table.ndim not in (3, 4) or table.shape[-2:] != (3, 3):
            raise SeriesError(
                f"array in {path}", got=f"shape {table.shape}", wanted="[frame, xyz, xyz] or [frame, replica, xyz, xyz]"
            )
        return Series(table * factor, step)
    chosen = _choose(path, table, names, columns, (6, 9))
    order: tuple[str, ...] = MATRIX_ORDER if len(chosen) == 9 else VOIGT_ORDER
    endings = [re.search(r"[xyz]{2}$", re.sub(r"[^a-z]+$|_?(a3|au|e2.*)$", "", names[c].lower())) for c in chosen]
    if all(endings):
        order = tuple(found.group() for found in endings if found)
    return Series(_matrix(path, table[:, chosen], order) * factor, step)


def _matrix(path: Path, values: np.ndarray, order: tuple[str, ...]) -> np.ndarray:
    """Rows of named components [frame, component] as symmetric-completed matrices [frame, xyz, xyz]."""
    place = {component: column for column, component in enumerate(order)}
    out = np.empty((len(values), 3, 3))
    for a, first in enumerate("xyz"):
        for b, second in enumerate("xyz"):
            column = place.get(first + second, place.get(second + first))
            if column is None:
                raise SeriesError(f"columns of {path}", got=" ".join(order), wanted=f"also a component {first}{second}")
            out[:, a, b] = values[:, column]
    return out


def _factor(unit: str | None, known: dict[str, float], path: Path) -> float:
    if unit is None:
        raise SeriesError(
            f"unit of {path}", got="none", wanted=" or ".join(known), todo=f"Say it, e.g. --unit {next(iter(known))}"
        )
    if unit not in known:
        raise SeriesError(f"unit of {path}", got=unit, wanted=" or ".join(known))
    return known[unit]


def _read(path: Path, key: str | None) -> tuple[np.ndarray, list[str] | None]:
    """The table and the names of its columns; names are None for an array file."""
    if not path.is_file():
        raise SeriesError(
            f"table {path}", got="no such file", wanted=f"one of {' '.join(TEXT_SUFFIXES + ARRAY_SUFFIXES)}"
        )
    if path.suffix.lower() in ARRAY_SUFFIXES:
        table = _read_array(path, key)
        names = None
    else:
        table, names = _read_text(path)
    if len(table) < 2:
        raise SeriesError(f"table {path}", got=f"{len(table)} frames", wanted="a time series")
    if not np.isfinite(table).all():
        frame = int(np.argwhere(~np.isfinite(table))[0, 0])
        raise SeriesError(f"table {path}, frame {frame}", got="NaN or infinity", wanted="finite numbers")
    return table, names


def _read_array(path: Path, key: str | None) -> np.ndarray:
    try:
        content = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise SeriesError(f"table {path}", got=f"unreadable ({error})", wanted="an array saved by numpy") from None
    if isinstance(content, np.ndarray):
        return content.astype(np.float64)
    with content:
        names = list(content.files)
        if key is None and len(names) == 1:
            key = names[0]
        if key not in names:
            got = f"'{key}'" if key else f"{len(names)} arrays"
            raise SeriesError(f"arrays in {path}", got=got, wanted=f"one of {', '.join(names)}", todo="Use --key NAME")
        return np.asarray(content[key], dtype=np.float64)


def _read_text(path: Path) -> tuple[np.ndarray, list[str]]:
    """Numbers separated by commas, semicolons, tabs or spaces; the last line before them may name the columns."""
    rows: list[list[float]] = []
    header: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            words = [word for word in re.split(r"[,;\s]+", line.strip().lstrip("#").strip()) if word]
            if not words:
                continue
            if line.lstrip().startswith("#"):
                header = header if rows else words
                continue
            try:
                row = [float(word) for word in words]
            except ValueError:
                if rows:
                    raise SeriesError(f"{path}, line {number}", got=line.strip()[:60], wanted="numbers") from None
                header = words
                continue
            if rows and len(row) != len(rows[0]):
                raise SeriesError(f"{path}, line {number}", got=f"{len(row)} columns", wanted=f"{len(rows[0])}")
            rows.append(row)
    if not rows:
        raise SeriesError(f"table {path}", got="no numbers", wanted="one row per time step")
    width = len(rows[0])
    names = header if len(header) == width else [str(column + 1) for column in range(width)]
    return np.array(rows), names


def _timestep(path: Path, table: np.ndarray, names: list[str] | None, given_fs: float | None) -> float:
    """Time between rows, fs: the option, checked against a time column where there is one."""
    found_fs = None
    for name, scale in (("time_fs", 1.0), ("time_ps", 1000.0)):
        if names is None or name not in names:
            continue
        try:
            found_fs = timestep_from_times(table[:, names.index(name)] * scale)
        except SeriesError as error:
            raise SeriesError(f"column {name} of {path}, {error}") from None
    step = given_fs if given_fs is not None else found_fs
    if step is None or step <= 0:
        raise SeriesError(
            f"time step of {path}", got=given_fs, wanted="the time between rows", todo="Say --timestep-fs 0.5"
        )
    if found_fs is not None and abs(step - found_fs) > SAME_TIMESTEP * found_fs:
        raise SeriesError(f"--timestep-fs for {path}", got=given_fs, wanted=f"{found_fs:g}, as its time column says")
    return step


def _choose(path: Path, table: np.ndarray, names: list[str], columns: str | None, counts: tuple[int, ...]) -> list[int]:
    """Positions of the wanted columns; the time and step columns are left out where none are named."""
    if columns is None:
        chosen = [c for c, name in enumerate(names) if name not in ("time_fs", "time_ps", "step", "frame")]
    else:
        chosen = []
        for word in (w.strip() for w in columns.split(",")):
            if word in names:
                chosen.append(names.index(word))
            elif word.isdigit() and 1 <= int(word) <= table.shape[1]:
                chosen.append(int(word) - 1)
            else:
                raise SeriesError(f"--columns for {path}", got=f"'{word}'", wanted=f"of {', '.join(names)}")
    if len(chosen) not in counts:
        raise SeriesError(
            f"columns of {path}",
            got=f"{len(chosen)} ({', '.join(names[c] for c in chosen[:12])})",
            wanted=" or ".join(map(str, counts)),
            todo="Name them, e.g. --columns 2,3,4",
        )
    return chosen
