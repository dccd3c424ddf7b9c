"""From time series to spectra: arrays in, absolute units and error bars out; no model and no torch needed."""

from __future__ import annotations

from spectra_app.spectra.compare import BandShift, Comparison, compare_spectra
from spectra_app.spectra.conductivity import (
    ConductivitySpectrum,
    StaticConductivity,
    conductivity_spectrum,
    static_conductivity,
)
from spectra_app.spectra.dielectric import DielectricFunction, dielectric_function
from spectra_app.spectra.guards import SpectrumWarning, timestep_from_times
from spectra_app.spectra.infrared import InfraredSpectrum, infrared_spectrum
from spectra_app.spectra.integrals import BandIntegral
from spectra_app.spectra.interface import InterfaceSeries, interface_series
from spectra_app.spectra.parts import SpectrumParts, infrared_parts, raman_parts
from spectra_app.spectra.peaks import Peak
from spectra_app.spectra.plan import EstimatorSettings
from spectra_app.spectra.raman import RamanSpectrum, raman_spectrum
from spectra_app.spectra.result import Spectrum
from spectra_app.spectra.sfg import SFGSpectrum, sfg_spectrum
from spectra_app.spectra.static_dielectric import StaticDielectricConstant, static_dielectric_constant
from spectra_app.spectra.stream import StoredSeries
from spectra_app.spectra.sum_rule import FSum, FSumComparison, compare_f_sum, f_sum
from spectra_app.spectra.uncertainty import LengthReport, Verdict
from spectra_app.spectra.vdos import VDOS, vdos
from spectra_app.spectra.verlet import timestep_effect
from spectra_app.spectra.writers import Column

__all__ = [
    "VDOS",
    "BandIntegral",
    "BandShift",
    "Column",
    "Comparison",
    "ConductivitySpectrum",
    "DielectricFunction",
    "EstimatorSettings",
    "FSum",
    "FSumComparison",
    "InfraredSpectrum",
    "InterfaceSeries",
    "LengthReport",
    "Peak",
    "RamanSpectrum",
    "SFGSpectrum",
    "Spectrum",
    "SpectrumParts",
    "SpectrumWarning",
    "StaticConductivity",
    "StaticDielectricConstant",
    "StoredSeries",
    "Verdict",
    "compare_f_sum",
    "compare_spectra",
    "conductivity_spectrum",
    "dielectric_function",
    "f_sum",
    "infrared_parts",
    "infrared_spectrum",
    "interface_series",
    "raman_parts",
    "raman_spectrum",
    "sfg_spectrum",
    "static_conductivity",
    "static_dielectric_constant",
    "timestep_effect",
    "timestep_from_times",
    "vdos",
]
