"""Potentials: backbones, heads, and the sum of short-range, electrostatic and response energy."""

from spectra_app.potentials.potential import ModelCard, Potential, Prediction

__all__ = ["ModelCard", "Potential", "Prediction"]
