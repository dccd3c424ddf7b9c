"""The moving parts of a training, and the checkpoint from which it resumes exactly."""

from __future__ import annotations

import dataclasses
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from spectra_app.config import TrainFile
from spectra_app.errors import ModelError
from spectra_app.potentials.folder import write_atomically
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.scale import PhysicalScale

CHECKPOINT_FILE = "training.checkpoint"


class EpochRecord(NamedTuple):
    """One line of the history."""

    epoch: int
    seconds: float
    learning_rate: float
    train_loss: float
    train_forces_rmse_meV_per_A: float
    valid_loss: float
    valid_energy_rmse_meV_per_atom: float
    valid_forces_rmse_meV_per_A: float


@dataclass
class RunState:
    """The moving parts of a training run."""

    model: Potential
    average: Potential
    optimizer: torch.optim.Optimizer
    rng: np.random.Generator
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    order: list[int] = field(default_factory=list)
    place: int = 0
    train_sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    best_loss: float = math.inf
    best_epoch: int = 0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    best_scale: PhysicalScale = field(default_factory=PhysicalScale)
    history: list[EpochRecord] = field(default_factory=list)


def save_state(run: RunState, path: Path, settings: TrainFile) -> None:
    """Everything the next step depends on, written beside its place first."""
    content: dict[str, Any] = {
        "settings": settings.model_dump_json(),
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "rng": run.rng.bit_generator.state,
        "counters": {
            name: getattr(run, name)
            for name in ("epoch", "step", "seconds", "order", "place", "train_sums", "best_loss", "best_epoch")
        },
        "best_weights": run.best_weights,
        "scales": [dataclasses.astuple(scale) for scale in (run.model.scale, run.best_scale)],
        "history": [tuple(record) for record in run.history],
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def restore_state(run: RunState, path: Path, settings: TrainFile) -> None:
    """Put a checkpoint's content back.

    Raises:
        ModelError: no checkpoint, or one made with other settings.
    """
    if not path.is_file():
        raise ModelError(
            f"resume from {path.parent}", got="no checkpoint", wanted=CHECKPOINT_FILE, todo="Start without --resume"
        )
    content = torch.load(path, map_location=run.model.device, weights_only=True)
    if content["settings"] != settings.model_dump_json():
        raise ModelError(
            f"resume from {path.parent}",
            got="a checkpoint made with other settings",
            wanted="the same configuration",
            todo="Give the same file and overrides, or remove the checkpoint",
        )
    run.model.load_state_dict(content["model"])
    run.average.load_state_dict(content["average"])
    run.optimizer.load_state_dict(content["optimizer"])
    for group in run.optimizer.param_groups:
        group.setdefault("share", 1.0)  # of checkpoints that knew one rate for all
    run.rng.bit_generator.state = content["rng"]
    for name, value in content["counters"].items():
        setattr(run, name, value)
    run.best_weights = content["best_weights"]
    scale, run.best_scale = (PhysicalScale(*numbers) for numbers in content["scales"])
    run.model.scale = run.average.scale = scale
    run.history = [EpochRecord(*record) for record in content["history"]]
