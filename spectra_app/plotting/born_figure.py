"""Figure of a Born charge report: isotropic charges by element, and beside them the reference where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from spectra_app.plotting.style import MUTED_COLOUR, PALETTE, house_style, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spectra_app.born import BornReport

_WIDTH = 0.7


def figure_born(report: BornReport) -> Figure:
    """Eigenvalues and isotropic charges of every atom by element; parity plot of all components against the reference.

    Args:
        report: the report.
    """
    with house_style():
        figure = new_figure("two", 3.0)
        panels = figure.subplots(1, 2 if report.reference_e is not None else 1, squeeze=False)[0]
        _by_element(panels[0], report)
        if report.reference_e is not None:
            _parity(panels[1], report)
    return figure


def save_born_figure(report: BornReport, path: Path) -> Path:
    """The figure as PNG, PDF or SVG by the ending of its name."""
    return save_figure(figure_born(report), path)[0]


def _by_element(axes: Axes, report: BornReport) -> None:
    names = [element.symbol for element in report.elements]
    for place, name in enumerate(names):
        chosen = np.array([chemical_symbols[int(number)] == name for number in report.numbers])
        spread = place + _WIDTH * (np.arange(chosen.sum()) / max(1, int(chosen.sum()) - 1) - 0.5)
        for column in report.eigenvalues_e[chosen].T:
            axes.plot(spread, column, ".", color=MUTED_COLOUR, markersize=3, zorder=1)
        errors = None if report.spread_e is None else report.spread_e[chosen]
        values = report.isotropic_e[chosen]
        axes.errorbar(spread, values, yerr=errors, fmt="o", color=PALETTE[place % len(PALETTE)], markersize=4)
        nominal = None if report.nominal_e is None else report.nominal_e.get(name)
        if nominal is not None:
            axes.hlines(nominal, place - 0.45, place + 0.45, color=MUTED_COLOUR, linestyle=(0, (4, 3)), linewidth=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="Born charge / e", xlim=(-0.6, len(names) - 0.4))
    axes.set_title("tr Z*/3 (points), eigenvalues (dots), nominal (dashed)", fontsize=7)


def _parity(axes: Axes, report: BornReport) -> None:
    assert report.reference_e is not None
    for place, element in enumerate(report.elements):
        chosen = np.array([chemical_symbols[int(number)] == element.symbol for number in report.numbers])
        theirs, ours = report.reference_e[chosen].ravel(), report.born_e[chosen].ravel()
        axes.plot(theirs, ours, "o", markersize=3, color=PALETTE[place % len(PALETTE)], label=element.symbol)
    both = np.concatenate([report.reference_e.ravel(), report.born_e.ravel()])
    ends = [float(both.min()), float(both.max())]
    axes.plot(ends, ends, color=MUTED_COLOUR, linewidth=0.8)
    axes.set(xlabel="reference / e", ylabel="this / e")
    axes.legend()
