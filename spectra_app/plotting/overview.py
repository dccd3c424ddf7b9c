"""The overview: every panel of a run on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectra_app.errors import DatasetError
from spectra_app.plotting.axes import PlotSettings, draw_spectra, draw_vdos, finish_spectra
from spectra_app.plotting.curves import Curve
from spectra_app.plotting.labels import DrawnCurve
from spectra_app.plotting.panels import RunTrace, draw_trace
from spectra_app.plotting.style import house_style, new_figure

_ROW_INCH = 2.35
Finish = Callable[[], None]


def figure_overview(
    *,
    infrared: Sequence[Curve] = (),
    raman: Sequence[Curve] = (),
    vdos: Sequence[Curve] = (),
    trace: RunTrace | None = None,
    bands: Mapping[str, float] | None = None,
    range_per_cm: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """Infrared spectrum across the page; Raman and density of states below; temperature and energy at the foot.

    Panels without data are left out.

    Args:
        infrared: curves, references among them.
        raman: e.g. VV and VH.
        vdos: total first, then elements.
        trace: temperature and energy of the run.
        bands: {name: cm^-1}; known infrared bands to be marked, e.g. ``curves.WATER_BANDS``.
        range_per_cm: cm^-1; ends of all abscissae.
        title: heading of the page.

    Raises:
        DatasetError: nothing to draw.
    """
    small = [name for name, curves in (("raman", raman), ("vdos", vdos)) if curves]
    rows = [["infrared"] * 2] if infrared else []
    if small:
        rows.append(small if len(small) == 2 else small * 2)
    if trace is not None:
        rows.append(["temperature", "energy"])
    if not rows:
        raise DatasetError("overview figure", got="nothing to draw", wanted="a spectrum or the trace of a run")
    settings = PlotSettings(range_per_cm=range_per_cm)
    with house_style():
        figure = new_figure("two", _ROW_INCH * len(rows) + 0.2)
        panels = figure.subplot_mosaic(cast("Any", rows))  # its stub wants a hashable list
        later: list[Finish] = []
        if infrared:
            chosen = replace(settings, title="Infrared", bands={} if bands is None else bands)
            drawn = draw_spectra(panels["infrared"], infrared, chosen)
            later.append(_finish(panels["infrared"], drawn, chosen))
        if raman:
            chosen = replace(settings, title="Raman")
            later.append(_finish(panels["raman"], draw_spectra(panels["raman"], raman, chosen), chosen))
        if vdos:
            chosen = replace(settings, title="Vibrational density of states")
            later.append(_finish(panels["vdos"], draw_vdos(panels["vdos"], vdos, chosen), chosen))
        if trace is not None:
            draw_trace(panels["temperature"], panels["energy"], trace)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        for finish in later:  # labels need the settled layout of all panels
            finish()
    return figure


def _finish(axes: Axes, drawn: list[DrawnCurve], settings: PlotSettings) -> Finish:
    return lambda: finish_spectra(axes, drawn, settings)
