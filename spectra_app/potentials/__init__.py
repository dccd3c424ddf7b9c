"""Potentials: backbones, heads, and the sum of short-range, electrostatic and response energy."""

from spectra_app.potentials.potential import Potential
from spectra_app.potentials.records import ModelCard, Prediction

__all__ = ["ModelCard", "Potential", "Prediction"]
