"""The page at the end of a recipe: what was run and found, and where every file is."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spectra_app import __version__
from spectra_app.config import ModelChoice, RunFileSettings
from spectra_app.jobs.extrapolation import run_extrapolation, unknown_extrapolation
from spectra_app.jobs.harmonic_files import describe_file

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.born import BornReport
    from spectra_app.harmonic.limit import HarmonicLimit
    from spectra_app.harmonic.shifts import ModeShifts
    from spectra_app.jobs.harmonic_job import HarmonicResult
    from spectra_app.plotting import Summary
    from spectra_app.runs import Run
    from spectra_app.spectra import Spectrum

RUN_FILE = "run.h5"
HARMONIC_FOLDER = "harmonic"
CONFIGURATION_FILE = "configuration.yaml"
TITLES = {
    "harmonic": "normal modes",
    "ir": "infrared spectrum",
    "raman": "Raman spectrum",
    "vdos": "vibrational density of states",
    "dielectric": "dielectric function",
    "born": "Born charges",
    "shifts": "normal modes in the dynamics",
    "ir_polarized": "dielectric loss by polarization",
    "raman_polarized": "Raman spectrum by polarization geometry",
    "overview": "all of it on one page",
}
FORMATS = {
    ".csv": "table with units",
    ".h5": "HDF5 table",
    ".jdx": "JCAMP-DX",
    ".png": "figure",
    ".pdf": "figure",
    ".json": "for programs",
    ".txt": "report",
}


def summarise(
    settings: RunFileSettings,
    choice: ModelChoice,
    atoms: Atoms,
    run: Run | None,
    spectra: dict[str, Spectrum],
    born: BornReport | None,
    harmonic: HarmonicResult | None,
    shifts: ModeShifts | None,
    files: list[Path],
    seconds: float,
) -> Summary:
    """The summary page, also as files in the folder of results.

    Args:
        settings: the recipe.
        choice: its model.
        atoms: start structure.
        run: the run, or None.
        spectra: by kind.
        born: report on Born charges, or None.
        harmonic: normal modes, or None.
        shifts: their lines in the dynamics, or None.
        files: everything written so far but for those of the normal modes.
        seconds: what it took.
    """
    from spectra_app.couplings.open_model import read_card
    from spectra_app.plotting import build_summary, write_summary

    of_run = None if run is None else run_extrapolation(run)
    of_modes = None if harmonic is None else harmonic.extrapolation
    outside = of_modes if run is None else of_run
    far = [one.sentence for one in (of_run, of_modes) if one is not None and one.outside]
    described = {CONFIGURATION_FILE: "every setting"}
    if run is not None and not settings.runs:
        described = {RUN_FILE: "the run: dipoles, polarizabilities, trajectory", **described}
    for path in files:
        name = str(path.relative_to(settings.output))
        if path.stem in TITLES:
            described[name] = f"{TITLES[path.stem]}, {FORMATS[path.suffix]}"
    for path in () if harmonic is None else harmonic.files:
        described[str(path.relative_to(settings.output))] = describe_file(path)
    described |= {"summary.txt": "this page", "summary.json": "this page, for programs"}
    limit = None if harmonic is None else harmonic.limit
    summary = build_summary(
        title=f"spectra-app run: {describe_structure(atoms)}",
        created=datetime.datetime.now().isoformat(timespec="seconds"),
        version=__version__,
        folder=settings.output,
        card=read_card(choice),
        eps_inf=_eps_inf(run, limit),
        run=run,
        spectra=spectra,
        born=born,
        harmonic=limit,
        shifts=shifts,
        files=described,
        seconds=seconds,
        extrapolation=unknown_extrapolation(settings.model) if outside is None else outside.sentence,
        warnings=far,
    )
    write_summary(summary, settings.output)
    return summary


def _eps_inf(run: Run | None, limit: HarmonicLimit | None) -> float | None:
    """The high-frequency dielectric constant that was used: that of the run, else the mean of the normal modes'."""
    if run is not None:
        return run.eps_inf
    return None if limit is None or limit.cell is None else float(np.trace(limit.cell.eps_inf)) / 3.0


def describe_structure(atoms: Atoms) -> str:
    """Formula, number of atoms and boundaries in a few words."""
    where = "periodic" if atoms.pbc.all() else "slab" if atoms.pbc.any() else "isolated"
    return f"{atoms.get_chemical_formula()}, {len(atoms)} atoms, {where}"
