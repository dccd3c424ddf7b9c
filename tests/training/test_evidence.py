"""Whether the data determine the charges: told apart for a teacher with charges and one without any long range."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import ModelSettings, TrainFile, TrainingSettings
from spectra_app.errors import ModelError
from spectra_app.training.evaluation import check_charges, evaluate_structures, without_electrostatics
from spectra_app.training.evidence import ChargeEvidence, evidence_json, read_evidence
from spectra_app.training.trainer import TrainingResult, train
from spectra_app.units import COULOMB_CONSTANT
from spectra_app.zoo import EVIDENCE_FILE
from tests.training.data import write_frames

ARCHITECTURE = ModelSettings(channels=12, layers=1, n_radial=6, cutoff_A=3.5, variant="p", oxidation_states="free")


def ions(n_frames: int, charge_e: float, seed: int = 0) -> list[Atoms]:
    """Eight ions in a box of 8 A that repel each other, with charges or without."""
    rng, numbers, frames = np.random.default_rng(seed), np.array([11, 17] * 4), []
    q = charge_e * torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)
    while len(frames) < n_frames:
        start = rng.uniform(0.0, 8.0, size=(8, 3))
        positions = torch.tensor(start, requires_grad=True)
        i, j = torch.triu_indices(8, 8, 1)
        d = (positions[i] - positions[j]).norm(dim=1)
        if float(d.detach().min()) < 2.0:
            continue
        repulsion = 800.0 * torch.exp(-3.0 * d)
        coulomb = COULOMB_CONSTANT * q[i] * q[j] * torch.erf(d / math.sqrt(2.0)) / d
        energy = (repulsion + coulomb).sum()
        (gradient,) = torch.autograd.grad(energy, positions)
        atoms = Atoms(numbers, start)
        atoms.info["energy"], atoms.arrays["forces"] = float(energy.detach()), -gradient.numpy()
        frames.append(atoms)
    return frames


def taught(folder, charge_e: float, **changes) -> TrainingResult:
    folder.mkdir(exist_ok=True)
    data = write_frames(folder / "train.xyz", ions(48, charge_e))
    chosen = {"epochs": 26, "batch_size": 2, "ema": 0.97, "validation_fraction": 0.15, "output": folder / "model"}
    return train(TrainFile(model=ARCHITECTURE, training=TrainingSettings(data=(data,), **{**chosen, **changes})))


@pytest.fixture(scope="module")
def charged(tmp_path_factory) -> TrainingResult:
    return taught(tmp_path_factory.mktemp("charged"), 0.35)


def test_a_teacher_with_charges_and_one_without_are_told_apart(tmp_path):
    short = taught(tmp_path / "short", 0.35, epochs=20)
    found = check_charges(short.model, ions(40, 0.35, seed=7), n_steps=100)
    assert found.need > 1.2
    assert not found.learned  # of so short a training
    assert found.sentence.startswith("the forces hint at charges and do not prove them")
    silent = taught(tmp_path, 0.0, epochs=14)
    found = check_charges(silent.model, ions(40, 0.0, seed=7), n_steps=100)
    assert not found.learned
    assert found.need < 0.8
    assert found.electrostatic_meV_per_A > 10.0  # it has charges all the same, and their weight tells nothing
    assert found.sentence.startswith("the forces do not prove the charges")
    assert "docs/labels.md" in found.sentence


def test_numbers_are_what_they_say(charged):
    frames = ions(10, 0.35, seed=3)
    found = check_charges(charged.model, frames, n_steps=100)
    held = frames[::5]
    metrics = evaluate_structures(charged.model, held)
    assert found.n_frames == 2
    assert found.error_meV_per_A == pytest.approx(metrics["forces_rmse_meV_per_A"], rel=1e-4)
    assert found.electrostatic_meV_per_A == pytest.approx(metrics["electrostatic_forces_meV_per_A"], rel=1e-4)
    assert found.needed_meV_per_A <= found.electrostatic_meV_per_A
    seen: list[int] = []
    again = check_charges(charged.model, frames, n_steps=100, progress=seen.append)
    assert seen == list(range(1, 101))
    assert again == found  # and the model is what it was
    plain = evaluate_structures(without_electrostatics(charged.model), held)
    assert "electrostatic_forces_meV_per_A" not in plain


def test_nothing_is_said_of_too_little(charged):
    assert check_charges(charged.model, ions(6, 0.35), n_steps=100) is None
    assert check_charges(charged.model, ions(10, 0.35), n_steps=50) is None
    assert check_charges(without_electrostatics(charged.model), ions(10, 0.35), n_steps=100) is None
    assert charged.evidence is None  # a training of 546 steps: a tenth of them learns nothing
    assert read_evidence(charged.output) is None


def test_training_tells_and_keeps_it(tmp_path, monkeypatch):
    from spectra_app.training import publish

    monkeypatch.setattr(publish, "STEPS_SHARE", 10.0)
    result = taught(tmp_path, 0.35, epochs=1)
    assert result.evidence.n_steps == 210
    assert read_evidence(result.output) == result.evidence
    facts = json.loads((result.output / EVIDENCE_FILE).read_text())
    assert facts["charge_need"] == result.evidence.need
    assert facts["charges_learned"] == result.evidence.learned
    card = (result.output / "README.md").read_text()
    assert "## Do the data determine the charges?" in card
    assert f"{result.evidence.needed_meV_per_A:.1f} meV/A" in card
    assert taught(tmp_path / "off", 0.35, epochs=1, check_charges=False).evidence is None
    (result.output / EVIDENCE_FILE).write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        read_evidence(result.output)


def test_the_card_warns():
    bad = ChargeEvidence(1000.0, 300.0, 10.0, 50.0, 8, 500)
    assert (bad.need, bad.learned) == (0.2, False)
    assert json.loads(evidence_json(bad))["needed_meV_per_A"] == 10.0
    good = dataclasses.replace(bad, needed_meV_per_A=151.0)
    assert good.learned
    assert good.sentence.startswith("the forces need the charges")
