"""Figure of a harmonic limit: infrared and Raman lines with sticks at the modes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spectra_app.plotting.curves import axis_label
from spectra_app.plotting.style import MUTED_COLOUR, PALETTE, house_style, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spectra_app.harmonic.limit import HarmonicLimit
    from spectra_app.spectra import Spectrum

_LABELLED = 6
_APART = 0.05  # of the axis, between labels


def figure_harmonic(limit: HarmonicLimit) -> Figure | None:
    """Infrared above, Raman below; None where the model has neither.

    Args:
        limit: the harmonic limit.
    """
    drawn: list[tuple[str, Spectrum, np.ndarray]] = []
    if limit.infrared_spectrum is not None and limit.infrared is not None:
        drawn.append(("infrared", limit.infrared_spectrum, limit.infrared.intensities_km_per_mol))
    if limit.raman_spectrum is not None and limit.raman is not None:
        drawn.append(("Raman", limit.raman_spectrum, limit.raman.activities_A4_per_amu))
    if not drawn:
        return None
    with house_style():
        figure = new_figure("two", 2.1 * len(drawn) + 0.4)
        panels = np.atleast_1d(figure.subplots(len(drawn), 1, sharex=True))
        for colour, axes, (name, spectrum, strengths) in zip(PALETTE, panels, drawn, strict=False):
            _panel(axes, name, spectrum, limit.modes.frequencies_per_cm, strengths, colour)
        panels[-1].set_xlabel(r"wavenumber / cm$^{-1}$")
    return figure


def figure_phonons(limit: HarmonicLimit) -> Figure | None:
    """Band structure beside the density of states; None without phonons."""
    found = limit.phonons
    if found is None:
        return None
    with house_style():
        figure = new_figure("two", 3.2)
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1])
        for places, bands in zip(found.distances, found.bands_per_cm, strict=True):
            left.plot(places, bands, color=PALETTE[0], linewidth=0.8)
        for _, place in found.labels:
            left.axvline(place, color=MUTED_COLOUR, linewidth=0.4)
        left.set_xticks([place for _, place in found.labels], [name.replace("G", "Γ") for name, _ in found.labels])
        left.axhline(0.0, color=MUTED_COLOUR, linewidth=0.4)
        left.set(xlim=(found.labels[0][1], found.labels[-1][1]), ylabel=r"wavenumber / cm$^{-1}$")
        right.plot(found.dos_per_cm[:, 1], found.dos_per_cm[:, 0], color=PALETTE[0], linewidth=0.8)
        right.set(xlim=(0.0, None), xlabel="states per cm$^{-1}$")
    return figure


def save_harmonic_figures(limit: HarmonicLimit, folder: Path) -> list[Path]:
    """``harmonic`` and ``phonons`` as PNG and PDF; no files where there is nothing to draw."""
    files: list[Path] = []
    for name, figure in (("harmonic", figure_harmonic(limit)), ("phonons", figure_phonons(limit))):
        if figure is not None:
            files += save_figure(figure, folder / f"{name}.png", formats=("pdf",))
    return files


def _panel(
    axes: Axes, name: str, spectrum: Spectrum, frequencies: np.ndarray, strengths: np.ndarray, colour: str
) -> None:
    """One spectrum with its sticks, as high as the line that they make; the strongest are labelled."""
    x, entry = spectrum.wavenumber_per_cm, spectrum.columns()[spectrum.main]
    axes.plot(x, entry.values, color=colour, label=name)
    top = float(np.max(entry.values, initial=0.0)) or 1.0
    seen = (frequencies > 0.0) & (strengths > 1e-4 * strengths.max(initial=0.0))
    sticks = 0.9 * top * strengths[seen] / max(float(strengths[seen].max(initial=0.0)), 1e-300)
    axes.vlines(frequencies[seen], 0.0, sticks, color=MUTED_COLOUR, linewidth=0.8)
    taken: list[float] = []
    for band in sorted(spectrum.peaks, key=lambda band: -band.integral):
        near = any(abs(band.position_per_cm - other) < _APART * (x[-1] - x[0]) for other in taken)
        if near or len(taken) == _LABELLED:
            continue
        taken.append(band.position_per_cm)
        height = float(np.interp(band.position_per_cm, x, entry.values))
        axes.annotate(
            f"{band.position_per_cm:.0f}",
            (band.position_per_cm, height),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7,
        )
    axes.set(xlim=(0.0, float(x[-1])), ylim=(0.0, 1.15 * top))
    axes.set_ylabel(axis_label(name, entry.unit))
