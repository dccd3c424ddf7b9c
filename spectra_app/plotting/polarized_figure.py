"""An oriented crystal, polarization by polarization: the spectrum of dynamics and the lines of normal modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from spectra_app.errors import DatasetError
from spectra_app.plotting.axes import PlotSettings, draw_spectra, finish_spectra
from spectra_app.plotting.curves import Curve, axis_label
from spectra_app.plotting.labels import LABEL_SIZE_PT
from spectra_app.plotting.protocols import SpectrumLike
from spectra_app.plotting.results import curve_from_spectrum
from spectra_app.plotting.style import house_style, new_figure

_ROW_INCH = 1.5
_EPS = "eps_imag_"


def polarized_curves(
    kind: str, dynamics: SpectrumLike | None, modes: SpectrumLike | None, cells: float = 1.0
) -> dict[str, list[Curve]]:
    """Curves by polarization: eps'' of ``ir`` by axis, intensities of ``raman`` by Porto name.

    Args:
        kind: ``ir`` or ``raman``.
        dynamics: spectrum of a run, or None; its polarizations are drawn, none where it has none.
        modes: spectrum of normal modes, or None; its own are drawn where there is no run.
        cells: how many times the structure of the modes is in the run: Raman intensity grows with the crystal.
    """
    panels: dict[str, list[Curve]] = {}
    known = set() if modes is None else set(modes.columns())
    leading = dynamics if dynamics is not None else modes
    for name in () if leading is None else leading.columns():
        chosen = name.startswith(_EPS) if kind == "ir" else "(" in name
        if not chosen or name.endswith("_error"):
            continue
        label = f"ε'' {name.removeprefix(_EPS)}" if kind == "ir" else name
        curves = [] if dynamics is None else [curve_from_spectrum(dynamics, name, "dynamics")]
        if modes is not None and name in known:
            line = curve_from_spectrum(modes, name, "normal modes")
            curves.append(replace(line, y=(cells if kind == "raman" else 1.0) * line.y))
        panels[label] = curves
    return panels


def figure_polarized(panels: Mapping[str, Sequence[Curve]]) -> Figure:
    """One panel for each polarization, one abscissa.

    Args:
        panels: from ``polarized_curves``.

    Raises:
        DatasetError: no polarization.
    """
    if not panels:
        raise DatasetError("figure of polarizations", got="none", wanted="columns of a polarization or geometry")
    settings = PlotSettings(label_peaks=False)
    with house_style():
        figure = new_figure("two", _ROW_INCH * len(panels) + 0.5)
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        drawn = [draw_spectra(axes, curves, settings) for axes, curves in zip(rows, panels.values(), strict=True)]
        for axes, label in zip(rows, panels, strict=True):
            axes.text(0.01, 0.93, label, transform=axes.transAxes, va="top", fontsize=LABEL_SIZE_PT + 1)
            axes.set_xlabel(settings.x_label if axes is rows[-1] else "")
            axes.set_ylabel("")
        for place, (axes, one) in enumerate(zip(rows, drawn, strict=True)):
            finish_spectra(axes, one, settings, legend=place == 0)
        first = next(iter(panels.values()))[0]
        figure.supylabel(axis_label(first.quantity, first.unit) if first.unit else r"Dielectric loss $\varepsilon''$")
    return figure
