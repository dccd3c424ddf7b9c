"""What is asked of a series file and what comes back, with the units both are in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spectra_app.errors import ConfigError, SeriesError
from spectra_app.units import BOHR_TO_ANGSTROM, COULOMB_CONSTANT, DEBYE_TO_E_ANGSTROM, HARTREE_TO_EV

Quantity = Literal["dipole", "current", "polarizability"]

FORMATS: Mapping[str, str] = {
    "auto": "by its content",
    "table": "plain table: CSV or whitespace text",
    "npy": "NumPy .npy",
    "npz": "NumPy .npz",
    "hdf5": "HDF5: a dataset, or an H5MD element",
    "gpumd": "GPUMD dipole.out, polarizability.out, dpdt.out",
    "cp2k": "CP2K moments (log or *-moments*.dat), dipole and *.polar trajectories",
    "lammps": "LAMMPS fix ave/time and fix print",
    "ipi": "i-PI properties or extras",
    "travis": "TRAVIS polarizability text (nine columns or result_polarizability.csv)",
}

DIPOLE_UNITS = {"eA": 1.0, "D": DEBYE_TO_E_ANGSTROM, "au": BOHR_TO_ANGSTROM}
"""To e A: e A; debye; e bohr."""

POLARIZABILITY_UNITS = {
    "e2A2/eV": 1.0,
    "A3": 1.0 / COULOMB_CONSTANT,
    "au": BOHR_TO_ANGSTROM**2 / HARTREE_TO_EV,
    "epm2/V": 1e-4,
}
"""To e^2 A^2/eV: itself; polarizability volume in A^3; atomic units e^2 a0^2/E_h = a0^3; e pm^2/V (TRAVIS)."""

MATRIX_ORDER = ("xx", "xy", "xz", "yx", "yy", "yz", "zx", "zy", "zz")
VOIGT_ORDER = ("xx", "yy", "zz", "yz", "xz", "xy")
XYZ = ("x", "y", "z")


@dataclass(frozen=True)
class Request:
    """How a file is to be read.

    Attributes:
        quantity: ``dipole`` (a file of dP/dt is taken as well) or ``polarizability``.
        format: a key of ``FORMATS``.
        unit: a key of ``DIPOLE_UNITS`` or ``POLARIZABILITY_UNITS``; needed where the file does not say it.
        timestep_fs: time between rows; needed where the file has no times.
        columns: names or numbers (from 1) of the components, comma-separated; of text only.
        key: array of an NPZ file, dataset or H5MD element of an HDF5 file.
        unwrap: remove jumps by the polarization quantum, from the cell of the file or ``cell_A``.
        cell_A: [vector, xyz] as nine numbers, or three of an orthogonal cell, A.
    """

    quantity: Literal["dipole", "polarizability"]
    format: str = "auto"
    unit: str | None = None
    timestep_fs: float | None = None
    columns: str | None = None
    key: str | None = None
    unwrap: bool = False
    cell_A: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError("--format", got=self.format, wanted=", ".join(FORMATS))
        if self.cell_A is not None and len(self.cell_A) not in (3, 9):
            raise ConfigError("--cell-A", got=f"{len(self.cell_A)} numbers", wanted="3 lengths or 9 components, A")
        if self.unwrap and self.quantity != "dipole":
            raise ConfigError("--unwrap", got=self.quantity, wanted="dipoles: a polarizability has no branches")

    @property
    def units(self) -> dict[str, float]:
        """Known units of the quantity and their factors to ours."""
        return DIPOLE_UNITS if self.quantity == "dipole" else POLARIZABILITY_UNITS

    @property
    def cell(self) -> NDArray[np.float64] | None:
        """[vector, xyz], A."""
        if self.cell_A is None:
            return None
        numbers = np.asarray(self.cell_A, dtype=np.float64)
        return np.diag(numbers) if len(numbers) == 3 else numbers.reshape(3, 3)

    def factor(self, path: Path, own: str | None = None) -> float:
        """Factor to our unit from the option, or from ``own``, the unit that the file says it is in.

        Raises:
            SeriesError: no unit, an unknown one, or one that contradicts the file.
        """
        unit = self.unit if self.unit is not None else own
        known = self.units
        if unit is None:
            raise SeriesError(
                f"unit of {path}",
                got="none",
                wanted=" or ".join(known),
                todo=f"Say it, e.g. --unit {next(iter(known))}",
            )
        if unit not in known:
            raise SeriesError(f"unit of {path}", got=unit, wanted=" or ".join(known))
        if own is not None and self.unit not in (None, own):
            raise SeriesError(f"--unit for {path}", got=unit, wanted=f"{own}, as the file says")
        return known[unit]


@dataclass(frozen=True)
class Series:
    """A time series in our units.

    Attributes:
        values: dipoles [frame, (replica,) xyz], e A, or their rate, e A/fs (``current``), or polarizabilities
            [frame, (replica,) xyz, xyz], e^2 A^2/eV.  An array, or anything that gives slices of frames.
        timestep_fs: time between frames.
        quantity: what the values are.
        format: what the file was taken for.
        volume_A3: mean volume of the cell, where the file knows it.
        temperature_K: mean temperature, where the file knows it.
        eps_inf: high-frequency dielectric constant, where the file knows it.
        branch_jumps: how many jumps by a polarization quantum were removed.
        notes: sentences for the user.
    """

    values: Any
    timestep_fs: float
    quantity: Quantity = "dipole"
    format: str = "table"
    volume_A3: float | None = None
    temperature_K: float | None = None
    eps_inf: float | None = None
    branch_jumps: int = 0
    notes: tuple[str, ...] = field(default=())
