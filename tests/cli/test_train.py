"""``spectra-app train`` and ``evaluate`` on a handful of frames labelled by the tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from spectra_app.potentials.folder import load_model
from spectra_app.training import evaluation
from spectra_app.training.evidence import MOST_STEPS, ChargeEvidence, evidence_json
from spectra_app.zoo import EVIDENCE_FILE


@pytest.fixture(scope="module")
def data(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    calculator = load_model(model_folder, dtype="float64").calculator()
    rng = np.random.default_rng(2)
    frames = []
    for _ in range(8):
        atoms = read(model_folder / "start.extxyz")
        atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
        atoms.calc = calculator
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    path = tmp_path_factory.mktemp("data") / "frames.extxyz"
    write(path, frames)
    return path


def test_train_then_evaluate(data: Path, tmp_path: Path, cli: Callable) -> None:
    config = tmp_path / "train.yaml"
    model = {"channels": 4, "layers": 1, "n_radial": 4, "cutoff_A": 3.0, "variant": "p", "ewald_tolerance": 0.01}
    training = {"data": [str(data)], "epochs": 50, "validation_fraction": 0.25}
    config.write_text(yaml.safe_dump({"model": model, "training": training}))
    folder = tmp_path / "model"
    outcome = cli("train", config, "-o", folder, "-s", "training.epochs=2", "--json")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert facts["output"] == str(folder)
    assert facts["best"]["valid_forces_rmse_meV_per_A"] > 0
    assert "training: 100%" in outcome.err
    assert (folder / "history.png").stat().st_size > 0
    numbers = tmp_path / "errors.json"
    outcome = cli("evaluate", data, "-m", folder, "--json", numbers, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    metrics = json.loads(outcome.out)
    assert metrics == json.loads(numbers.read_text())
    assert metrics["n_structures"] == 8
    assert metrics["n_atoms"] == 8 * 24
    assert metrics["forces_rmse_meV_per_A"] > 0
    assert metrics["electrostatic_forces_meV_per_A"] > 0
    assert "charge_need" not in metrics  # two epochs: training did not look
    assert "forces_rmse_meV_per_A" in cli("evaluate", data, "-m", folder, "--device", "cpu").out
    evidence = ChargeEvidence(1000.0, 300.0, 10.0, 50.0, 8, 500)
    (folder / EVIDENCE_FILE).write_text(evidence_json(evidence))
    outcome = cli("evaluate", data, "-m", folder, "--json", numbers, "--device", "cpu")
    assert json.loads(outcome.out)["charge_need"] == 0.2
    warnings = [line for line in outcome.err.splitlines() if "warning: the forces do not prove the charges" in line]
    assert len(warnings) == 1


def test_charges_are_checked_on_the_data(
    data: Path, model_folder: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def check(model: object, structures: list, progress: Callable[[int], None]) -> ChargeEvidence:
        asked.append(len(structures))
        progress(MOST_STEPS // 2)
        return ChargeEvidence(1000.0, 300.0, 100.0, 50.0, 8, 500)

    monkeypatch.setattr(evaluation, "check_charges", check)
    words = ("evaluate", data, "-m", model_folder, "--json", tmp_path / "e.json", "--device", "cpu")
    outcome = cli(*words, "--check-charges")
    assert json.loads(outcome.out)["charge_need"] == 2.0
    assert asked == [8]
    assert "learning without charges: 50%" in outcome.err
    assert "warning: the forces hint at charges and do not prove them" in outcome.err


def test_a_model_makes_no_error_on_its_own_labels(
    data: Path, model_folder: Path, tmp_path: Path, cli: Callable
) -> None:
    words = [
        "evaluate",
        data,
        "-m",
        model_folder,
        "--json",
        tmp_path / "e.json",
        "--device",
        "cpu",
        "--dtype",
        "float64",
    ]
    metrics = json.loads(cli(*words).out)
    assert metrics["forces_rmse_meV_per_A"] < 1e-3  # extended XYZ keeps eight digits
    assert metrics["energy_rmse_meV_per_atom"] < 1e-3


def test_missing_forces_are_named(data: Path, tmp_path: Path, cli: Callable) -> None:
    atoms = read(data)
    atoms.calc = None
    write(tmp_path / "bare.extxyz", atoms)
    config = tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump({"training": {"data": [str(tmp_path / "bare.extxyz")]}}))
    outcome = cli("train", config)
    assert outcome.code == 3
    assert "bare.extxyz, frame 0" in outcome.err
