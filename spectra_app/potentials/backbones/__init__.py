"""Backbones: from a batch of structures to per-atom features."""

from __future__ import annotations

from collections.abc import Callable

from spectra_app.config import ModelSettings
from spectra_app.potentials.backbones.features import Backbone, Features, PairGeometry, RadialBasis, pair_geometry
from spectra_app.potentials.backbones.painn import PaiNN

BACKBONES: dict[str, Callable[[ModelSettings, int], Backbone]] = {
    "painn": lambda settings, n_species: PaiNN(
        n_species, settings.channels, settings.layers, settings.n_radial, settings.rank, settings.products
    ),
}
"""Name in a configuration -> constructor from (settings, number of elements)."""

__all__ = ["BACKBONES", "Backbone", "Features", "PairGeometry", "RadialBasis", "pair_geometry"]
