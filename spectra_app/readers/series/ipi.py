"""i-PI property files: a header line per column, with the unit in braces.

https://docs.ipi-code.org/output-files.html::

    # column   1     --> step : The current simulation time step.
    # column   2     --> time{picosecond} : The elapsed simulation time.
    # cols.    3-5   --> dipole : The electric dipole moment (x,y,z components).

Without a unit a column is in atomic units (https://docs.ipi-code.org/units.html).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spectra_app.errors import SeriesError
from spectra_app.readers.series.layouts import Layout
from spectra_app.readers.series.request import DIPOLE_UNITS, XYZ, Request
from spectra_app.readers.series.text import Head
from spectra_app.units import BOHR_TO_ANGSTROM, BOLTZMANN, HARTREE_TO_EV, HBAR

_LINE = re.compile(
    r"(?:column|cols\.)\s+(?P<first>\d+)(?:-(?P<last>\d+))?\s+-->\s+(?P<name>\w+)(?:\{(?P<unit>[^}]*)\})?"
)
_PREFIXES = {"": 1.0, "milli": 1e-3, "micro": 1e-6, "nano": 1e-9, "pico": 1e-12, "femto": 1e-15, "atto": 1e-18}
_ATOMIC = ("", "automatic", "atomic_unit")
_DIPOLE = {"eang": "eA", "debye": "D"}
_VOLUME = {"angstrom3": 1.0}
_TEMPERATURE = {"kelvin": 1.0}


@dataclass(frozen=True)
class _Column:
    first: int
    last: int
    unit: str


def ipi_layout(head: Head, request: Request) -> Layout:
    """Columns of an i-PI property file.

    Raises:
        SeriesError: no dipole among them, another number of columns than the header has, or an unknown unit.
    """
    if request.quantity != "dipole":
        raise SeriesError(f"{head.path} of i-PI", got="a property file", wanted="a file of the polarizability")
    columns = _columns(head)
    last = max(column.last for column in columns.values())
    if head.width != last + 1:
        raise SeriesError(f"{head.path} of i-PI", got=f"{head.width} columns", wanted=f"{last + 1}, as its header says")
    if "dipole" not in columns:
        raise SeriesError(
            f"{head.path} of i-PI", got=f"columns {', '.join(columns)}", wanted="a column dipole",
            todo="Ask for dipole in <properties>",
        )  # fmt: skip
    dipole = columns["dipole"]
    if dipole.last - dipole.first != 2:
        raise SeriesError(f"dipole in {head.path}", got=f"{dipole.last - dipole.first + 1} columns", wanted="3")
    own = "au" if dipole.unit in _ATOMIC else _DIPOLE.get(dipole.unit)
    if own is None:
        raise SeriesError(f"unit of dipole in {head.path}", got=dipole.unit, wanted=", ".join(DIPOLE_UNITS))
    found = {
        name: (columns[name].first, scale(columns[name].unit, name, head))
        for name, scale in (("time", _time), ("volume", _volume), ("temperature", _temperature))
        if name in columns
    }
    return Layout(
        (dipole.first, dipole.first + 1, dipole.last),
        XYZ,
        request.factor(head.path, own),
        "dipole",
        time=found.get("time"),
        counter=columns["step"].first if "step" in columns and "time" not in columns else None,
        volume=found.get("volume"),
        temperature=found.get("temperature"),
        clock_name="time" if "time" in columns else "step",
    )


def _columns(head: Head) -> dict[str, _Column]:
    columns: dict[str, _Column] = {}
    for line in head.comments:
        found = _LINE.search(line)
        if found:
            first = int(found["first"]) - 1
            last = int(found["last"]) - 1 if found["last"] else first
            columns.setdefault(found["name"], _Column(first, last, (found["unit"] or "").strip().lower()))
    if not columns:
        raise SeriesError(f"{head.path} of i-PI", got="no line '# column 1 --> name'", wanted="the header of i-PI")
    return columns


def _time(unit: str, name: str, head: Head) -> float:
    """Factor to fs."""
    if unit in _ATOMIC:
        return HBAR / HARTREE_TO_EV
    prefix = unit.removesuffix("second")
    if prefix == unit or prefix not in _PREFIXES:
        raise SeriesError(f"unit of {name} in {head.path}", got=unit, wanted="second with a prefix")
    return _PREFIXES[prefix] * 1e15


def _volume(unit: str, name: str, head: Head) -> float:
    """Factor to A^3."""
    return BOHR_TO_ANGSTROM**3 if unit in _ATOMIC else _known(unit, _VOLUME, name, head)


def _temperature(unit: str, name: str, head: Head) -> float:
    """Factor to K."""
    return HARTREE_TO_EV / BOLTZMANN if unit in _ATOMIC else _known(unit, _TEMPERATURE, name, head)


def _known(unit: str, table: dict[str, float], name: str, head: Head) -> float:
    if unit not in table:
        raise SeriesError(f"unit of {name} in {head.path}", got=unit, wanted=", ".join(table))
    return table[unit]
