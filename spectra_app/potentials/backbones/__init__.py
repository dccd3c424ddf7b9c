"""Backbones: from a batch of structures to per-atom features."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from spectra_app.config import BackboneSettings
from spectra_app.potentials.backbones.features import Backbone, Features, PairGeometry, Radial, RadialBasis

BACKBONES: dict[str, tuple[str, str]] = {
    "painn": ("painn", "PaiNN"),
    "cace": ("cace", "CACE"),
    "mace": ("mace", "MACEBackbone"),
    "nequip": ("nequip", "NequIP"),
    "allegro": ("allegro", "Allegro"),
}
"""Name in a configuration -> module in this folder and class in it, made from (its own settings, number of elements).

A module is imported when its backbone is built: some need a library of an extra, and say which where it is missing.
"""


def build_backbone(settings: BackboneSettings, n_species: int) -> Backbone:
    """The backbone that its settings name, with random weights.

    Raises:
        MissingExtraError: the library that it is made of is not installed.
    """
    module, name = BACKBONES[settings.name]
    maker: Callable[[Any, int], Backbone] = getattr(import_module(f"{__name__}.{module}"), name)
    return maker(settings, n_species)


__all__ = ["BACKBONES", "Backbone", "Features", "PairGeometry", "Radial", "RadialBasis", "build_backbone"]
