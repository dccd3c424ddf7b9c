"""The common base of every spectrum: a frozen record that knows its units and where it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra_app.spectra import writers
from spectra_app.spectra.peaks import Peak
from spectra_app.spectra.uncertainty import LengthReport
from spectra_app.spectra.writers import Column


def column(unit: str, description: str) -> dict[str, str]:
    """Metadata that makes a dataclass field a column of the table."""
    return {"unit": unit, "description": description}


@dataclass(frozen=True, eq=False, kw_only=True)
class Spectrum:
    """A spectrum on a uniform grid of wavenumbers.

    Attributes:
        wavenumber_per_cm: [nu] cm^-1.
        peaks: bands of the main column, in order of wavenumber.
        report: length verdict, resolution, Nyquist, warnings.
        history: one line per step from the series to the spectrum.
        parameters: everything needed to compute it again.
    """

    wavenumber_per_cm: NDArray[np.float64]
    peaks: tuple[Peak, ...]
    report: LengthReport
    history: tuple[str, ...]
    parameters: Mapping[str, object]

    @property
    def title(self) -> str:
        """What this is, for headers and figures."""
        raise NotImplementedError

    @property
    def main(self) -> str:
        """Name of the main column, the one that is drawn and searched for peaks."""
        raise NotImplementedError

    @property
    def jcamp_type(self) -> str:
        """The DATA TYPE of a JCAMP-DX file."""
        raise NotImplementedError

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know besides the report: runs merged, time step's effect, f-sum, extrapolation."""
        corrected = [line for line in self.history if line.startswith("integration time step")]
        sums = [line for line in self.history if line.startswith("f-sum")]
        merged = [line for line in self.history if line.startswith("merged")]
        beyond = [line for line in self.history if line.startswith("extrapolation")]
        return (*merged, *(corrected or ["integration time step: its effect is left in"]), *sums, *beyond)

    def unit_of(self, name: str) -> str:
        """Unit of a column by its field name."""
        for entry in dataclasses.fields(self):
            if entry.name == name:
                return str(entry.metadata["unit"])
        raise KeyError(name)

    def columns(self) -> dict[str, Column]:
        """Table by name: (array [nu], unit, description), wavenumber first, absent quantities left out."""
        table = {"wavenumber_per_cm": Column(self.wavenumber_per_cm, "cm^-1", "wavenumber")}
        for entry in dataclasses.fields(self):
            values = getattr(self, entry.name)
            if "unit" in entry.metadata and values is not None:
                table[entry.name] = Column(values, self.unit_of(entry.name), str(entry.metadata["description"]))
        return table

    @property
    def units(self) -> dict[str, str]:
        """Unit of every column."""
        return {name: entry.unit for name, entry in self.columns().items()}

    def write_csv(self, path: Path | str) -> Path:
        """Write every column to CSV, units in the header, settings in ``#`` lines before it; returns the path."""
        return writers.write_csv(self, Path(path))

    def write_hdf5(self, path: Path | str) -> Path:
        """Write every column to HDF5, units and settings as attributes; returns the path."""
        return writers.write_hdf5(self, Path(path))

    def write_jcamp(self, path: Path | str, name: str | None = None) -> Path:
        """Write one column (the main one by default) to JCAMP-DX 4.24; returns the path."""
        return writers.write_jcamp(self, Path(path), name or self.main)

    def write(self, path: Path | str) -> Path:
        """Write by the ending of the path: .csv, .h5/.hdf5, .jdx/.dx; returns the path.

        Raises:
            ConfigError: another ending.
        """
        return writers.write(self, Path(path))


def error_description(what: str) -> str:
    """Description of the column with the error of a quantity."""
    return f"standard error of the {what} (jackknife)"
