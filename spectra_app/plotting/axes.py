"""Spectra in one frame, in two passes: lines and limits first, labels when the layout of the figure has settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.axes import Axes

from spectra_app.errors import ConfigError, DatasetError
from spectra_app.plotting.curves import Curve, axis_label, bands_inside, crop, match_reference, normalise
from spectra_app.plotting.labels import (
    LABEL_SIZE_PT,
    DrawnCurve,
    label_peaks,
    name_bands,
    name_stacked,
    place_legend,
    settle_layout,
)
from spectra_app.plotting.style import MUTED_COLOUR, PALETTE, REFERENCE_COLOUR, Width

WAVENUMBER_LABEL = "Wavenumber (cm$^{-1}$)"


@dataclass(frozen=True)
class PlotSettings:
    """How curves are drawn.

    Attributes:
        range_per_cm: cm^-1; ends of the abscissa; None takes all points.
        scale_from_per_cm: cm^-1; the ordinate is scaled to the points above: relaxation and the Bose factor rise
            without bound towards zero and may leave the frame at the top.
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
    scale_from_per_cm: float = 20.0
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
    axes.set_ylabel(settings.y_label or _y_label(curves, settings))
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
        if curve.is_reference:
            axes.plot(curve.x, curve.y, color=MUTED_COLOUR, linewidth=0.9, linestyle=(0, (3.2, 1.4)), label=curve.label)
            drawn.append(DrawnCurve(replace(curve, peaks=()), MUTED_COLOUR))
            continue
        axes.plot(curve.x, curve.y, color=colour, linewidth=1.2 if rank == 0 else 1.0, label=curve.label or None)
        if rank > 0:
            axes.fill_between(curve.x, 0.0, curve.y, color=colour, alpha=0.18, linewidth=0)
        elif curve.error is not None:
            axes.fill_between(curve.x, curve.y - curve.error, curve.y + curve.error, color=colour, alpha=0.2, lw=0)
        drawn.append(DrawnCurve(curve if rank == 0 else replace(curve, peaks=()), colour))
    _set_limits(axes, drawn, settings)
    axes.set_xlabel(settings.x_label)
    axes.set_ylabel(settings.y_label or _y_label(curves, settings))
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
    labels = label_peaks(axes, drawn, with_errors=settings.label_errors) if settings.label_peaks else []
    named = [item for item in drawn if item.curve.label]
    if settings.offset:
        name_stacked(axes, drawn, labels)
    elif legend and len(named) > (0 if any(item.curve.is_reference for item in named) else 1):
        place_legend(axes, drawn, labels)


def _prepare(curves: Sequence[Curve], settings: PlotSettings) -> list[Curve]:
    if not curves:
        raise DatasetError("figure", got="no curve", wanted="at least one")
    low, high = settings.range_per_cm or (-np.inf, np.inf)
    computed = [curve for curve in curves if not curve.is_reference] or list(curves[:1])
    prepared = []
    for curve in curves:
        fitted = curve
        if settings.normalised or (settings.offset and _mixed_units(curves)):
            fitted = normalise(curve, max(low, settings.scale_from_per_cm), high)
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
    tallest = max(_highest(curve, settings) - min(0.0, float(np.nanmin(curve.y))) for curve in curves)
    labelled = settings.label_peaks and any(curve.peaks for curve in curves)
    height_pt = axes.figure.bbox.height / axes.figure.dpi * 72.0 * 0.8  # about 0.8 of the figure is axes
    label_pt = (LABEL_SIZE_PT * (4.2 if settings.label_errors else 2.8) + 8.0) if labelled else 2.0
    share = min(label_pt * len(curves) / height_pt, 0.75)
    return 1.04 * tallest / (1.0 - share)


def _set_limits(axes: Axes, drawn: Sequence[DrawnCurve], settings: PlotSettings) -> None:
    low = min(float(item.curve.x[0]) for item in drawn)
    high = max(float(item.curve.x[-1]) for item in drawn)
    if settings.range_per_cm is not None:
        low, high = settings.range_per_cm
    axes.set_xlim((high, low) if settings.reverse else (low, high))
    tops = [_highest(item.curve, settings) for item in drawn]
    bottoms = [float(np.nanmin(item.curve.y)) for item in drawn]
    top, bottom = max(tops), min(0.0, *bottoms)
    axes.set_ylim(bottom if bottom == 0.0 else bottom - 0.04 * (top - bottom), top + 0.06 * (top - bottom))


def _highest(curve: Curve, settings: PlotSettings) -> float:
    """Highest point with its error above the wavenumber from which the ordinate is scaled."""
    upper = curve.y if curve.error is None else curve.y + np.nan_to_num(curve.error)
    inside = curve.x >= settings.scale_from_per_cm
    return float(np.nanmax(upper[inside] if np.isfinite(upper[inside]).any() else upper))


def _y_label(curves: Sequence[Curve], settings: PlotSettings) -> str:
    first = next((curve for curve in curves if not curve.is_reference), curves[0])
    name = first.quantity or "intensity"
    if len({curve.quantity for curve in curves if not curve.is_reference}) > 1:
        name = "intensity"
    if settings.normalised or (settings.offset and _mixed_units(curves)):
        return axis_label(name, "", "normalised")
    if settings.offset:
        return axis_label(name, f"{first.unit}, offset" if first.unit else "offset")
    return axis_label(name, first.unit)
