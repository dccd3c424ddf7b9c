"""Potentials that were never trained, with all that a trained one can do at work."""

from __future__ import annotations

import torch

from spectra_app.potentials import Potential
from spectra_app.potentials.scale import PhysicalScale


def with_known_material(potential: Potential, chi: float = 0.3) -> Potential:
    """A potential whose material somebody has measured.

    Args:
        potential: changed in place.
        chi: mean latent susceptibility; without induced response it stays 0.
    """
    chi = chi if potential.variant.responds else 0.0
    potential.scale = PhysicalScale(potential.eps_inf, chi, 1.0 + chi)
    return potential


def with_random_weights(potential: Potential, scale: float = 1.0, spread: float = 0.15) -> Potential:
    """Weights that begin at zero (moved charges, kappa, alpha) become random, and all of them larger; none is trained.

    Args:
        potential: changed in place.
        scale: multiplies every weight.
        spread: of the weights that were zero, before ``scale``.
    """
    for parameter in potential.parameters():
        parameter.requires_grad_(False)
        parameter.copy_(scale * torch.where(parameter == 0.0, spread * torch.randn_like(parameter), parameter))
    return potential
