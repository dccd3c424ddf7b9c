"""Figure of a spectrum in parts: one frame for each family, the total in every one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from spectra_app.plotting.axes import PlotSettings, draw_spectra, finish_spectra
from spectra_app.plotting.curves import Curve
from spectra_app.plotting.protocols import PartsLike
from spectra_app.plotting.results import curve_from_spectrum
from spectra_app.plotting.style import MUTED_COLOUR, house_style, new_figure

MOST_PARTS = 6
"""Parts of a family that are drawn, the strongest; more lines in one frame cannot be told apart."""


def parts_curves(spectrum: PartsLike) -> tuple[Curve, dict[str, list[Curve]]]:
    """Total and {family: its strongest parts}, without a family of which the total is the only part.

    Args:
        spectrum: a spectrum in parts.
    """
    total = curve_from_spectrum(spectrum, label="total")
    told = {family: names for family, names in spectrum.families.items() if len(names) > 1}
    families = {}
    for family, names in (told or dict(spectrum.families)).items():
        curves = [curve_from_spectrum(spectrum, name, name) for name in names]
        strongest = sorted(range(len(curves)), key=lambda k: -float(np.nanmax(np.abs(curves[k].y))))[:MOST_PARTS]
        families[family] = [curves[k] for k in sorted(strongest)]
    return total, families


def figure_parts(
    total: Curve,
    families: Mapping[str, Sequence[Curve]],
    references: Sequence[Curve] = (),
    settings: PlotSettings | None = None,
) -> Figure:
    """Frames above each other, one per family; peaks are labelled and references drawn in the first.

    Args:
        total: sum of the parts of every family.
        families: {name: parts}.
        references: curves to compare the total with.
        settings: how to draw.

    Raises:
        DatasetError: no family, or no point inside the range.
    """
    chosen = PlotSettings() if settings is None else settings
    with house_style():
        figure = new_figure(chosen.width, chosen.height_inch or 0.5 + 1.9 * max(1, len(families)))
        frames = figure.subplots(len(families), 1, sharex=True, squeeze=False)[:, 0]
        drawn = []
        for rank, (axes, (family, parts)) in enumerate(zip(frames, families.items(), strict=True)):
            first = rank == 0
            title = chosen.title if first and chosen.title else f"by {family}"
            own = replace(chosen, title=title, label_peaks=chosen.label_peaks and first, bands={})
            whole = total if first else replace(total, peaks=())
            drawn.append((axes, draw_spectra(axes, [whole, *parts, *(references if first else ())], own), own))
            axes.axhline(0.0, color=MUTED_COLOUR, linewidth=0.5, zorder=1)
            if axes is not frames[-1]:
                axes.set_xlabel("")
        for axes, curves, own in drawn:
            finish_spectra(axes, curves, own)
        figure.align_ylabels()
    return figure
