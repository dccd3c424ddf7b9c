"""Potentials: backbones, heads, and the sum of short-range, electrostatic and response energy."""

from spectra_app.potentials.card import ModelCard
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.prediction import Prediction

__all__ = ["ModelCard", "Potential", "Prediction"]
