"""Figures of a recipe: everything on one page, and an oriented crystal by polarization, with the lines of its modes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spectra_app.harmonic.limit import HarmonicLimit
    from spectra_app.plotting import Curve
    from spectra_app.runs import Run
    from spectra_app.spectra import Spectrum


def write_overview(
    run: Run | None,
    spectra: dict[str, Spectrum],
    limit: HarmonicLimit | None,
    references: dict[str, list[Curve]],
    folder: Path,
) -> tuple[Path, ...]:
    """One page with every spectrum, those of normal modes beside them, and temperature and energy of the run.

    Args:
        run: the run, or None.
        spectra: of it, by kind.
        limit: normal modes, or None.
        references: curves by kind.
        folder: of the figure.

    Returns:
        the files; none where there is nothing to draw.
    """
    from spectra_app.plotting import WATER_BANDS, figure_overview, raman_curves, run_trace, save_figure, vdos_curves
    from spectra_app.plotting.results import curve_from_spectrum, harmonic_curves

    symbols = [] if run is None else sorted(run.numbers.tolist())
    is_water = run is not None and run.periodic and symbols == [1] * (2 * len(symbols) // 3) + [8] * (len(symbols) // 3)
    lines = {}
    if limit is not None:
        lines = harmonic_curves(limit.infrared_spectrum, limit.raman_spectrum, _cells(run, limit))
    infrared = (
        [curve_from_spectrum(spectra["ir"], label="dynamics" if "ir" in lines else "")] if "ir" in spectra else []
    )
    raman = raman_curves(spectra["raman"])[0] if "raman" in spectra else []
    if run is None and not lines:  # modes of a model that has neither dipole nor polarizability
        return ()
    figure = figure_overview(
        infrared=[*infrared, *lines.get("ir", ()), *references.get("ir", ())],
        raman=[*raman, *lines.get("raman", ()), *references.get("raman", ())],
        vdos=vdos_curves(spectra["vdos"]) if "vdos" in spectra else (),
        trace=None if run is None else run_trace(run),
        bands=WATER_BANDS if is_water else None,
    )
    return save_figure(figure, folder / "overview.png", formats=("pdf",))


def write_oriented(
    run: Run | None, spectra: dict[str, Spectrum], limit: HarmonicLimit | None, folder: Path
) -> list[Path]:
    """Figures of an oriented crystal, polarization above polarization: eps'' of infrared light, geometries of Raman.

    Args:
        run: the run, or None.
        spectra: of it, by kind.
        limit: normal modes, whose lines are drawn behind, or None.
        folder: of the figures.

    Returns:
        the files; none where no tensor eps_inf and no geometries were given.
    """
    from spectra_app.plotting import save_figure
    from spectra_app.plotting.polarized_figure import figure_polarized, polarized_curves

    cells = _cells(run, limit)
    files: list[Path] = []
    for kind in ("ir", "raman"):
        of_modes = None if limit is None else limit.infrared_spectrum if kind == "ir" else limit.raman_spectrum
        panels = polarized_curves(kind, spectra.get(kind), of_modes if run is None or kind in spectra else None, cells)
        if panels:
            files += save_figure(figure_polarized(panels), folder / f"{kind}_polarized.png", formats=("pdf",))
    return files


def _cells(run: Run | None, limit: HarmonicLimit | None) -> float:
    """Cells of the normal modes in the run."""
    return 1.0 if run is None or limit is None else len(run.numbers) / len(limit.atoms)
