"""A curve beside its references, and the small table of it below a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spectra_app.plotting.curves import Curve
from spectra_app.plotting.style import house_style
from spectra_app.spectra import Comparison, compare_spectra

_TABLE_SIZE_PT = 5.5
_MONOSPACE = 0.61
"""Width of a letter over its size, fonts of equal pitch."""
_GAP_INCH = 0.08


@dataclass(frozen=True)
class _Band:
    """A mark read back from a file, as the comparison takes it."""

    position_per_cm: float
    position_error_per_cm: float


def compare_curves(curve: Curve, references: Sequence[Curve], resolution_per_cm: float = 20.0) -> list[Comparison]:
    """A computed curve beside every reference that shares a range with it.

    Args:
        curve: computed, over cm^-1; its peaks are those noted in its file, or searched for where there are none.
        references: to compare with.
        resolution_per_cm: of the computed curve; references are smoothed to it.
    """
    marks = [_Band(m.wavenumber_per_cm, math.nan if m.error_per_cm is None else m.error_per_cm) for m in curve.peaks]
    return [
        compare_spectra(
            curve.x,
            curve.y,
            reference.x,
            reference.y,
            errors=curve.error,
            peaks=marks or None,
            resolution_per_cm=resolution_per_cm,
            label=reference.label or "reference",
        )
        for reference in references
        if reference.x[-1] > curve.x[0] and reference.x[0] < curve.x[-1]
    ]


def add_table(figure: Figure, lines: Sequence[str]) -> None:
    """Write lines of equal pitch below a finished figure, which grows downwards; nothing for no lines.

    Args:
        figure: with constrained layout, on the Agg canvas.
        lines: of a table.
    """
    if not lines:
        return
    room_pt = 72.0 * figure.get_figwidth() * 0.97
    size = min(_TABLE_SIZE_PT, room_pt / (_MONOSPACE * max(map(len, lines))))
    with house_style():
        text = figure.supxlabel(
            "\n".join(lines), x=0.015, ha="left", fontsize=size, family="monospace", linespacing=1.25, gid="table"
        )
        canvas = figure.canvas
        if not isinstance(canvas, FigureCanvasAgg):
            raise TypeError(f"figure on {type(canvas).__name__}: make it with style.new_figure, on the Agg canvas")
        height = text.get_window_extent(canvas.get_renderer()).height / figure.dpi
        # The axes keep the size for which their labels were placed: the paper grows by the table.
        figure.set_figheight(figure.get_figheight() + height + _GAP_INCH)
