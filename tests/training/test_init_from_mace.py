"""Trained models of mace-torch as the beginning of ours: the same energies, then heads; what cannot be taken over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.io import write

from spectra_app.config import MACESettings, ModelSettings, TrainFile, TrainingSettings, load_settings
from spectra_app.errors import ConfigError, ModelError
from spectra_app.potentials import Potential
from spectra_app.potentials.checkpoints import agreed_settings, begun_from, open_checkpoint
from spectra_app.potentials.folder import load_model
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase
from spectra_app.training.beginning import initial_model, settle
from spectra_app.training.dataset import read_frames, species_of
from spectra_app.training.survey import _with_parts
from spectra_app.training.trainer import train
from tests.cli.conftest import Outcome, cli
from tests.mace_models import NEEDS_MACE, mace_model, save_mace
from tests.training.data import water_like_frames, write_frames

__all__ = ["cli"]
pytestmark = NEEDS_MACE

CELL = np.array([[6.1, 0.0, 0.0], [0.9, 5.8, 0.0], [-0.7, 1.1, 6.4]])
KINDS: dict[str, dict[str, Any]] = {
    "as mace_run_train makes it": {},
    "in float32": {"dtype": torch.float32},
    "products of a reduced basis, which cuequivariance gives": {"use_reduced_cg": True},
    "the plain class": {"scaled": False, "first": "RealAgnosticInteractionBlock"},
    "invariant, as small foundation models": {
        "hidden": "8x0e",
        "interaction": "RealAgnosticDensityResidualInteractionBlock",
        "first": "RealAgnosticDensityInteractionBlock",
        "pair_repulsion": True,
        "distance_transform": "Agnesi",
    },
    "nonlinear, as later foundation models, of charge and spin": {
        "heads": ("other", "mine"),
        "interaction": "RealAgnosticResidualNonLinearInteractionBlock",
        "first": "RealAgnosticResidualNonLinearInteractionBlock",
        "readout": "NonLinearBiasReadoutBlock",
        "edges": "4x0e + 4x1o",
        "apply_cutoff": False,
        "use_agnostic_product": True,
        "embedding_specs": {
            "total_charge": {"type": "categorical", "per": "graph", "num_classes": 21, "emb_dim": 4, "offset": 10},
            "total_spin": {"type": "categorical", "per": "graph", "num_classes": 9, "emb_dim": 4},
        },
        "use_embedding_readout": True,
    },
    "three layers, rank 2": {
        "hidden": "4x0e + 4x1o + 4x2e",
        "num_interactions": 3,
        "gate": torch.tanh,
        "radial_type": "gaussian",
        "use_last_readout_only": True,
    },
}


def structure() -> Atoms:
    """A cell of water and hydroxide, charged, whose atoms interact over its faces."""
    rng = np.random.default_rng(4)
    grid = np.stack(np.meshgrid(*[np.arange(2.0)] * 3), axis=-1).reshape(-1, 3) / 2.0
    atoms = Atoms("O2H5O", (grid + rng.normal(scale=0.05, size=grid.shape)) @ CELL * 0.9, cell=CELL, pbc=True)
    atoms.info |= {"charge": -1.0, "spin": 2}
    return atoms


@pytest.mark.parametrize("kind", KINDS)
def test_without_heads_it_is_the_model_of_the_library(kind: str, tmp_path: Path) -> None:
    """Energy, forces and stress of a cell, against the library's own calculator with its own search of neighbours."""
    from spectra_app.potentials.backbones.mace_library import quiet

    theirs, atoms = mace_model(**KINDS[kind]), structure()
    path, head = save_mace(theirs, tmp_path / "plain.model"), "mine" if len(theirs.heads) > 1 else None
    opened = open_checkpoint("mace", path, ("H", "O"), head, trust=True)
    assert opened.backbone.reduced_products == ("reduced" in kind and find_spec("cuequivariance_torch") is not None)
    backbone = opened.backbone.model_copy(update={"total_spin": 2})
    settings = ModelSettings(backbone=backbone, variant="sr")
    ours = begun_from(opened, settings, ("H", "O"))
    with quiet():
        from mace.calculators import MACECalculator

        atoms.calc = MACECalculator(models=theirs, default_dtype="float64", **({} if head is None else {"head": head}))
        expected = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
    system = from_ase(atoms)
    found = ours(system, build_neighbors(system, ours.cutoff + 1.0), stress=True)
    close = 1e-5 if "float32" in kind else 1e-9
    assert found.stress is not None
    assert float(found.energy[0]) == pytest.approx(expected[0], abs=close)
    np.testing.assert_allclose(found.forces.numpy(), expected[1], atol=close * 10)
    np.testing.assert_allclose(found.stress[0].numpy(), expected[2], atol=close * 10)
    assert np.abs(expected[1]).max() > 0.01


@pytest.mark.skipif(find_spec("cuequivariance_torch") is None, reason="needs cuequivariance-torch: run make test-mace")
@pytest.mark.parametrize("reduced", [True, False])
def test_weights_in_the_order_of_cuequivariance_are_turned_back(
    reduced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the library's own conversion made them, in float32, against what that gives for the structure."""
    from mace.calculators import MACECalculator
    from mace.cli import convert_cueq_e3nn, convert_e3nn_cueq

    from spectra_app.potentials.backbones.mace_library import in_precision, quiet

    with in_precision(torch.float32), quiet():
        theirs = convert_e3nn_cueq.run(mace_model(use_reduced_cg=reduced, dtype=torch.float32), return_model=True)
    assert theirs.interactions[0].cueq_config.enabled
    path, atoms = save_mace(theirs, tmp_path / "cueq.model"), structure()
    opened = open_checkpoint("mace", path, ("H", "O"), None, trust=True)
    assert opened.backbone.reduced_products == reduced
    ours = begun_from(opened, ModelSettings(backbone=opened.backbone, variant="sr"), ("H", "O"))
    with quiet(), in_precision(torch.float32):
        atoms.calc = MACECalculator(models=theirs, default_dtype="float32")
        expected = atoms.get_forces()
    system = from_ase(atoms)
    found = ours(system, build_neighbors(system, ours.cutoff + 1.0)).forces
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert np.abs(expected).max() > 0.01

    def unable(*words: Any, **keys: Any) -> None:
        raise NotImplementedError("Correlation 4 not supported")

    monkeypatch.setattr(convert_cueq_e3nn, "run", unable)
    with pytest.raises(
        ModelError, match=r"order of cuequivariance, which mace-torch .* cannot turn back .*Correlation 4"
    ):
        open_checkpoint("mace", path, ("H", "O"), None, trust=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("data") / "train.xyz", water_like_frames(8))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that ``mace_run_train`` leaves after an epoch."""
    folder = tmp_path_factory.mktemp("mace_run_train")
    words = {
        "name": "tiny",
        "train_file": data,
        "valid_fraction": 0.2,
        "E0s": "average",
        "num_channels": 4,
        "max_L": 1,
        "max_ell": 2,
        "correlation": 2,
        "r_max": 3.5,
        "radial_MLP": "[8]",
        "MLP_irreps": "4x0e",
        "energy_key": "energy",
        "forces_key": "forces",
        "max_num_epochs": 1,
        "batch_size": 5,
        "default_dtype": "float64",
    }
    command = [sys.executable, "-m", "mace.cli.run_train", *(f"--{name}={value}" for name, value in words.items())]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert (folder / "tiny.model").is_file(), done.stderr[-2000:]
    return folder / "tiny.model"


def settings(tmp_path: Path, data: Path, trained: Path, **changes: Any) -> TrainFile:
    chosen = {"epochs": 1, "batch_size": 2, "dtype": "float64", "output": tmp_path / "model", "init_from": trained}
    model = ModelSettings(backbone="mace", variant="pu", heads={"cutoff_A": 3.0})
    return TrainFile(model=model, training=TrainingSettings(data=(data,), **{**chosen, **changes}))


def short_range_forces(model: Potential, data: Path) -> torch.Tensor:
    system = from_ase(read_frames([data])[0].atoms)
    forces = _with_parts(model, long_range=False)(system, build_neighbors(system, model.cutoff)).forces
    assert forces is not None
    return forces


def test_heads_are_learned_and_the_frozen_part_stays(tmp_path: Path, data: Path, trained: Path) -> None:
    chosen = settings(tmp_path, data, trained, short_range_rate=0.0)
    frames = read_frames([data])
    begun = initial_model(settle(chosen, frames, species_of(frames), trust_checkpoint=True), frames)
    result = train(chosen, trust_checkpoint=True)
    before, after = begun.state_dict(), result.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not {name for name in moved if name.startswith("backbone.network")}
    assert {name for name in moved if name.startswith("latent_head.")}
    torch.testing.assert_close(short_range_forces(result.model, data), short_range_forces(begun, data))
    # the folder stands by itself
    hidden = trained.rename(trained.with_suffix(".away"))
    loaded = load_model(result.output, dtype="float64")
    hidden.rename(trained)
    torch.testing.assert_close(short_range_forces(loaded, data), short_range_forces(result.model, data))
    names = {path.suffix for path in result.output.iterdir()}
    assert names <= {".safetensors", ".yaml", ".json", ".md", ".csv"}
    assert loaded.settings.backbone == result.model.settings.backbone


def test_a_training_from_a_checkpoint_resumes_bit_for_bit(
    tmp_path: Path, data: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spectra_app.training import trainer

    whole = train(settings(tmp_path / "whole", data, trained, short_range_rate=0.1), trust_checkpoint=True)
    cut = settings(tmp_path / "cut", data, trained, short_range_rate=0.1, checkpoint_minutes=1e-9)
    original, done = trainer._step, 0

    def killed(*arguments: Any) -> None:
        nonlocal done
        if done == 3:
            raise KeyboardInterrupt
        done += 1
        original(*arguments)

    monkeypatch.setattr(trainer, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(cut, trust_checkpoint=True)
    monkeypatch.setattr(trainer, "_step", original)
    resumed = train(cut, resume=True, trust_checkpoint=True).model.state_dict()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed[name]), name


def test_fine_tuning_moves_the_short_range_part_by_its_share(tmp_path: Path, data: Path, trained: Path) -> None:
    def moved(share: float) -> float:
        chosen = settings(tmp_path / f"{share}", data, trained, short_range_rate=share, ema=0.0)
        start = open_checkpoint("mace", trained, ("H", "O"), None, trust=True).state
        now = train(chosen, trust_checkpoint=True).model.backbone.state_dict()
        return max(float((now[name] - start[name]).abs().max()) for name in start if name.startswith("network."))

    assert 0.0 < 5.0 * moved(0.01) < moved(1.0)


@pytest.mark.filterwarnings("ignore:dipole, component . drifts")  # six femtoseconds
def test_from_a_plain_checkpoint_to_an_infrared_spectrum(
    tmp_path: Path, data: Path, trained: Path, cli: Callable[..., Outcome]
) -> None:
    config = tmp_path / "train.yaml"
    model = {"backbone": "mace", "variant": "puQipiu", "alpha": "bonds", "heads": {"cutoff_A": 3.0}}
    training = {"data": [str(data)], "epochs": 1, "init_from": str(trained), "short_range_rate": 0}
    config.write_text(yaml.safe_dump({"model": model, "training": training}))
    folder, run = tmp_path / "model", tmp_path / "run.h5"
    refused = cli("train", config, "-o", folder)
    assert refused.code == 2
    assert "Give --trust-checkpoint" in refused.err
    outcome = cli("train", config, "-o", folder, "--trust-checkpoint")
    assert outcome.code == 0, outcome.err
    start = tmp_path / "start.extxyz"
    write(start, read_frames([data])[0].atoms)
    words = ["md", start, "-m", folder, "-o", run, "--device", "cpu", "--ensemble", "nve", "--equilibration-steps", "5"]
    words += ["--timestep-fs", "0.1"]  # it has learned next to nothing
    assert cli(*words, "--steps", "30").code == 0
    outcome = cli(*words, "--steps", "60", "--restart")
    assert outcome.code == 0, outcome.err
    outcome = cli("ir", run, "-o", tmp_path / "ir", "--resolution-per-cm", "20000")
    assert outcome.code == 0, outcome.err
    lines = [line for line in (tmp_path / "ir.csv").read_text().splitlines() if not line.startswith("#")]
    values = np.array([[float(word) for word in line.split(",")[:2]] for line in lines[1:]])
    assert len(values) > 1
    assert np.isfinite(values).all()
    assert np.abs(values[:, 1]).max() > 0.0
    assert "backbone mace, 2 layers, 4 channels, max L 1" in (folder / "README.md").read_text()


def test_what_cannot_be_taken_over_is_one_line(tmp_path: Path, data: Path, trained: Path) -> None:
    def opened(path: Path, species: tuple[str, ...] = ("H", "O"), head: str | None = None) -> Any:
        return open_checkpoint("mace", path, species, head, trust=True)

    with pytest.raises(ModelError, match="got data with N, wanted only elements that it knows: H, O"):
        opened(trained, ("H", "N"))
    several = save_mace(mace_model(heads=("pt_head", "mine")), tmp_path / "heads.model")
    with pytest.raises(ConfigError, match=r"init_head: got nothing, and .* has the heads pt_head, mine"):
        opened(several)
    with pytest.raises(ConfigError, match="init_head: got yours, wanted one of pt_head, mine"):
        opened(several, head="yours")
    unfinished = next((trained.parent / "checkpoints").glob("*.pt"))
    with pytest.raises(ModelError, match="a checkpoint of an unfinished training"):
        opened(unfinished)
    with pytest.raises(ModelError, match="got TorchScript"):
        opened(trained.with_name("tiny_compiled.model"))
    with pytest.raises(ModelError, match="cannot load it"):
        opened(data)
    with pytest.raises(ModelError, match="no such file"):
        opened(tmp_path / "nothing.model")
    with pytest.raises(ModelError, match="got use_so3"):
        opened(save_mace(mace_model(use_so3=True), tmp_path / "so3.model"))
    wants = {"external_field": {"type": "continuous", "per": "graph", "in_dim": 3, "emb_dim": 4}}
    with pytest.raises(ModelError, match="a model that wants external_field"):
        opened(save_mace(mace_model(embedding_specs=wants), tmp_path / "field.model"))
    other = mace_model()
    other.interactions[1].avg_num_neighbors = 9.0
    other.interactions[0].avg_num_neighbors = 8.0  # layers that differ are nothing that our settings know
    with pytest.raises(ModelError, match="other energies here"):
        opened(save_mace(other, tmp_path / "strange.model"))
    with pytest.raises(ConfigError, match=r"init_from: got model.backbone: painn, wanted model.backbone: mace"):
        open_checkpoint("painn", trained, ("H", "O"))


def test_a_pickle_of_another_version_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mace.modules import blocks

    path = save_mace(mace_model(), tmp_path / "later.model")
    monkeypatch.delattr(blocks, "RadialEmbeddingBlock")
    with pytest.raises(ModelError, match=r"mace-torch .* here cannot load it \(AttributeError: .*RadialEmbeddingBlock"):
        open_checkpoint("mace", path, ("H", "O"), trust=True)


def test_keys_of_a_file_may_not_contradict_a_checkpoint(tmp_path: Path, data: Path, trained: Path) -> None:
    found = MACESettings(channels=4, cutoff_A=3.5)
    assert agreed_settings(MACESettings(cutoff_A=3.5), found, "x.model") == found
    assert agreed_settings(MACESettings(avg_num_neighbors="auto", total_spin=2), found, "x.model").total_spin == 2
    assert agreed_settings(MACESettings(kernels="cuequivariance"), found, "x.model").kernels == "cuequivariance"
    with pytest.raises(ConfigError, match=r"model.channels: got 8, wanted 4, as x.model has it. Leave the key out"):
        agreed_settings(MACESettings(channels=8), found, "x.model")
    path = tmp_path / "train.yaml"
    chosen = {"model": {"backbone": "mace", "max_L": 2}, "training": {"data": [str(data)], "init_from": str(trained)}}
    path.write_text(yaml.safe_dump(chosen))
    with pytest.raises(ConfigError, match=r"model.max_L: got 2, wanted 1"):
        train(load_settings(TrainFile, path), trust_checkpoint=True)
