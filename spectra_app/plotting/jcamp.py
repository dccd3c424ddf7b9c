"""Reading JCAMP-DX 4.24 spectra (McDonald and Wilks 1988, doi:10.1366/0003702884428734).

``##XYDATA= (X++(Y..Y))`` in the forms AFFN and PAC and in the compressed ones (ASDF: SQZ, DIF, DUP), and
``##XYPOINTS= (XY..XY)``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from spectra_app.errors import DatasetError
from spectra_app.plotting.curves import Array, to_wavenumber
from spectra_app.plotting.spectrum_table import Table

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
# One compressed ordinate: a letter that holds sign and first digit (SQZ, DIF) or a count (DUP), then digits.
_COMPRESSED = re.compile(r"[@A-DF-Za-df-z%]")
_TOKEN = re.compile(r"(?P<letter>[@A-Ia-i%J-Rj-rS-Zs])(?P<digits>\d*)|(?P<plain>[-+]?\d+\.?\d*)")
_SQZ = {letter: value for value, letter in enumerate("@ABCDEFGHI")} | {c: -v for v, c in enumerate("abcdefghi", 1)}
_DIF = {letter: value for value, letter in enumerate("%JKLMNOPQR")} | {c: -v for v, c in enumerate("jklmnopqr", 1)}
_DUP = {letter: value for value, letter in enumerate("STUVWXYZs", 1)}
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
        DatasetError: an unknown abscissa unit, a failed checkpoint, a missing or a wrong number of points.
    """
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
    if _COMPRESSED.search(data):
        y = _decompressed(path, data)
    else:
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


def _decompressed(path: Path, data: str) -> Array:
    """Ordinates of compressed data (ASDF).

    SQZ: the letter holds sign and first digit.  DIF: the same for the difference to the ordinate before.  DUP: the
    entry before occurs so many times.  A line that ends in a difference is followed by one whose first ordinate repeats
    the last, as a checkpoint.

    Raises:
        DatasetError: a checkpoint that does not agree.
    """
    values: list[float] = []
    was_difference = False
    for number, line in enumerate(data.splitlines(), start=1):
        tokens = list(_TOKEN.finditer(line.partition("$$")[0]))
        step = 0.0
        for index, token in enumerate(tokens[1:]):  # the first is the abscissa
            letter, digits = token["letter"], token["digits"] or ""
            if index == 0 and was_difference:
                check = _ordinate(token)
                if check != values[-1]:
                    raise DatasetError(
                        f"JCAMP-DX {path}, line {number} of ##XYDATA=", got=f"{check:g} at the checkpoint",
                        wanted=f"{values[-1]:g}, the last ordinate of the line before", todo="The file is damaged",
                    )  # fmt: skip
                was_difference = False
            elif letter is not None and letter in _DUP:
                for _ in range(int(f"{_DUP[letter]}{digits}") - 1):
                    values.append(values[-1] + step)
            elif letter is not None and letter in _DIF:
                step = float(f"{_DIF[letter]}{digits}")
                values.append(values[-1] + step)
                was_difference = True
            else:
                step, was_difference = 0.0, False
                values.append(_ordinate(token))
    return np.array(values)


def _ordinate(token: re.Match[str]) -> float:
    """A SQZ or plain ordinate."""
    return float(token["plain"]) if token["letter"] is None else float(f"{_SQZ[token['letter']]}{token['digits']}")
