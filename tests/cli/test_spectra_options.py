"""Options of the spectrum commands on a table of dipoles: estimators, molar quantities, geometries, references."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import signal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dipoles and polarizabilities of three damped modes, 1 fs."""
    path = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    total = np.zeros((12000, 3))
    for wavenumber in (700.0, 1600.0, 3300.0):
        angle, radius = 2.0 * np.pi * 2.99792458e-5 * wavenumber, 0.985
        noise = rng.normal(size=(12500, 3))
        total += signal.lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], noise, axis=0)[500:]
    np.save(path / "dipole.npy", 0.01 * total)
    alpha = np.eye(3) + 0.001 * (total[:, :, None] * np.array([1.0, 0.3, 0.2]) + total[:, None, :] * 0.1)
    np.save(path / "alpha.npy", alpha)
    return path


COMMON = ["--timestep-fs", 1, "--temperature-K", 300, "--resolution-per-cm", 60]
CELL = ["--unit", "eA", "--volume-A3", 900, "--eps-inf", 1.78]


def test_molar_quantities_and_estimators(folder: Path, cli: Callable) -> None:
    found = {}
    for method in ("welch", "lag", "cepstral"):
        words = ["--n-molecules", 30, "--method", method, "-o", folder / f"{method}.csv", "--json"]
        outcome = cli("ir", folder / "dipole.npy", *CELL, *COMMON, *words)
        assert outcome.code == 0, outcome.err
        found[method] = json.loads(outcome.out)
        assert found[method]["parameters"]["method"] == method
    header = (folder / "welch.csv").read_text()
    for name in ("reflectivity [1]", "molar_absorptivity [L mol^-1 cm^-1]", "intensity_km_per_mol [km/mol per cm^-1]"):
        assert name in header
    positions = [
        [p["position_per_cm"] for p in sorted(f["peaks"], key=lambda p: -p["height"])[:1]] for f in found.values()
    ]
    np.testing.assert_allclose(positions, 3300.0, atol=40.0)
    outcome = cli("ir", folder / "dipole.npy", *CELL, *COMMON, "--method", "maxent")
    assert outcome.code == 2
    assert "'welch', 'lag' or 'cepstral'" in outcome.err


def test_dielectric_prints_and_writes_the_static_constant_with_its_error(folder: Path, cli: Callable) -> None:
    outcome = cli("dielectric", folder / "dipole.npy", *CELL, *COMMON, "-o", folder / "eps.csv")
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.out.splitlines() if "Static dielectric constant" in line]
    value, error = (float(word) for word in (line.split()[3], line.split()[5].rstrip(",")))
    dipole = np.load(folder / "dipole.npy")
    expected = 1.78 + np.var(dipole, axis=0).mean() / (8.617333262e-5 * 300.0 * 900.0 * 5.526349406e-3)
    assert value == pytest.approx(expected, rel=1e-3)
    assert 0.0 < error < 0.2 * value
    assert "# static_dielectric_constant_error: " in (folder / "eps.csv").read_text()
    assert "+-" in next(line for line in outcome.out.splitlines() if "integral" in line).split("integral")[1]


def test_raman_geometries_and_prefactor(folder: Path, cli: Callable) -> None:
    words = ["-g", "z(xx)z", "-g", "x(zy)-x", "--prefactor", "reduced", "-o", folder / "raman.csv"]
    outcome = cli("raman", folder / "alpha.npy", "--unit", "e2A2/eV", *COMMON, *words)
    assert outcome.code == 0, outcome.err
    text = (folder / "raman.csv").read_text()
    assert "z(xx)z [A^4 amu^-1 per cm^-1]" in text
    assert "x(zy)-x_error [" in text
    outcome = cli("raman", folder / "alpha.npy", "--unit", "e2A2/eV", *COMMON, "-g", "z(zx)z")
    assert outcome.code == 2
    assert "polarization geometry" in outcome.err


def test_a_reference_makes_a_table_of_overlap_and_shifts(folder: Path, cli: Callable) -> None:
    nu = np.arange(5.0, 5000.0, 5.0)
    values = sum(h * np.exp(-0.5 * ((nu - p) / 60.0) ** 2) for p, h in ((720.0, 2.0), (1590.0, 5.0), (3310.0, 10.0)))
    reference = folder / "measured.csv"
    lines = ["wavenumber_per_cm,absorption_per_cm", *(f"{x},{y}" for x, y in zip(nu, values, strict=True))]
    reference.write_text("\n".join(lines))
    words = ["-r", reference, "-o", folder / "a.png", "-o", folder / "a.csv", "-o", folder / "a.jdx"]
    outcome = cli("ir", folder / "dipole.npy", *CELL, *COMMON, *words)
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.out.splitlines() if "overlap" in line]
    assert line.strip().startswith("measured: overlap 0.")
    outcome = cli("ir", folder / "dipole.npy", *CELL, *COMMON, "-r", reference, "--json", "-o", folder / "b.csv")
    (comparison,) = json.loads(outcome.out)["comparisons"]
    assert [round(band["reference_per_cm"], -1) for band in comparison["bands"]] == [720.0, 1590.0, 3310.0]
    assert all(abs(band["shift_per_cm"]) < 60.0 for band in comparison["bands"])
    # A spectrum against its own JCAMP-DX file: the same.
    outcome = cli("plot", folder / "a.csv", "-r", folder / "a.jdx", "-r", reference, "-o", folder / "p.svg")
    assert outcome.code == 0, outcome.err
    same = outcome.out.splitlines()[0]
    assert same.startswith("a: overlap ")
    assert float(same.split()[2]) > 0.99
    assert "overlap" in (folder / "p.svg").read_text()
