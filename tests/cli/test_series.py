"""``spectra-app ir`` and ``raman`` on files of other codes, in one go from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spectra_app import arrays
from spectra_app.config import MDSettings
from spectra_app.jobs.simulation import Simulation
from tests.toy_potential import ToyPotential, dumbbells

C_PER_FS = 2.99792458e-5  # cm/fs
FRAMES, STEP_FS = 1500, 1.0
COMMON = ("--resolution-per-cm", "80", "--json")


@pytest.fixture(scope="module")
def dipole() -> np.ndarray:
    """Lines at 700, 1600 and 3400 cm^-1 along x, y and z, e A."""
    times = STEP_FS * np.arange(FRAMES)
    return 0.1 * np.stack([np.sin(2 * np.pi * C_PER_FS * nu * times + nu) for nu in (700, 1600, 3400)], axis=1)


def gpumd(path: Path, dipole: np.ndarray) -> list[object]:
    rows = [f"{k + 1} {x:.7g} {y:.7g} {z:.7g}" for k, (x, y, z) in enumerate(dipole)]
    path = path / "dipole.out"
    path.write_text("\n".join(rows) + "\n")
    return [path, "--unit", "eA", "--timestep-fs", STEP_FS, "--temperature-K", 300]


def cp2k(path: Path, dipole: np.ndarray) -> list[object]:
    quantum = 46.5526558  # debye; e times 9.6923 A
    lines = []
    for d in dipole / 0.20819433:
        x, y, z = (d + 0.4999 * quantum) - quantum * np.rint((d + 0.4999 * quantum) / quantum)  # near the branch cut
        lines += [
            " Dipole vectors are based on the periodic (Berry phase) operator.",
            " They are defined modulo integer multiples of the cell matrix [Debye].",
            f" [X] [ {quantum:14.8f} {0.0:14.8f} {0.0:14.8f} ] [i]",
            f" [Y]=[ {0.0:14.8f} {quantum:14.8f} {0.0:14.8f} ]*[j]",
            f" [Z] [ {0.0:14.8f} {0.0:14.8f} {quantum:14.8f} ] [k]",
            " Dipole moment [Debye]",
            f"   X={x:14.8f} Y={y:14.8f} Z={z:14.8f}     Total= 1.0",
        ]
    path = path / "w-moments-1_0.dat"
    path.write_text("\n".join(lines) + "\n")
    return [path, "--timestep-fs", STEP_FS, "--temperature-K", 300, "--unwrap"]


def ipi(path: Path, dipole: np.ndarray) -> list[object]:
    lines = [
        "# column   1     --> time{femtosecond} : The elapsed simulation time.",
        "# column   2     --> temperature{kelvin} : The current temperature.",
        "# cols.    3-5   --> dipole : The electric dipole moment (x,y,z components) .",
    ]
    for k, d in enumerate(dipole / 0.529177210544):
        lines.append(" ".join(f"{v:16.8e}" for v in (STEP_FS * k, 300.0, *d)))
    path = path / "simulation.out"
    path.write_text("\n".join(lines) + "\n")
    return [path]


def lammps(path: Path, dipole: np.ndarray) -> list[object]:
    lines = ["# Time-averaged data for fix dip", "# TimeStep c_mu[1] c_mu[2] c_mu[3]"]
    lines += [f"{k} {x:.7g} {y:.7g} {z:.7g}" for k, (x, y, z) in enumerate(dipole)]
    path = path / "mu.dat"
    path.write_text("\n".join(lines) + "\n")
    return [path, "--unit", "eA", "--timestep-fs", STEP_FS, "--temperature-K", 300]


@pytest.mark.parametrize("write", [gpumd, cp2k, ipi, lammps])
def test_infrared_of_other_codes(tmp_path: Path, dipole: np.ndarray, cli: Callable, write: Callable) -> None:
    outcome = cli("ir", *write(tmp_path, dipole), "-o", tmp_path / "ir.csv", *COMMON)
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    positions = [peak["position_per_cm"] for peak in facts["peaks"]]
    assert positions == pytest.approx([700.0, 1600.0, 3400.0], abs=5.0)
    unit = (tmp_path / "ir.csv").read_text()
    assert ("alpha_n_per_cm" in unit) == (write is cp2k)  # CP2K's file brings the cell, the others are molecules


def test_branch_jumps_are_named_with_the_way_out(tmp_path: Path, dipole: np.ndarray, cli: Callable) -> None:
    words = cp2k(tmp_path, dipole)[:-1]
    outcome = cli("ir", *words, "-o", tmp_path / "ir.csv")
    assert outcome.code == 6
    assert "jumps by a quantum, the first at frame" in outcome.err
    assert "Say --unwrap to remove them" in outcome.err


def test_a_format_can_be_forced_and_is_checked(tmp_path: Path, dipole: np.ndarray, cli: Callable) -> None:
    words = lammps(tmp_path, dipole)
    outcome = cli("ir", words[0], "--format", "cp2k", "-o", tmp_path / "ir.csv")
    assert outcome.code == 6
    assert "got no dipole moment" in outcome.err
    outcome = cli("ir", *words, "--format", "gromacs")
    assert outcome.code == 2
    assert "--format: got gromacs, wanted auto, table" in outcome.err
    outcome = cli("ir", words[0], "--unit", "eA", "--timestep-fs", 1)
    assert "--temperature-K for" in outcome.err


def test_a_run_is_read_in_blocks(tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = MDSettings(steps=300, equilibration_steps=0, timestep_fs=1.0)
    Simulation(ToyPotential(), dumbbells(), settings, tmp_path / "run.h5").run()
    found = {}
    for block_bytes in (10**9, 1000):
        monkeypatch.setattr(arrays, "BLOCK_BYTES", block_bytes)
        for command in ("ir", "raman"):
            output = tmp_path / f"{command}{block_bytes}.csv"
            outcome = cli(command, tmp_path / "run.h5", "-o", output, "--resolution-per-cm", 400)
            assert outcome.code == 0, outcome.err
            found[command, block_bytes] = np.loadtxt(output, delimiter=",", comments=("#", "w"))
    for command in ("ir", "raman"):
        np.testing.assert_allclose(found[command, 1000], found[command, 10**9], rtol=1e-6, equal_nan=True)
