"""A tiny untrained model with water molecules to start from: every command has something real to chew on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import write

from spectra_app.cli.main import main
from spectra_app.config import ModelSettings
from spectra_app.potentials.folder import save_model
from spectra_app.potentials.potential import Potential
from tests.random_weights import with_known_material, with_random_weights


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs ``spectra-app`` in this process."""

    def call(*words: object) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return call


def water_box(side: int = 2, spacing_A: float = 3.2) -> Atoms:
    """side^3 water molecules on a grid, each turned another way."""
    rng = np.random.default_rng(7)
    box = Atoms(cell=np.eye(3) * side * spacing_A, pbc=True)
    for place in np.ndindex(side, side, side):
        one = molecule("H2O")
        one.rotate(float(rng.uniform(0, 360)), rng.normal(size=3))
        one.translate((np.array(place) + 0.5) * spacing_A - one.get_center_of_mass())
        box += one
    return box


def write_tiny_model(folder: Path, variant: str) -> None:
    """A model folder with random weights."""
    torch.manual_seed(3)
    small = {"channels": 8, "layers": 1, "n_radial": 4, "cutoff_A": 3.0}
    settings = ModelSettings(**small, variant=variant, response="one-shot", ewald_tolerance=1e-2)
    model = Potential(settings, ("H", "O"), torch.tensor([-13.6, -430.0]), 1e-3, 1.78)
    with torch.no_grad():  # nothing repels in an untrained network: weak charges, or atoms fall into each other
        with_known_material(with_random_weights(model))
        model.latent_head.element_charges.mul_(0.1)
    model.card = dataclasses.replace(model.card, name="tiny")
    save_model(model, folder)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights and a start structure."""
    folder = tmp_path_factory.mktemp("zoo") / "tiny"
    write_tiny_model(folder, "puiu")
    write(folder / "start.extxyz", water_box())
    return folder
