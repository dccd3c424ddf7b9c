"""Files of other codes, written in the test as each code's manual shows them: units, times, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from spectra_app.errors import ConfigError, SeriesError
from spectra_app.readers.series import Request, SlicedSeries, cp2k, open_series, storage, text
from spectra_app.readers.series.recognition import find_format
from spectra_app.spectra import EstimatorSettings, infrared_spectrum, raman_spectrum
from spectra_app.units import BOHR_TO_ANGSTROM, DEBYE_TO_E_ANGSTROM, HARTREE_TO_EV

FRAMES = 12
DIPOLE = Request("dipole")
ALPHA = Request("polarizability")


@pytest.fixture
def dipoles() -> np.ndarray:
    return np.round(np.random.default_rng(5).normal(size=(FRAMES, 3)), 6)


@pytest.fixture
def alphas() -> np.ndarray:
    half = np.random.default_rng(6).normal(size=(FRAMES, 3, 3))
    return np.round(half + half.transpose(0, 2, 1), 6)


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


# --- GPUMD: https://gpumd.org/gpumd/output_files/dipole_out.html, polarizability_out.html, dpdt_out.html -------------


def test_gpumd_dipole(tmp_path: Path, dipoles: np.ndarray) -> None:
    rows = [f"{10 * (k + 1)} {x:g} {y:g} {z:g}" for k, (x, y, z) in enumerate(dipoles)]
    path = write(tmp_path / "dipole.out", rows)
    series = open_series(path, Request("dipole", unit="au", timestep_fs=5.0))
    assert (series.format, series.timestep_fs, series.quantity) == ("gpumd", 5.0, "dipole")
    np.testing.assert_allclose(series.values, dipoles * 0.529177210544, rtol=1e-5)
    with pytest.raises(SeriesError, match=r"unit of .*dipole\.out: got none, wanted eA or D or au"):
        open_series(path, DIPOLE)
    with pytest.raises(SeriesError, match=r"got dipole\.out, wanted a file of the polarizability"):
        open_series(path, Request("polarizability", unit="au", timestep_fs=5.0))


def test_gpumd_appended_runs_are_refused(tmp_path: Path, dipoles: np.ndarray) -> None:
    steps = [*range(10, 70, 10), *range(10, 70, 10)]
    rows = [f"{step} {x:g} {y:g} {z:g}" for step, (x, y, z) in zip(steps, dipoles, strict=True)]
    path = write(tmp_path / "dipole.out", rows)
    with pytest.raises(SeriesError, match=r"column step .*before frame 6: got -50 steps, wanted 10 steps"):
        open_series(path, Request("dipole", unit="au", timestep_fs=5.0))


def test_gpumd_polarizability(tmp_path: Path, alphas: np.ndarray) -> None:
    order = [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)]  # p_xx p_yy p_zz p_xy p_yz p_zx
    rows = [f"{5 * k} " + " ".join(f"{a[i, j]:.8g}" for i, j in order) for k, a in enumerate(alphas)]
    path = write(tmp_path / "polarizability.out", rows)
    series = open_series(path, Request("polarizability", unit="e2A2/eV", timestep_fs=2.5))
    assert series.format == "gpumd"
    np.testing.assert_allclose(series.values, alphas, rtol=1e-7)


@pytest.mark.parametrize("with_time", [False, True])
def test_gpumd_rate(tmp_path: Path, dipoles: np.ndarray, with_time: bool) -> None:
    summed = np.cumsum(dipoles, axis=0)
    rows = []
    if with_time:  # the header of newer versions
        rows = [
            "# format_version 1",
            "# num_atoms 192",
            "# dt_output 2.5 fs",
            "# columns time_fs dpdt_x dpdt_y dpdt_z P_x P_y P_z",
        ]
    for k in range(FRAMES):
        time = f"{2.5 * (k + 1):g} " if with_time else ""
        rows.append(time + " ".join(f"{v:g}" for v in (*dipoles[k], *summed[k])))
    path = write(tmp_path / "dpdt.out", rows)
    assert find_format(path) == "gpumd"
    series = open_series(path, DIPOLE if with_time else Request("dipole", timestep_fs=2.5))
    assert (series.quantity, series.timestep_fs) == ("current", 2.5)
    np.testing.assert_allclose(series.values, dipoles, rtol=1e-5)
    assert series.notes == ("the rate dP/dt of the file is taken, not P",)
    if not with_time:
        with pytest.raises(SeriesError, match=r"time step of .*dpdt\.out"):
            open_series(path, DIPOLE)


# --- CP2K: https://manual.cp2k.org/trunk/CP2K_INPUT/FORCE_EVAL/DFT/PRINT/MOMENTS.html ---------------------------------

CELL_A = np.array([[9.69, 0.0, 0.0], [1.5, 10.2, 0.0], [-0.7, 2.1, 11.3]])  # [vector, xyz]
QUANTA_D = CELL_A / DEBYE_TO_E_ANGSTROM


def cp2k_moments(dipoles_debye: np.ndarray, periodic: bool = True, quanta: np.ndarray = QUANTA_D) -> list[str]:
    lines = []
    for x, y, z in dipoles_debye:
        lines += [
            " Reference Point [Bohr]              0.00000000      0.00000000      0.00000000",
            " Charges",
            "   Electronic=    864.00000000    Core=  -864.00000000    Total=     0.00000000",
        ]
        if periodic:
            m = quanta.T  # row X holds the x components of the three vectors
            lines += [
                " Dipole vectors are based on the periodic (Berry phase) operator.",
                " They are defined modulo integer multiples of the cell matrix [Debye].",
                f" [X] [ {m[0, 0]:14.8f} {m[0, 1]:14.8f} {m[0, 2]:14.8f} ] [i]",
                f" [Y]=[ {m[1, 0]:14.8f} {m[1, 1]:14.8f} {m[1, 2]:14.8f} ]*[j]",
                f" [Z] [ {m[2, 0]:14.8f} {m[2, 1]:14.8f} {m[2, 2]:14.8f} ] [k]",
            ]
        norm = (x * x + y * y + z * z) ** 0.5
        lines += [
            " Dipole moment [Debye]",
            f"   X={x:14.8f} Y={y:14.8f} Z={z:14.8f}     Total={norm:15.8f}",
        ]
    return lines


def test_cp2k_moments_bring_their_cell(tmp_path: Path, dipoles: np.ndarray) -> None:
    path = write(tmp_path / "water-moments-1_0.dat", cp2k_moments(dipoles))
    series = open_series(path, Request("dipole", timestep_fs=0.5))
    assert series.format == "cp2k"
    np.testing.assert_allclose(series.values, dipoles * 0.2081943, rtol=1e-6)  # 1 D = 0.2081943 e A
    assert series.volume_A3 == pytest.approx(9.69 * 10.2 * 11.3, rel=1e-7)
    molecule = write(tmp_path / "molecule.out", ["CP2K| version string: 2026.1", *cp2k_moments(dipoles, False)])
    alone = open_series(molecule, Request("dipole", timestep_fs=0.5))
    assert (alone.format, alone.volume_A3) == ("cp2k", None)


@pytest.mark.parametrize("block", [2**15, 7])
def test_cp2k_branch_jumps_are_refused_or_removed(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cp2k, "BLOCK_FRAMES", block)
    rng = np.random.default_rng(9)
    true = np.cumsum(rng.normal(scale=0.06, size=(4000, 3)), axis=0) @ QUANTA_D  # wanders over several quanta
    fraction = true @ np.linalg.inv(QUANTA_D)
    printed = (fraction - np.rint(fraction)) @ QUANTA_D
    n_jumps = int(np.any(np.diff(np.rint(fraction), axis=0) != 0, axis=1).sum())
    assert n_jumps > 50
    path = write(tmp_path / "w-moments.dat", cp2k_moments(printed))
    with pytest.raises(SeriesError, match=rf"got {n_jumps} jumps by a quantum, the first at frame \d+.*Say --unwrap"):
        open_series(path, Request("dipole", timestep_fs=0.5))
    series = open_series(path, Request("dipole", timestep_fs=0.5, unwrap=True))
    assert series.branch_jumps == n_jumps
    assert series.notes == (f"{n_jumps} jumps by a polarization quantum removed",)
    shift = series.values - true * DEBYE_TO_E_ANGSTROM
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-6)


def test_branches_of_a_table_need_a_cell(tmp_path: Path) -> None:
    true = np.linspace([0.0, 0.0, 0.0], [30.0, -12.0, 3.0], 200)
    printed = true - 10.0 * np.rint(true / 10.0)
    path = tmp_path / "m.csv"
    np.savetxt(path, printed, delimiter=",")
    ask = Request("dipole", unit="eA", timestep_fs=1.0, unwrap=True)
    with pytest.raises(SeriesError, match=r"--unwrap .*got no cell.*--cell-A"):
        open_series(path, ask)
    whole = Request("dipole", unit="eA", timestep_fs=1.0, unwrap=True, cell_A=(10.0, 10.0, 10.0))
    series = open_series(path, whole)
    np.testing.assert_allclose(series.values, true, atol=1e-12)
    assert series.branch_jumps == 4  # x passes 5, 15, 25; y passes -5
    np.save(tmp_path / "m.npy", printed)
    np.testing.assert_allclose(open_series(tmp_path / "m.npy", whole).values, true, atol=1e-12)
    fast = write(tmp_path / "fast.csv", ["0,0,0", "5.0,0,0", "0,0,0"])
    with pytest.raises(SeriesError, match=r"frame 1: got a step of 0\.50 quanta along cell vector 1"):
        open_series(fast, whole)


def test_cp2k_damage_is_named_with_its_line(tmp_path: Path, dipoles: np.ndarray) -> None:
    lines = cp2k_moments(dipoles)
    cut = write(tmp_path / "a.dat", lines[:-1])
    with pytest.raises(SeriesError, match=r"a\.dat, line 119: got the end of the file.*truncated"):
        open_series(cut, Request("dipole", timestep_fs=0.5))
    spoiled = write(tmp_path / "b.dat", [*lines[:29], "   X=    1.0 Y=   ********** Z=   0.1", *lines[30:]])
    with pytest.raises(SeriesError, match=r"b\.dat, line 30: got X= 1\.0 Y= \*+ Z= 0\.1"):
        open_series(spoiled, Request("dipole", timestep_fs=0.5))
    empty = write(tmp_path / "c.out", ["CP2K| version string: 2026.1", " ENERGY| Total"])
    with pytest.raises(SeriesError, match=r"no dipole moment.*Switch on &DFT &PRINT &MOMENTS"):
        open_series(empty, Request("dipole", timestep_fs=0.5))


def test_cp2k_dipole_trajectory(tmp_path: Path, dipoles: np.ndarray) -> None:
    lines = [
        "# iter_level                  dipole(x,y,z)[atomic units]                              dipole(x,y,z)[debye]"
        "                            delta_dipole(x,y,z)[atomic units]"
    ]
    for k, d in enumerate(dipoles):
        numbers = (*d, *(d * 2.541746), 0.0, 0.0, 0.0)
        lines.append(f" 1_{k}                " + " ".join(f"{v:17.8E}" for v in numbers))
    path = write(tmp_path / "w-dipole-1.data", lines)
    series = open_series(path, Request("dipole", timestep_fs=0.5))
    assert series.format == "cp2k"
    np.testing.assert_allclose(series.values, dipoles * BOHR_TO_ANGSTROM, rtol=1e-7)
    write(path, [*lines[:5], *lines[6:]])
    with pytest.raises(SeriesError, match="before frame 4: got 2 steps, wanted 1 steps"):
        open_series(path, Request("dipole", timestep_fs=0.5))


def test_cp2k_polarizability_trajectory(tmp_path: Path, alphas: np.ndarray) -> None:
    names = ("xx", "xy", "xz", "yx", "yy", "yz", "zx", "zy", "zz")
    lines = ["#   Step   Time [fs]" + "".join(f"           {name} [a.u.]" for name in names)]
    for k, a in enumerate(alphas):
        lines.append(f"{k:8d}{0.5 * k:12.3f}" + "".join(f" {v:19.8f}" for v in a.ravel()))
    path = write(tmp_path / "w-1.polar", lines)
    series = open_series(path, ALPHA)
    assert (series.format, series.timestep_fs) == ("cp2k", 0.5)
    np.testing.assert_allclose(series.values, alphas * BOHR_TO_ANGSTROM**2 / HARTREE_TO_EV, rtol=1e-7)


# --- LAMMPS: https://docs.lammps.org/fix_ave_time.html, https://docs.lammps.org/fix_print.html ------------------------


def test_lammps_fix_ave_time(tmp_path: Path, dipoles: np.ndarray) -> None:
    lines = ["# Time-averaged data for fix dip", "# TimeStep c_mu[1] c_mu[2] c_mu[3] c_mu[4]"]
    lines += [f"{10 * k} {x:g} {y:g} {z:g} {np.sqrt(x * x + y * y + z * z):g}" for k, (x, y, z) in enumerate(dipoles)]
    path = write(tmp_path / "mu.profile", lines)
    series = open_series(path, Request("dipole", unit="eA", timestep_fs=5.0))
    assert series.format == "lammps"
    np.testing.assert_allclose(series.values, dipoles, rtol=1e-5)
    chosen = open_series(path, Request("dipole", unit="eA", timestep_fs=5.0, columns="c_mu[3],c_mu[1],c_mu[2]"))
    np.testing.assert_allclose(chosen.values, dipoles[:, [2, 0, 1]], rtol=1e-5)
    write(path, [lines[0], "# TimeStep Number-of-rows", "# Row c_mu", "0 3", "1 0.1", "2 0.2"])
    with pytest.raises(SeriesError, match="got mode vector, wanted mode scalar"):
        open_series(path, Request("dipole", unit="eA", timestep_fs=5.0))


@pytest.mark.parametrize("with_step", [False, True])
def test_lammps_fix_print(tmp_path: Path, dipoles: np.ndarray, with_step: bool) -> None:
    lines = ["# Fix print output for fix out"]
    lines += [(f"{5 * k} " if with_step else "") + f"{x:g} {y:g} {z:g}" for k, (x, y, z) in enumerate(dipoles)]
    path = write(tmp_path / "dipole.txt", lines)
    assert find_format(path) == "lammps"
    series = open_series(path, Request("dipole", unit="eA", timestep_fs=5.0))
    np.testing.assert_allclose(series.values, dipoles, rtol=1e-5)
    write(path, [*lines[:6], lines[6].rsplit(" ", 1)[0], *lines[7:]])
    with pytest.raises(SeriesError, match=r"dipole\.txt, line 7: got . columns, wanted"):
        open_series(path, Request("dipole", unit="eA", timestep_fs=5.0))


# --- i-PI: https://docs.ipi-code.org/output-files.html ----------------------------------------------------------------


def ipi_lines(dipoles: np.ndarray) -> list[str]:
    lines = [
        "# column   1     --> step : The current simulation time step.",
        "# column   2     --> time{picosecond} : The elapsed simulation time.",
        "# column   3     --> temperature{kelvin} : The current temperature, as obtained from the MD kinetic energy.",
        "# column   4     --> volume{angstrom3} : The volume of the cell box.",
        "# cols.    5-7   --> dipole : The electric dipole moment (x,y,z components) .",
    ]
    for k, d in enumerate(dipoles):
        numbers = (k, 0.00025 * k, 300.0 + k, 1945.0, *d)
        lines.append("  " + " ".join(f"{v:16.8e}" for v in numbers))
    return lines


def test_ipi_units_times_volume_and_temperature(tmp_path: Path, dipoles: np.ndarray) -> None:
    path = write(tmp_path / "simulation.out", ipi_lines(dipoles))
    series = open_series(path, DIPOLE)
    assert series.format == "ipi"
    assert series.timestep_fs == pytest.approx(0.25)
    assert series.volume_A3 == pytest.approx(1945.0)
    assert series.temperature_K == pytest.approx(305.5)
    np.testing.assert_allclose(series.values, dipoles * 0.529177210544, rtol=1e-7)
    with pytest.raises(SeriesError, match=r"got 0\.5, wanted 0\.25, as its time column says"):
        open_series(path, Request("dipole", timestep_fs=0.5))
    with pytest.raises(SeriesError, match=r"--unit .*: got D, wanted au, as the file says"):
        open_series(path, Request("dipole", unit="D"))


def test_ipi_atomic_units(tmp_path: Path, dipoles: np.ndarray) -> None:
    lines = ipi_lines(dipoles)
    lines[1:4] = [line.partition("{")[0] + line.partition("}")[2] for line in lines[1:4]]  # no unit: atomic
    series = open_series(write(tmp_path / "a.out", lines), DIPOLE)
    assert series.timestep_fs == pytest.approx(0.00025 * 0.024188843266)
    assert series.volume_A3 == pytest.approx(1945.0 * 0.529177210544**3)
    assert series.temperature_K == pytest.approx(305.5 * 315775.02480)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [line.replace("dipole", "kinetic_md") for line in lines], "wanted a column dipole"),
        (lambda lines: lines[:4] + lines[5:], "got 7 columns, wanted 4, as its header says"),
        (lambda lines: [line.replace("picosecond", "fortnight") for line in lines], "unit of time .*got fortnight"),
        (lambda lines: lines[:8] + lines[9:], "column time .*before frame 3: got 0.5 fs, wanted 0.25 fs"),
        (lambda lines: [*lines[:-1], lines[-1][:60]], "line 17: got 4 columns, wanted 7"),
    ],
)
def test_ipi_faults(tmp_path: Path, dipoles: np.ndarray, change: Callable, message: str) -> None:
    path = write(tmp_path / "a.out", change(ipi_lines(dipoles)))
    with pytest.raises(SeriesError, match=message):
        open_series(path, DIPOLE)


def test_a_gap_between_two_blocks_is_seen(tmp_path: Path, dipoles: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK_LINES", 3)
    lines = ipi_lines(dipoles)
    np.testing.assert_allclose(open_series(write(tmp_path / "a.out", lines), DIPOLE).values, dipoles * BOHR_TO_ANGSTROM)
    with pytest.raises(SeriesError, match=r"column time .*before frame 3: got 0\.5 fs, wanted 0\.25 fs"):
        open_series(write(tmp_path / "b.out", lines[:8] + lines[9:]), DIPOLE)


# --- TRAVIS: http://www.travis-analyzer.de, `travis -ramanfrompola` ---------------------------------------------------


def test_travis_polarizabilities(tmp_path: Path, alphas: np.ndarray) -> None:
    header = ";".join(f"  Polarizability_{a}{b} / e*pm^2/V" for a in "XYZ" for b in "XYZ")
    rows = ["; ".join(f"{v:.8g}" for v in a.ravel()) for a in alphas * 1e4]
    path = write(tmp_path / "result_polarizability.csv", ["#" + header, *rows])
    series = open_series(path, Request("polarizability", timestep_fs=4.0))
    assert series.format == "travis"
    np.testing.assert_allclose(series.values, alphas, rtol=1e-7)  # 1 e A^2/V = 1e4 e pm^2/V
    bare = write(tmp_path / "pola.txt", [row.replace(";", " ") for row in rows])
    said = open_series(bare, Request("polarizability", "travis", timestep_fs=4.0))
    np.testing.assert_allclose(said.values, alphas, rtol=1e-7)


# --- array files ------------------------------------------------------------------------------------------------------


def test_hdf5_datasets_and_h5md_elements(tmp_path: Path, dipoles: np.ndarray, alphas: np.ndarray) -> None:
    path = tmp_path / "series.h5"
    with h5py.File(path, "w") as file:
        file["mu"] = dipoles
        file["mu"].attrs["unit"] = "debye"
        file["mu"].attrs["timestep_fs"] = 0.5
        file["other"] = dipoles
        file["observables/polarizability/value"] = alphas[:, None]
        file["observables/polarizability/value"].attrs["unit"] = "Angstrom+3"
        file["observables/polarizability/time"] = 0.002 * np.arange(FRAMES)
        file["observables/polarizability/time"].attrs["unit"] = "ps"
    series = open_series(path, Request("dipole", key="mu"))
    assert (series.format, series.timestep_fs) == ("hdf5", 0.5)
    np.testing.assert_allclose(series.values, dipoles * DEBYE_TO_E_ANGSTROM)
    series = open_series(path, ALPHA)
    assert series.timestep_fs == pytest.approx(2.0)
    np.testing.assert_allclose(series.values, alphas[:, None] / 14.3996454784, rtol=1e-9)
    with pytest.raises(SeriesError, match=r"got 2 arrays, wanted one of mu, other\. Use --key"):
        open_series(path, Request("dipole", unit="eA", timestep_fs=1.0))


def test_large_arrays_stay_on_disk(tmp_path: Path, dipoles: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "IN_MEMORY_BYTES", 8)
    np.save(tmp_path / "m.npy", dipoles.astype(np.float32))
    series = open_series(tmp_path / "m.npy", Request("dipole", unit="D", timestep_fs=1.0))
    assert isinstance(series.values, SlicedSeries)
    expected = dipoles.astype(np.float32) * DEBYE_TO_E_ANGSTROM
    np.testing.assert_allclose(np.asarray(series.values), expected)
    np.testing.assert_allclose(series.values[2:7:2, 1], expected[2:7:2, 1])
    np.testing.assert_allclose(series.values[-1], expected[-1])
    (tmp_path / "m.npy").write_bytes((tmp_path / "m.npy").read_bytes()[:-4])
    with pytest.raises(SeriesError, match="unreadable"):
        open_series(tmp_path / "m.npy", Request("dipole", unit="D", timestep_fs=1.0))


def test_unknown_formats_and_options() -> None:
    with pytest.raises(ConfigError, match="--format: got gromacs, wanted auto, table"):
        Request("dipole", "gromacs")
    with pytest.raises(ConfigError, match="--cell-A: got 2 numbers, wanted 3 lengths or 9"):
        Request("dipole", cell_A=(1.0, 2.0))


# --- spectra in pieces are the spectra in memory ----------------------------------------------------------------------


def test_a_text_read_in_blocks_gives_the_same_spectra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    n = 3000
    noise = rng.normal(size=(n + 50, 9))
    smooth = np.apply_along_axis(lambda x: np.convolve(x, np.hanning(40), "valid"), 0, noise)[:n]
    path = tmp_path / "m.txt"
    np.savetxt(path, smooth[:, :3])
    tensor = smooth.reshape(n, 3, 3) + smooth.reshape(n, 3, 3).transpose(0, 2, 1)
    np.savetxt(tmp_path / "a.txt", tensor.reshape(n, 9), delimiter=",")
    ask = {"timestep_fs": 1.0, "unit": "au"}
    common = {"timestep_fs": 1.0, "temperature_K": 300.0, "settings": EstimatorSettings(resolution_per_cm=60.0)}

    def both() -> tuple[np.ndarray, np.ndarray, object]:
        dipole = open_series(path, Request("dipole", **ask)).values
        alpha = open_series(tmp_path / "a.txt", Request("polarizability", **ask)).values
        ir, raman = infrared_spectrum(dipole, **common), raman_spectrum(alpha, **common)
        return ir.intensity_km_per_mol, raman.total, dipole

    ir, raman, values = both()
    assert isinstance(values, np.ndarray)
    monkeypatch.setattr(storage, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(text, "BLOCK_LINES", 71)
    ir_again, raman_again, values = both()
    assert not isinstance(values, np.ndarray)
    np.testing.assert_array_equal(ir_again, ir)
    np.testing.assert_array_equal(raman_again, raman)
