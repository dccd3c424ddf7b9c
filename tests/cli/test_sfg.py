"""``spectra-app sfg`` on a small slab."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.io import write
from scipy import signal

from spectra_app.cli.main import main
from spectra_app.runs import read_run
from tests.cli.conftest import water_box


@pytest.fixture(scope="module")
def slab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve molecules a face with one damped mode each, those below turned upside down; 2 fs."""
    path = tmp_path_factory.mktemp("slab") / "slab.npz"
    rng = np.random.default_rng(0)
    angle = 2.0 * np.pi * 2.99792458e-5 * 1500.0 * 2.0
    q = 0.02 * signal.lfilter([1.0], [1.0, -1.96 * np.cos(angle), 0.96], rng.normal(size=(6500, 24)), axis=0)[500:]
    up = np.repeat([1.0, -1.0], 12)
    dipoles = 0.5 * q[..., None] * np.array([0.3, 0.1, 0.8]) * up[:, None]
    alpha = np.eye(3) + q[..., None, None] * np.diag([0.4, 0.4, 0.9])
    z = 20.0 + up * np.tile(np.linspace(4.0, 8.0, 12), 2) + 0.001 * rng.normal(size=q.shape)
    np.savez(path, dipoles_eA=dipoles, polarizabilities_e2A2_per_eV=alpha, z_A=z)
    return path


COMMON = ["--area-A2", 200, "--timestep-fs", 2, "--temperature-K", 300, "--resolution-per-cm", 80]


def test_sfg_of_a_slab_is_positive_where_the_molecules_point_up(slab: Path, tmp_path: Path, cli: Callable) -> None:
    words = ["-e", "ssp", "-e", "zzz", "-o", tmp_path / "a.csv", "-o", tmp_path / "a.png"]
    outcome = cli("sfg", slab, *COMMON, *words, "--json")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert facts["unit"] == "1e-22 m^2 V^-1"
    assert facts["parameters"]["faces"] == 2
    strongest = max(facts["peaks"], key=lambda peak: abs(peak["height"]))
    assert strongest["position_per_cm"] == pytest.approx(1500.0, abs=20.0)
    assert strongest["height"] > 5.0 * strongest["height_error"] > 0.0
    assert "zzz_imag_error [1e-22 m^2 V^-1]" in (tmp_path / "a.csv").read_text()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_one_interface_summed_by_the_user(slab: Path, tmp_path: Path, cli: Callable) -> None:
    with np.load(slab) as arrays, h5py.File(tmp_path / "one.h5", "w") as file:
        file["dipole_eA"] = arrays["dipoles_eA"][:, 12:].sum(axis=1)
        file["polarizability_e2A2_per_eV"] = arrays["polarizabilities_e2A2_per_eV"][:, 12:].sum(axis=1)
    outcome = cli("sfg", tmp_path / "one.h5", *COMMON, "-o", tmp_path / "b.csv", "--json")
    assert outcome.code == 0, outcome.err
    strongest = max(json.loads(outcome.out)["peaks"], key=lambda peak: abs(peak["height"]))
    assert strongest["height"] < 0.0  # the lower face, as it lies


def test_missing_arrays_are_named(tmp_path: Path, cli: Callable) -> None:
    np.savez(tmp_path / "x.npz", dipoles_eA=np.zeros((5, 2, 3)))
    outcome = cli("sfg", tmp_path / "x.npz", *COMMON)
    assert outcome.code == 6
    assert "got dipoles_eA, wanted an NPZ or HDF5 file with" in outcome.err
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    assert cli("sfg", tmp_path / "broken.npz", *COMMON).code == 6
    assert cli("sfg", tmp_path / "absent.npz", *COMMON).code == 6


@pytest.fixture(scope="module")
def run_of_a_slab(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 steps of eight molecules, their contributions recorded, positions every second step."""
    folder = tmp_path_factory.mktemp("slab_run")
    atoms = water_box()
    atoms.pbc = (True, True, False)
    write(folder / "slab.extxyz", atoms)
    shutil.copytree(model_folder, folder / "tiny")
    md = [folder / "slab.extxyz", "-m", folder / "tiny", "-o", folder / "run.h5", "--equilibration-steps", 0]
    md += ["--steps", 120, "--parts", "molecules", "--trajectory-stride", 2, "--temperature-K", 50]
    report = [folder / "tiny", "--frames", folder / "tiny" / "start.extxyz", "--save"]  # chi of the bulk
    for words in (["models", *report], ["md", *md]):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        assert not stop.value.code
    return folder / "run.h5"


def test_sfg_of_a_run_is_that_of_its_arrays(run_of_a_slab: Path, tmp_path: Path, cli: Callable) -> None:
    run = read_run(run_of_a_slab)
    atoms_z = run.positions_A[:, 0, :, 2].reshape(-1, 8, 3)
    z = (atoms_z * run.masses_amu.reshape(8, 3)).sum(-1) / run.masses_amu.reshape(8, 3).sum(-1)
    nearest = np.searchsorted(0.5 * (run.trajectory_step[1:] + run.trajectory_step[:-1]), run.step)
    arrays = {
        "dipoles_eA": np.asarray(run.parts.dipole_eA),
        "polarizabilities_e2A2_per_eV": np.asarray(run.parts.polarizability_e2A2_per_eV),
        "z_A": z[nearest][:, None],
    }
    np.savez(tmp_path / "arrays.npz", **arrays)
    asked = ["-e", "ssp", "-e", "zzz", "--resolution-per-cm", 3000, "--temperature-K", 50, "--width-A", 2]
    told = ["--area-A2", 6.4**2, "--timestep-fs", 0.5]
    for source, words, name in (
        (run_of_a_slab, ["--no-correct-timestep"], "run.csv"),
        (tmp_path / "arrays.npz", told, "arrays.csv"),
    ):
        outcome = cli("sfg", source, *asked, *words, "-o", tmp_path / name)
        assert outcome.code == 0, outcome.err
    found, wanted = (np.genfromtxt(tmp_path / f"{name}.csv", delimiter=",", comments="#") for name in ("run", "arrays"))
    assert np.nanmax(np.abs(wanted[:, 1:])) > 0.0
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_run_without_contributions_and_a_table_without_a_time_step_are_refused(
    run_of_a_slab: Path, slab: Path, model_folder: Path, tmp_path: Path, cli: Callable
) -> None:
    atoms = water_box()
    atoms.rotate(90, "x", rotate_cell=True)
    write(tmp_path / "turned.extxyz", atoms)
    common = ["-m", model_folder, "--equilibration-steps", 0, "--steps", 4, "--temperature-K", 50]
    assert cli("md", model_folder / "start.extxyz", *common, "-o", tmp_path / "plain.h5").code == 0
    outcome = cli("sfg", tmp_path / "plain.h5")
    assert outcome.code == 6
    assert "--parts molecules" in outcome.err
    assert cli("md", tmp_path / "turned.extxyz", *common, "--parts", "molecules", "-o", tmp_path / "t.h5").code == 0
    outcome = cli("sfg", tmp_path / "t.h5")
    assert outcome.code == 6
    assert "normal" in outcome.err
    assert "--timestep-fs" in cli("sfg", slab, "--area-A2", 200, "--temperature-K", 300).err
    assert "--area-A2" in cli("sfg", slab, "--timestep-fs", 2, "--temperature-K", 300).err
