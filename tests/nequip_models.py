"""Models of nequip and nequip-allegro themselves, small, in files as nequip-train leaves them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms

NEEDS_NEQUIP = [
    pytest.mark.nequip,
    pytest.mark.skipif(
        find_spec("nequip") is None or find_spec("allegro") is None,
        reason="needs nequip and nequip-allegro: run make test-nequip",
    ),
]
"""Marks of tests: ``pytestmark = NEEDS_NEQUIP``."""
SHIFTS = {"O": -401.5, "H": -13.25}  # eV, per atom
NEQUIP = {
    "_target_": "nequip.model.NequIPGNNModel",
    "seed": 3,
    "model_dtype": "float64",
    "type_names": ["O", "H"],
    "r_max": 3.5,
    "num_layers": 2,
    "l_max": 2,
    "parity": False,
    "num_features": 4,
    "radial_mlp_width": 8,
    "avg_num_neighbors": 5.0,
    "per_type_energy_scales": {"O": 1.5, "H": 0.75},
    "per_type_energy_shifts": SHIFTS,
}
ALLEGRO = {
    "_target_": "allegro.model.AllegroModel",
    "seed": 3,
    "model_dtype": "float64",
    "type_names": ["O", "H"],
    "r_max": 3.5,
    "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 6},
    "num_layers": 2,
    "l_max": 2,
    "num_scalar_features": 6,
    "num_tensor_features": 3,
    "scalar_embed_mlp_hidden_layers_width": 8,
    "allegro_mlp_hidden_layers_width": 8,
    "readout_mlp_hidden_layers_width": 5,
    "avg_num_neighbors": 5.0,
    "per_type_energy_scales": {"O": 1.5, "H": 0.75},
    "per_type_energy_shifts": SHIFTS,
}


def save_checkpoint(path: Path, model: dict[str, Any], module: str = "NequIPLightningModule") -> Path:
    """A file of the parts that nequip reads again of what it writes while it trains; weights are random.

    Args:
        path: of the file, .ckpt.
        model: what a configuration of ``nequip-train`` has under ``training_module.model``.
        module: class of ``nequip.train`` that trains it.
    """
    from nequip.utils.versions import get_current_code_versions

    from spectra_app.potentials.backbones.nequip_file import library_at_work

    info = {"training_module": {"_target_": f"nequip.train.{module}"}}
    with library_at_work():
        import nequip.train

        made = getattr(nequip.train, module)(
            model=model,
            num_datasets={"train": 1, "val": 0, "test": 0, "predict": 0},
            info_dict={**info, "versions": get_current_code_versions(verbose=False)},
        )
        if module.startswith("EMA"):
            with torch.no_grad():
                for average in made.ema.ema_weights:
                    average.mul_(1.1)
    state, arguments = made.state_dict(), dict(made.hparams)
    torch.save({"state_dict": state, "hyper_parameters": arguments, "pytorch-lightning_version": "2.6.0"}, path)
    return path


def nequip_train(folder: Path, data: Path, model: dict[str, Any]) -> Path:
    """The checkpoint that ``nequip-train`` leaves after an epoch on a file of structures.

    Args:
        folder: where it works.
        data: extended XYZ, eight frames.
        model: see ``save_checkpoint``.
    """
    library, transforms = "nequip.data", "nequip.data.transforms"
    mapper = {"_target_": f"{transforms}.ChemicalSpeciesToAtomTypeMapper", "model_type_names": model["type_names"]}
    neighbors = {"_target_": f"{transforms}.NeighborListTransform", "r_max": model["r_max"]}
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 3}
    terms = {"total_energy": 1.0, "forces": 1.0}
    config = {
        "run": ["train"],
        "data": {
            "_target_": f"{library}.datamodule.ASEDataModule",
            "seed": 1,
            "split_dataset": {"file_path": str(data), "train": 6, "val": 2},
            "transforms": [mapper, neighbors],
            "train_dataloader": loader,
            "val_dataloader": loader,
            "stats_manager": {
                "_target_": f"{library}.CommonDataStatisticsManager",
                "type_names": model["type_names"],
                "dataloader_kwargs": {"batch_size": 3},
            },
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "max_epochs": 1,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "num_sanity_val_steps": 0,
            "callbacks": [
                {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": str(folder), "save_last": True}
            ],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "per_atom_energy": True, "coeffs": terms},
            "val_metrics": {
                "_target_": "nequip.train.EnergyForceMetrics",
                "coeffs": {"total_energy_rmse": 1.0, "forces_rmse": 1.0},
            },
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "model": model,
        },
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    run(folder, "nequip.scripts.train", "-cp", folder, "-cn", "tiny")
    return folder / "last.ckpt"


def nequip_package(checkpoint: Path) -> Path:
    """What ``nequip-package build`` makes of a checkpoint."""
    package = checkpoint.with_name("tiny.nequip.zip")
    run(checkpoint.parent, "nequip.scripts.package", "build", checkpoint, package)
    return package


def run(folder: Path, module: str, *words: object) -> None:
    """One of the library's commands."""
    command = [sys.executable, "-c", f"from {module} import main; main()", *map(str, words)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


def crystal() -> Atoms:
    """A skewed cell of three elements' worth of neighbours over its faces."""
    rng = np.random.default_rng(4)
    cell = np.array([[5.3, 0.0, 0.0], [0.9, 4.9, 0.0], [-0.7, 1.1, 5.4]])
    grid = np.stack(np.meshgrid(*[np.arange(2.0)] * 3), axis=-1).reshape(-1, 3) / 2.0
    return Atoms("O2H5O", (grid + rng.normal(scale=0.05, size=grid.shape)) @ cell, cell=cell, pbc=True)
