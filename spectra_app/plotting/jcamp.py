"""Reading the two plain forms of JCAMP-DX 4.24 spectra (McDonald and Wilks 1988, doi:10.1366/0003702884428734).

``##XYDATA= (X++(Y..Y))`` in AFFN or PAC form and ``##XYPOINTS= (XY..XY)``; the compressed forms (SQZ, DIF, DUP) are
refused by name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spectra_app.errors import DatasetError
from spectra_app.plotting.curves import Array, to_wavenumber

if TYPE_CHECKING:
    from spectra_app.plotting.readers import Table

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_X_UNITS = {"1/CM": "cm^-1", "CM-1": "cm^-1", "CM^-1": "cm^-1", "MICROMETERS": "um", "NANOMETERS": "nm"}
_QUANTITIES = frozenset(
    (
        "absorbance",
        "transmittance",
        "reflectance",
        "kubelka-munk",
        "arbitrary units",
        "counts",
        "relative abundance",
        "",
    )
)


def parse_jcamp(path: Path, text: str) -> Table:
    """The first spectrum of a JCAMP-DX text; transmittance becomes absorbance, -log10 T.

    Args:
        path: named in errors.
        text: contents of the file.

    Raises:
        DatasetError: an unknown abscissa unit, compressed data, a missing or a wrong number of points.
    """
    from spectra_app.plotting.readers import Table

    labels = _labels(text)
    unit_name = labels.get("XUNITS", "").strip().upper()
    if unit_name not in _X_UNITS:
        raise DatasetError(f"JCAMP-DX {path}, ##XUNITS=", got=unit_name or "nothing", wanted=", ".join(_X_UNITS))
    if "XYDATA" in labels:
        x, y = _ordinates(path, labels)
    elif "XYPOINTS" in labels:
        numbers = np.array([float(word) for word in _NUMBER.findall(labels["XYPOINTS"].partition(")")[2])])
        if len(numbers) % 2 or len(numbers) < 4:
            raise DatasetError(f"JCAMP-DX {path}", got=f"{len(numbers)} numbers", wanted="pairs of x and y")
        x, y = numbers[::2] * _factor(labels, "XFACTOR"), numbers[1::2] * _factor(labels, "YFACTOR")
    else:
        raise DatasetError(f"JCAMP-DX {path}", got="neither ##XYDATA= nor ##XYPOINTS=", wanted="a spectrum")
    written = labels.get("YUNITS", "").strip()
    name = written.lower()
    if name == "transmittance":
        with np.errstate(divide="ignore", invalid="ignore"):
            name, y = "absorbance", np.where(y > 0, -np.log10(y), np.nan)
    # The standard's own names of YUNITS are quantities; anything else is a unit of what ##TITLE= says.
    quantity, unit = (name, "") if name in _QUANTITIES else (_named_in(labels), written)
    title = labels.get("TITLE", "")
    return Table(path, title, to_wavenumber(x, _X_UNITS[unit_name]), (quantity,), (unit,), y[None])


def _labels(text: str) -> dict[str, str]:
    """{label: data} of the first block; comments ($$) removed."""
    plain = "\n".join(line.partition("$$")[0] for line in text.splitlines())
    labels: dict[str, str] = {}
    for chunk in plain.split("##")[1:]:
        name, _, data = chunk.partition("=")
        key = re.sub(r"[\s/_-]", "", name).upper()
        if key == "END":
            break
        labels.setdefault(key, data.strip())
    return labels


def _named_in(labels: dict[str, str]) -> str:
    """The quantity: what follows the colon in a title such as ours, "Infrared spectrum: reflectivity", or all of it."""
    title = labels["TITLE"] if labels.get("TITLE") else "intensity"
    return (title.partition(": ")[2] or title).lower()


def _factor(labels: dict[str, str], name: str) -> float:
    return float(labels[name]) if labels.get(name) else 1.0


def _ordinates(path: Path, labels: dict[str, str]) -> tuple[Array, Array]:
    """Points of ``(X++(Y..Y))``: abscissae evenly spaced from FIRSTX to LASTX; those in the lines are only a check."""
    form, _, data = labels["XYDATA"].partition("\n")
    if "X++" not in form.upper().replace(" ", ""):
        raise DatasetError(f"JCAMP-DX {path}, ##XYDATA=", got=form.strip(), wanted="(X++(Y..Y))")
    if re.search(r"[A-DF-Za-df-z@%]", data):
        raise DatasetError(
            f"JCAMP-DX {path}, ##XYDATA=",
            got="compressed data (SQZ, DIF or DUP)",
            wanted="plain numbers (AFFN)",
            todo="Save it again as uncompressed JCAMP-DX or CSV",
        )
    y = np.array([float(word) for line in data.splitlines() for word in _NUMBER.findall(line)[1:]])
    expected = int(float(labels["NPOINTS"])) if "NPOINTS" in labels else len(y)
    if len(y) != expected or len(y) < 2:
        raise DatasetError(
            f"JCAMP-DX {path}",
            got=f"{len(y)} points",
            wanted=f"{expected} (##NPOINTS=)",
            todo="The file may be truncated",
        )
    for needed in ("FIRSTX", "LASTX"):
        if needed not in labels:
            raise DatasetError(f"JCAMP-DX {path}", got=f"no ##{needed}=", wanted="the ends of the abscissa")
    x = np.linspace(float(labels["FIRSTX"]), float(labels["LASTX"]), len(y))
    return x, y * _factor(labels, "YFACTOR")
