"""Figures for papers, reference spectra, and the summary page of a run."""

from __future__ import annotations

from spectra_app.plotting.axes import PlotSettings
from spectra_app.plotting.comparison import add_table, compare_curves
from spectra_app.plotting.curves import WATER_BANDS, Curve, PeakMark, make_curve
from spectra_app.plotting.facts import Summary, build_summary, run_facts, run_trace
from spectra_app.plotting.figures import (
    figure_dielectric,
    figure_ir,
    figure_overlay,
    figure_raman,
    figure_vdos,
)
from spectra_app.plotting.overview import figure_overview
from spectra_app.plotting.panels import RunTrace, TrainingHistory, figure_born, figure_training_history, read_history
from spectra_app.plotting.parts_figure import figure_parts, parts_curves
from spectra_app.plotting.reference_files import read_curve, read_references, read_table
from spectra_app.plotting.results import curve_from_spectrum, raman_curves, vdos_curves
from spectra_app.plotting.style import save_figure
from spectra_app.plotting.summary_page import format_summary, render_summary, summary_json, write_summary

__all__ = [
    "WATER_BANDS",
    "Curve",
    "PeakMark",
    "PlotSettings",
    "RunTrace",
    "Summary",
    "TrainingHistory",
    "add_table",
    "build_summary",
    "compare_curves",
    "curve_from_spectrum",
    "figure_born",
    "figure_dielectric",
    "figure_ir",
    "figure_overlay",
    "figure_overview",
    "figure_parts",
    "figure_raman",
    "figure_training_history",
    "figure_vdos",
    "format_summary",
    "make_curve",
    "parts_curves",
    "raman_curves",
    "read_curve",
    "read_history",
    "read_references",
    "read_table",
    "render_summary",
    "run_facts",
    "run_trace",
    "save_figure",
    "summary_json",
    "vdos_curves",
    "write_summary",
]
