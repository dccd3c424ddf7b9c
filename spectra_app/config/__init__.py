"""One typed schema for every setting: defaults, validation and documentation in one place."""

from __future__ import annotations

from spectra_app.config.backbones import BackboneSettings, CACESettings, MACESettings, PaiNNSettings
from spectra_app.config.base import Settings, apply_override, load_settings, parse_settings, read_yaml
from spectra_app.config.harmonic import HarmonicSettings
from spectra_app.config.label_settings import ActiveSettings, LabelSettings
from spectra_app.config.md import MDSettings
from spectra_app.config.model import HeadSettings, ModelSettings, VariantName
from spectra_app.config.model_choice import CalculatorSettings, ModelChoice
from spectra_app.config.recipe import RecipeLabels, RunFileSettings
from spectra_app.config.spectra import NumberOrTensor, Of, SpectraSettings
from spectra_app.config.sweep import SweepSettings, SweepSystem
from spectra_app.config.training import DataKeys, LossSettings, TrainFile, TrainingSettings

__all__ = [
    "ActiveSettings",
    "BackboneSettings",
    "CACESettings",
    "CalculatorSettings",
    "DataKeys",
    "HarmonicSettings",
    "HeadSettings",
    "LabelSettings",
    "LossSettings",
    "MACESettings",
    "MDSettings",
    "ModelChoice",
    "ModelSettings",
    "NumberOrTensor",
    "Of",
    "PaiNNSettings",
    "RecipeLabels",
    "RunFileSettings",
    "Settings",
    "SpectraSettings",
    "SweepSettings",
    "SweepSystem",
    "TrainFile",
    "TrainingSettings",
    "VariantName",
    "apply_override",
    "load_settings",
    "parse_settings",
    "read_yaml",
]
