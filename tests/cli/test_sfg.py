"""``spectra-app sfg`` on a small slab."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import signal


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
