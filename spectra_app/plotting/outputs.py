"""Files of computed spectra: tables, and figures with the columns of each kind; beside references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra_app.plotting import Curve
    from spectra_app.spectra import Comparison, Spectrum

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
TABLE_SUFFIXES = (".csv", ".h5", ".hdf5", ".jdx", ".dx")


def figure_of(kind: str, spectrum: Spectrum, references: Sequence[Curve] = (), title: str = "") -> Figure:
    """The figure that belongs to a kind of spectrum.

    Args:
        kind: ir, raman, vdos, dielectric, sfg, ir_parts or raman_parts.
        spectrum: what was computed.
        references: curves to compare with.
        title: above the axes.
    """
    from spectra_app import plotting
    from spectra_app.spectra import SpectrumParts

    settings = plotting.PlotSettings(title=title)
    if kind == "raman":
        curves, depolarization = plotting.raman_curves(spectrum)
        return plotting.figure_raman([*curves, *references], depolarization, settings)
    if isinstance(spectrum, SpectrumParts):
        return plotting.figure_parts(*plotting.parts_curves(spectrum), references, settings)
    if kind == "vdos":
        return plotting.figure_vdos([*plotting.vdos_curves(spectrum), *references], settings)
    if kind == "sfg":
        name = spectrum.main.removesuffix("_imag")
        parts = [
            plotting.curve_from_spectrum(spectrum, f"{name}_{part}", f"{word}, {name}")
            for part, word in (("imag", "Im"), ("real", "Re"))
        ]
        return plotting.figure_overlay([*parts, *references], settings)
    if kind == "dielectric":
        eps_inf = spectrum.parameters.get("eps_inf")
        high = np.asarray(np.nan if eps_inf is None else eps_inf, dtype=np.float64)
        level = float(np.trace(high) / 3.0 if high.ndim == 2 else high) if np.isfinite(high).all() else None
        real, imaginary = (plotting.curve_from_spectrum(spectrum, f"eps_{part}") for part in ("real", "imag"))
        return plotting.figure_dielectric([real], [imaginary, *references], settings, eps_inf=level)
    label = "computed" if references else ""
    return plotting.figure_ir([plotting.curve_from_spectrum(spectrum, label=label), *references], settings)


def write_spectrum(
    kind: str,
    spectrum: Spectrum,
    outputs: Sequence[Path],
    references: Sequence[Curve] = (),
    title: str = "",
    comparisons: Sequence[Comparison] = (),
) -> list[Path]:
    """Write a spectrum to every output by its suffix.

    Args:
        kind: ir, raman, vdos, dielectric, sfg, ir_parts or raman_parts.
        spectrum: what was computed.
        outputs: files; one without a suffix stands for csv, h5, jdx, png and pdf of that name.
        references: curves drawn into figures.
        title: of figures.
        comparisons: with the references, written below figures.

    Returns:
        The files written.

    Raises:
        ConfigError: an unknown suffix.
    """
    files: list[Path] = []
    figure = None
    for path in expand(outputs):
        if path.suffix.lower() not in FIGURE_SUFFIXES:
            files.append(spectrum.write(path))
            continue
        from spectra_app.plotting import add_table, save_figure

        if figure is None:
            figure = figure_of(kind, spectrum, references, title)
            add_table(figure, [line for comparison in comparisons for line in comparison.lines()])
        files.extend(save_figure(figure, path))
    return files


def expand(outputs: Sequence[Path]) -> list[Path]:
    """Outputs with those that carry no known suffix replaced by one file of each format."""
    known = FIGURE_SUFFIXES + TABLE_SUFFIXES
    formats = (".csv", ".h5", ".jdx", ".png", ".pdf")
    paths: list[Path] = []
    for output in outputs:
        if output.suffix.lower() in known:
            paths.append(output)
        else:
            paths.extend(output.with_name(output.name + ending) for ending in formats)
    return paths


def compare_with_references(spectrum: Spectrum, references: Sequence[Curve]) -> list[Comparison]:
    """The main column of a spectrum beside every reference that shares a range with it.

    Args:
        spectrum: what was computed.
        references: curves over cm^-1.
    """
    from spectra_app.spectra import compare_spectra

    columns = spectrum.columns()
    nu, errors = columns["wavenumber_per_cm"].values, columns.get(f"{spectrum.main}_error")
    common = [reference for reference in references if reference.x[-1] > nu[0] and reference.x[0] < nu[-1]]
    return [
        compare_spectra(
            nu,
            columns[spectrum.main].values,
            reference.x,
            reference.y,
            errors=None if errors is None else errors.values,
            peaks=spectrum.peaks,
            resolution_per_cm=spectrum.report.resolution_per_cm,
            label=reference.label or "reference",
        )
        for reference in common
    ]
