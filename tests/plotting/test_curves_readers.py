"""Curves, their units, and the files they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectra_app.errors import DatasetError, SpectraAppError
from spectra_app.plotting.curves import (
    axis_label,
    crop,
    make_curve,
    match_reference,
    normalise,
    pretty_unit,
    to_wavenumber,
)
from spectra_app.plotting.reference_files import read_curve, read_references, read_table


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1644.0, "cm^-1", 1644.0),
        (2.5, "um", 4000.0),  # 1e4 / 2.5
        (532.0, "nm", 18796.992),  # 1e7 / 532
        (1.0, "THz", 33.35641),  # CODATA
        (1.0, "eV", 8065.5439),
        (1.0, "meV", 8.0655439),
    ],
)
def test_units_of_the_abscissa(value: float, unit: str, expected: float) -> None:
    assert to_wavenumber(np.array([value]), unit)[0] == pytest.approx(expected, rel=1e-7)


def test_unknown_unit_and_impossible_wavelength() -> None:
    with pytest.raises(DatasetError, match="furlong"):
        to_wavenumber(np.ones(2), "furlong")
    with pytest.raises(DatasetError, match="positive"):
        to_wavenumber(np.array([0.0, 1.0]), "um")


@pytest.mark.parametrize(
    ("header", "x", "expected"),
    [
        ("cm-1,k", 1000.0, 1000.0),
        ("wavenumber_per_cm,k", 1000.0, 1000.0),
        ("wavenumber [cm^-1],k", 1000.0, 1000.0),
        ("Wavenumber (1/cm);k", 1000.0, 1000.0),
        ("wavelength_um,k", 10.0, 1000.0),
        ("wavelength [µm],k", 10.0, 1000.0),
        ("frequency_THz,k", 10.0, 333.5641),
    ],
)
def test_headers_name_the_unit(tmp_path: Path, header: str, x: float, expected: float) -> None:
    separator = ";" if ";" in header else ","
    path = tmp_path / "reference.csv"
    path.write_text(f"{header}\n{x}{separator}0.25\n{2 * x}{separator}0.5\n")
    curve = read_curve(path, is_reference=True)
    assert expected == pytest.approx(curve.x[np.argmin(np.abs(curve.x - expected))], rel=1e-6)
    assert curve.y[np.argmin(np.abs(curve.x - expected))] == 0.25  # values follow their wavelength when it is reversed
    assert (np.diff(curve.x) > 0).all()
    assert curve.quantity == "extinction k"


def test_bare_numbers_need_a_unit(tmp_path: Path) -> None:
    path = tmp_path / "raman.dat"
    path.write_text("\t0\t0\n\t2.4\t2643.9\n\t4.9\t3891.7\n")
    with pytest.raises(DatasetError, match="no unit"):
        read_curve(path)
    assert read_curve(path, x_unit="cm^-1").x.tolist() == [0.0, 2.4, 4.9]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no data"),
        ("cm-1,k\n1,2\n", "at least 2 x 2"),
        ("cm-1,k\n1,2\n2,oops\n", "line 3.*wanted numbers"),
        ("cm-1,k\n1,2\n2,3\n3\n", "line 4.*truncated"),
        ("cm-1,k\n1,2\nnan,3\n", "NaN abscissa"),
        ("cm-1,k,n\n1,2\n2,3\n", "3 names, wanted 2"),
        ("parsec,k\n1,2\n2,3\n", "'parsec', no known unit"),
        ("cm-1,k\n1,nan\n2,nan\n", "no finite value"),
    ],
)
def test_damaged_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_curve(path)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        read_curve(tmp_path / "none.csv")
    (tmp_path / "figure.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(DatasetError, match="not a text file"):
        read_curve(tmp_path / "figure.png")
    with pytest.raises(SpectraAppError, match="not a text file"):
        read_curve(tmp_path)


OURS = """# Infrared spectrum
# spectra-app 0.1.0
# peak: 1644.10 +- 4.20 cm^-1, height 20.5 +- 1.1, width 80.0 cm^-1, integral 5 +- 1 from 1500 to 1800 cm^-1
# peak: 3400.00 +- nan cm^-1, height 41 +- nan, width 80.0 cm^-1, integral 5 +- 1 from 3000 to 3800 cm^-1
# column wavenumber_per_cm [cm^-1]: wavenumber
wavenumber_per_cm [cm^-1],alpha_n_per_cm [cm^-1],alpha_n_per_cm_error [cm^-1],eps_imag [1],eps_imag_error [1]
1600,10,1,0.5,0.1
1644,20,1,0.6,0.1
3400,40,2,0.3,0.1
"""


def test_our_own_tables_come_with_errors_units_and_peaks(tmp_path: Path) -> None:
    path = tmp_path / "water_ir.csv"
    path.write_text(OURS)
    curve = read_curve(path)
    assert (curve.unit, curve.label) == ("cm^-1", "water ir")
    assert curve.error is not None
    assert curve.error.tolist() == [1.0, 1.0, 2.0]
    assert [(peak.wavenumber_per_cm, peak.error_per_cm) for peak in curve.peaks] == [(1644.1, 4.2), (3400.0, None)]
    other = read_curve(path, "eps_imag")
    assert (other.unit, other.peaks) == ("", ())  # the noted peaks are those of the main column
    with pytest.raises(DatasetError, match="wanted one of alpha_n_per_cm, eps_imag"):
        read_curve(path, "raman")


def test_jcamp_points_factors_and_wavelengths(tmp_path: Path) -> None:
    path = tmp_path / "a.jdx"
    path.write_text(
        "##TITLE= water\n##JCAMP-DX= 4.24 $$ comment\n##XUNITS= 1/CM\n##YUNITS= ABSORBANCE\n##YFACTOR= 0.5\n"
        "##FIRSTX= 400\n##LASTX= 700\n##NPOINTS= 4\n##XYDATA= (X++(Y..Y))\n400 2 4\n600 6+8\n##END=\n"
    )
    curve = read_curve(path)
    assert curve.x.tolist() == [400.0, 500.0, 600.0, 700.0]
    assert curve.y.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert curve.quantity == "absorbance"
    path.write_text(
        "##TITLE= x\n##XUNITS= MICROMETERS\n##YUNITS= TRANSMITTANCE\n##XYPOINTS= (XY..XY)\n5.0, 0.1; 10.0, 0.01\n"
    )
    curve = read_curve(path)
    assert curve.x == pytest.approx([1000.0, 2000.0])
    assert curve.y == pytest.approx([2.0, 1.0])  # -log10 of 0.01 and 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("##TITLE= x\n##YUNITS= ABSORBANCE\n##XYDATA= (X++(Y..Y))\n1 2\n", "XUNITS"),
        ("##XUNITS= 1/CM\n##FIRSTX= 1\n##LASTX= 2\n##NPOINTS= 5\n##XYDATA= (X++(Y..Y))\n1 2 3\n", "2 points, wanted 5"),
        (
            "##XUNITS= 1/CM\n##FIRSTX= 1\n##LASTX= 4\n##XYDATA= (X++(Y..Y))\n1A12J3\n3A24\n",
            "line 2 of ##XYDATA=: got 124 at the checkpoint, wanted 125, the last",
        ),
        ("##XUNITS= 1/CM\n##TITLE= x\n", "neither"),
    ],
)
def test_damaged_jcamp_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.jdx"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_table(path)


def test_n_and_k_become_absorption_times_index(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("cm-1,n\n1000,1.2\n2000,1.4\n")
    (tmp_path / "k.csv").write_text("cm-1,k\n1000,0.1\n1500,0.2\n2000,0.3\n")
    (combined,) = read_references([tmp_path / "n.csv", tmp_path / "k.csv"])
    assert combined.y == pytest.approx(4 * np.pi * np.array([1000 * 0.1 * 1.2, 1500 * 0.2 * 1.3, 2000 * 0.3 * 1.4]))
    assert combined.is_reference


def test_references_are_converted_exactly_or_scaled_and_say_so() -> None:
    x = np.linspace(0, 4000, 401)
    computed = make_curve(
        x, np.exp(-(((x - 1000) / 100) ** 2)) * 50, "c", unit="cm^-1", quantity="absorption coefficient"
    )
    k = make_curve(x, np.full_like(x, 0.01), "k", quantity="extinction k")
    assert match_reference(k, computed).y[-1] == pytest.approx(4 * np.pi * 4000 * 0.01)
    other = make_curve(
        x, np.exp(-(((x - 1100) / 100) ** 2)), "exp", unit="L mol^-1 cm^-1", quantity="molar absorptivity"
    )
    scaled = match_reference(other, computed)
    assert scaled.label == "exp (scaled)"
    assert scaled.y.max() == pytest.approx(50.0)
    assert match_reference(computed, computed) is computed
    far = make_curve(x + 9000, x, "far", quantity="other")
    with pytest.raises(DatasetError, match="overlap"):
        match_reference(far, computed)


def test_curves_are_sorted_cropped_and_normalised_with_their_errors() -> None:
    curve = make_curve([3.0, 1.0, 2.0], [30.0, 10.0, 20.0], error=[3.0, 1.0, 2.0])
    assert curve.y.tolist() == [10.0, 20.0, 30.0]
    half = normalise(crop(curve, 0.0, 2.5))
    assert half.error is not None
    assert half.y.tolist() == [0.5, 1.0]
    assert half.error.tolist() == [0.05, 0.1]
    with pytest.raises(DatasetError, match="some between 10 and 20"):
        crop(curve, 10, 20)
    with pytest.raises(DatasetError, match="one and the same length"):
        make_curve([1.0, 2.0], [1.0])
    with pytest.raises(DatasetError, match="no positive value"):
        normalise(make_curve([1.0, 2.0], [0.0, -1.0]))


def test_units_on_axes() -> None:
    assert pretty_unit("e^2 A^2 eV^-1") == "e$^{2}$ Å$^{2}$ eV$^{-1}$"
    assert pretty_unit("1e-30 cm^2, offset") == "10$^{-30}$ cm$^{2}$, offset"
    assert axis_label("absorption", "cm^-1") == "Absorption (cm$^{-1}$)"
    assert axis_label("Raman intensity", "") == "Raman intensity (arb. units)"
    assert "\n" in axis_label("Raman intensity", "1e-30 cm^2 sr^-1 per cm^-1")
