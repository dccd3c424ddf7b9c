"""Electrostatics of latent multipoles as pure functions on tensors; no network in here."""

from spectra_app.electrostatics.interaction import prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.multipoles import VARIANTS, Multipoles, Variant, parse_variant
from spectra_app.electrostatics.protocol import Interaction
from spectra_app.electrostatics.smearing import Smearing

__all__ = [
    "VARIANTS",
    "Interaction",
    "Multipoles",
    "Smearing",
    "Variant",
    "parse_variant",
    "prepare_interaction",
    "prepare_k_vectors",
]
