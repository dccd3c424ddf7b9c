"""Electrostatics of latent multipoles as pure functions on tensors; no network in here."""

from spectra_app.electrostatics.multipoles import VARIANTS, Multipoles, Variant, parse_variant
from spectra_app.electrostatics.permanent import electrostatics, prepare_k_vectors

__all__ = ["VARIANTS", "Multipoles", "Variant", "electrostatics", "parse_variant", "prepare_k_vectors"]
