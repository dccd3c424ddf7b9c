"""What commands say of extrapolation, and ``models --trained-on``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from spectra_app.zoo import RANGE_FILE
from tests.cli.conftest import water_box


def shaken(n_frames: int) -> list[Atoms]:
    """Boxes of water with labels."""
    rng = np.random.default_rng(2)
    frames = []
    for _ in range(n_frames):
        atoms = water_box()
        atoms.positions += rng.normal(scale=0.04, size=atoms.positions.shape)
        atoms.info["energy"] = -1.0
        atoms.arrays["forces"] = rng.normal(size=atoms.positions.shape)
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(model_folder, copied)
    return copied


def test_models_trained_on_makes_it_known_to_born_evaluate_and_md(folder: Path, tmp_path: Path, cli: Callable) -> None:
    torn = shaken(1)[0]
    torn.set_distance(0, 1, 1.3, fix=0)
    write(tmp_path / "torn.extxyz", torn)
    before = cli("born", tmp_path / "torn.extxyz", "-m", folder, "--json")
    assert json.loads(before.out)["extrapolation"] is None
    assert "extrapolation: unknown" in before.err
    assert "unknown; spectra-app models tiny --trained-on FILE" in cli("models", folder).err

    write(tmp_path / "train.extxyz", shaken(12))
    outcome = cli("models", folder, "--trained-on", tmp_path / "train.extxyz")
    assert outcome.code == 0, outcome.err
    assert "all 12 frames of train.extxyz" in outcome.err
    assert (folder / RANGE_FILE).is_file()
    assert "told in every run" in cli("models", folder).err

    found = cli("born", tmp_path / "torn.extxyz", "-m", folder, "--json")
    report = json.loads(found.out)["extrapolation"]
    assert report["atom"] in (0, 1)
    assert report["largest"] > 1.5
    assert "warning: outside the training data:" in found.err
    assert "A in training)" in found.err

    write(tmp_path / "data.extxyz", [*shaken(3), torn])
    evaluated = cli("evaluate", tmp_path / "data.extxyz", "-m", folder, "--json", tmp_path / "errors.json")
    metrics = json.loads((tmp_path / "errors.json").read_text())
    assert 0.25 <= metrics["extrapolation_share"] < 1.0
    assert metrics["extrapolation_max"] == pytest.approx(report["largest"], rel=1e-3)
    assert "warning: outside the training data:" in evaluated.err
    assert "at frame 3" in evaluated.err
    calm = cli("evaluate", tmp_path / "train.extxyz", "-m", folder)
    assert "warning" not in calm.err
    assert "extrapolation at most" in calm.err

    steps = ("--steps", "2", "--equilibration-steps", "0", "--ensemble", "nve", "--json")
    moved = cli("md", tmp_path / "torn.extxyz", "-m", folder, "-o", tmp_path / "run.h5", *steps)
    assert json.loads(moved.out)["extrapolation"]["largest"] > 1.5
    assert "warning: outside the training data:" in moved.err
    recorded = cli(
        "record", tmp_path / "data.extxyz", "-m", folder, "-o", tmp_path / "rec.h5", "--timestep-fs", "1", "--json"
    )
    assert json.loads(recorded.out)["extrapolation"]["frame"] == 3
    assert "warning: outside the training data:" in recorded.err


def test_trained_on_needs_a_model_and_frames_of_its_elements(folder: Path, tmp_path: Path, cli: Callable) -> None:
    frames = read(write_oxygen(tmp_path / "oxygen.extxyz"), index=":")
    assert len(frames) == 2
    outcome = cli("models", "--trained-on", tmp_path / "oxygen.extxyz")
    assert outcome.code != 0
    assert "models --trained-on: got no model" in outcome.err
    outcome = cli("models", folder, "--trained-on", tmp_path / "oxygen.extxyz")
    assert outcome.code != 0
    assert "got no atom of H" in outcome.err


def write_oxygen(path: Path) -> Path:
    """Two labelled frames without hydrogen."""
    frames = []
    for length in (1.2, 1.3):
        atoms = Atoms("O2", [[0, 0, 0], [length, 0, 0]], cell=[8, 8, 8], pbc=True)
        atoms.info["energy"], atoms.arrays["forces"] = -1.0, np.zeros((2, 3))
        frames.append(atoms)
    write(path, frames)
    return path
