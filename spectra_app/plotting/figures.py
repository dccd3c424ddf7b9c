"""Figures of spectra for a paper: infrared, Raman, density of states, dielectric function, any overlay.

Every function takes :class:`~spectra_app.plotting.curves.Curve` objects and returns a ``matplotlib.figure.Figure`` of
fixed size; :func:`~spectra_app.plotting.style.save_figure` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectra_app.errors import ConfigError, DatasetError
from spectra_app.plotting.curves import Curve, axis_label, bands_inside, crop, match_reference, normalise
from spectra_app.plotting.labels import LABEL_SIZE_PT, DrawnCurve, label_peaks, name_bands, name_stacked, settle_layout
from spectra_app.plotting.style import MUTED_COLOUR, PALETTE, REFERENCE_COLOUR, Width, house_style, new_figure

WAVENUMBER_LABEL = "Wavenumber (cm$^{-1}$)"


@dataclass(frozen=True)
class PlotSettings:
    """How curves are drawn.

    Attributes:
        range_per_cm: cm^-1; ends of the abscissa; None takes all points.
        reverse: wavenumbers descending to the right, the habit of infrared spectroscopy.
        offset: draw the curves one above the other instead of over each other.
        normalised: scale every curve to a maximum of 1.
        label_peaks: write the wavenumber above every peak.
        label_errors: with its standard error.
        bands: {name: cm^-1}; known bands to be marked.
        width: one or two columns of a journal.
        height_inch: inch; None takes the house's proportions.
        title: text above the axes; empty: none.
        x_label: label of the abscissa.
        y_label: label of the ordinate; empty is made from quantity and unit of the first curve.
    """

    range_per_cm: tuple[float, float] | None = None
    reverse: bool = False
    offset: bool = False
    normalised: bool = False
    label_peaks: bool = True
    label_errors: bool = False
    bands: Mapping[str, float] = field(default_factory=dict)
    width: Width = "one"
    height_inch: float | None = None
    title: str = ""
    x_label: str = WAVENUMBER_LABEL
    y_label: str = ""

    def __post_init__(self) -> None:
        if self.range_per_cm is not None and not self.range_per_cm[0] < self.range_per_cm[1]:
            raise ConfigError("range_per_cm", got=self.range_per_cm, wanted="(low, high) with low < high, cm^-1")


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
        bare = replace(chosen, bands={}, title="", label_peaks=False)
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


def draw_spectra(axes: Axes, curves: Sequence[Curve], settings: PlotSettings) -> list[DrawnCurve]:
    """First pass: lines, error bands, limits and axis labels.  :func:`finish_spectra` is the second.

    Args:
        axes: where to draw.
        curves: what to draw, references among them.
        settings: how.

    Raises:
        DatasetError: no curve, or no point inside the range.
    """
    prepared = _prepare(curves, settings)
    step = _offset_step(axes, prepared, settings)
    drawn, colours = [], iter(PALETTE * (len(prepared) // len(PALETTE) + 1))
    for rank, curve in enumerate(prepared):
        baseline = step * (len(prepared) - 1 - rank)
        colour = REFERENCE_COLOUR if curve.is_reference else next(colours)
        shown = replace(curve, y=curve.y + baseline)
        drawn.append(DrawnCurve(shown, colour, baseline))
        style = {"linewidth": 0.9, "linestyle": (0, (3.2, 1.4))} if curve.is_reference else {"linewidth": 1.2}
        axes.plot(shown.x, shown.y, color=colour, label=curve.label or None, zorder=3 - 0.01 * rank, **style)
        if shown.error is not None:
            low, high = shown.y - shown.error, shown.y + shown.error
            axes.fill_between(shown.x, low, high, color=colour, alpha=0.22, linewidth=0, zorder=2)
        if settings.offset:
            axes.axhline(baseline, color=colour, linewidth=0.4, alpha=0.6, zorder=1)
    _set_limits(axes, drawn, settings)
    axes.set_xlabel(settings.x_label)
    axes.set_ylabel(settings.y_label or _y_label(prepared, settings))
    if settings.offset:
        axes.set_yticks([])
    if settings.title:
        axes.set_title(settings.title)
    return drawn


def draw_vdos(axes: Axes, curves: Sequence[Curve], settings: PlotSettings) -> list[DrawnCurve]:
    """First pass of a density of states: the total as a dark line, the elements filled.

    Args:
        axes: where to draw.
        curves: the total first, then one per element.
        settings: how.
    """
    prepared = _prepare(curves, replace(settings, offset=False))
    drawn = []
    for rank, curve in enumerate(prepared):
        colour = REFERENCE_COLOUR if rank == 0 else PALETTE[(rank - 1) % len(PALETTE)]
        axes.plot(curve.x, curve.y, color=colour, linewidth=1.2 if rank == 0 else 1.0, label=curve.label or None)
        if rank > 0:
            axes.fill_between(curve.x, 0.0, curve.y, color=colour, alpha=0.18, linewidth=0)
        elif curve.error is not None:
            axes.fill_between(curve.x, curve.y - curve.error, curve.y + curve.error, color=colour, alpha=0.2, lw=0)
        drawn.append(DrawnCurve(curve if rank == 0 else replace(curve, peaks=()), colour))
    _set_limits(axes, drawn, settings)
    axes.set_xlabel(settings.x_label)
    axes.set_ylabel(settings.y_label or _y_label(prepared, settings))
    if settings.title:
        axes.set_title(settings.title)
    return drawn


def finish_spectra(axes: Axes, drawn: Sequence[DrawnCurve], settings: PlotSettings, *, legend: bool = True) -> None:
    """Second pass, once all axes of the figure are drawn: labels of peaks, bands and curves, whose room is now known.

    Args:
        axes: where the curves are.
        drawn: what :func:`draw_spectra` returned.
        settings: how.
        legend: whether to write the labels of the curves.
    """
    low, high = sorted(axes.get_xlim())
    bands = bands_inside(settings.bands, low, high)
    if bands:
        # The names stand outside the axes and outside the layout; the title above them (or a blank one) holds the room.
        axes.set_title(settings.title or " ", pad=25.0 if settings.title else 17.0)
    settle_layout(axes)
    name_bands(axes, bands)
    if settings.label_peaks:
        label_peaks(axes, drawn, with_errors=settings.label_errors)
    named = [item for item in drawn if item.curve.label]
    if settings.offset:
        name_stacked(axes, drawn)
    elif legend and len(named) > (0 if any(item.curve.is_reference for item in named) else 1):
        axes.legend(loc="best")
        settle_layout(axes)


def _prepare(curves: Sequence[Curve], settings: PlotSettings) -> list[Curve]:
    if not curves:
        raise DatasetError("figure", got="no curve", wanted="at least one")
    low, high = settings.range_per_cm or (-np.inf, np.inf)
    computed = [curve for curve in curves if not curve.is_reference] or list(curves[:1])
    prepared = []
    for curve in curves:
        fitted = curve
        if settings.normalised or (settings.offset and _mixed_units(curves)):
            fitted = normalise(curve, low, high)
        elif curve.is_reference and curve is not computed[0]:
            fitted = match_reference(curve, computed[0], low, high)
        prepared.append(crop(fitted, low, high))
    return prepared


def _mixed_units(curves: Sequence[Curve]) -> bool:
    return len({(curve.unit, curve.quantity if not curve.unit else "") for curve in curves}) > 1


def _offset_step(axes: Axes, curves: Sequence[Curve], settings: PlotSettings) -> float:
    """Distance of stacked baselines: the tallest curve plus the room of its peak labels."""
    if not settings.offset:
        return 0.0
    tallest = max(float(np.nanmax(curve.y)) - min(0.0, float(np.nanmin(curve.y))) for curve in curves)
    labelled = settings.label_peaks and any(curve.peaks for curve in curves)
    height_pt = axes.figure.bbox.height / axes.figure.dpi * 72.0 * 0.8  # about 0.8 of the figure is axes
    label_pt = (LABEL_SIZE_PT * (4.2 if settings.label_errors else 2.6) + 6.0) if labelled else 2.0
    share = min(label_pt * len(curves) / height_pt, 0.75)
    return 1.04 * tallest / (1.0 - share)


def _set_limits(axes: Axes, drawn: Sequence[DrawnCurve], settings: PlotSettings) -> None:
    low = min(float(item.curve.x[0]) for item in drawn)
    high = max(float(item.curve.x[-1]) for item in drawn)
    if settings.range_per_cm is not None:
        low, high = settings.range_per_cm
    axes.set_xlim((high, low) if settings.reverse else (low, high))
    tops = [float(np.nanmax(item.curve.y + (0.0 if item.curve.error is None else item.curve.error))) for item in drawn]
    bottoms = [float(np.nanmin(item.curve.y)) for item in drawn]
    top, bottom = max(tops), min(0.0, *bottoms)
    axes.set_ylim(bottom if bottom == 0.0 else bottom - 0.04 * (top - bottom), top + 0.06 * (top - bottom))


def _y_label(curves: Sequence[Curve], settings: PlotSettings) -> str:
    first = next((curve for curve in curves if not curve.is_reference), curves[0])
    name = first.quantity or "intensity"
    if settings.normalised:
        return axis_label(name, "", "normalised")
    if settings.offset:
        return axis_label(name, first.unit, "offset") if not first.unit else axis_label(name, f"{first.unit}, offset")
    return axis_label(name, first.unit)
