"""The loss: weighted squared errors of energy, forces and stress, with weights that change during training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spectra_app.config import LossSettings
from spectra_app.potentials.potential import Potential
from spectra_app.structure.system import with_gradients
from spectra_app.training.dataset import Sample


class Errors(NamedTuple):
    """Squared errors of a batch, each a mean.

    Attributes:
        energy: (dU)^2 / n_atoms, eV^2.
        forces: squared error of a force component, eV^2/A^2.
        stress: (V dsigma)^2 / n_atoms, eV^2, over the labelled structures (0 where there are none).
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor


def squared_errors(model: Potential, batch: Sample, with_stress: bool, create_graph: bool) -> Errors:
    """Evaluate the model on a batch and compare.

    Args:
        model: the potential.
        batch: labelled structures.
        with_stress: compare the stress too, where it is labelled.
        create_graph: keep the graph of the forces (training).
    """
    labelled = torch.isfinite(batch.stress)
    system, strain = with_gradients(batch.system, True, with_stress and bool(labelled.any()))
    result = model.evaluate(system, batch.neighbors, model.k_vectors(batch.system), responses=False)
    wanted = [system.positions] if strain is None else [system.positions, strain]
    gradients = torch.autograd.grad(result.energy.sum(), wanted, create_graph=create_graph)
    sizes = torch.tensor(system.sizes, dtype=result.energy.dtype, device=result.energy.device)
    energy = ((result.energy - batch.energy) ** 2 / sizes).mean()
    forces = ((gradients[0] + batch.forces) ** 2).mean()
    stress = torch.zeros_like(energy)
    if strain is not None:
        volume = batch.system.volume[:, None, None]
        difference = (gradients[1] - volume * torch.nan_to_num(batch.stress)) ** 2 / sizes[:, None, None]
        stress = torch.where(labelled, difference, torch.zeros_like(difference)).sum() / labelled.sum().clamp(min=1)
    return Errors(energy, forces, stress)


def weights_at(settings: LossSettings, progress: float) -> tuple[float, float, float]:
    """Weights of energy, forces and stress at a fraction of the training."""
    begin, end = settings.ramp
    share = min(1.0, max(0.0, (progress - begin) / max(end - begin, 1e-12)))
    return tuple(  # type: ignore[return-value]
        first + share * (last - first) for first, last in (settings.energy, settings.forces, settings.stress)
    )


def total_loss(errors: Errors, weights: tuple[float, float, float]) -> Tensor:
    """Weighted sum of the squared errors."""
    return weights[0] * errors.energy + weights[1] * errors.forces + weights[2] * errors.stress
