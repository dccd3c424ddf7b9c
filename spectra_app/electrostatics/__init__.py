"""Electrostatics of latent multipoles as pure functions on tensors; no network in here."""

from spectra_app.electrostatics.interaction import Interaction, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.multipoles import VARIANTS, Multipoles, Variant, parse_variant

__all__ = [
    "VARIANTS",
    "Interaction",
    "Multipoles",
    "Variant",
    "parse_variant",
    "prepare_interaction",
    "prepare_k_vectors",
]
