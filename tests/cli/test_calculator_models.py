"""Calculators of ASE on the command line: one command from a calculator to a spectrum, and what a recipe may not do."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import molecule
from ase.io import write

from spectra_app import read_run
from tests.springs_calculator import Springs, pairs

SPEC = "ase:tests.springs_calculator:Springs(('dipole', 'polarizability'))"


def recipe(folder: Path, model: str, atoms: Atoms, **changes: Any) -> Path:
    """A recipe of a short run at constant energy."""
    write(folder / "start.extxyz", atoms)
    md = {"ensemble": "nve", "equilibration_steps": 0, "timestep_fs": 0.75, "temperature_K": 60.0, "seed": 3}
    content = {
        "model": model,
        "structure": str(folder / "start.extxyz"),
        "output": str(folder / "results"),
        "md": {**md, **changes.pop("md", {})},
        "spectra": {"resolution_per_cm": 150},
        "tasks": ["ir"],
        **changes,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder / "recipe.yaml"


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time, and say nothing here."""
    for drawing in ("save_figure", "figure_overview", "outputs.figure_of"):
        monkeypatch.setattr(f"spectra_app.plotting.{drawing}", lambda *_, **__: ())


def test_one_command_from_tblite_to_the_infrared_bands_of_carbon_dioxide(
    tmp_path: Path, cli: Callable[..., Any], no_figures: None
) -> None:
    pytest.importorskip("tblite", reason="tblite is not installed: pip install tblite (make test does)")
    from ase.optimize import BFGS
    from tblite.ase import TBLite

    # The harmonic modes of the same method, by differences of its forces.
    atoms, step = molecule("CO2"), 0.005
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.1)
    BFGS(atoms, logfile=None).run(fmax=1e-3)
    hessian, start = np.empty((9, 9)), atoms.get_positions()
    for k in range(9):
        sides = []
        for sign in (step, -step):
            atoms.positions = start
            atoms.positions[k // 3, k % 3] += sign
            sides.append(atoms.get_forces().ravel())
        hessian[k] = (sides[1] - sides[0]) / (2.0 * step)
    masses = np.repeat(atoms.get_masses(), 3)
    squares = np.linalg.eigvalsh(0.5 * (hessian + hessian.T) / np.sqrt(masses[:, None] * masses))
    harmonic = np.sqrt(np.maximum(squares, 0.0)) * 521.4709  # sqrt(eV/A^2/amu) in cm^-1
    atoms.positions = start
    atoms.calc = None

    model = "ase:tblite.ase:TBLite(method='GFN2-xTB', verbosity=0)"
    path = recipe(tmp_path, model, atoms, md={"steps": 900}, tasks=["ir", "born"])
    outcome = cli("run", path, "--json")
    assert outcome.code == 0, outcome.err
    assert f"imported tblite.ase (tblite {_version('tblite')}) for {model}" in outcome.err
    summary = json.loads(outcome.out)
    assert summary["model"]["name"] == model
    assert summary["model"]["variant"] == f"imported tblite.ase, tblite {_version('tblite')}"
    with h5py.File(tmp_path / "results" / "ir.h5") as file:
        wavenumber, intensity = file["wavenumber_per_cm"][()], file[summary["spectra"][0]["column"]][()]
    bend = _highest(wavenumber, intensity, 300, 1100)
    stretch = _highest(wavenumber, intensity, 2200, 3000)
    assert bend == pytest.approx(harmonic[5], abs=12.0)  # 600 cm^-1
    assert stretch == pytest.approx(harmonic[8], abs=12.0)  # 2590 cm^-1
    # The symmetric stretch has no dipole.
    silent = (wavenumber > harmonic[7] - 100) & (wavenumber < harmonic[7] + 100)
    assert intensity[silent].max() < 0.02 * intensity.max()
    born = json.loads((tmp_path / "results" / "born.json").read_text())
    charges = np.array(born["born_e"] if "born_e" in born else [atom["born_e"] for atom in born["atoms"]])
    np.testing.assert_allclose(charges.reshape(-1, 3, 3).sum(axis=0), 0.0, atol=3e-3)
    again = cli("run", path)
    assert "is complete and kept" in again.err


def _version(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)


def _highest(wavenumber: np.ndarray, intensity: np.ndarray, low: float, high: float) -> float:
    """Place of the highest point between two wavenumbers, by a parabola through it and its neighbours."""
    inside = np.flatnonzero((wavenumber > low) & (wavenumber < high))
    k = inside[np.argmax(intensity[inside])]
    left, middle, right = intensity[k - 1 : k + 2]
    shift = 0.5 * (left - right) / (left - 2.0 * middle + right)
    return float(wavenumber[k] + shift * (wavenumber[k + 1] - wavenumber[k]))


def test_md_record_and_born(tmp_path: Path, cli: Callable[..., Any]) -> None:
    write(tmp_path / "pairs.extxyz", pairs())
    words = ["--ensemble", "nve", "--equilibration-steps", 0, "--trajectory-stride", 1, "--steps", 20]
    outcome = cli("md", tmp_path / "pairs.extxyz", "-m", SPEC, "-o", tmp_path / "run.h5", *words)
    assert outcome.code == 0, outcome.err
    assert "imported tests.springs_calculator for" in outcome.err
    assert "extrapolation: unknown, a calculator does not say" in outcome.err
    other = "ase:tests.springs_calculator:Springs(('dipole',), charge_e=2.0)"
    outcome = cli("record", tmp_path / "run.h5", "-m", SPEC, "--response", other, "-o", tmp_path / "again.h5")
    assert outcome.code == 0, outcome.err
    first, second = read_run(tmp_path / "run.h5"), read_run(tmp_path / "again.h5")
    np.testing.assert_allclose(second.dipole_eA, 5.0 * np.asarray(first.dipole_eA), rtol=1e-9)
    np.testing.assert_allclose(second.energy_eV, first.energy_eV, rtol=1e-9)
    assert set(second.metadata["calculators"]) == {"energy", "response", "settings"}
    outcome = cli("born", tmp_path / "pairs.extxyz", "-m", other, "--json")
    assert outcome.code == 0, outcome.err
    assert "2.0" in outcome.out
    outcome = cli("md", tmp_path / "pairs.extxyz", "-m", SPEC, "-o", tmp_path / "run.h5", *words, "--restart",
                  "--dipole-unit", "D")  # fmt: skip
    assert outcome.code == 7
    assert "another model" in outcome.err


def test_what_recipes_of_strangers_may_not_do(tmp_path: Path, cli: Callable[..., Any], no_figures: None) -> None:
    made = "ase:tests.springs_calculator:undeclared_springs('dipole')"
    path = recipe(tmp_path, made, pairs(), md={"steps": 3}, tasks=["vdos"])
    outcome = cli("run", path)
    assert outcome.code == 2
    assert "of a recipe: got function undeclared_springs, wanted a class of calculators" in outcome.err
    assert "--model" in outcome.err
    assert not (tmp_path / "results" / "run.h5").exists()
    outcome = cli("run", path, "-m", made)  # the user's own words
    assert "wanted a class of calculators" not in outcome.err
    assert (tmp_path / "results" / "run.h5").is_file(), outcome.err


def test_checkpoints_need_trust_on_the_command_line(tmp_path: Path, cli: Callable[..., Any], no_figures: None) -> None:
    checkpoint = tmp_path / "mine.model"
    checkpoint.write_bytes(pickle.dumps(Springs))
    spec = f"ase:tests.springs_calculator:FromFile('{checkpoint}')"
    path = recipe(tmp_path, spec, pairs(), md={"steps": 3}, tasks=["vdos"])
    outcome = cli("run", path)
    assert outcome.code == 2
    assert "a pickle of Python objects, and loading it runs whatever its maker put in" in outcome.err
    assert "Give --trust-checkpoint" in outcome.err
    path.write_text(path.read_text() + "trust: true\n")
    assert "trust: got unknown key" in cli("run", path).err, "no recipe can say it"
    path.write_text(path.read_text().replace("trust: true\n", ""))
    outcome = cli("run", path, "--trust-checkpoint")
    assert "loading it ran what is in it, as --trust-checkpoint allows" in outcome.err
    run = read_run(tmp_path / "results" / "run.h5")
    assert run.metadata["calculators"]["energy"]["trusted"] is True
    assert run.metadata["calculators"]["energy"]["files"] == [str(checkpoint)]
    for command in ("md", "record", "born"):
        words = ["-o", tmp_path / "x.h5"] if command != "born" else []
        outcome = cli(command, tmp_path / "start.extxyz", "-m", spec, *words)
        assert outcome.code == 2
        assert "Give --trust-checkpoint" in outcome.err


@pytest.mark.parametrize("command", ["drive", "evaluate"])
def test_other_commands_take_models_of_ours_only(command: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    write(tmp_path / "pairs.extxyz", pairs())
    words = {"drive": ["--address", "unix:x"], "evaluate": []}[command]
    outcome = cli(command, tmp_path / "pairs.extxyz", "-m", SPEC, *words)
    assert outcome.code == 4
    assert "Calculators are models of md, record, born and run only" in outcome.err


def test_a_recipe_without_structure_asks_for_one(tmp_path: Path, cli: Callable[..., Any]) -> None:
    path = recipe(tmp_path, SPEC, pairs())
    path.write_text(path.read_text().replace("structure:", "reference: {} #"))
    outcome = cli("run", path)
    assert outcome.code == 3
    assert "start structure of model" in outcome.err
    assert "Name a file" in outcome.err
