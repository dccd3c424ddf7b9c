"""The summary page, and the adapters from results to curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spectra_app.born import build_born_report
from spectra_app.errors import DatasetError
from spectra_app.plotting import (
    Summary,
    build_summary,
    curve_from_spectrum,
    format_summary,
    raman_curves,
    read_curve,
    run_facts,
    run_trace,
    vdos_curves,
    write_summary,
)
from spectra_app.plotting.summary_page import with_error
from spectra_app.potentials.folder import load_model
from spectra_app.spectra import infrared_spectrum

NU = np.linspace(0.0, 4000.0, 801)


@dataclass(frozen=True)
class ToyRun:
    """What a run file carries, 4 ps of three atoms in two replicas."""

    time_fs: np.ndarray = field(default_factory=lambda: np.arange(4001) * 1.0)
    temperature_K: np.ndarray = field(default_factory=lambda: np.full((4001, 2), 310.0))
    energy_eV: np.ndarray = field(default_factory=lambda: np.zeros((4001, 2)))
    conserved_eV: np.ndarray | None = None
    numbers: np.ndarray = field(default_factory=lambda: np.array([8, 1, 1]))
    masses_amu: np.ndarray = field(default_factory=lambda: np.array([15.999, 1.008, 1.008]))
    volume_A3: float | None = 30.0
    metadata: Mapping[str, Any] = field(default_factory=lambda: {"temperature_K": 300.0, "complete": True})
    joined: tuple[Any, ...] = ()


def toy_spectrum(title: str = "Infrared spectrum", main: str = "alpha_n_per_cm", **columns: np.ndarray) -> Any:
    """A result with the interface of spectra_app.spectra: 1000 cm^-1 high at 1640, known to 5 cm^-1."""
    band = 1000.0 * np.exp(-0.5 * ((NU - 1640.0) / 60.0) ** 2)
    table = {"wavenumber_per_cm": (NU, "cm^-1", "wavenumber"), main: (band, "cm^-1", "main")}
    table[f"{main}_error"] = (0.1 * band, "cm^-1", "error")
    table.update({name: (values, "1", name) for name, values in columns.items()})
    peak = SimpleNamespace(
        position_per_cm=1640.0, position_error_per_cm=5.0, height=1000.0, height_error=70.0, width_per_cm=141.0
    )
    report = SimpleNamespace(
        verdict=SimpleNamespace(value="too short"),
        sentence="Too short: the bands are known to 40%.",
        duration_ps=4.0,
        resolution_per_cm=20.0,
        nyquist_per_cm=16678.0,
        warnings=("the dipole jumps",),
    )
    notes = ("f-sum: 85%.",)
    return SimpleNamespace(title=title, main=main, peaks=(peak,), report=report, notes=notes, columns=lambda: table)


def toy_summary() -> Summary:
    card = SimpleNamespace(
        name="water", variant="puiu", hash="abc123", data="", errors={"validation_forces_rmse_meV_per_A": 21.34}
    )
    born = build_born_report(np.stack([np.eye(3) * c for c in (-1.0, 0.5, 0.5)]), [8, 1, 1], np.zeros((3, 3)))
    return build_summary(
        title="Liquid water",
        created="2026-01-01T00:00:00",
        version="0.1.0",
        folder="results",
        card=card,
        eps_inf=1.78,
        run=ToyRun(conserved_eV=np.arange(4001)[:, None] * np.array([[6e-6, 6e-6]])),
        spectra={"ir": toy_spectrum()},
        born=born,
        files={"ir.csv": "infrared spectrum", "figures/overview.png": "all panels"},
        warnings=("few frames",),
        seconds=300.0,
    )


def test_the_page_says_everything_a_user_must_know() -> None:
    text = format_summary(toy_summary())
    for piece in (
        "water (puiu, abc123), force error 21.3 meV/A (validation frames), eps_inf 1.78",
        "3 atoms, 4 ps x 2 replicas, 0.997 g/cm^3",
        "310.0 +- 0.0 K (target 300 K)",
        "+2.000 meV/atom/ps",
        "resolution 20 cm^-1, Nyquist 16678 cm^-1",
        "Too short",
        "f-sum: 85%.",
        "1640 +- 5",
        "1000 +- 70",
        "O -1.000 +- 0.000 e; sum rule to 0.0e+00 e",
        "5.0 min of wall time",
        "Warning: few frames",
        "Warning: ir: the dipole jumps",
        "figures/",
        "overview.png",
    ):
        assert piece in text, piece
    assert all(len(line) <= 100 for line in text.splitlines())
    assert len(text.splitlines()) < 60  # one page


@pytest.mark.parametrize(("name", "frames"), [("water", "test"), ("quartz", "validation")])
def test_force_error_of_a_published_model_is_shown(name: str, frames: str) -> None:
    card = load_model(name, device="cpu").card
    error = card.errors[f"{frames}_forces_rmse_meV_per_A"]
    summary = build_summary(title="t", created="", version="", folder=".", card=card)
    assert summary.model is not None
    assert (summary.model.forces_rmse_meV_per_A, summary.model.forces_rmse_of) == (error, frames)
    assert f"force error {error:.1f} meV/A ({frames} frames)" in format_summary(summary)


def test_model_without_errors_says_nothing_of_them() -> None:
    card = SimpleNamespace(name="m", variant="p", hash="", data="", errors={})
    text = format_summary(build_summary(title="t", created="", version="", folder=".", card=card))
    assert "m (p)" in text
    assert "force error" not in text


def test_drift_and_temperature_become_warnings() -> None:
    warnings = toy_summary().warnings
    assert any("energy drifts by +2.00 meV/atom/ps" in sentence for sentence in warnings)
    assert any("+10.0 K off the target 300 K" in sentence for sentence in warnings)


def test_run_facts_by_hand() -> None:
    run = ToyRun(conserved_eV=np.arange(4001)[:, None] * np.array([[3e-6, -9e-6]]))
    facts = run_facts(run)
    # mean slope -3e-6 eV/fs = -3 meV/ps, over three atoms
    assert facts.energy_drift_meV_per_atom_per_ps == pytest.approx(-1.0)
    assert facts.density_g_per_cm3 == pytest.approx(18.015 * 1.66053907 / 30.0, rel=1e-6)
    assert (facts.n_atoms, facts.n_replicas, facts.duration_ps) == (3, 2, 4.0)


def test_temperature_error_is_that_of_block_means() -> None:
    steps = np.repeat(np.arange(10.0), 400)[:, None]
    run = ToyRun(time_fs=np.arange(4000.0), temperature_K=300.0 + steps, energy_eV=np.zeros((4000, 1)))
    facts = run_facts(run)
    assert facts.temperature_K == pytest.approx(304.5)
    assert facts.temperature_error_K == pytest.approx(np.std(np.arange(10.0), ddof=1) / np.sqrt(10))


def test_what_was_not_recorded_is_none() -> None:
    run = ToyRun(temperature_K=np.full((4001, 2), np.nan), volume_A3=None, metadata={"complete": False})
    facts = run_facts(run)
    assert facts.temperature_K is None
    assert facts.density_g_per_cm3 is None
    assert facts.energy_drift_meV_per_atom_per_ps is None
    summary = build_summary(title="t", created="", version="", folder=".", run=run)
    assert any("interrupted" in sentence for sentence in summary.warnings)
    assert "not recorded" in format_summary(summary)


def test_trace_is_thinned_and_starts_at_zero() -> None:
    trace = run_trace(ToyRun(conserved_eV=np.arange(4001)[:, None] * np.array([[3e-3, 3e-3]]) + 7.0), points=100)
    assert len(trace.time_ps) == pytest.approx(100, abs=2)
    assert trace.energy_meV_per_atom[0] == 0.0
    assert trace.energy_meV_per_atom[1] == pytest.approx(40.0)  # 40 steps of 3 meV over 3 atoms
    assert trace.energy_label == "conserved energy"
    assert run_trace(ToyRun()).energy_label == "potential energy"


def test_files_are_written_and_json_reads_back(tmp_path: Path) -> None:
    text, data = write_summary(toy_summary(), tmp_path)
    assert text.name == "summary.txt"
    read = json.loads(data.read_text())
    assert read["model"]["forces_rmse_meV_per_A"] == 21.34
    assert read["spectra"][0]["peaks"][0]["position_error_per_cm"] == 5.0
    assert read["born"]["mean_e"] == {"H": 0.5, "O": -1.0}


@pytest.mark.parametrize(
    ("value", "error", "coarsest", "expected"),
    [
        (41130.0, 6930.0, 0.0, "41100 +- 6900"),
        (0.018843, 0.00213, 0.0, "0.0188 +- 0.0021"),
        (3400.4, 0.3, 1.0, "3400 +- 1"),
        (20.48, None, 0.0, "20.48"),
        (3400.4, None, 1.0, "3400"),
    ],
)
def test_numbers_are_rounded_to_their_errors(value: float, error: float | None, coarsest: float, expected: str) -> None:
    assert with_error(value, error, coarsest) == expected


def test_curves_from_results() -> None:
    curve = curve_from_spectrum(toy_spectrum(eps_imag=np.ones_like(NU)), label="run")
    assert (curve.unit, curve.label, len(curve.peaks)) == ("cm^-1", "run", 1)
    assert curve.error is not None
    assert curve.peaks[0].error_per_cm == 5.0
    loss = curve_from_spectrum(toy_spectrum(eps_imag=np.ones_like(NU)), "eps_imag")
    assert (loss.unit, loss.peaks, loss.error) == ("", (), None)
    with pytest.raises(DatasetError, match="wanted one of alpha_n_per_cm"):
        curve_from_spectrum(toy_spectrum(), "raman")


def test_raman_and_density_of_states_results() -> None:
    ones = np.ones_like(NU)
    (vv, vh), ratio = raman_curves(
        toy_spectrum("Raman spectrum", "total", vv=8 * ones, vh=2 * ones, depolarization=0.25 * ones)
    )
    assert (vv.label, vh.label, vv.quantity) == ("VV", "VH", "Raman intensity")
    assert vv.peaks[0].height == pytest.approx(8.0)  # of VV, not of the total whose peak it is
    assert ratio.y[0] == 0.25
    names = [
        curve.label for curve in vdos_curves(toy_spectrum("Vibrational density of states", "total", O=ones, H=ones))
    ]
    assert names == ["total", "O", "H"]


def test_a_real_result_survives_its_own_files(tmp_path: Path) -> None:
    time = np.arange(12000) * 0.5
    dipole = np.random.default_rng(7).normal(scale=1e-3, size=(12000, 3)).cumsum(axis=0) * 1e-3
    dipole += np.cos(2 * np.pi * 2.99792458e-5 * 1650.0 * time)[:, None] * 0.1
    result = infrared_spectrum(dipole, timestep_fs=0.5, temperature_K=300.0, volume_A3=1000.0, eps_inf=1.8)
    direct = curve_from_spectrum(result)
    csv = read_curve(result.write_csv(tmp_path / "ir.csv"))
    jcamp = read_curve(result.write_jcamp(tmp_path / "ir.jdx"))
    for read in (csv, jcamp):
        assert (read.unit, read.quantity) == (direct.unit, direct.quantity)
        assert read.x == pytest.approx(direct.x, rel=1e-6)
        assert read.y == pytest.approx(direct.y, rel=1e-5, abs=1e-6 * direct.y.max())
    assert [round(peak.wavenumber_per_cm) for peak in csv.peaks] == [round(p.wavenumber_per_cm) for p in direct.peaks]
    assert abs(csv.peaks[0].wavenumber_per_cm - 1650.0) < 5.0
