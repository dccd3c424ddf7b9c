"""The whole chain of ``spectra-app run``: structure -> run file -> spectra, Born charges, figures, summary.

Every part leaves a whole file or none, and is made again only when it is missing or no longer fits: a finished run file
of the same settings is kept, an interrupted one continued.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from spectra_app import __version__
from spectra_app.cli.compute import spectrum_of_run
from spectra_app.cli.draw import write_spectrum
from spectra_app.cli.report import compare_with_references
from spectra_app.config import RunFileSettings
from spectra_app.errors import ConfigError, TrajectoryError

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.born import BornReport
    from spectra_app.plotting import Curve, Summary
    from spectra_app.spectra import Spectrum
    from spectra_app.trajectory import Run

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


def run_chain(settings: RunFileSettings, say: Callable[[str], None], *, overwrite: bool = False) -> Summary:
    """Do everything a recipe asks for.

    Args:
        settings: the recipe.
        say: told what begins.
        overwrite: replace a run file of other settings instead of refusing.

    Returns:
        What was done and found; also written to the results folder.

    Raises:
        TrajectoryError: the folder holds a run of other settings.
        Exit: interrupted; the same call continues.
    """
    from spectra_app.born import write_text
    from spectra_app.cli.structures import start_structure
    from spectra_app.trajectory import read_run

    began, folder = time.perf_counter(), settings.output
    atoms = start_structure(settings.model, settings.structure, settings.repeat)
    _check_tasks(settings, atoms)
    say(f"{_describe(atoms)}, model '{settings.model}'; results in {folder}/")
    _dynamics(settings, atoms, folder / RUN_FILE, say, overwrite)
    configuration = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    files = [folder / RUN_FILE, write_text(folder / CONFIGURATION_FILE, configuration)]
    run = read_run(folder / RUN_FILE)
    references = _references(settings)
    spectra: dict[str, Spectrum] = {}
    for kind in (task for task in settings.tasks if task != "born"):
        say(f"{TITLES[kind]} ...")
        spectra[kind] = spectrum_of_run(kind, run, settings.spectra)
        beside = references.get(kind, [])
        comparisons = compare_with_references(spectra[kind], beside)
        files += write_spectrum(kind, spectra[kind], [folder / kind], beside, comparisons=comparisons)
    born = None
    if "born" in settings.tasks:
        say(f"{TITLES['born']} ...")
        born = _born(settings, run)
        files += _write_born(born, folder)
    files += _overview(run, spectra, references, folder)
    return _summarise(settings, atoms, run, spectra, born, files, time.perf_counter() - began)


def _check_tasks(settings: RunFileSettings, atoms: Atoms) -> None:
    """Refuse before the dynamics what a slab cannot have after it.

    Raises:
        ConfigError: an infrared spectrum without volume, or a dielectric function.
    """
    if atoms.pbc.all() or not atoms.pbc.any():
        return
    if "dielectric" in settings.tasks:
        raise ConfigError("tasks", got="dielectric for a slab", wanted="a cell that is periodic in three directions")
    if "ir" in settings.tasks and settings.spectra.volume_A3 is None:
        raise ConfigError(
            "spectra.volume_A3 for the infrared spectrum of a slab", got="none", wanted="area times thickness, A^3"
        )


def _dynamics(
    settings: RunFileSettings, atoms: Atoms, run_file: Path, say: Callable[[str], None], overwrite: bool
) -> None:
    """Make the run file, continue it, or keep it."""
    from spectra_app.cli.md import simulate

    state = "absent" if overwrite else run_state(settings, atoms, run_file)
    if state == "complete":
        say(f"molecular dynamics: {run_file} is complete and kept")
        return
    if state == "interrupted":
        say(f"molecular dynamics: continuing {run_file}")
    run_file.parent.mkdir(parents=True, exist_ok=True)
    restart = state == "interrupted"
    simulate(settings.model, atoms, settings.md, run_file, restart=restart, overwrite=overwrite)


def run_state(settings: RunFileSettings, atoms: Atoms, run_file: Path) -> str:
    """Whether a run file is "absent", "interrupted" or "complete" for these settings.

    Raises:
        TrajectoryError: it belongs to other settings, another model or other atoms; or is damaged.
    """
    from spectra_app.dynamics import read_field_table
    from spectra_app.potentials.checkpoint import read_card
    from spectra_app.trajectory import read_run
    from spectra_app.trajectory.checkpoint import checkpoint_path

    if not run_file.exists():
        return "absent"
    try:
        run = read_run(run_file)
    except TrajectoryError:
        if checkpoint_path(run_file).is_file():  # stopped before the first block was written
            return "interrupted"
        raise
    then = run.metadata["configuration"].get("md", {})
    now = settings.md.model_dump(mode="json")
    changed = [f"md.{key}: {then[key]} -> {now[key]}" for key in now if key in then and then[key] != now[key]]
    if run.metadata["model_hash"] != read_card(settings.model).hash:
        changed.append(f"model: {run.metadata['model_name']} -> {settings.model}")
    if settings.md.field_table is not None:
        field, before = read_field_table(settings.md.field_table).description, run.metadata.get("field")
        if before is not None and before.get("sha256") != field["sha256"]:
            changed.append(f"md.field_table: other rows in {settings.md.field_table}")
    if run.numbers.tolist() != atoms.numbers.tolist():
        changed.append(f"structure: {len(run.numbers)} -> {len(atoms)} atoms")
    if changed:
        raise TrajectoryError(
            f"run file {run_file}",
            got=f"a run of other settings ({'; '.join(changed[:3])})",
            wanted="the same settings",
            todo="Choose another folder (-s output=FOLDER), or replace it with --overwrite",
        )
    return "complete" if run.complete else "interrupted"


def _references(settings: RunFileSettings) -> dict[str, list[Curve]]:
    """The reference spectra of the recipe by kind."""
    from spectra_app.plotting import read_curve

    return {kind: [read_curve(path, is_reference=True)] for kind, path in settings.reference.items()}


def _born(settings: RunFileSettings, run: Run) -> BornReport:
    """Born charges of the last configuration of the first replica: a liquid has no better one."""
    from ase import Atoms

    from spectra_app.born import born_charges
    from spectra_app.potentials.checkpoint import load_model

    cell = run.cell_A if run.cell_A is None or run.cell_A.ndim == 2 else run.cell_A[-1, 0]
    last = Atoms(run.numbers, run.positions_A[-1, 0], cell=cell, pbc=run.pbc)
    model = load_model(settings.model, device=settings.md.device, dtype="float64", eps_inf=settings.md.eps_inf)
    return born_charges(model, last)


def _write_born(report: BornReport, folder: Path) -> list[Path]:
    from spectra_app.cli.born import write_born
    from spectra_app.plotting import figure_born, save_figure

    written = [write_born(report, folder / f"born{suffix}") for suffix in (".csv", ".json", ".txt")]
    return [*written, *save_figure(figure_born(report), folder / "born.png", formats=("pdf",))]


def _overview(
    run: Run, spectra: dict[str, Spectrum], references: dict[str, list[Curve]], folder: Path
) -> tuple[Path, ...]:
    """One page with every spectrum, and temperature and energy of the run."""
    from spectra_app.plotting import (
        WATER_BANDS,
        curve_from_spectrum,
        figure_overview,
        raman_curves,
        run_trace,
        save_figure,
        vdos_curves,
    )

    symbols = sorted(run.numbers.tolist())
    is_water = run.periodic and symbols == [1] * (2 * len(symbols) // 3) + [8] * (len(symbols) // 3)
    figure = figure_overview(
        infrared=[curve_from_spectrum(spectra["ir"]), *references.get("ir", ())] if "ir" in spectra else (),
        raman=[*raman_curves(spectra["raman"])[0], *references.get("raman", ())] if "raman" in spectra else (),
        vdos=vdos_curves(spectra["vdos"]) if "vdos" in spectra else (),
        trace=run_trace(run),
        bands=WATER_BANDS if is_water else None,
    )
    return save_figure(figure, folder / "overview.png", formats=("pdf",))


def _summarise(
    settings: RunFileSettings,
    atoms: Atoms,
    run: Run,
    spectra: dict[str, Spectrum],
    born: BornReport | None,
    files: list[Path],
    seconds: float,
) -> Summary:
    """The summary page, also as files."""
    from spectra_app.plotting import build_summary, write_summary
    from spectra_app.potentials.checkpoint import read_card

    described = {RUN_FILE: "the run: dipoles, polarizabilities, trajectory", CONFIGURATION_FILE: "every setting"}
    for path in files:
        name = str(path.relative_to(settings.output))
        if path.stem in TITLES:
            described[name] = f"{TITLES[path.stem]}, {FORMATS[path.suffix]}"
    described |= {"summary.txt": "this page", "summary.json": "this page, for programs"}
    summary = build_summary(
        title=f"spectra-app run: {_describe(atoms)}",
        created=datetime.datetime.now().isoformat(timespec="seconds"),
        version=__version__,
        folder=settings.output,
        card=read_card(settings.model),
        eps_inf=run.metadata.get("eps_inf"),
        run=run,
        spectra=spectra,
        born=born,
        files=described,
        seconds=seconds,
    )
    write_summary(summary, settings.output)
    return summary


def _describe(atoms: Atoms) -> str:
    where = "periodic" if atoms.pbc.all() else "slab" if atoms.pbc.any() else "isolated"
    return f"{atoms.get_chemical_formula()}, {len(atoms)} atoms, {where}"
