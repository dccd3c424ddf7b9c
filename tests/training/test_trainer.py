"""Training learns, resumes bit for bit, stops early, fixes the sign; evaluation measures what it says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms

from spectra_app.config import LossSettings, ModelSettings, TrainFile, TrainingSettings
from spectra_app.errors import ConfigError, ModelError, StoppedError
from spectra_app.potentials.folder import load_model
from spectra_app.potentials.potential import Potential
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase
from spectra_app.training.evaluation import evaluate_file, evaluate_structures, pearson, r_squared, slope
from spectra_app.training.loss import weights_at
from spectra_app.training.sign import fix_sign, mean_born_charges
from spectra_app.training.trainer import CHECKPOINT_FILE, learning_rate_at, train
from tests.random_weights import with_known_material
from tests.training.data import CHARGES, water_like_frames, write_frames

SMALL = ModelSettings(channels=12, n_radial=5, cutoff_A=3.5, variant="puiu")


def settings(tmp_path, data, **changes) -> TrainFile:
    chosen = {
        "epochs": 3,
        "batch_size": 4,
        "dtype": "float64",
        "validation_fraction": 0.2,
        "output": tmp_path / "model",
    }
    return TrainFile(model=SMALL, training=TrainingSettings(data=(data,), **{**chosen, **changes}))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("data") / "train.xyz", water_like_frames(20))


def test_training_learns_and_writes_a_model_that_loads(tmp_path, data):
    result = train(settings(tmp_path, data, epochs=25, batch_size=2, ema=0.9, test_fraction=0.1))
    first, best = result.history[0], min(r.valid_forces_rmse_meV_per_A for r in result.history)
    assert best < 0.5 * first.valid_forces_rmse_meV_per_A
    assert {p.name for p in result.output.iterdir()} >= {
        "weights.safetensors",
        "model.yaml",
        "training.yaml",
        "history.csv",
    }
    assert not (result.output / CHECKPOINT_FILE).exists()
    card = (result.output / "README.md").read_text()
    assert "on 2 frames held out (test)" in card
    assert "H +" in card
    assert "O -" in card
    held_out = result.model.card.errors
    assert held_out["test_n_structures"] == 2
    assert 0 < held_out["test_forces_rmse_meV_per_A"] < 3 * best
    model = load_model(result.output, dtype="float64")
    metrics = evaluate_file(model, data)
    assert metrics["n_structures"] == 20
    assert metrics["forces_rmse_meV_per_A"] < 2 * best


@pytest.mark.parametrize("stop_after", [2, 5])
def test_a_killed_run_resumes_bit_for_bit(tmp_path, data, stop_after, monkeypatch):
    whole = train(settings(tmp_path / "whole", data))
    cut = settings(tmp_path / "cut", data, checkpoint_minutes=1e-9)  # a checkpoint after every step
    from spectra_app.training import trainer

    done = 0
    original = trainer._step

    def killed(*arguments):
        nonlocal done
        if done == stop_after:
            raise KeyboardInterrupt
        done += 1
        original(*arguments)

    monkeypatch.setattr(trainer, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(cut)
    monkeypatch.setattr(trainer, "_step", original)
    with pytest.raises(ModelError, match="checkpoint of an unfinished training"):
        train(cut)
    resumed = train(cut, resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    assert [r[2:] for r in whole.history] == [r[2:] for r in resumed.history]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_saves_a_checkpoint_between_two_steps(tmp_path, data, monkeypatch, name):
    import signal

    from spectra_app.training import trainer

    whole = train(settings(tmp_path / "whole", data))
    original, done = trainer._step, 0

    def pressed(*arguments):
        nonlocal done
        original(*arguments)
        done += 1
        if done == 3:
            signal.raise_signal(getattr(signal, name))

    monkeypatch.setattr(trainer, "_step", pressed)
    with pytest.raises(KeyboardInterrupt if name == "SIGINT" else StoppedError):
        train(settings(tmp_path / "cut", data))
    assert done == 3
    resumed = train(settings(tmp_path / "cut", data), resume=True)
    assert all(torch.equal(t, resumed.model.state_dict()[name]) for name, t in whole.model.state_dict().items())


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_responses_are_held_at_first(tmp_path, data, optimizer):
    torch.manual_seed(0)
    known = SMALL.model_copy(update={"oxidation_states": {"H": 1, "O": -2}})
    start = dict(Potential(known, ("H", "O")).double().named_parameters())

    def unmoved(share):
        """Names of the parameters that end where they began."""
        chosen = settings(tmp_path / f"{share}", data, epochs=2, ema=0.0, optimizer=optimizer, response_start=share)
        return {n for n, p in train(chosen).model.named_parameters() if torch.equal(p, start[n])}

    responses = {name for name in start if name.startswith("latent_head.alpha_")}
    assert responses
    assert unmoved(0.999) == responses
    assert not unmoved(0.0)


def test_resume_refuses_other_settings_and_a_missing_checkpoint(tmp_path, data):
    with pytest.raises(ModelError, match="no checkpoint"):
        train(settings(tmp_path, data), resume=True)


def test_training_begins_with_the_weights_of_a_model(tmp_path, data):
    first = train(settings(tmp_path / "first", data, epochs=12, batch_size=2, ema=0.9))
    again = settings(tmp_path / "again", data, epochs=1, batch_size=2, start=str(first.output), learning_rate=1e-5)
    best = min(r.valid_forces_rmse_meV_per_A for r in first.history)
    second = train(again)
    assert second.history[0].valid_forces_rmse_meV_per_A == pytest.approx(best, rel=0.05)
    energy = [
        load_model(folder, dtype="float64").reference_energies.numpy() for folder in (first.output, second.output)
    ]
    assert energy[1] == pytest.approx(energy[0], abs=0.05)
    # A model of an earlier format keeps its lengths, unless the file says otherwise.
    description = yaml.safe_load((first.output / "model.yaml").read_text())
    description["architecture"]["soft_length"] = 1e-4
    (first.output / "model.yaml").write_text(yaml.safe_dump(description))
    sharp = train(settings(tmp_path / "sharp", data, epochs=1, batch_size=2, start=str(first.output)))
    assert sharp.model.settings.backbone.soft_length == 1e-4
    wider = TrainFile(
        model=ModelSettings(channels=12, n_radial=5, cutoff_A=4.0, variant="puiu"), training=again.training
    )
    with pytest.raises(ConfigError, match=r"training.start, model.cutoff_A: got 3.5 in .*, wanted 4.0, as in the file"):
        train(wider)


def test_a_model_of_bonds_goes_on_with_contacts(tmp_path, data):
    bonds = SMALL.model_copy(update={"alpha": "bonds"})
    first = train(TrainFile(model=bonds, training=settings(tmp_path / "first", data, ema=0.9).training))
    again = settings(tmp_path / "again", data, epochs=1, start=str(first.output), learning_rate=1e-5).training
    wanted = {"alpha": "pairs", "bond_weight": "gaussian"}  # a form has no weights of its own
    pairs = train(TrainFile(model=SMALL.model_copy(update=wanted), training=again))
    best = min(r.valid_forces_rmse_meV_per_A for r in first.history)
    assert pairs.history[0].valid_forces_rmse_meV_per_A == pytest.approx(best, rel=0.05)
    contacts = load_model(pairs.output).latent_head.alpha_bonds.contacts
    assert load_model(pairs.output).settings.bond_weight == "gaussian"
    assert 0.0 < float(contacts.abs().max()) < 1e-3  # begun at zero, and learns
    with pytest.raises(ConfigError, match=r"model.alpha: got pairs in .*, wanted bonds, as in the file"):
        train(TrainFile(model=bonds, training=again.model_copy(update={"start": str(pairs.output)})))


def test_patience_ends_training(tmp_path, data):
    frozen = settings(tmp_path, data, epochs=50, patience=2, learning_rate=1e-30, final_learning_rate=1e-31)
    result = train(frozen)
    assert len(result.history) < 10
    assert "no better validation loss" in result.stopped


@pytest.mark.parametrize(("clock", "function"), [("wall", "monotonic"), ("cpu", "process_time")])
def test_minutes_end_training_and_its_schedule(tmp_path, data, monkeypatch, clock, function):
    from spectra_app.training import trainer

    ticks = itertools.count(step=6.0)
    monkeypatch.setattr(trainer.time, function, lambda: next(ticks))
    result = train(settings(tmp_path, data, epochs=1000, max_minutes=1.0, clock=clock))
    assert 3 <= result.steps <= 10  # of six seconds, some of them asked for twice
    assert result.history[-1].learning_rate < 1e-3
    assert result.history[-1].seconds >= 60.0


def test_sign_follows_electronegativity_and_changes_no_energy(tmp_path, data):
    recipe = settings(tmp_path, data)
    learned = recipe.model.model_copy(update={"oxidation_states": "free"})  # which would fix the sign by themselves
    model = train(recipe.model_copy(update={"model": learned})).model
    from spectra_app.training.dataset import make_samples, read_frames

    samples = make_samples(read_frames([data])[:2], model.cutoff, model.species, np.zeros(2), torch.float64, "cpu")
    before = mean_born_charges(model, samples)
    assert before["H"] > 0 > before["O"]
    energy = model(samples[0].system, samples[0].neighbors).energy
    model.sign.neg_()
    assert mean_born_charges(model, samples)["H"] == pytest.approx(-before["H"])
    assert torch.equal(model(samples[0].system, samples[0].neighbors).energy, energy)
    assert fix_sign(model, samples)
    assert mean_born_charges(model, samples) == pytest.approx(before)


def test_the_sign_of_vanishing_charges_is_undetermined(tmp_path, data):
    from spectra_app.potentials import Potential
    from spectra_app.training.dataset import make_samples, read_frames

    model = Potential(ModelSettings(variant="sr", channels=8), ("H", "O")).double()
    samples = make_samples(read_frames([data])[:1], model.cutoff, model.species, np.zeros(2), torch.float64, "cpu")
    assert not fix_sign(model, samples)


@pytest.mark.physics
def test_learned_dipoles_follow_the_true_ones_without_labels(tmp_path, data):
    """Two molecules beyond the model's cutoff of each other: forces alone say how large the charges are."""
    far = {"distances": (3.3, 4.2), "shake": 0.01}
    path = write_frames(tmp_path / "train.xyz", water_like_frames(80, seed=7, **far))
    chosen = settings(tmp_path, path, epochs=20, batch_size=2, dtype="float32", learning_rate=1e-2, ema=0.97)
    charges_and_dipoles = ModelSettings(channels=12, n_radial=5, cutoff_A=2.0, variant="pu", layers=1, rank=1)
    model = train(chosen.model_copy(update={"model": charges_and_dipoles})).model
    held_out = water_like_frames(40, seed=99, **far)
    for atoms in held_out:
        atoms.info["dipole"] = (np.array([CHARGES[int(z)] for z in atoms.numbers])[:, None] * atoms.positions).sum(0)
    metrics = evaluate_structures(model, held_out)
    assert metrics["dipole_r2"] > 0.98


def test_stress_is_learned_where_it_is_labelled(tmp_path, monkeypatch):
    from ase import Atoms
    from ase.io import write

    from tests.potentials.test_potential import NUMBERS, TRICLINIC, make_potential, predict, structure

    monkeypatch.setattr("spectra_app.training.trainer.check_units", lambda frames: None)  # no real matter
    teacher, frames = make_potential("pu"), []
    for seed in range(16):
        system = structure(seed=seed)
        strain = 1.0 + 0.03 * np.random.default_rng(seed).normal(size=3)
        cell = TRICLINIC * strain
        system = system._replace(positions=system.positions * torch.as_tensor(strain), cell=torch.as_tensor(cell)[None])
        labels = predict(teacher, system, stress=True)
        atoms = Atoms(NUMBERS, system.positions.numpy(), cell=cell, pbc=True)
        atoms.info["energy"], atoms.arrays["forces"] = labels.energy.item(), labels.forces.numpy()
        atoms.info["stress"] = labels.stress[0].numpy()
        frames.append(atoms)
    write(tmp_path / "train.xyz", frames, format="extxyz")
    errors = {}
    for weight in (0.0, 1.0):
        chosen = settings(
            tmp_path / str(weight),
            tmp_path / "train.xyz",
            epochs=25,
            batch_size=2,
            ema=0.9,
            loss={"stress": (weight, weight)},
        )
        errors[weight] = train(chosen).model.card.errors["validation_stress_rmse_GPa"]
    assert errors[1.0] < 0.7 * errors[0.0]


def test_weights_ramp_and_learning_rate_schedule():
    loss = LossSettings(energy=(0.0, 1.0), ramp=(0.5, 0.75))
    assert [weights_at(loss, x)[0] for x in (0.0, 0.5, 0.625, 0.75, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    rates = [learning_rate_at(1e-2, 1e-4, 0.1, x) for x in (0.0, 0.1, 0.55, 1.0)]
    assert rates == pytest.approx([1e-2 * 1e-3 / 0.101, 1e-2, 0.5 * (1e-2 + 1e-4), 1e-4])


def test_statistics_by_hand():
    x, y = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 5.0])
    assert r_squared(x, y) == pytest.approx(1 - 2.0 / 8.0)
    assert pearson(x, y) == pytest.approx(6.0 / np.sqrt(8.0 * 14.0 / 3.0))
    assert np.isnan(pearson(np.ones(3), y))
    assert slope(7.0 - 0.25 * x, x) == pytest.approx(-0.25)
    assert slope(x + np.array([1.0, -2.0, 1.0]), np.arange(3.0)) == pytest.approx(slope(x, np.arange(3.0)))  # noise: no
    assert np.isnan(slope(y, np.ones(3)))


def test_energy_error_ignores_one_shift_per_composition(tmp_path, data):
    model = train(settings(tmp_path, data, epochs=1)).model
    frames = [*water_like_frames(3, 1), *water_like_frames(3, 2)]
    base = evaluate_structures(model, frames)["energy_rmse_meV_per_atom"]
    for atoms in frames:
        atoms.info["energy"] += 5.0 if len(atoms) == 3 else -11.0
    assert evaluate_structures(model, frames)["energy_rmse_meV_per_atom"] == pytest.approx(base)


def test_correlation_of_the_polarizability_knows_no_eps_inf():
    torch.manual_seed(0)
    model = with_known_material(Potential(SMALL, ("H", "O"), eps_inf=2.0).double())
    rng = np.random.default_rng(0)
    frames = []
    for side in (5.0, 6.0, 8.0):  # chi, hence the screening, differs from frame to frame
        positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]]) + rng.normal(scale=0.2, size=(3, 3))
        atoms = Atoms("OHH", positions, cell=np.eye(3) * side, pbc=True)
        system = from_ase(atoms, dtype=torch.float64)
        alpha = model(system, build_neighbors(system, model.cutoff), forces=False).polarizability[0]
        atoms.info["polarizability"] = 3.0 * alpha.numpy().reshape(-1)
        frames.append(atoms)
    metrics = evaluate_structures(model, frames)
    for part in ("", "_diagonal", "_offdiagonal"):
        assert metrics[f"polarizability_pearson{part}"] == pytest.approx(1.0)  # eps_e is a number of the material


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_a_backbone_may_learn_at_a_rate_of_its_own(tmp_path, data, optimizer, monkeypatch):
    """Its weights move by as much more, those of the heads as before."""
    from spectra_app.potentials.backbones.painn import PaiNN

    def moved(rate: float) -> tuple[float, float]:
        monkeypatch.setattr(PaiNN, "rate", rate)
        chosen = settings(tmp_path / f"{rate}", data, epochs=1, batch_size=20, ema=0.0, optimizer=optimizer, clip=1e9)
        torch.manual_seed(chosen.training.seed)
        first = Potential(SMALL, ("H", "O")).double().state_dict()
        now = train(chosen).model.state_dict()
        names = ("backbone.messages.0.phi.0.bias", "latent_head.dipole.gate.bias")
        return tuple(float((now[name] - first[name]).abs().max()) for name in names)

    once, faster = moved(1.0), moved(4.0)
    assert faster[0] == pytest.approx(4.0 * once[0], rel=1e-3)
    assert faster[1] == pytest.approx(once[1], rel=1e-3)
