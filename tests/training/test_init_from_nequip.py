"""Trained models of nequip and Allegro as the beginning of ours: the same energies, then heads and a spectrum."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ase.io import write

from spectra_app.config import ModelSettings, TrainFile, TrainingSettings
from spectra_app.errors import ConfigError, ModelError
from spectra_app.potentials import Potential
from spectra_app.potentials.checkpoints import begun_from, open_checkpoint
from spectra_app.potentials.folder import load_model
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase
from spectra_app.training.beginning import initial_model, settle
from spectra_app.training.dataset import read_frames, species_of
from spectra_app.training.survey import _with_parts
from spectra_app.training.trainer import train
from tests.cli.conftest import Outcome, cli
from tests.nequip_models import (
    ALLEGRO,
    NEEDS_NEQUIP,
    NEQUIP,
    SHIFTS,
    crystal,
    nequip_package,
    nequip_train,
    save_checkpoint,
)
from tests.training.data import water_like_frames, write_frames

__all__ = ["cli"]
pytestmark = NEEDS_NEQUIP

REPULSION = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": ["O", "H"]}
SPLINES = {"_target_": "allegro.nn.TwoBodySplineScalarEmbed", "num_splines": 6, "spline_span": 4}
KINDS: dict[str, dict[str, Any]] = {
    "nequip in float32": {**NEQUIP, "model_dtype": "float32"},
    "nequip of elements unlike": {
        **NEQUIP,
        "num_layers": 3,
        "parity": True,
        "num_features": [5, 3, 2],
        "type_embed_num_features": 3,
        "avg_num_neighbors": {"O": 4.0, "H": 6.0},
        "per_edge_type_cutoff": {"O": {"H": 2.9}, "H": 3.1},
        "bessel_trainable": True,
        "polynomial_cutoff_p": 5,
        "readout_mlp_hidden_layers_depth": 1,
        "readout_mlp_nonlinearity": "mish",
        "pair_potential": REPULSION,
    },
    "nequip without scales": {
        **NEQUIP,
        "per_type_energy_scales": None,
        "per_type_energy_shifts": None,
        "num_layers": 1,
    },
    "a preset": {
        **NEQUIP,
        "_target_": "nequip.model.PresetNequIPGNNModel",
        "preset": "S",
        "num_features": [5, 3],
        "l_max": 1,
    },
    "allegro": ALLEGRO,
    "allegro of splines": {
        **ALLEGRO,
        "radial_chemical_embed": SPLINES,
        "radial_chemical_embed_dim": 4,
        "avg_num_neighbors": {"O": 4.0, "H": 6.0},
        "per_edge_type_cutoff": {"O": {"H": 2.9}, "H": 3.1},
        "parity": False,
        "num_layers": 3,
        "tp_path_channel_coupling": False,
        "allegro_mlp_hidden_layers_depth": 2,
        "readout_mlp_nonlinearity": None,
        "pair_potential": REPULSION,
    },
}


def begun(path: Path, backbone: str) -> Potential:
    """Our potential without heads, of a file."""
    opened = open_checkpoint(backbone, path, ("H", "O"), trust=True)
    return begun_from(opened, ModelSettings(backbone=opened.backbone, variant="sr"), ("H", "O"))


def assert_same(model: Potential, path: Path, close: float) -> None:
    """Energy, forces and stress of a cell, against the library's own calculator with its own search of neighbours."""
    from spectra_app.potentials.backbones.nequip_file import library_at_work

    atoms = crystal()
    with library_at_work():
        from nequip.ase import NequIPCalculator

        atoms.calc = NequIPCalculator._from_saved_model(path)
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
    system = from_ase(atoms)
    found = model(system, build_neighbors(system, model.cutoff + 1.0), stress=True)
    assert found.stress is not None
    assert float(found.energy[0]) == pytest.approx(float(energy), abs=close)
    np.testing.assert_allclose(found.forces.numpy(), forces, atol=10 * close)
    np.testing.assert_allclose(found.stress[0].numpy(), stress, atol=10 * close)
    assert np.abs(forces).max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_without_heads_it_is_the_model_of_the_library(kind: str, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "plain.ckpt", KINDS[kind])
    model = begun(path, "allegro" if "allegro" in kind else "nequip")
    assert_same(model, path, 1e-5 if "float32" in kind else 1e-9)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("data") / "train.xyz", water_like_frames(8))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that ``nequip-train`` leaves after an epoch."""
    return nequip_train(tmp_path_factory.mktemp("nequip_train"), data, NEQUIP)


@pytest.fixture(scope="module")
def package(trained: Path) -> Path:
    """What ``nequip-package`` makes of it."""
    return nequip_package(trained)


def test_both_forms_of_file_hold_the_averaged_weights(trained: Path, package: Path, tmp_path: Path) -> None:
    for path in (trained, package):
        assert_same(begun(path, "nequip"), path, 1e-9)
    ema = save_checkpoint(tmp_path / "ema.ckpt", NEQUIP, "EMALightningModule")
    plain = save_checkpoint(tmp_path / "plain.ckpt", NEQUIP)
    assert_same(begun(ema, "nequip"), ema, 1e-9)
    one, other = (dict(begun(path, "nequip").backbone.named_parameters()) for path in (ema, plain))
    name = "network.per_atom_energy_readout.mlp_module.mlp.0.weight"
    torch.testing.assert_close(one[name], 1.1 * other[name])


def test_opening_leaves_the_process_as_it_was(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    before = torch.get_default_dtype(), dict(os.environ), torch.multiprocessing.get_sharing_strategy()
    torch.manual_seed(5)
    random.seed(5)
    wanted = torch.rand(3), random.random()
    torch.manual_seed(5)
    random.seed(5)
    from spectra_app.potentials.backbones.nequip_file import load_graph

    load_graph(trained)
    assert torch.equal(torch.rand(3), wanted[0])
    assert random.random() == wanted[1]
    assert (torch.get_default_dtype(), dict(os.environ), torch.multiprocessing.get_sharing_strategy()) == before


def test_elements_are_chosen_and_ordered(trained: Path) -> None:
    opened = open_checkpoint("nequip", trained, ("H",), trust=True)
    assert opened.reference_energies.tolist() == [SHIFTS["H"]]
    both = open_checkpoint("nequip", trained, ("H", "O"), trust=True)
    assert both.reference_energies.tolist() == [SHIFTS["H"], SHIFTS["O"]]
    for name in ("type_scales", "network.type_embed.embed_module.weight"):
        torch.testing.assert_close(opened.state[name], both.state[name][:1])
    assert opened.energy_scale * opened.state["type_scales"].tolist()[0] == pytest.approx(0.75)


def test_what_cannot_be_taken_over_is_one_line(trained: Path, data: Path, tmp_path: Path) -> None:
    def opened(path: Path, backbone: str = "nequip", **changes: Any) -> Any:
        return open_checkpoint(backbone, path, **{"species": ("H", "O"), "trust": True, **changes})

    for backbone in ("nequip", "allegro"):
        with pytest.raises(ConfigError, match=r"names the functions which build its model.*Give --trust-checkpoint"):
            opened(trained, backbone, trust=False)
    with pytest.raises(ModelError, match="got data with Na, wanted only elements that it knows: O, H"):
        opened(trained, species=("H", "Na"))
    with pytest.raises(ConfigError, match=r"got a model of nequip, wanted model\.backbone: nequip"):
        opened(trained, "allegro")
    with pytest.raises(ConfigError, match="init_head: got mine"):
        opened(trained, head="mine")
    for path, message in (
        (data, "got another kind of file"),
        (_copied(trained, tmp_path / "renamed.pth"), "got another kind of file"),
        (
            _saved(tmp_path / "other.ckpt", {"state_dict": {}}),
            "a checkpoint of another program, or of nequip before 0.7",
        ),
        (_copied(trained, tmp_path / "renamed.nequip.zip"), "got another archive"),
        (_without_weights(trained, tmp_path / "older.ckpt"), r"\(nequip 0\.99\.0\): got unreadable \(RuntimeError"),
        (save_checkpoint(tmp_path / "a.ckpt", _changed("type_names", ["Water", "H"])), "got types Water"),
        (save_checkpoint(tmp_path / "b.ckpt", _changed("pair_potential", _lennard_jones())), "got LennardJones"),
        (
            save_checkpoint(tmp_path / "c.ckpt", _changed("pair_potential", {**REPULSION, "units": "real"})),
            "in kcal/mol",
        ),
        (save_checkpoint(tmp_path / "d.ckpt", _full()), "weights|an architecture that settings do not describe"),
    ):
        with pytest.raises(ModelError, match=message):
            opened(path)


def _changed(key: str, value: Any) -> dict[str, Any]:
    levels = {"per_type_energy_scales": 1.0, "per_type_energy_shifts": 0.0}
    return {**NEQUIP, **levels, key: value}


def _lennard_jones() -> dict[str, Any]:
    return {"_target_": "nequip.nn.pair_potential.LennardJones", "lj_sigma": 1.0, "lj_epsilon": 0.1}


def _full() -> dict[str, Any]:
    """Layers that add up what they get: nothing that our settings know."""
    left = {"num_layers", "l_max", "parity", "num_features", "radial_mlp_width"}
    kept = {key: value for key, value in NEQUIP.items() if key not in left}
    return {
        **kept,
        "_target_": "nequip.model.FullNequIPGNNModel",
        "irreps_edge_sh": "0e + 1o",
        "type_embed_num_features": 4,
        "feature_irreps_hidden": ["4x0e + 4x1o", "4x0e + 4x1o", "4x0e"],
        "radial_mlp_depth": [1, 1, 1],
        "radial_mlp_width": [8, 8, 8],
        "convnet_resnet": True,
    }


def _copied(path: Path, target: Path) -> Path:
    target.write_bytes(path.read_bytes())
    return target


def _saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def _without_weights(path: Path, target: Path) -> Path:
    """A checkpoint of a release whose layers have other names."""
    content = torch.load(path, weights_only=False)
    content["hyper_parameters"]["info_dict"]["versions"]["nequip"] = "0.99.0"
    renamed = {name.replace("linear_1", "linear"): value for name, value in content["state_dict"].items()}
    return _saved(target, {**content, "state_dict": renamed})


def short_range_forces(model: Potential, data: Path) -> torch.Tensor:
    system = from_ase(read_frames([data])[0].atoms)
    forces = _with_parts(model, long_range=False)(system, build_neighbors(system, model.cutoff)).forces
    assert forces is not None
    return forces


@pytest.mark.parametrize("backbone", ["nequip", "allegro"])
def test_heads_are_learned_and_the_frozen_part_stays(backbone: str, tmp_path: Path, data: Path, package: Path) -> None:
    path = package if backbone == "nequip" else save_checkpoint(tmp_path / "allegro.ckpt", ALLEGRO)
    training = {"epochs": 2, "batch_size": 4, "dtype": "float64", "output": tmp_path / "model", "init_from": path}
    model = ModelSettings(backbone=backbone, variant="puiu", heads={"cutoff_A": 3.0})
    chosen = TrainFile(model=model, training=TrainingSettings(data=(data,), short_range_rate=0.0, **training))
    frames = read_frames([data])
    before = initial_model(settle(chosen, frames, species_of(frames), trust_checkpoint=True), frames)
    result = train(chosen, trust_checkpoint=True)
    old, new = before.state_dict(), result.model.state_dict()
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert not {name for name in moved if name.startswith("backbone.network")}
    assert {name for name in moved if name.startswith("latent_head.")}
    torch.testing.assert_close(short_range_forces(result.model, data), short_range_forces(before, data))
    hidden = path.rename(path.with_suffix(".away"))  # the folder stands by itself
    loaded = load_model(result.output, dtype="float64")
    hidden.rename(path)
    torch.testing.assert_close(short_range_forces(loaded, data), short_range_forces(result.model, data))
    assert {file.suffix for file in result.output.iterdir()} <= {".safetensors", ".yaml", ".json", ".md", ".csv"}
    assert loaded.settings.backbone == result.model.settings.backbone


@pytest.mark.parametrize("backbone", ["nequip", "allegro"])
def test_a_killed_training_resumes_bit_for_bit(
    backbone: str, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From random weights, with sizes of features and numbers of neighbours that the training takes from its data."""
    from spectra_app.training import trainer

    def chosen(name: str, **changes: Any) -> TrainFile:
        keys = {"channels": 4, "n_radial": 4, "cutoff_A": 3.0, "l_max": 1}
        model = ModelSettings(backbone=backbone, variant="puiu", response="one-shot", **keys)
        training = {"epochs": 2, "batch_size": 4, "output": tmp_path / name, **changes}
        return TrainFile(model=model, training=TrainingSettings(data=(data,), **training))

    whole = train(chosen("whole")).model
    assert float(whole.backbone.scale.vectors) != 1.0
    assert whole.settings.backbone.avg_num_neighbors != "auto"
    original, done = trainer._step, 0

    def killed(*arguments: Any) -> None:
        nonlocal done
        if done == 3:
            raise KeyboardInterrupt
        done += 1
        original(*arguments)

    monkeypatch.setattr(trainer, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(chosen("cut", checkpoint_minutes=1e-9))
    monkeypatch.setattr(trainer, "_step", original)
    resumed = train(chosen("cut", checkpoint_minutes=1e-9), resume=True).model.state_dict()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.filterwarnings("ignore::spectra_app.spectra.guards.SpectrumWarning")  # hardly trained, hardly run
def test_from_a_plain_checkpoint_to_an_infrared_spectrum(
    tmp_path: Path, data: Path, trained: Path, cli: Callable[..., Outcome]
) -> None:
    config = tmp_path / "train.yaml"
    model = {"backbone": "nequip", "variant": "puQipiu", "alpha": "bonds", "heads": {"cutoff_A": 3.0}}
    training = {"data": [str(data)], "epochs": 2, "init_from": str(trained), "short_range_rate": 0}
    config.write_text(yaml.safe_dump({"model": model, "training": training}))
    folder, run = tmp_path / "model", tmp_path / "run.h5"
    refused = cli("train", config, "-o", folder)
    assert refused.code == 2
    assert "Give --trust-checkpoint" in refused.err
    outcome = cli("train", config, "-o", folder, "--trust-checkpoint")
    assert outcome.code == 0, outcome.err
    start = tmp_path / "start.extxyz"
    write(start, read_frames([data])[0].atoms)
    words = ["md", start, "-m", folder, "-o", run, "--device", "cpu", "--ensemble", "nve", "--timestep-fs", "0.2"]
    words += ["--equilibration-steps", "10"]
    assert cli(*words, "--steps", "120").code == 0
    outcome = cli(*words, "--steps", "240", "--restart")
    assert outcome.code == 0, outcome.err
    outcome = cli("ir", run, "-o", tmp_path / "ir", "--resolution-per-cm", 3000)
    assert outcome.code == 0, outcome.err
    assert len((tmp_path / "ir.csv").read_text().splitlines()) > 20
    assert "backbone nequip, 2 layers, 4 channels, l_max 2" in cli("models", folder).out
