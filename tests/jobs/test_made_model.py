"""A recipe that makes its own labels and model first: kept where they fit, gone on with, refused where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ase.build import molecule
from ase.io import read, write

from spectra_app.config import RunFileSettings, TrainFile, load_settings, parse_settings
from spectra_app.errors import ConfigError, DatasetError, ModelError, StoppedError
from spectra_app.jobs import made_model, run_recipe
from spectra_app.jobs.made_model import differences, make_model
from spectra_app.zoo import workflows_folder

TEACHER = "ase:tests.labels.teachers:Charged()"


def recipe_in(folder: Path, **changes: object) -> RunFileSettings:
    write(folder / "h2o.xyz", molecule("H2O"))
    model = {"variant": "pu", "channels": 4, "layers": 1, "oxidation_states": {"H": 0, "O": 0, "N": 0}}
    training = {"epochs": 2, "batch_size": 4, "validation_fraction": 0.25, "check_charges": False}
    content = {
        "structure": str(folder / "h2o.xyz"),
        "output": str(folder / "results"),
        "labels": {"calculator": TEACHER, "rattle_A": 0.05, "copies": 4, "clusters": 8, "check_forces": False},
        "train": {"model": model, "training": training},
        "md": {
            "ensemble": "nve",
            "equilibration_steps": 2,
            "steps": 160,
            "temperature_K": 5,
            "trajectory_stride": 2,
            "device": "cpu",
        },
        "spectra": {"resolution_per_cm": 400.0, "blocks": 2},
        "tasks": ["vdos"],
    }
    return parse_settings(RunFileSettings, content | changes)


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.SpectrumWarning")  # 160 steps are too few, and it says so
def test_labels_and_model_are_made_kept_and_refused(tmp_path: Path) -> None:
    recipe, said = recipe_in(tmp_path), []
    done = run_recipe(recipe, say=said.append)
    folder = tmp_path / "results"
    assert len(read(folder / "labels.extxyz", ":")) == 8
    assert done.run.metadata["model_name"] == "model"
    assert done.run.metadata["model_hash"]
    assert any(line.startswith("labels, labelling: 100%") for line in said)
    assert any(line.startswith("training: 100%, epoch 2, validation") for line in said)
    weights = (folder / "model" / "weights.safetensors").read_bytes()
    # What the recipe wrote of itself makes the same again, and all of it is there already.
    said.clear()
    run_recipe(folder / "configuration.yaml", say=said.append)
    assert f"model: {folder / 'model'} is trained and kept" in said
    assert any("is complete and kept" in line for line in said)
    with pytest.raises(ModelError, match=r"training\.epochs: 2 -> 3.*--overwrite"):
        run_recipe(folder / "configuration.yaml", overrides=["train.training.epochs=3"])
    assert (folder / "model" / "weights.safetensors").read_bytes() == weights
    said.clear()
    other = recipe.model_copy(update={"model": "water"})
    make_model(other, said.append)
    assert said == ["model 'water' is given: labels and train of the recipe play no part"]
    # Other labels: the training begins anew with them.
    labels = recipe.labels.model_copy(update={"clusters": 9})
    with pytest.raises(ModelError, match=r"one of other settings \(labels\.clusters: 8 -> 9\)"):
        make_model(recipe.model_copy(update={"labels": labels}), said.append)
    more = recipe.train.model_copy(update={"training": recipe.train.training.model_copy(update={"epochs": 1})})
    make_model(recipe.model_copy(update={"labels": labels, "train": more}), said.append, overwrite=True)
    assert len(read(folder / "labels.extxyz", ":")) == 9
    assert (folder / "model" / "weights.safetensors").read_bytes() != weights


def test_the_time_ends_labels_and_training_and_the_same_call_goes_on(tmp_path: Path, monkeypatch) -> None:
    recipe = recipe_in(tmp_path)
    with pytest.raises(StoppedError, match="labels stopped"):
        make_model(recipe, print, max_minutes=1e-6)
    monkeypatch.setattr(made_model, "minutes_left", lambda minutes, began: minutes and 1e-6)
    with pytest.raises(StoppedError, match="training stopped in epoch 1"):
        make_model(recipe, print, max_minutes=5.0)
    assert (tmp_path / "results" / "model" / "training.checkpoint").is_file()
    monkeypatch.undo()
    said: list[str] = []
    make_model(recipe, said.append, max_minutes=5.0)
    assert any("complete and kept" in line for line in said)
    assert any(line.startswith("training: continuing in") for line in said)
    assert (tmp_path / "results" / "model" / "model.yaml").is_file()


def test_labels_that_fail_are_an_error_of_the_recipe(tmp_path: Path) -> None:
    labels = {"calculator": "ase:tests.labels.teachers:Faulty(nan=[0])", "check_forces": False}
    with pytest.raises(DatasetError, match=r"results/labels\.extxyz"):
        make_model(recipe_in(tmp_path, labels=labels), print)
    strange = {"calculator": "ase:os:system('true')"}
    with pytest.raises(ModelError, match="os"):
        make_model(recipe_in(tmp_path, labels=strange, output=str(tmp_path / "b")), print, own=False)


def test_a_recipe_says_where_its_model_is(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    assert recipe.trains
    assert recipe.model == str(tmp_path / "results" / "model")
    assert recipe.train.training.data == (tmp_path / "results" / "labels.extxyz",)
    elsewhere = load_settings(RunFileSettings, workflows_folder() / "molecule.yaml", ["output=elsewhere"])
    assert elsewhere.train.training.output == Path("elsewhere/model")
    assert elsewhere.labels.sampling.cluster_ions == ("F-", "F-", "F-", "none")
    named = load_settings(RunFileSettings, workflows_folder() / "molecule.yaml", ["labels.structures=[ethanol.xyz]"])
    found = named.beside(workflows_folder())
    assert found.labels.structures == (found.structure,) == (workflows_folder() / "ethanol.xyz",)
    given = load_settings(RunFileSettings, workflows_folder() / "molecule.yaml", ["model=quartz"])
    assert not given.trains
    with pytest.raises(ConfigError, match="train beside labels"):
        recipe_in(tmp_path, train=None)
    with pytest.raises(ConfigError, match="a structure beside train"):
        recipe_in(tmp_path, structure=None)
    with pytest.raises(ConfigError, match=r"train\.training\.epoch: got unknown key.*'epochs'"):
        load_settings(RunFileSettings, workflows_folder() / "molecule.yaml", ["train.training.epoch=3"])


def test_what_was_left_to_the_data_is_no_difference() -> None:
    given = {"model": {"variant": "p", "oxidation_states": {"H": 0, "O": 0, "N": 0}}, "training": {"data": ["a.xyz"]}}
    wanted = parse_settings(TrainFile, given)
    settled = yaml.safe_load(yaml.safe_dump(given))
    settled["model"] |= {"oxidation_states": {"H": 0, "O": 0}, "element_sigma_A": {"Cl": 1.4}}
    assert differences(wanted, parse_settings(TrainFile, settled)) == []
    settled["model"]["oxidation_states"]["H"] = 1
    settled["training"]["seed"] = 5
    found = differences(wanted, parse_settings(TrainFile, settled))
    assert found == ["model.oxidation_states.H: 1 -> 0", "training.seed: 5 -> 0"]
    assert differences(wanted, None) == ["no recipe in its folder"]
