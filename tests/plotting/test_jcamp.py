"""Compressed JCAMP-DX: worked by hand, and against an independent reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectra_app.plotting.reference_files import read_curve, read_table

jcamp = pytest.importorskip("jcamp")

HEAD = (
    "##TITLE= t\n##JCAMP-DX= 4.24\n##DATA TYPE= INFRARED SPECTRUM\n##XUNITS= 1/CM\n##YUNITS= ABSORBANCE\n##XFACTOR= 1\n"
)


def squeezed(value: int) -> str:
    """SQZ."""
    text = str(abs(value))
    return ("@ABCDEFGHI" if value >= 0 else "@abcdefghi")[int(text[0])] + text[1:]


def differenced(value: int) -> str:
    """DIF."""
    text = str(abs(value))
    return ("%JKLMNOPQR" if value >= 0 else "%jklmnopqr")[int(text[0])] + text[1:]


def repeated(count: int) -> str:
    """DUP."""
    text = str(count)
    return " STUVWXYZs"[int(text[0])] + text[1:]


def encode(y: np.ndarray, form: str, per_line: int = 9) -> str:
    """(X++(Y..Y)) lines of integers by the rules of the standard, differences with checkpoints."""
    lines, start = [], 0
    while start < len(y):
        stop = min(len(y), start + per_line)
        line = f"{400 + 2 * start}"
        if form == "SQZ":
            line += "".join(squeezed(v) for v in y[start:stop])
        else:
            line += squeezed(y[max(start - 1, 0)]) if start else squeezed(y[0])
            steps = np.diff(y[max(start - 1, 0) : stop])
            k = 0
            while k < len(steps):
                run = 1
                while form == "DIFDUP" and k + run < len(steps) and steps[k + run] == steps[k]:
                    run += 1
                line += differenced(int(steps[k])) + (repeated(run) if run > 1 else "")
                k += run
        lines.append(line)
        start = stop
    if form != "SQZ":
        lines.append(f"{400 + 2 * len(y)}{squeezed(y[-1])}")
    return "\n".join(lines) + "\n"


def test_by_hand(tmp_path: Path) -> None:
    # B5: 25; three differences +1: 26 27 28 (J and U: J occurs 3 times); k0: -20 -> 8; %: 8; checkpoint H = 8; j: 7.
    text = "##FIRSTX= 400\n##LASTX= 412\n##NPOINTS= 7\n##XYDATA= (X++(Y..Y))\n400B5JUk0%\n412Hj\n##END=\n"
    path = tmp_path / "a.jdx"
    path.write_text(HEAD + "##YFACTOR= 0.5\n" + text)
    curve = read_curve(path)
    assert curve.y.tolist() == [12.5, 13.0, 13.5, 14.0, 4.0, 4.0, 3.5]
    assert curve.x.tolist() == [400.0, 402.0, 404.0, 406.0, 408.0, 410.0, 412.0]


@pytest.mark.parametrize("form", ["SQZ", "DIF", "DIFDUP"])
def test_as_an_independent_reader_has_it(tmp_path: Path, form: str) -> None:
    rng = np.random.default_rng(2)
    y = np.concatenate([rng.integers(-3000, 3000, 40), np.full(15, 7), np.arange(100, 160, 5), rng.integers(-9, 9, 20)])
    text = f"##YFACTOR= 1\n##FIRSTX= 400\n##LASTX= {400 + 2 * (len(y) - 1)}\n##NPOINTS= {len(y)}\n"
    path = tmp_path / "a.jdx"
    path.write_text(HEAD + text + "##XYDATA= (X++(Y..Y))\n" + encode(y, form) + "##END=\n")
    table = read_table(path)
    np.testing.assert_array_equal(table.values[0], y)
    np.testing.assert_array_equal(jcamp.readfile(str(path))["y"], y)
    np.testing.assert_allclose(table.wavenumber_per_cm, jcamp.readfile(str(path))["x"])
