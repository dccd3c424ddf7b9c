"""Figures of spectra for a paper: infrared, Raman, density of states, dielectric function, any overlay.

Every function takes :class:`~spectra_app.plotting.curves.Curve` objects and returns a ``matplotlib.figure.Figure`` of
fixed size; :func:`~spectra_app.plotting.style.save_figure` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from spectra_app.plotting.axes import PlotSettings, draw_spectra, draw_vdos, finish_spectra
from spectra_app.plotting.curves import Curve, crop
from spectra_app.plotting.labels import LABEL_SIZE_PT
from spectra_app.plotting.style import MUTED_COLOUR, PALETTE, house_style, new_figure


def figure_overlay(curves: Sequence[Curve], settings: PlotSettings | None = None) -> Figure:
    """Any number of curves in one frame: over each other or stacked, with error bands and peak labels.

    References whose unit differs from the first computed curve are converted or scaled, and say so.

    Args:
        curves: at least one.
        settings: how to draw.

    Raises:
        DatasetError: no curve, or no point inside the range.
    """
    chosen = PlotSettings() if settings is None else settings
    with house_style():
        height = chosen.height_inch
        if height is None and chosen.offset:
            height = 1.0 + 0.75 * max(2, len(curves))
        figure = new_figure(chosen.width, height)
        axes = figure.subplots()
        drawn = draw_spectra(axes, curves, chosen)
        finish_spectra(axes, drawn, chosen)
    return figure


def figure_ir(curves: Sequence[Curve], settings: PlotSettings | None = None) -> Figure:
    """Infrared spectra: absorption from zero upwards, references behind.

    Args:
        curves: absorption coefficient (cm^-1), molar absorption, or km/mol per cm^-1 of a molecule.
        settings: how to draw.

    Raises:
        DatasetError: no curve, or no point inside the range.
    """
    return figure_overlay(curves, settings)


def figure_raman(
    curves: Sequence[Curve], depolarization: Curve | None = None, settings: PlotSettings | None = None
) -> Figure:
    """Raman spectra, with the depolarization ratio VH/VV in a narrow frame below where given.

    Args:
        curves: intensities, e.g. VV and VH.
        depolarization: ratio over wavenumber; drawn where the intensity is at least 2% of its maximum.
        settings: how to draw.

    Raises:
        DatasetError: no curve, or no point inside the range.
    """
    if depolarization is None:
        return figure_overlay(curves, settings)
    chosen = PlotSettings() if settings is None else settings
    with house_style():
        figure = new_figure(chosen.width, chosen.height_inch or (3.4 if chosen.width == "one" else 4.2))
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, 1])
        drawn = draw_spectra(top, curves, chosen)
        top.set_xlabel("")
        intensity = drawn[0].curve
        ratio = depolarization if chosen.range_per_cm is None else crop(depolarization, *chosen.range_per_cm)
        strength = np.interp(ratio.x, intensity.x, intensity.y)
        shown = np.where(strength > 0.02 * np.nanmax(intensity.y), ratio.y, np.nan)
        bottom.plot(ratio.x, shown, color=PALETTE[2])
        if ratio.error is not None:
            bottom.fill_between(ratio.x, shown - ratio.error, shown + ratio.error, color=PALETTE[2], alpha=0.25, lw=0)
        bottom.axhline(0.75, color=MUTED_COLOUR, linewidth=0.6, linestyle=(0, (4, 3)))
        bottom.annotate(
            "0.75",
            xy=(1.0, 0.75),
            xycoords=("axes fraction", "data"),
            xytext=(-1, 1.5),
            textcoords="offset points",
            ha="right",
            fontsize=LABEL_SIZE_PT,
            color=MUTED_COLOUR,
        )
        bottom.set(xlabel=chosen.x_label, ylabel="VH / VV", ylim=(0.0, 0.9))
        finish_spectra(top, drawn, chosen)
        figure.align_ylabels()
    return figure


def figure_vdos(curves: Sequence[Curve], settings: PlotSettings | None = None) -> Figure:
    """Vibrational density of states: total in front, elements as filled areas.

    Args:
        curves: the total first, then one per element.
        settings: how to draw.

    Raises:
        DatasetError: no curve, or no point inside the range.
    """
    chosen = PlotSettings() if settings is None else settings
    with house_style():
        figure = new_figure(chosen.width, chosen.height_inch)
        axes = figure.subplots()
        drawn = draw_vdos(axes, curves, chosen)
        finish_spectra(axes, drawn, chosen)
    return figure


def figure_dielectric(
    real: Sequence[Curve],
    imaginary: Sequence[Curve],
    settings: PlotSettings | None = None,
    eps_inf: float | None = None,
) -> Figure:
    """Dielectric function: real part above, imaginary part below, one abscissa.

    Args:
        real: eps'(nu) curves (references may follow).
        imaginary: eps''(nu) curves.
        settings: how to draw.
        eps_inf: dimensionless; drawn as the level that the real part approaches.

    Raises:
        DatasetError: no curve, or no point inside the range.
    """
    chosen = PlotSettings() if settings is None else settings
    with house_style():
        figure = new_figure(chosen.width, chosen.height_inch or (4.0 if chosen.width == "one" else 4.6))
        top, bottom = figure.subplots(2, 1, sharex=True)
        bare = replace(chosen, bands={}, title="", label_peaks=False, scale_from_per_cm=0.0)
        upper = draw_spectra(top, real, replace(bare, title=chosen.title, y_label=r"Permittivity $\varepsilon'$"))
        lower = draw_spectra(bottom, imaginary, replace(bare, y_label=r"Dielectric loss $\varepsilon''$"))
        top.set_xlabel("")
        low = min(float(np.nanmin(item.curve.y)) for item in upper)
        top.set_ylim(bottom=min(0.0, 1.1 * low))
        if low < 0.0:
            top.axhline(0.0, color=MUTED_COLOUR, linewidth=0.5)
        if eps_inf is not None:
            top.axhline(eps_inf, color=MUTED_COLOUR, linewidth=0.6, linestyle=(0, (4, 3)))
            top.annotate(
                rf"$\varepsilon_\infty$ = {eps_inf:.3g}",
                xy=(1.0, eps_inf),
                xycoords=("axes fraction", "data"),
                xytext=(-1, 2),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=LABEL_SIZE_PT,
                color=MUTED_COLOUR,
            )
        finish_spectra(top, upper, replace(bare, bands=chosen.bands))
        finish_spectra(bottom, lower, replace(bare, label_peaks=chosen.label_peaks), legend=False)
        figure.align_ylabels()
    return figure
