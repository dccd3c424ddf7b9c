"""The sign of the latent multipoles: U does not know it, electronegativity does (physics.md 4)."""

from __future__ import annotations

import torch

from spectra_app.potentials.potential import PAULING, Potential
from spectra_app.training.dataset import Sample

_ZERO_CHARGE_E = 1e-3  # mean charges below this carry no sign


def mean_charges(model: Potential, samples: list[Sample]) -> dict[str, float]:
    """Mean latent charge of every element [e], with the model's present sign."""
    sums, counts = torch.zeros(len(model.species)), torch.zeros(len(model.species))
    for sample in samples:
        prediction = model(sample.system, sample.neighbors, forces=False)
        species = model.species_index[sample.system.numbers].cpu()
        sums.index_add_(0, species, prediction.charges.float().cpu())
        counts.index_add_(0, species, torch.ones(len(species)))
    return {symbol: float(s / max(float(n), 1.0)) for symbol, s, n in zip(model.species, sums, counts, strict=True)}


def fix_sign(model: Potential, samples: list[Sample]) -> bool:
    """Give the more electropositive elements (Pauling) the positive mean charge.

    The sign follows the covariance of the elements' mean charges with their electronegativities.

    Returns:
        whether the sign could be determined; it cannot where all latent charges vanish.
    """
    if not model.variant.electrostatic:
        return False
    charges = mean_charges(model, samples)
    if max(abs(q) for q in charges.values()) < _ZERO_CHARGE_E:
        return False
    mean = sum(PAULING.get(s, 2.0) for s in charges) / len(charges)
    covariance = sum(q * (PAULING.get(s, 2.0) - mean) for s, q in charges.items())
    if covariance > 0:
        model.sign.neg_()
    return covariance != 0
