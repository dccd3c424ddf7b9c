"""Curves from files: our own CSV tables, two-column references with units in the header, JCAMP-DX.

The unit of the abscissa is never guessed from its values: a header names it ("cm-1", "wavelength_um",
"wavenumber_per_cm", "THz", "energy [eV]"), JCAMP-DX carries ##XUNITS=, and a bare table of numbers needs ``x_unit``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spectra_app.errors import DatasetError
from spectra_app.plotting.curves import Array, Curve, PeakMark, make_curve, to_wavenumber
from spectra_app.plotting.jcamp import parse_jcamp
from spectra_app.plotting.results import absorption_times_index, describe_column
from spectra_app.plotting.spectrum_table import Table

# What names of columns end in or carry in brackets -> our name of the unit.  Longest first where one contains another.
_ABSCISSAE: dict[str, str] = {
    "cm^-1": "cm^-1", "cm-1": "cm^-1", "1/cm": "cm^-1", "cm**-1": "cm^-1", "cm⁻¹": "cm^-1", "per_cm": "cm^-1",
    "wavenumber": "cm^-1", "thz": "THz", "mev": "meV", "ev": "eV", "micrometers": "um", "micrometer": "um",
    "micrometres": "um", "micrometre": "um", "microns": "um", "micron": "um", "µm": "um", "μm": "um", "um": "um",
    "nanometers": "nm", "nanometer": "nm", "nanometres": "nm", "nanometre": "nm", "nm": "nm",
}  # fmt: skip

_SUFFIX_UNITS: dict[str, str] = {
    "_km_per_mol_per_cm": "km/mol per cm^-1", "_km_per_mol": "km/mol", "_per_cm": "cm^-1", "_cm": "cm", "_e": "e",
}  # fmt: skip

_PEAK = re.compile(r"peak: (?P<position>[-+.\deE]+) \+- (?P<error>[-+.\deEnan]+) cm\^-1, height (?P<height>[-+.\deE]+)")


_PEAK_REACH_PER_CM = 50.0
"""Largest distance between the position of a peak and its highest point."""


def read_curve(
    path: Path | str,
    column: str | None = None,
    *,
    label: str | None = None,
    x_unit: str | None = None,
    is_reference: bool = False,
) -> Curve:
    """One curve from a file; the column of its standard errors (``<name>_error``) comes along.

    Args:
        path: CSV or whitespace table, or JCAMP-DX (.jdx, .dx, .jcamp).
        column: name of the column; None takes the first after the abscissa.
        label: text of the legend; None takes the file's name.
        x_unit: unit of the abscissa where the file does not name it: cm^-1, THz, eV, meV, um, nm.
        is_reference: whether it is a reference to compare with.

    Raises:
        DatasetError: no such file or column, not a table, NaN, or an abscissa without a unit.
    """
    table = read_table(path, x_unit)
    names = [name for name in table.names if not name.endswith("_error")]
    chosen = names[0] if column is None else column
    if chosen not in table.names:
        raise DatasetError(
            f"{table.path}, column '{chosen}'", got="no such column", wanted=f"one of {', '.join(names)}"
        )
    index = table.names.index(chosen)
    error = table.values[table.names.index(f"{chosen}_error")] if f"{chosen}_error" in table.names else None
    order = np.argsort(table.wavenumber_per_cm, kind="stable")
    x, y = table.wavenumber_per_cm[order], table.values[index][order]
    quantity, unit = describe_column(chosen, table.title)
    return make_curve(
        x,
        y,
        table.path.stem.replace("_", " ") if label is None else label,
        unit=unit or table.units[index],
        quantity=quantity,
        error=None if error is None else error[order],
        peaks=[peak for peak in table.peaks if _belongs(peak, x, y)],
        is_reference=is_reference,
    )


def read_references(paths: Sequence[Path | str], x_unit: str | None = None) -> list[Curve]:
    """Reference curves; a refractive index n and a k among them also give the absorption times index, 4 pi nu k n.

    Args:
        paths: files.
        x_unit: unit of the abscissa where a file does not name it.

    Raises:
        DatasetError: see :func:`read_curve`.
    """
    curves = [read_curve(path, x_unit=x_unit, is_reference=True) for path in paths]
    real = next((curve for curve in curves if curve.quantity == "refractive index n"), None)
    imaginary = next((curve for curve in curves if curve.quantity == "extinction k"), None)
    if real is None or imaginary is None:
        return curves
    combined = absorption_times_index(real, imaginary)
    return [combined if curve is imaginary else curve for curve in curves if curve is not real]


def read_table(path: Path | str, x_unit: str | None = None) -> Table:
    """All columns of a spectrum file, the abscissa converted to cm^-1.

    Args:
        path: CSV or whitespace table, or JCAMP-DX.
        x_unit: unit of the abscissa where the file does not name it.

    Raises:
        DatasetError: no such file, not a table, NaN, or an abscissa without a unit.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8", errors="strict")
    except FileNotFoundError:
        raise DatasetError(f"spectrum {source}", got="no such file", wanted="a CSV, text or JCAMP-DX file") from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise DatasetError(f"spectrum {source}", got=f"not a text file ({error})", wanted="CSV or JCAMP-DX") from None
    if text.lstrip().startswith("##"):
        return parse_jcamp(source, text)
    return _parse_table(source, text, x_unit)


def _parse_table(path: Path, text: str, x_unit: str | None) -> Table:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    comments = [line.lstrip("#").strip() for _, line in lines if line.startswith("#")]
    body = [(number, line) for number, line in lines if not line.startswith("#")]
    if not body:
        raise DatasetError(f"spectrum {path}", got="no data", wanted="two or more columns of numbers")
    header: list[str] | None = None
    if not _is_numbers(_split(body[0][1])):
        header, body = _split(body[0][1]), body[1:]
    elif comments and len(_split(comments[-1])) == len(_split(body[0][1])) and x_unit is None:
        header = _split(comments[-1])  # "# wavenumber_per_cm absorption" as numpy.savetxt writes it
    values = _numbers(path, body)
    n_columns = values.shape[0]
    if header is not None and len(header) != n_columns:
        raise DatasetError(
            f"spectrum {path}, header", got=f"{len(header)} names", wanted=f"{n_columns}, one for each column"
        )
    unit = x_unit if x_unit is not None else (None if header is None else _abscissa_unit(header[0]))
    if unit is None:
        raise DatasetError(
            f"spectrum {path}, abscissa",
            got="no unit" if header is None else f"'{header[0]}', no known unit",
            wanted="a header such as 'wavenumber_per_cm,absorption_per_cm', 'cm-1,k' or 'wavelength_um,k'",
            todo="Add the header, or state the unit (cm^-1, THz, eV, meV, um, nm)",
        )
    given = [f"column_{i}" for i in range(2, n_columns + 1)] if header is None else header[1:]
    named = [_split_unit(name) for name in given]
    return Table(
        path=path,
        wavenumber_per_cm=to_wavenumber(values[0], unit),
        title=comments[0] if comments else "",
        names=tuple(name for name, _ in named),
        units=tuple(unit for _, unit in named),
        values=values[1:],
        peaks=_noted_peaks(comments),
    )


def _numbers(path: Path, body: Sequence[tuple[int, str]]) -> Array:
    """[column, point] of the data lines."""
    rows: list[list[float]] = []
    for number, line in body:
        words = _split(line)
        try:
            row = [float(word) for word in words]
        except ValueError:
            raise DatasetError(f"spectrum {path}, line {number}", got=repr(line[:40]), wanted="numbers") from None
        if rows and len(row) != len(rows[0]):
            raise DatasetError(
                f"spectrum {path}, line {number}",
                got=f"{len(row)} columns",
                wanted=f"{len(rows[0])} as in the lines before",
                todo="The file may be truncated",
            )
        if not np.isfinite(row[0]):
            raise DatasetError(f"spectrum {path}, line {number}", got="NaN abscissa", wanted="finite numbers")
        rows.append(row)
    if len(rows) < 2 or len(rows[0]) < 2:
        columns = len(rows[0]) if rows else 0
        raise DatasetError(f"spectrum {path}", got=f"{len(rows)} rows x {columns} columns", wanted="at least 2 x 2")
    return np.array(rows, dtype=np.float64).T


def _split(line: str) -> list[str]:
    for separator in (",", ";", "\t"):
        if separator in line.strip():
            return [word.strip().strip('"') for word in line.strip().split(separator)]
    return line.split()


def _is_numbers(words: Sequence[str]) -> bool:
    try:
        [float(word) for word in words]
    except ValueError:
        return False
    return True


def _abscissa_unit(name: str) -> str | None:
    """Unit of the abscissa named in a header, None where there is none."""
    text = name.lower()
    bracket = re.search(r"[\[(]([^\])]+)[\])]", text)
    if bracket:
        return _ABSCISSAE.get(bracket.group(1).strip())
    for ending in sorted(_ABSCISSAE, key=len, reverse=True):
        if text == ending or text.endswith(("_" + ending, " " + ending, "/" + ending)):
            return _ABSCISSAE[ending]
    return None


def _split_unit(name: str) -> tuple[str, str]:
    """A column name and its unit: "eps_imag [1]" has none, "absorption [cm^-1]" and "absorption_per_cm" have cm^-1."""
    bracket = re.fullmatch(r"(.*?)\s*[\[(]([^\])]*)[\])]", name)
    if bracket:
        unit = bracket.group(2).strip()
        return bracket.group(1).strip(), "" if unit == "1" else unit
    for suffix, unit in _SUFFIX_UNITS.items():
        if name.removesuffix("_error").endswith(suffix):
            return name, unit
    return name, ""


def _noted_peaks(comments: Sequence[str]) -> tuple[PeakMark, ...]:
    """Peaks that the metadata of our own files note, "peak: 183.20 +- 4.10 cm^-1, height 1520 +- 40, ..."."""
    found = (_PEAK.match(line) for line in comments)
    return tuple(
        PeakMark(float(match["position"]), float(match["height"]), _finite(float(match["error"])))
        for match in found
        if match is not None
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _belongs(peak: PeakMark, x: Array, y: Array) -> bool:
    """Whether a noted peak is one of this column: the metadata note those of the main column only."""
    # Position and height are those of a fit, with the window's broadening taken off: up to 1.33 times what is seen.
    near = np.abs(x - peak.wavenumber_per_cm) <= _PEAK_REACH_PER_CM
    if not near.any():
        return False
    around = np.append(y[near], np.interp(peak.wavenumber_per_cm, x, y))
    return bool(np.any((peak.height >= 0.95 * around) & (peak.height <= 1.4 * around)))
