"""Labels that do not overlap: peak positions above a curve, band names above the axes, names beside stacked curves.

All placement is one-dimensional: labels want to sit at their peaks and must keep a distance.  Minimising the squared
shifts under that constraint is an isotonic regression of the positions minus the cumulative distances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.text import Annotation, Text
from scipy.optimize import isotonic_regression

from spectra_app.plotting.curves import Array, Curve
from spectra_app.plotting.style import MUTED_COLOUR

LABEL_SIZE_PT = 6.5
_LINE_SPACING = 1.25  # width of a rotated line of text over its font size, with a little air
_FROM_FOOT = {"relpos": (0.5, 0.0), "shrinkA": 0.0, "shrinkB": 0.0}  # a leader starts at the middle of the name's foot
_GAP_PT = 3.0  # between a curve and the foot of its label


@dataclass(frozen=True, eq=False)
class DrawnCurve:
    """A curve as it stands in the axes (offset applied) with its colour.

    Attributes:
        curve: the curve; ``curve.y`` is what is drawn.
        colour: its colour.
        baseline: ordinate of its zero.
    """

    curve: Curve
    colour: str
    baseline: float = 0.0


def spread_positions(wanted: Array, widths: Array, low: float, high: float) -> Array:
    """Positions nearest to the wanted ones (least squares) such that intervals of given widths do not overlap.

    Args:
        wanted: [label], ascending; any one unit, e.g. pixels.
        widths: [label]; full width of each label.
        low: left end of the room.
        high: right end; where the room is too small the labels overflow it to the right.

    Returns:
        [label], centres.
    """
    if len(wanted) == 0:
        return np.zeros(0)
    distances = np.concatenate([[0.0], np.cumsum(0.5 * (widths[1:] + widths[:-1]))])
    free = np.asarray(isotonic_regression(wanted - distances).x)
    first, last = low + 0.5 * widths[0], high - 0.5 * widths[-1] - distances[-1]
    return np.asarray(np.clip(free, first, max(first, last)) + distances)


def settle_layout(axes: Axes) -> None:
    """Let the constrained layout of the figure take effect without drawing it: axes then have their final size.

    Args:
        axes: any axes of the figure.
    """
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.draw_without_rendering()


def label_peaks(axes: Axes, drawn: Sequence[DrawnCurve], *, with_errors: bool = False) -> list[Annotation]:
    """Write the wavenumber above every peak, upright, moved apart where crowded, and raise the upper limit to fit.

    The layout of the figure must be settled (:func:`settle_layout`), because the room a label needs is
    known in points only.

    Args:
        axes: where the curves are drawn.
        drawn: the curves; each carries its peaks.
        with_errors: "3404 ± 6" instead of "3404".
    """
    stacked = any(item.baseline != 0.0 for item in drawn)
    groups = [[item] for item in drawn] if stacked else [list(drawn)]
    texts: list[Annotation] = []
    feet: list[float] = []
    for group in groups:
        for note, foot in _peak_labels(axes, group, with_errors=with_errors):
            texts.append(note)
            feet.append(foot)
    _make_room(axes, texts, feet)
    for note, foot in zip(texts, feet, strict=True):
        _set_foot(axes, note, foot)
    return texts


def place_legend(axes: Axes, drawn: Sequence[DrawnCurve], labels: Sequence[Text]) -> None:
    """A legend where it covers neither a curve nor a label; where there is no such place, above everything.

    matplotlib's own "best" does not see annotations.

    Args:
        axes: where the curves are drawn; layout settled.
        drawn: the curves.
        labels: the peak labels.
    """
    renderer = _renderer(axes)
    taken = [Text.get_window_extent(label, renderer) for label in labels]
    points = [axes.transData.transform(np.column_stack([item.curve.x, item.curve.y])) for item in drawn]
    for place in ("upper right", "upper left", "upper center", "center right", "center left", "center"):
        legend = axes.legend(loc=place)
        box = legend.get_window_extent(renderer).padded(2.0)
        crossed = any(
            ((p[:, 0] > box.x0) & (p[:, 0] < box.x1) & (p[:, 1] > box.y0) & (p[:, 1] < box.y1)).any() for p in points
        )
        if not crossed and not any(box.overlaps(other) for other in taken):
            return
    legend = axes.legend(loc="upper right", ncols=len(drawn))
    share = (legend.get_window_extent(renderer).height + 6.0) / axes.get_window_extent().height
    low, high = axes.get_ylim()
    axes.set_ylim(low, low + (high - low) / (1.0 - min(share, 0.6)))


def name_bands(axes: Axes, bands: Mapping[str, float]) -> list[Annotation]:
    """Mark known bands by dashed lines, their names in a row above the axes, moved apart where crowded.

    Args:
        axes: where the spectrum is drawn; layout settled.
        bands: {name: cm^-1}, inside the limits of the abscissa.
    """
    if not bands:
        return []
    box = axes.get_window_extent()
    renderer = _renderer(axes)
    names = sorted(bands, key=lambda name: axes.transData.transform((bands[name], 0.0))[0])
    texts, widths, wanted = [], [], []
    for name in names:
        text = axes.annotate(
            f"{name}\n{bands[name]:.0f}",
            xy=(bands[name], 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(bands[name], 1.06),
            textcoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            linespacing=0.95,
            fontsize=LABEL_SIZE_PT,
            color=MUTED_COLOUR,
            arrowprops={"arrowstyle": "-", "color": MUTED_COLOUR, "linewidth": 0.5, **_FROM_FOOT},
            annotation_clip=False,
            gid="band-label",
        )
        text.set_in_layout(False)
        axes.axvline(bands[name], color=MUTED_COLOUR, linewidth=0.5, linestyle=(0, (4, 3)), zorder=0.5)
        texts.append(text)
        widths.append(text.get_window_extent(renderer).width + 4.0 * axes.figure.dpi / 72.0)
        wanted.append(axes.transData.transform((bands[name], 0.0))[0])
    centres = spread_positions(np.array(wanted), np.array(widths), box.x0, box.x1)
    rise = 1.0 + 6.0 * axes.figure.dpi / 72.0 / box.height
    for text, centre in zip(texts, centres, strict=True):
        text.xyann = (axes.transData.inverted().transform((centre, box.y0))[0], rise)
    return texts


def name_stacked(axes: Axes, drawn: Sequence[DrawnCurve], labels: Sequence[Text] = ()) -> list[Text]:
    """Write each stacked curve's label in its colour just above its flattest stretch, clear of the peak labels.

    Args:
        axes: where the curves are drawn; layout settled.
        drawn: the curves with their baselines.
        labels: the peak labels.
    """
    renderer = _renderer(axes)
    box = axes.get_window_extent()
    taken = [(label.get_color(), Text.get_window_extent(label, renderer)) for label in labels]
    texts = []
    for item in drawn:
        if not item.curve.label:
            continue
        text = axes.text(
            0, 0, item.curve.label, color=item.colour, fontsize=7, ha="center", va="bottom", gid="curve-label"
        )
        half = 0.55 * text.get_window_extent(renderer).width
        own = [extent for colour, extent in taken if colour == item.colour]
        centres = np.linspace(box.x1 - half, box.x0 + half, 80)
        free = [all(c + half < extent.x0 or c - half > extent.x1 for extent in own) for c in centres]
        if any(free):
            centres = centres[free]
        tops, middles = [], []
        for centre in centres:
            ends = axes.transData.inverted().transform([(centre - half, box.y0), (centre + half, box.y0)])[:, 0]
            tops.append(_top(item.curve, float(ends.min()), float(ends.max())))
            middles.append(float(ends.mean()))
        # the first (rightmost) place that is as flat as the flattest, within 2% of the height of the axes
        tolerance = 0.02 * abs(float(np.subtract(*axes.get_ylim())))
        best = int(np.argmax(np.array(tops) <= min(tops) + tolerance))
        text.set_position((middles[best], tops[best] + 0.4 * tolerance))
        texts.append(text)
    return texts


def _peak_labels(axes: Axes, group: Sequence[DrawnCurve], *, with_errors: bool) -> list[tuple[Annotation, float]]:
    """Labels of one group of curves, spread among each other, each with the ordinate that it must stay above."""
    marks = [(peak, item) for item in group for peak in item.curve.peaks]
    box = axes.get_window_extent()
    to_data = axes.transData.inverted().transform
    at_pixel = np.array([axes.transData.transform((peak.wavenumber_per_cm, 0.0))[0] for peak, _ in marks])
    order = np.argsort(at_pixel, kind="stable")
    width = LABEL_SIZE_PT * _LINE_SPACING * axes.figure.dpi / 72.0
    spread = spread_positions(at_pixel[order], np.full(len(order), width), box.x0, box.x1)
    placed = []
    for index, centre in zip(order, spread, strict=True):
        peak, item = marks[index]
        left, middle, right = to_data([(centre + side * width, box.y0) for side in (-0.6, 0.0, 0.6)])[:, 0]
        tops = [_top(other.curve, min(left, right), max(left, right)) for other in group]
        foot = max([peak.height + item.baseline, *tops])
        text = f"{peak.wavenumber_per_cm:.0f}"
        if with_errors and peak.error_per_cm is not None and np.isfinite(peak.error_per_cm):
            text += f" ± {peak.error_per_cm:.0f}"
        note = axes.annotate(
            text,
            xy=(peak.wavenumber_per_cm, peak.height + item.baseline),
            xytext=(middle, foot),
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=LABEL_SIZE_PT,
            color=item.colour,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},  # over dashed band lines
            zorder=5,
            annotation_clip=False,
            gid="peak-label",
        )
        note.set_in_layout(False)
        placed.append((note, foot))
    return placed


def _renderer(axes: Axes) -> RendererAgg:
    canvas = axes.figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        raise TypeError(f"figure on {type(canvas).__name__}: make it with style.new_figure, on the Agg canvas")
    return canvas.get_renderer()


def _top(curve: Curve, low: float, high: float) -> float:
    """Largest ordinate, error band included, between two abscissae (-inf where there is no point)."""
    inside = (curve.x >= low) & (curve.x <= high)
    if not inside.any():
        return float(np.interp(0.5 * (low + high), curve.x, curve.y, left=-np.inf, right=-np.inf))
    upper = curve.y[inside] if curve.error is None else curve.y[inside] + np.nan_to_num(curve.error[inside])
    return float(np.max(upper, initial=-np.inf, where=np.isfinite(upper)))


def _make_room(axes: Axes, texts: Sequence[Annotation], feet: Sequence[float]) -> None:
    renderer = _renderer(axes)
    box = axes.get_window_extent()
    low, high = axes.get_ylim()
    for text, foot in zip(texts, feet, strict=True):
        length = text.get_window_extent(renderer).height + 2.0 * _GAP_PT * axes.figure.dpi / 72.0
        share = min(length / box.height, 0.7)  # of the height of the axes that this label takes
        high = max(high, low + (foot - low) / (1.0 - share))
    axes.set_ylim(low, high)


def _set_foot(axes: Axes, note: Annotation, foot: float) -> None:
    """Put a label a few points above its foot and join it to its peak where it was moved."""
    x, _ = note.xyann
    gap = _GAP_PT * axes.figure.dpi / 72.0
    foot_pixel = axes.transData.transform((x, foot))
    peak_pixel = axes.transData.transform(note.xy)
    x, top = (float(value) for value in axes.transData.inverted().transform((foot_pixel[0], foot_pixel[1] + gap)))
    note.xyann = (x, top)
    if abs(foot_pixel[0] - peak_pixel[0]) > 1.0 or foot_pixel[1] - peak_pixel[1] > gap:
        axes.plot(
            [note.xy[0], x],
            [note.xy[1], axes.transData.inverted().transform((foot_pixel[0], foot_pixel[1] + 0.6 * gap))[1]],
            color=note.get_color(),
            linewidth=0.4,
            alpha=0.7,
            solid_capstyle="butt",
            gid="leader",
            scalex=False,
            scaley=False,
        )
