"""The page at the end of a recipe: what was run and found, and where every file is."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from spectra_app import __version__
from spectra_app.config import ModelChoice, RunFileSettings
from spectra_app.jobs.extrapolation import run_extrapolation, unknown_extrapolation

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.born import BornReport
    from spectra_app.plotting import Summary
    from spectra_app.runs import Run
    from spectra_app.spectra import Spectrum

RUN_FILE = "run.h5"
CONFIGURATION_FILE = "configuration.yaml"
TITLES = {
    "ir": "infrared spectrum",
    "raman": "Raman spectrum",
    "vdos": "vibrational density of states",
    "dielectric": "dielectric function",
    "born": "Born charges",
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
    run: Run,
    spectra: dict[str, Spectrum],
    born: BornReport | None,
    files: list[Path],
    seconds: float,
) -> Summary:
    """The summary page, also as files in the folder of results.

    Args:
        settings: the recipe.
        choice: its model.
        atoms: start structure.
        run: the run.
        spectra: by kind.
        born: report on Born charges, or None.
        files: everything written so far.
        seconds: what it took.
    """
    from spectra_app.couplings.open_model import read_card
    from spectra_app.plotting import build_summary, write_summary

    outside = run_extrapolation(run)
    described = {RUN_FILE: "the run: dipoles, polarizabilities, trajectory", CONFIGURATION_FILE: "every setting"}
    for path in files:
        name = str(path.relative_to(settings.output))
        if path.stem in TITLES:
            described[name] = f"{TITLES[path.stem]}, {FORMATS[path.suffix]}"
    described |= {"summary.txt": "this page", "summary.json": "this page, for programs"}
    summary = build_summary(
        title=f"spectra-app run: {describe_structure(atoms)}",
        created=datetime.datetime.now().isoformat(timespec="seconds"),
        version=__version__,
        folder=settings.output,
        card=read_card(choice),
        eps_inf=run.eps_inf,
        run=run,
        spectra=spectra,
        born=born,
        files=described,
        seconds=seconds,
        extrapolation=unknown_extrapolation(settings.model) if outside is None else outside.sentence,
        warnings=(outside.sentence,) if outside is not None and outside.outside else (),
    )
    write_summary(summary, settings.output)
    return summary


def describe_structure(atoms: Atoms) -> str:
    """Formula, number of atoms and boundaries in a few words."""
    where = "periodic" if atoms.pbc.all() else "slab" if atoms.pbc.any() else "isolated"
    return f"{atoms.get_chemical_formula()}, {len(atoms)} atoms, {where}"
