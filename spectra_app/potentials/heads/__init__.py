"""Heads: from a backbone's features to atomic energies, latent multipoles and their responses."""

from __future__ import annotations

from spectra_app.potentials.heads.energy import EnergyHead
from spectra_app.potentials.heads.latent import LatentHead, Latents

__all__ = ["EnergyHead", "LatentHead", "Latents"]
