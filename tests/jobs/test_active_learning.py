"""Frames that a model knows least are picked from runs, labelled and learned; killed rounds go on."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read

from spectra_app.config import ActiveSettings, LabelSettings, MDSettings, ModelSettings, TrainFile, TrainingSettings
from spectra_app.errors import ConfigError, DatasetError, ModelError, StructureError, TrajectoryError
from spectra_app.jobs.active_learning import learn_actively
from spectra_app.jobs.labelling import label_structures
from spectra_app.jobs.round_training import force_errors
from spectra_app.jobs.simulation import Simulation
from spectra_app.labels.picking import pick_frames
from spectra_app.potentials.folder import load_model
from spectra_app.runs import read_run
from spectra_app.training.trainer import train
from tests.labels.teachers import Charged
from tests.training.data import water_like_frames, write_frames

TINY = ModelSettings(channels=8, layers=1, n_radial=5, cutoff_A=3.0, variant="p")
GENTLE = ("md.steps=20", "md.trajectory_stride=2", "training.epochs=2")
SPEC = "ase:tests.labels.teachers:Charged()"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model that knows cold molecules, and a run of hot ones."""
    folder = tmp_path_factory.mktemp("active")
    data = write_frames(folder / "train.xyz", water_like_frames(24, 1, shake=0.03))
    settings = TrainingSettings(
        data=(data,), output=folder / "model", epochs=15, batch_size=4, ema=0.9, validation_fraction=0.2
    )
    model = train(TrainFile(model=TINY, training=settings)).model
    start = water_like_frames(1, 1, seed=3, shake=0.02)[0]
    start.info.clear()
    md = MDSettings(
        temperature_K=1500.0, timestep_fs=0.5, equilibration_steps=0, steps=100, trajectory_stride=2, engine="eager"
    )
    Simulation(load_model(folder / "model"), start, md, folder / "run.h5").run()
    assert model.training_range is not None
    return folder


def test_picks_are_outside_and_of_different_kinds(place):
    model, run = load_model(place / "model"), read_run(place / "run.h5")
    picks = pick_frames(model, [run], ActiveSettings(per_round=6, alike=0.0))
    assert len(picks.candidates) == 6
    assert picks.n_stored == len(run.trajectory_step)
    assert picks.n_outside >= 6
    assert all(value > 1.0 for value in picks.values)
    recorded = np.asarray(run.observable("extrapolation"))[:, 0]
    for candidate, value in zip(picks.candidates, picks.values, strict=True):
        time_fs = float(candidate.origin.split(", ")[1].removesuffix(" fs"))
        frame = int(np.argmin(np.abs(np.asarray(run.time_fs) - time_fs)))
        assert value == pytest.approx(recorded[frame], rel=1e-3)  # what the run says of this very frame
    assert picks.values[0] == max(picks.values)
    fewer = pick_frames(model, [run], ActiveSettings(per_round=1000, alike=3.0))
    assert 1 <= len(fewer.candidates) < picks.n_outside  # frames that are like the picked ones are not picked
    none = pick_frames(model, [run], ActiveSettings(beyond=1e6))
    assert (none.candidates, none.n_outside) == ((), 0)


def test_wrecks_are_left_out_where_there_is_anything_else(place):
    model, run = load_model(place / "model"), read_run(place / "run.h5")
    every = pick_frames(model, [run], ActiveSettings(per_round=1000, alike=0.0, wreck=1e6))
    assert all(value > 1.0 for value in every.values)
    assert every.n_outside == len(every.candidates)
    limit = float(np.median(every.values))
    some = pick_frames(model, [run], ActiveSettings(per_round=1000, alike=0.0, wreck=limit))
    assert 0 < len(some.candidates) < len(every.candidates)
    assert max(some.values) <= limit
    assert some.n_wrecks > 0
    only = pick_frames(model, [run], ActiveSettings(per_round=1000, alike=0.0, wreck=1e-6))
    assert len(only.candidates) == 1  # the first frame of the run that is outside


def test_two_rounds_learn_and_go_on_after_a_stop(place, tmp_path, monkeypatch):
    settings = ActiveSettings(rounds=2, per_round=6, beyond=0.9)
    arguments = ([place / "run.h5"], place / "model", SPEC)
    options = {"labelling": LabelSettings(check_forces=False), "overrides": GENTLE}

    class CutError(Exception):
        pass

    def cut(phase: str, done: int, total: int, note: str) -> None:
        if phase == "round 1: training":
            raise CutError

    with pytest.raises(CutError):
        learn_actively(*arguments, tmp_path / "a", settings, **options, tell=cut)
    labels = tmp_path / "a" / "round_1" / "labels.extxyz"
    made = labels.stat().st_mtime_ns
    result = learn_actively(*arguments, tmp_path / "a", settings, **options)
    assert labels.stat().st_mtime_ns == made
    first, *rest = result.rounds
    assert first.labelled == first.picked == 6
    assert first.held_out == 1
    assert len(read(tmp_path / "a" / "round_1" / "train.extxyz", ":")) == 5
    assert first.new_before_meV_per_A > first.old_before_meV_per_A  # what is outside is known worse
    assert first.run_before[0] > 1.0
    assert rest
    assert result.model == tmp_path / "a" / f"round_{len(result.rounds)}" / "model" or rest[-1].picked == 0
    settings_of_round = (tmp_path / "a" / "round_1" / "model" / "training.yaml").read_text()
    assert str(place / "model") in settings_of_round
    atoms = read(labels, 0)
    energy = atoms.get_potential_energy()
    atoms.calc = Charged()
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6)
    assert json.loads((tmp_path / "a" / "report.json").read_text())[0]["number"] == 1
    with pytest.raises(DatasetError, match="another model, calculator or settings"):
        learn_actively(*arguments, tmp_path / "a", ActiveSettings(per_round=3), **options)


def test_held_out_frames_stay_held_out(place, tmp_path):
    options = {"labelling": LabelSettings(check_forces=False), "overrides": GENTLE}
    learn_actively(
        [place / "run.h5"], place / "model", Charged(), tmp_path / "a", ActiveSettings(per_round=2), **options
    )
    kept = {round(a.get_potential_energy(), 6) for a in read(tmp_path / "a" / "data" / "train.extxyz", ":")}
    out = {round(a.get_potential_energy(), 6) for a in read(tmp_path / "a" / "data" / "validation.extxyz", ":")}
    assert (len(kept), len(out)) == (19, 5)
    assert not kept & out
    recipe = (tmp_path / "a" / "round_1" / "model" / "training.yaml").read_text()
    assert "validation_data" in recipe
    assert len((tmp_path / "a" / "round_1" / "model" / "history.csv").read_text().splitlines()) == 3


def test_nothing_beyond_the_edge_labels_nothing(place, tmp_path):
    result = learn_actively(
        [place / "run.h5"], place / "model", Charged(), tmp_path / "a", ActiveSettings(beyond=1e6, train=False)
    )
    assert result.ended.startswith("no frame beyond 1e+06")
    assert result.labels == ()
    assert [one.picked for one in result.rounds] == [0]
    assert not list((tmp_path / "a").rglob("labels*"))


def test_what_cannot_be_is_one_clear_line(place, tmp_path):
    runs = [place / "run.h5"]
    with pytest.raises(TrajectoryError, match="nowhere"):
        learn_actively([tmp_path / "nowhere.h5"], place / "model", Charged(), tmp_path / "a")
    shutil.copytree(place / "model", tmp_path / "young")
    (tmp_path / "young" / "training_range.safetensors").unlink()
    with pytest.raises(ModelError, match=r"unknown extrapolation.*--trained-on DATA"):
        learn_actively(runs, tmp_path / "young", Charged(), tmp_path / "b")
    with pytest.raises(StructureError, match="element H"):
        learn_actively(runs, "quartz", Charged(), tmp_path / "c", ActiveSettings(train=False))
    with pytest.raises(ConfigError, match=r"wanted training\.KEY=VALUE or md\.KEY=VALUE"):
        learn_actively(runs, place / "model", Charged(), tmp_path / "d", overrides=["steps=3"])
    with pytest.raises(DatasetError, match=r"no file .*moved\.xyz.*--data"):
        learn_actively(runs, place / "model", Charged(), tmp_path / "e", data=[tmp_path / "moved.xyz"])
    (tmp_path / "young" / "training.yaml").unlink()
    with pytest.raises(ConfigError, match="no recipe"):
        learn_actively(runs, tmp_path / "young", Charged(), tmp_path / "f")


def test_methanol_learns_from_tight_binding(tmp_path):
    pytest.importorskip("tblite", reason="needs tblite, of the extra dev, which has no wheel for this machine")
    spec = 'ase:tblite.ase:TBLite(method="GFN2-xTB", verbosity=0)'
    sampled = LabelSettings(md=True, temperature_K=150.0, steps=200, stride=10, check_forces=False)
    first = label_structures([molecule("CH3OH")], spec, tmp_path / "train.extxyz", sampled)
    assert first.n_frames == 21
    training = TrainingSettings(
        data=(first.path,), output=tmp_path / "model", epochs=40, batch_size=4, ema=0.9, validation_fraction=0.2
    )
    train(TrainFile(model=TINY, training=training))
    hot = {"temperature_K": 400.0, "equilibration_steps": 0, "steps": 40, "trajectory_stride": 2, "engine": "eager"}
    Simulation(load_model(tmp_path / "model"), molecule("CH3OH"), MDSettings(**hot), tmp_path / "run.h5").run()
    overrides = ("md.steps=10", "training.epochs=20", "training.learning_rate=0.005")
    settings = ActiveSettings(per_round=5, beyond=0.8, alike=0.1)
    result = learn_actively(
        [tmp_path / "run.h5"], tmp_path / "model", spec, tmp_path / "active", settings, overrides=overrides
    )
    (only,) = result.rounds
    assert only.labelled == only.picked == 5
    labels = read(tmp_path / "active" / "round_1" / "labels.extxyz", ":")
    assert force_errors(result.model, labels)[0] < 0.9 * only.new_before_meV_per_A
    label = labels[0]
    assert "extrapolation" in label.info["origin"]
    assert np.linalg.norm(label.get_dipole_moment()) > 0.1  # e A, for evaluate; never trained on
    assert load_model(result.model).species == ("H", "C", "O")
