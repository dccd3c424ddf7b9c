"""Plain tables of other codes: units, columns, time steps, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectra_app.errors import SeriesError
from spectra_app.readers.series import Request, Series, open_series


def read_dipoles(path: Path, unit: str | None, timestep_fs: float | None, **more: str) -> Series:
    return open_series(path, Request("dipole", unit=unit, timestep_fs=timestep_fs, **more))  # type: ignore[arg-type]


def read_polarizabilities(path: Path, unit: str | None, timestep_fs: float | None, **more: str) -> Series:
    return open_series(path, Request("polarizability", unit=unit, timestep_fs=timestep_fs, **more))  # type: ignore[arg-type]


@pytest.fixture
def dipoles(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(7, 3))


def save(path: Path, table: np.ndarray, header: str = "", delimiter: str = ",", comments: str = "# ") -> Path:
    np.savetxt(path, table, header=header, delimiter=delimiter, comments=comments, fmt="%.17g")
    return path


@pytest.mark.parametrize(
    ("suffix", "delimiter"), [("csv", ","), ("csv", ";"), ("txt", " "), ("tsv", "\t"), ("dat", ", ")]
)
def test_every_separator(tmp_path: Path, dipoles: np.ndarray, suffix: str, delimiter: str) -> None:
    path = save(tmp_path / f"m.{suffix}", dipoles, "x y z", delimiter)
    series = read_dipoles(path, "eA", 0.5)
    np.testing.assert_array_equal(series.values, dipoles)
    assert series.timestep_fs == 0.5


def test_units_of_dipoles(tmp_path: Path) -> None:
    # Gas-phase water: 1.8546 D = 0.38612 e A = 0.72965 e bohr (Clough et al. 1973).
    for unit, value in [("D", 1.8546), ("eA", 0.386117), ("au", 0.729650)]:
        path = save(tmp_path / "m.csv", np.full((3, 3), value))
        np.testing.assert_allclose(read_dipoles(path, unit, 1.0).values, 0.386117, rtol=2e-5)


def test_units_of_polarizabilities(tmp_path: Path) -> None:
    # Water: 9.8 a0^3 = 1.4522 A^3 = 1.4522/14.3996 e^2 A^2/eV.
    for unit, value in [("au", 9.8), ("A3", 1.452209), ("e2A2/eV", 0.1008504)]:
        path = save(tmp_path / "a.csv", np.full((3, 9), value))
        np.testing.assert_allclose(read_polarizabilities(path, unit, 1.0).values, 0.1008504, rtol=2e-5)


def test_columns_by_name_number_and_exclusion(tmp_path: Path, dipoles: np.ndarray) -> None:
    time = 0.25 * np.arange(7)[:, None]
    path = save(tmp_path / "m.csv", np.hstack([time, dipoles, dipoles**2]), "time_fs,mx,my,mz,a,b,c")
    for columns in ("mx,my,mz", "2,3,4", "mx, 3, mz"):
        series = read_dipoles(path, "eA", None, columns=columns)
        np.testing.assert_array_equal(series.values, dipoles)
        assert series.timestep_fs == pytest.approx(0.25)
    path = save(tmp_path / "n.csv", np.hstack([time / 1000, dipoles]), "time_ps,mx,my,mz", comments="")
    series = read_dipoles(path, "eA", None)
    np.testing.assert_array_equal(series.values, dipoles)
    assert series.timestep_fs == pytest.approx(0.25)


def test_nine_and_six_components(tmp_path: Path, rng: np.random.Generator) -> None:
    full = rng.normal(size=(4, 3, 3))
    path = save(tmp_path / "a.csv", full.reshape(4, 9))
    np.testing.assert_array_equal(read_polarizabilities(path, "e2A2/eV", 1.0).values, full)
    symmetric = full + full.transpose(0, 2, 1)
    voigt = symmetric[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    path = save(tmp_path / "b.csv", voigt)
    np.testing.assert_array_equal(read_polarizabilities(path, "e2A2/eV", 1.0).values, symmetric)
    other = symmetric[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    for header in ("xx,xy,xz,yy,yz,zz", "alpha_xx_A3,alpha_xy_A3,alpha_xz_A3,alpha_yy_A3,alpha_yz_A3,alpha_zz_A3"):
        path = save(tmp_path / "c.csv", other, header)
        series = read_polarizabilities(path, "A3", 1.0)
        np.testing.assert_allclose(series.values, symmetric / 14.3996454687, rtol=1e-9)


@pytest.mark.parametrize(
    ("header", "to_eA"),
    [
        ("Mx_eA,My_eA,Mz_eA", 1.0),
        ("dipole_x_e_A,dipole_y_e_A,dipole_z_e_A", 1.0),
        ("mu_x[D],mu_y[D],mu_z[D]", 0.20819433),
        ("mu_x (D),mu_y (D),mu_z (D)", 0.20819433),
        ("dipole_x_Debye,dipole_y_Debye,dipole_z_Debye", 0.20819433),
        ("mu_x/D,mu_y/D,mu_z/D", 0.20819433),
        ("x [e bohr],y [e bohr],z [e bohr]", 0.529177211),
        ("px_au,py_au,pz_au", 0.529177211),
    ],
)
@pytest.mark.parametrize("time", ["time_ps", "t_ps", "Time [ps]", "t(ps)", "time/ps"])
def test_units_in_the_header(tmp_path: Path, dipoles: np.ndarray, header: str, to_eA: float, time: str) -> None:
    # 1 D = 3.33564e-30 C m = 0.20819433 e A; a0 = 0.529177211 A (CODATA 2018).
    path = save(tmp_path / "m.csv", np.column_stack([5e-4 * np.arange(7), dipoles]), f"{time},{header}")
    series = read_dipoles(path, None, None)
    np.testing.assert_allclose(series.values, to_eA * dipoles, rtol=1e-7)
    assert series.timestep_fs == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("suffix", "to_ours"),
    [
        ("_A3", 1 / 14.3996454687),
        ("[A^3]", 1 / 14.3996454687),
        ("_e2A2_per_eV", 1.0),
        ("_bohr3", 0.529177211**2 / 27.211386),
    ],
)
def test_units_of_polarizabilities_in_the_header(
    tmp_path: Path, rng: np.random.Generator, suffix: str, to_ours: float
) -> None:
    values = rng.normal(size=(5, 6))
    order = ["zz", "yy", "xx", "xy", "xz", "yz"]
    header = ",".join(["t_fs", "energy_eV", *(f"alpha_{name}{suffix}" for name in order)])
    path = save(tmp_path / "a.csv", np.column_stack([0.5 * np.arange(5), np.ones(5), values]), header)
    series = read_polarizabilities(path, None, None)  # the six with a unit of polarizability are meant
    for column, name in enumerate(order):
        a, b = "xyz".index(name[0]), "xyz".index(name[1])
        np.testing.assert_allclose(series.values[:, a, b], to_ours * values[:, column], rtol=1e-7)


def test_header_and_option_may_not_disagree(tmp_path: Path, dipoles: np.ndarray) -> None:
    path = save(tmp_path / "m.csv", dipoles, "mx_eA,my_eA,mz_eA")
    with pytest.raises(SeriesError, match=r"--unit for .*m\.csv: got D, wanted eA, as the file says"):
        read_dipoles(path, "D", 1.0)
    np.testing.assert_array_equal(read_dipoles(path, "eA", 1.0, columns="mx,my,mz").values, dipoles)
    path = save(tmp_path / "n.csv", dipoles, "mx_eA,my_D,mz_eA")
    with pytest.raises(SeriesError, match=r"units in the header of .*got mx_eA, my_D, mz_eA, wanted one unit"):
        read_dipoles(path, None, 1.0)
    path = save(tmp_path / "o.csv", dipoles, "mx[C m],my[C m],mz[C m]")  # a unit that is not known is not guessed
    with pytest.raises(SeriesError, match=r"unit of .*got none, wanted eA or D or au"):
        read_dipoles(path, None, 1.0)


def test_array_files_carry_replicas(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.normal(size=(5, 2, 3))
    np.save(tmp_path / "m.npy", values)
    np.savez(tmp_path / "m.npz", dipole=values, other=values**2)
    np.testing.assert_array_equal(read_dipoles(tmp_path / "m.npy", "eA", 1.0).values, values)
    np.testing.assert_array_equal(read_dipoles(tmp_path / "m.npz", "eA", 1.0, key="dipole").values, values)
    with pytest.raises(SeriesError, match=r"got 2 arrays, wanted one of dipole, other\. Use --key NAME"):
        read_dipoles(tmp_path / "m.npz", "eA", 1.0)
    with pytest.raises(SeriesError, match=r"shape \(5, 2, 3\), wanted \[frame, xyz, xyz\]"):
        read_polarizabilities(tmp_path / "m.npy", "A3", 1.0)


def test_uneven_and_contradicting_time_is_refused(tmp_path: Path, dipoles: np.ndarray) -> None:
    time = 0.5 * np.arange(7.0)
    path = save(tmp_path / "m.csv", np.column_stack([time, dipoles]), "time_fs,x,y,z")
    with pytest.raises(SeriesError, match=r"got 1\.0, wanted 0\.5, as its time column says"):
        read_dipoles(path, "eA", 1.0)
    time[4:] += 0.5
    path = save(tmp_path / "m.csv", np.column_stack([time, dipoles]), "time_fs,x,y,z")
    with pytest.raises(SeriesError, match=r"column time_fs of .*before frame 4: got 1 fs, wanted 0\.5 fs"):
        read_dipoles(path, "eA", None)


def test_missing_steps_are_refused(tmp_path: Path, dipoles: np.ndarray) -> None:
    steps = np.array([0, 10, 20, 40, 50, 60, 70])
    path = save(tmp_path / "m.csv", np.column_stack([steps, dipoles]), "step,x,y,z")
    with pytest.raises(SeriesError, match=r"column step of .*before frame 3: got 20 steps, wanted 10 steps"):
        read_dipoles(path, "eA", 1.0)
    path = save(tmp_path / "m.csv", np.column_stack([10 * np.arange(7), dipoles]), "step,x,y,z")
    np.testing.assert_array_equal(read_dipoles(path, "eA", 1.0).values, dipoles)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3\n1,2\n", r"line 2: got 2 columns, wanted 3"),
        ("1,2,3\n1,oops,3\n", r"line 2: got 1,oops,3, wanted numbers"),
        ("1,2,3\n1,nan,3\n", r"frame 1: got NaN or infinity"),
        ("1,2,3,4\n1,2,3,4\n", r"got 4 \(1, 2, 3, 4\), wanted 3\. Name them, e\.g\. --columns 2,3,4"),
        ("# x y z\n", r"got no numbers"),
        ("1,2,3\n", r"got 1 frames, wanted a time series"),
    ],
)
def test_damaged_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(SeriesError, match=message):
        read_dipoles(path, "eA", 1.0)


def test_what_is_not_said_is_asked_for(tmp_path: Path, dipoles: np.ndarray) -> None:
    path = save(tmp_path / "m.csv", dipoles)
    with pytest.raises(SeriesError, match=r"unit of .*got none, wanted eA or D or au\. Say it"):
        read_dipoles(path, None, 1.0)
    with pytest.raises(SeriesError, match=r"got debye, wanted eA or D or au"):
        read_dipoles(path, "debye", 1.0)
    with pytest.raises(SeriesError, match=r"time step of .*Say --timestep-fs"):
        read_dipoles(path, "eA", None)
    with pytest.raises(SeriesError, match=r"got '9', wanted of 1, 2, 3"):
        read_dipoles(path, "eA", 1.0, columns="1,2,9")
    with pytest.raises(SeriesError, match=r"got no such file"):
        read_dipoles(tmp_path / "none.csv", "eA", 1.0)
    (tmp_path / "bad.npy").write_bytes(b"nonsense")
    with pytest.raises(SeriesError, match="unreadable"):
        read_dipoles(tmp_path / "bad.npy", "eA", 1.0)
    save(tmp_path / "six.csv", np.ones((3, 6)), "xx xy xz yy yz yz")
    with pytest.raises(SeriesError, match="wanted also a component zz"):
        read_polarizabilities(tmp_path / "six.csv", "A3", 1.0)
