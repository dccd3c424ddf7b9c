"""Units in names of columns: ``Mx_eA``, ``mu_x[D]``, ``dipole_x_Debye``, ``alpha_xx_A3``, ``t_fs``, ``time (ps)``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from spectra_app.errors import SeriesError
from spectra_app.readers.series.text import words_of

TIME_NAMES = ("time", "t")
TIME_UNITS = {"fs": 1.0, "ps": 1e3, "ns": 1e6}
"""To fs."""

# How programs spell the units of ``request.DIPOLE_UNITS`` and ``POLARIZABILITY_UNITS``, without blanks, ^, * and _.
DIPOLE_SPELLINGS = {
    "eA": ("ea", "eang", "eangstrom", "eangstroms"),
    "D": ("debye", "debyes"),
    "au": ("au", "ebohr", "ea0", "atomicunits"),
}
POLARIZABILITY_SPELLINGS = {
    "e2A2/eV": ("e2a2/ev",),
    "A3": ("a3", "ang3", "angstrom3"),
    "au": ("au", "bohr3", "a03", "atomicunits", "e2a02/eh"),
    "epm2/V": ("epm2/v",),
}


class ColumnName(NamedTuple):
    """Name of a column.

    Attributes:
        whole: as it stands in the header.
        bare: without its unit.
        unit: key of a table of units, or of ``TIME_UNITS``; None where the name says none that is known.
    """

    whole: str
    bare: str
    unit: str | None


def names_of(line: str) -> list[str]:
    """Names in a header line; a unit in brackets belongs to the name before it, blank or not."""
    tidy = re.sub(r"\s*([\[(])\s*([^\])]*?)\s*([\])])", lambda m: m[1] + m[2].replace(" ", "") + m[3], line)
    return words_of(tidy)


def parse_name(name: str, spellings: Mapping[str, Sequence[str]]) -> ColumnName:
    """Take a column's name apart.

    Args:
        name: as it stands in the header.
        spellings: the known units of the quantity; those of times are known besides.
    """
    for bare, unit in _splits(name):
        if bare.lower() in TIME_NAMES and unit in TIME_UNITS:
            return ColumnName(name, bare, unit)
        plain = re.sub(r"_?per_?", "/", unit).replace("Å", "A")
        plain = re.sub(r"[\s^*._]", "", plain)
        for key, known in spellings.items():
            if plain == key or plain.lower() in known:  # D is debye, d is nothing
                return ColumnName(name, bare, key)
    return ColumnName(name, name, None)


def _splits(name: str) -> list[tuple[str, str]]:
    """Ways to see a name and a unit in it: in brackets, behind a slash, behind an underscore (the longest first)."""
    bracket = re.fullmatch(r"(.+?)_?[\[(]([^\])]+)[\])]", name)
    if bracket is not None:
        return [(bracket[1], bracket[2])]
    found = []
    if "/" in name:
        bare, _, unit = name.partition("/")
        found.append((bare, unit))
    words = name.split("_")
    return found + [("_".join(words[:k]), "_".join(words[k:])) for k in range(1, len(words))]


def common_unit(columns: Sequence[ColumnName], path: Path) -> str | None:
    """The unit that the names of some columns say; None where none of them says one.

    Raises:
        SeriesError: they contradict each other, or only some say it.
    """
    units = {column.unit for column in columns}
    if len(units) > 1:
        raise SeriesError(
            f"units in the header of {path}", got=", ".join(column.whole for column in columns),
            wanted="one unit for all of them",
        )  # fmt: skip
    return units.pop() if units else None
