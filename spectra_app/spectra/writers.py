"""Spectra to files: CSV, HDF5 and JCAMP-DX, each written beside its place and renamed when complete."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

import spectra_app
from spectra_app.errors import ConfigError, TrajectoryError
from spectra_app.files import atomic_path
from spectra_app.spectra.peaks import Peak
from spectra_app.spectra.uncertainty import LengthReport

_JCAMP_LARGEST = 2**31 - 1
"""JCAMP-DX ordinates are integers; readers of 1988 hold them in 32 bits."""
_JCAMP_LINE = 76


class Column(NamedTuple):
    """One column of a spectrum's table."""

    values: NDArray[np.float64]
    unit: str
    description: str


class WritableSpectrum(Protocol):
    """What is written of a ``result.Spectrum``; shapes and units stand there."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def main(self) -> str: ...  # noqa: D102
    @property
    def jcamp_type(self) -> str: ...  # noqa: D102
    @property
    def wavenumber_per_cm(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def peaks(self) -> tuple[Peak, ...]: ...  # noqa: D102
    @property
    def report(self) -> LengthReport: ...  # noqa: D102
    @property
    def history(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def parameters(self) -> Mapping[str, object]: ...  # noqa: D102
    def columns(self) -> dict[str, Column]: ...  # noqa: D102


def write_atomically(path: Path, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a temporary file in the same folder, then rename it: the path never holds half a file.

    Raises:
        TrajectoryError: the file cannot be written (no such folder, no permission, disk full).
    """
    with atomic_path(path, TrajectoryError) as temporary:
        write(temporary)
    return path


def write(spectrum: WritableSpectrum, path: Path) -> Path:
    """Write by the ending of the path.

    Raises:
        ConfigError: an ending other than .csv, .h5, .hdf5, .jdx, .dx.
    """
    ending = path.suffix.lower()
    if ending == ".csv":
        return write_csv(spectrum, path)
    if ending in (".h5", ".hdf5"):
        return write_hdf5(spectrum, path)
    if ending in (".jdx", ".dx"):
        return write_jcamp(spectrum, path, spectrum.main)
    raise ConfigError(f"output {path}", got=f"ending '{path.suffix}'", wanted=".csv, .h5 or .jdx")


def header(spectrum: WritableSpectrum) -> list[str]:
    """Lines that say what a file is, how it was made, and how far to trust it."""
    lines = [
        spectrum.title,
        f"spectra-app {spectra_app.__version__}",
        f"verdict: {spectrum.report.verdict.value} | {spectrum.report.sentence}",
        *(f"warning: {sentence}" for sentence in spectrum.report.warnings),
        *(f"history: {line}" for line in spectrum.history),
        *(f"{name}: {_plain(value)}" for name, value in spectrum.parameters.items()),
    ]
    for peak in spectrum.peaks:
        lines.append(
            f"peak: {peak.position_per_cm:.2f} +- {peak.position_error_per_cm:.2f} cm^-1, "
            f"height {peak.height:.5g} +- {peak.height_error:.2g}, width {peak.width_per_cm:.1f} cm^-1, "
            f"integral {peak.integral:.5g} +- {peak.integral_error:.2g} "
            f"from {peak.from_per_cm:.0f} to {peak.to_per_cm:.0f} cm^-1"
        )
    return lines


def write_csv(spectrum: WritableSpectrum, path: Path) -> Path:
    """CSV: ``#`` lines, one header line with ``name [unit]``, one line per wavenumber."""
    columns = spectrum.columns()

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for line in header(spectrum):
                file.write(f"# {line}\n")
            for name, entry in columns.items():
                file.write(f"# column {name} [{entry.unit}]: {entry.description}\n")
            file.write(",".join(f"{name} [{entry.unit}]" for name, entry in columns.items()) + "\n")
            np.savetxt(file, np.column_stack([entry.values for entry in columns.values()]), fmt="%.8g", delimiter=",")

    return write_atomically(path, fill)


def write_hdf5(spectrum: WritableSpectrum, path: Path) -> Path:
    """HDF5: a dataset per column with its unit and description; a group ``peaks``; settings as attributes."""

    def fill(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            file.attrs["title"] = spectrum.title
            file.attrs["main"] = spectrum.main
            file.attrs["version"] = spectra_app.__version__
            file.attrs["verdict"] = spectrum.report.verdict.value
            file.attrs["sentence"] = spectrum.report.sentence
            file.attrs["warnings"] = json.dumps(spectrum.report.warnings)
            file.attrs["history"] = json.dumps(spectrum.history)
            file.attrs["parameters"] = json.dumps({k: _plain(v) for k, v in spectrum.parameters.items()})
            for name, entry in spectrum.columns().items():
                dataset = file.create_dataset(name, data=entry.values)
                dataset.attrs["unit"] = entry.unit
                dataset.attrs["description"] = entry.description
            if spectrum.peaks:
                peaks = file.create_group("peaks")
                for name in vars(spectrum.peaks[0]):
                    peaks.create_dataset(name, data=[getattr(peak, name) for peak in spectrum.peaks])

    return write_atomically(path, fill)


def write_jcamp(spectrum: WritableSpectrum, path: Path, name: str) -> Path:
    """JCAMP-DX 4.24 (McDonald, Appl. Spectrosc. 42, 151, 1988), ``(X++(Y..Y))``, AFFN: one column, NaN as 0.

    Raises:
        ConfigError: no such column.
    """
    columns = spectrum.columns()
    if name not in columns or name == "wavenumber_per_cm":
        raise ConfigError("JCAMP-DX column", got=name, wanted=", ".join(list(columns)[1:]))
    x, entry = spectrum.wavenumber_per_cm, columns[name]
    y = np.nan_to_num(np.asarray(entry.values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(np.max(np.abs(y), initial=0.0)) or 1.0
    y_factor = float(f"{largest / _JCAMP_LARGEST:.9e}") * (1.0 + 1e-8)  # rounded up: the largest value must still fit
    ordinates = np.round(y / y_factor).astype(np.int64)
    labels = {
        "TITLE": f"{spectrum.title}: {entry.description}",
        "JCAMP-DX": "4.24",
        "DATA TYPE": spectrum.jcamp_type,
        "ORIGIN": f"spectra-app {spectra_app.__version__}",
        "OWNER": "the user of spectra-app",
        "RESOLUTION": f"{spectrum.report.resolution_per_cm:.6g}",
        "DELTAX": f"{float(x[-1] - x[0]) / (len(x) - 1):.12g}",
        "XUNITS": "1/CM",
        "YUNITS": entry.unit if entry.unit != "1" else "ARBITRARY UNITS",
        "FIRSTX": f"{x[0]:.12g}",
        "LASTX": f"{x[-1]:.12g}",
        "FIRSTY": f"{ordinates[0] * y_factor:.9g}",
        "MAXX": f"{x.max():.12g}",
        "MINX": f"{x.min():.12g}",
        "MAXY": f"{y.max():.9g}",
        "MINY": f"{y.min():.9g}",
        "XFACTOR": "1.0",
        "YFACTOR": f"{y_factor:.17g}",
        "NPOINTS": str(len(x)),
    }

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="ascii", errors="replace", newline="\r\n") as file:
            for label, value in labels.items():
                file.write(f"##{label}= {value}\n")
            for line in header(spectrum):
                for part in textwrap.wrap(line, _JCAMP_LINE):
                    file.write(f"$$ {part}\n")
            file.write("##XYDATA= (X++(Y..Y))\n")
            file.writelines(_affn_lines(x, ordinates))
            file.write("##END=\n")

    return write_atomically(path, fill)


def _affn_lines(x: NDArray[np.float64], ordinates: NDArray[np.int64]) -> list[str]:
    """Lines of at most 80 characters: the abscissa of the first ordinate, then ordinates."""
    lines: list[str] = []
    line = ""
    for position, ordinate in zip(x, ordinates, strict=True):
        text = f" {ordinate}"
        if not line or len(line) + len(text) > _JCAMP_LINE:
            if line:
                lines.append(line + "\n")
            line = f"{position:.6f}"
        line += text
    return [*lines, line + "\n"]


def _plain(value: object) -> object:
    """A setting as JSON has it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (int, float, str, bool, list, tuple, dict, type(None))) else str(value)
