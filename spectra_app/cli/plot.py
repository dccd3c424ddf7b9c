"""``spectra-app plot``: figures for a paper from spectrum files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spectra_app.cli.console import list_files, say
from spectra_app.errors import ConfigError


def plot(
    spectra: Annotated[list[Path], typer.Argument(help="spectrum files: CSV, text with a header, JCAMP-DX")],
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="figure: .png .pdf .svg; repeatable  [default: plot.png]"),
    ] = None,
    reference: Annotated[
        list[Path] | None, typer.Option("--reference", "-r", help="measured or computed reference; repeatable")
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", help="column to draw  [default: the first after the wavenumber]")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="text of the legend, one for each file; repeatable")
    ] = None,
    x_unit: Annotated[
        str | None,
        typer.Option("--x-unit", help="unit of the abscissa where a file names none: cm^-1 THz eV meV um nm"),
    ] = None,
    low_per_cm: Annotated[float | None, typer.Option("--from-per-cm", help="lower end of the figure, cm^-1")] = None,
    high_per_cm: Annotated[float | None, typer.Option("--to-per-cm", help="upper end of the figure, cm^-1")] = None,
    offset: Annotated[bool, typer.Option("--offset", help="draw the curves one above the other")] = False,
    normalise: Annotated[bool, typer.Option("--normalise", help="scale every curve to a maximum of 1")] = False,
    peaks: Annotated[bool, typer.Option("--peaks/--no-peaks", help="write the wavenumber above every peak")] = True,
    reverse: Annotated[bool, typer.Option("--reverse", help="wavenumbers descend to the right")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="two columns of a journal instead of one")] = False,
    title: Annotated[str, typer.Option("--title", help="text above the axes", show_default=False)] = "",
    dpi: Annotated[int, typer.Option("--dpi", help="dots per inch of a PNG")] = 300,
) -> None:
    """Figures for a paper from spectrum files.

    Overlay or offset, error bands, peak labels; beside references the overlap and the shift of every band, as a table
    below the figure and on stdout (for the first file). PNG, PDF, SVG.
    """
    if labels and len(labels) != len(spectra):
        raise ConfigError("--label", got=f"{len(labels)} labels", wanted=f"one for each of the {len(spectra)} files")
    from spectra_app.plotting import (
        PlotSettings,
        add_table,
        compare_curves,
        figure_overlay,
        read_curve,
        read_references,
        save_figure,
    )

    names: list[str | None] = list(labels) if labels else [None] * len(spectra)
    curves = [read_curve(path, column, label=name, x_unit=x_unit) for path, name in zip(spectra, names, strict=True)]
    references = read_references(reference or (), x_unit)
    comparisons = compare_curves(curves[0], references)
    curves += references
    ends = None
    if low_per_cm is not None or high_per_cm is not None:
        highest = max(float(curve.x[-1]) for curve in curves)
        ends = (0.0 if low_per_cm is None else low_per_cm, highest if high_per_cm is None else high_per_cm)
    settings = PlotSettings(
        range_per_cm=ends,
        reverse=reverse,
        offset=offset,
        normalised=normalise,
        label_peaks=peaks,
        width="two" if wide else "one",
        title=title,
    )
    figure = figure_overlay(curves, settings)
    table = [line for comparison in comparisons for line in comparison.lines()]
    add_table(figure, table)
    files = [file for path in output or [Path("plot.png")] for file in save_figure(figure, path, dpi)]
    if table:
        print("\n".join(table))
    say("Files:")
    list_files(files)
