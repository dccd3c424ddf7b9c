"""External fields and slabs at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from spectra_app.potentials.folder import load_model
from spectra_app.runs import read_run
from tests.cli.conftest import write_tiny_model

SHORT = ["--equilibration-steps", "2", "--temperature-K", "5", "--device", "cpu", "--trajectory-stride", "2"]


@pytest.fixture(scope="module")
def slab_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without induced response: a slab needs no report on its material."""
    folder = tmp_path_factory.mktemp("slab") / "tiny"
    write_tiny_model(folder, "pu")
    return folder


@pytest.fixture
def slab(model_folder: Path, tmp_path: Path) -> Path:
    """The water box as a slab, labelled with zeros; its third vector is too short for one and says nothing."""
    atoms: Atoms = read(model_folder / "start.extxyz")
    atoms.pbc = [True, True, False]
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
    write(tmp_path / "slab.extxyz", atoms)
    assert 'pbc="T T F"' in (tmp_path / "slab.extxyz").read_text()
    return tmp_path / "slab.extxyz"


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")
def test_pulse_from_a_table_is_recorded_and_its_spectrum_warned_of(
    model_folder: Path, tmp_path: Path, cli: Callable
) -> None:
    table = tmp_path / "pulse.csv"
    table.write_text("time_fs,Fx,Fy,Fz\n0,0,0,0\n20,0,0,0.05\n40,0,0,0\n")
    run = tmp_path / "run.h5"
    words = ["md", model_folder / "start.extxyz", "-m", model_folder, "-o", run, *SHORT, "--steps", "160"]
    outcome = cli(*words, "--field-table", table)
    assert outcome.code == 0, outcome.err
    field = read_run(run).field_V_per_A
    assert field.shape == (161, 3)
    assert field[20, 2] == pytest.approx(0.025)
    assert field[40, 2] == pytest.approx(0.05)
    assert not field[80:].any()
    outcome = cli("ir", run, "--resolution-per-cm", "400", "-o", tmp_path / "ir.csv", "-s", "blocks=2", "--json")
    assert outcome.code == 0, outcome.err
    assert "external field that changes in time (up to 0.05 V/A)" in json.loads(outcome.out)["report"]["warnings"][-1]
    outcome = cli("md", model_folder / "start.extxyz", "-m", model_folder, "-o", run, "--field-table", "none.csv")
    assert outcome.code == 2
    assert "field table none.csv: got FileNotFoundError" in outcome.err


def test_slab_through_every_command(slab: Path, slab_model: Path, tmp_path: Path, cli: Callable) -> None:
    run = tmp_path / "run.h5"
    outcome = cli("md", slab, "-m", slab_model, "-o", run, *SHORT, "--steps", "160")
    assert outcome.code == 0, outcome.err
    found = read_run(run)
    assert found.slab
    assert found.cell_A[2, 2] > 4.0 + 15.0  # the given 6.4 A leave no vacuum
    born = cli("born", slab, "-m", slab_model, "--json")
    assert born.code == 0, born.err
    assert np.abs(np.array(json.loads(born.out)["sum_rule_violation_e"])).max() < 1e-6
    evaluated = cli("evaluate", slab, "-m", slab_model, "--json", tmp_path / "e.json")
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out)["n_structures"] == 1
    frames = [read(slab) for _ in range(3)]
    write(tmp_path / "t.extxyz", frames)
    record = ["record", tmp_path / "t.extxyz", "-m", slab_model, "--timestep-fs", "1", "--device", "cpu"]
    outcome = cli(*record, "-o", tmp_path / "recorded.h5")
    assert outcome.code == 0, outcome.err
    recorded = read_run(tmp_path / "recorded.h5")
    assert recorded.slab
    model = load_model(slab_model)
    atoms = read(slab)
    atoms.calc = model.calculator()
    assert recorded.energy_eV[0, 0] == pytest.approx(atoms.get_potential_energy(), abs=1e-4)


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")
def test_infrared_of_a_slab_asks_for_its_volume(slab: Path, slab_model: Path, tmp_path: Path, cli: Callable) -> None:
    run = tmp_path / "run.h5"
    assert cli("md", slab, "-m", slab_model, "-o", run, *SHORT, "--steps", "160").code == 0
    ir = ["ir", run, "--resolution-per-cm", "400", "-o", tmp_path / "ir.csv", "-s", "blocks=2"]
    outcome = cli(*ir)
    assert outcome.code == 6
    assert "got a slab, whose cell is mostly vacuum, wanted area times thickness" in outcome.err
    outcome = cli(*ir, "--volume-A3", "262.1")
    assert outcome.code == 0, outcome.err
    header = (tmp_path / "ir.csv").read_text()
    assert "cm^-1" in header
    assert "km/mol" not in header
    outcome = cli("dielectric", run, "-o", tmp_path / "d.csv")
    assert outcome.code == 6
    assert "got a slab, wanted a cell that is periodic in three directions" in outcome.err


def test_what_a_slab_cannot_have_is_refused_before_the_work(
    slab: Path, slab_model: Path, tmp_path: Path, cli: Callable
) -> None:
    md = ["md", slab, "-m", slab_model, "-o", tmp_path / "run.h5"]
    outcome = cli(*md, "--ensemble", "npt")
    assert outcome.code == 2
    assert "npt for a slab, whose vacuum would collapse" in outcome.err
    outcome = cli(*md, "--repeat", "1", "1", "2")
    assert outcome.code == 3
    assert "wanted repetitions along periodic cell vectors only" in outcome.err
    charged = read(slab)
    charged.calc = None
    charged.info["charge"] = 1.0
    write(tmp_path / "charged.extxyz", charged)
    outcome = cli("md", tmp_path / "charged.extxyz", "-m", slab_model, "-o", tmp_path / "run.h5")
    assert outcome.code == 3
    assert "charge of a slab: got 1 e, wanted 0" in outcome.err
    recipe = {"model": str(slab_model), "structure": str(slab), "output": str(tmp_path / "out"), "tasks": ["ir"]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    outcome = cli("run", tmp_path / "recipe.yaml")
    assert outcome.code == 2
    assert "spectra.volume_A3 for the infrared spectrum of a slab" in outcome.err
    outcome = cli("run", tmp_path / "recipe.yaml", "-s", "tasks=[dielectric]")
    assert outcome.code == 2
    assert not (tmp_path / "out" / "run.h5").exists()
