"""Backbones: from a batch of structures to per-atom features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spectra_app.config import PaiNNSettings
from spectra_app.potentials.backbones.features import Backbone, Features, PairGeometry, Radial, RadialBasis
from spectra_app.potentials.backbones.painn import PaiNN

BACKBONES: dict[str, Callable[[Any, int], Backbone]] = {"painn": PaiNN}
"""Name in a configuration -> constructor from (its own settings, number of elements)."""


def build_backbone(settings: PaiNNSettings, n_species: int) -> Backbone:
    """The backbone that its settings name, with random weights."""
    return BACKBONES[settings.name](settings, n_species)


__all__ = ["BACKBONES", "Backbone", "Features", "PairGeometry", "Radial", "RadialBasis", "build_backbone"]
