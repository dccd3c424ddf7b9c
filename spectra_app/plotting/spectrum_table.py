"""The columns of a spectrum file, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spectra_app.plotting.curves import Array, PeakMark


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a spectrum file.

    Attributes:
        path: where it came from.
        title: first metadata line, what the file is.
        wavenumber_per_cm: [point], cm^-1.
        names: names of the other columns, without units.
        units: unit of each of them; empty where none is written.
        values: [column, point].
        peaks: peaks noted in the metadata of our own files.
    """

    path: Path
    title: str
    wavenumber_per_cm: Array
    names: tuple[str, ...]
    units: tuple[str, ...]
    values: Array
    peaks: tuple[PeakMark, ...] = ()
