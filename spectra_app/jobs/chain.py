"""The whole chain of a recipe: structure -> normal modes, run file -> spectra, Born charges, figures, summary.

Every part leaves a whole file or none, and is made again only when it is missing or no longer fits: a finished run file
of the same settings is kept, an interrupted one continued, derivatives of the same structure are kept.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spectra_app.config import ModelChoice, RunFileSettings, load_settings
from spectra_app.errors import ConfigError, StructureError
from spectra_app.jobs.born_of_run import last_configuration, run_born, write_born
from spectra_app.jobs.harmonic_job import HarmonicResult, normal_modes_of
from spectra_app.jobs.made_model import make_model, minutes_left
from spectra_app.jobs.mode_shifts import mode_shifts
from spectra_app.jobs.policy import obstacle
from spectra_app.jobs.recipe_overview import write_oriented, write_overview
from spectra_app.jobs.recipe_run import begin_of, make_run, merged_runs
from spectra_app.jobs.simulate import simulate
from spectra_app.jobs.spectrum import KINDS, run_spectrum
from spectra_app.jobs.structures import start_structure
from spectra_app.jobs.summary import (
    CONFIGURATION_FILE,
    HARMONIC_FOLDER,
    RUN_FILE,
    TITLES,
    describe_structure,
    summarise,
)
from spectra_app.runs import Run, read_run
from spectra_app.spectra.raman import parse_porto
from spectra_app.zoo import find_workflow

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.arrays import Boundary
    from spectra_app.born import BornReport
    from spectra_app.harmonic.limit import HarmonicLimit
    from spectra_app.harmonic.shifts import ModeShifts
    from spectra_app.plotting import Curve, Summary
    from spectra_app.spectra import Spectrum


@dataclass(frozen=True)
class RecipeResult:
    """What a recipe made.

    Attributes:
        run: the run; None where no task needs dynamics.
        spectra: by kind.
        born: the report on Born charges, where asked for.
        summary: the page that is printed at the end.
        files: everything written.
        harmonic: normal modes, where asked for.
        shifts: their lines in the dynamics, where that is of the same crystal.
    """

    run: Run | None
    spectra: dict[str, Spectrum]
    born: BornReport | None
    summary: Summary
    files: tuple[Path, ...]
    harmonic: HarmonicLimit | None = None
    shifts: ModeShifts | None = None


def run_recipe(
    recipe: RunFileSettings | Path | str,
    *,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
    dynamics: Callable[..., Any] = simulate,
    modes: Callable[..., HarmonicResult] = normal_modes_of,
    max_minutes: float | None = None,
    trust: bool = False,
) -> RecipeResult:
    """Do everything a recipe asks for: what ``spectra-app run`` does.

    Args:
        recipe: the recipe, its YAML file, or the name of a shipped one.
        overrides: ``"section.key=value"`` strings, of a file or name.
        overwrite: replace a run file of other settings instead of refusing.
        say: told what begins.
        dynamics: called as ``jobs.simulate`` is, e.g. with a progress bar around it.
        modes: called as ``jobs.harmonic_job.normal_modes_of`` is, likewise.
        max_minutes: wall time after which labels, training or dynamics are saved and stopped, min.
        trust: load pickled checkpoints of calculators, which may run code; no recipe can say so.

    Raises:
        TrajectoryError: the folder holds a run of other settings.
        ConfigError: a bad key or value; or a spectrum that the structure cannot have.
        StoppedError: a signal, or the time is over; the same call continues.
    """
    tell = say if say is not None else _silent
    settings = _settings_of(recipe, overrides)
    given = isinstance(recipe, RunFileSettings)
    choice = settings.choice(trust, given or _own_words(settings, overrides))
    began, folder = time.monotonic(), settings.output
    merged = merged_runs(settings, choice) if settings.runs else None
    atoms = begin_of(settings) if merged is None else last_configuration(merged)
    _check_tasks(settings, atoms)
    if merged is None:
        own = given or "labels.calculator" in _named(overrides)
        make_model(settings, tell, overwrite=overwrite, max_minutes=max_minutes, trust=trust, own=own)
    tell(f"{describe_structure(atoms)}, model '{choice}'; results in {folder}/")
    made: list[Path] = []
    harmonic = _harmonic(settings, choice, tell, modes) if "harmonic" in settings.tasks else None
    run = merged
    if merged is None and settings.needs_dynamics:
        left = minutes_left(max_minutes, began)
        make_run(settings, choice, atoms, tell, overwrite, functools.partial(dynamics, max_minutes=left))
        run = read_run(folder / RUN_FILE)
        made.append(folder / RUN_FILE)
    references = _references(settings)
    spectra, files = ({}, []) if run is None else _spectra(settings, run, references, tell)
    born = None
    if run is not None and "born" in settings.tasks:
        tell(f"{TITLES['born']} ...")
        born = run_born(run, choice, device=settings.md.device, eps_inf=settings.md.eps_inf)
        files += _write_born(born, folder)
    limit = None if harmonic is None else harmonic.limit
    shifts = None if limit is None or run is None else _shifts(settings, run, limit, files, tell)
    files = [*made, _write_configuration(settings), *files, *write_oriented(run, spectra, limit, folder)]
    files += write_overview(run, spectra, limit, references, folder)
    seconds = time.monotonic() - began
    summary = summarise(settings, choice, atoms, run, spectra, born, harmonic, shifts, files, seconds)
    if harmonic is not None:
        files += harmonic.files
    return RecipeResult(run, spectra, born, summary, tuple(files), limit, shifts)


def _settings_of(recipe: RunFileSettings | Path | str, overrides: Sequence[str]) -> RunFileSettings:
    """The settings of a recipe, its files found in the working folder or beside it."""
    if isinstance(recipe, RunFileSettings):
        return recipe
    file = find_workflow(Path(recipe))
    return load_settings(RunFileSettings, file, overrides).beside(file.parent)


def _harmonic(
    settings: RunFileSettings, choice: ModelChoice, say: Callable[[str], None], modes: Callable[..., HarmonicResult]
) -> HarmonicResult:
    """Normal modes of the structure, without its repetitions, in a folder of their own."""
    say(f"{TITLES['harmonic']} ...")
    return modes(
        choice,
        start_structure(settings.model, settings.structure),
        settings.harmonic_settings(),
        settings.output / HARMONIC_FOLDER,
        device=settings.md.device,
        eps_inf=settings.md.eps_inf,
        say=say,
    )


def _own_words(settings: RunFileSettings, overrides: Sequence[str]) -> bool:
    """Whether every calculator is named by the user himself, not by the recipe, which may be a stranger's."""
    from spectra_app.couplings.calculator_spec import is_calculator_spec

    return {key for key in ("model", "response") if is_calculator_spec(getattr(settings, key))} <= _named(overrides)


def _named(overrides: Sequence[str]) -> set[str]:
    """The keys that the user gave himself."""
    return {override.partition("=")[0].strip() for override in overrides}


def _silent(text: str) -> None:
    """Nobody listens."""


def _check_tasks(settings: RunFileSettings, atoms: Atoms) -> None:
    """Refuse before the dynamics what the boundaries of the structure would refuse after it.

    Raises:
        ConfigError: an infrared spectrum without volume of a slab; a dielectric function of anything but a cell; or a
            polarization geometry that is none.
    """
    boundary: Boundary = "periodic" if atoms.pbc.all() else "slab" if atoms.pbc.any() else "open"
    name = {"slab": "a slab", "open": "an isolated molecule"}.get(boundary, boundary)
    for geometry in (*settings.spectra.geometries, *settings.harmonic.geometries):
        parse_porto(geometry)
    for task in settings.tasks:
        missing = obstacle(task, boundary, settings.spectra)
        if missing == "cell":
            raise ConfigError("tasks", got=f"{task} for {name}", wanted="a cell that is periodic in three directions")
        if missing == "volume":
            raise ConfigError(
                f"spectra.volume_A3 for the {TITLES[task]} of {name}", got="none", wanted="area times thickness, A^3"
            )


def _shifts(
    settings: RunFileSettings, run: Run, limit: HarmonicLimit, files: list[Path], say: Callable[[str], None]
) -> ModeShifts | None:
    """The lines of a crystal's modes in the dynamics, and their table; None, with a word, where they do not match."""
    from spectra_app.born import write_text
    from spectra_app.harmonic.shifts import shifts_csv

    if limit.kind == "molecule":  # turns
        return None
    say(f"{TITLES['shifts']} ...")
    try:
        found = mode_shifts(run, limit, settings.spectra)
    except StructureError as error:
        say(f"none: {error}")
        return None
    files.append(write_text(settings.output / "shifts.csv", shifts_csv(found)))
    return found


def _references(settings: RunFileSettings) -> dict[str, list[Curve]]:
    """The reference spectra of the recipe by kind."""
    from spectra_app.plotting import read_curve

    return {kind: [read_curve(path, is_reference=True)] for kind, path in settings.reference.items()}


def _spectra(
    settings: RunFileSettings, run: Run, references: dict[str, list[Curve]], say: Callable[[str], None]
) -> tuple[dict[str, Spectrum], list[Path]]:
    """Every spectrum that is asked for, and its files."""
    from spectra_app.plotting.outputs import compare_with_references, write_spectrum

    spectra: dict[str, Spectrum] = {}
    files: list[Path] = []
    for kind in (task for task in settings.tasks if task in KINDS):
        say(f"{TITLES[kind]} ...")
        spectra[kind] = run_spectrum(run, kind, settings.spectra)
        beside = references.get(kind, [])
        comparisons = compare_with_references(spectra[kind], beside)
        files += write_spectrum(kind, spectra[kind], [settings.output / kind], beside, comparisons=comparisons)
    return spectra, files


def _write_configuration(settings: RunFileSettings) -> Path:
    from spectra_app.born import write_text

    configuration = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    return write_text(settings.output / CONFIGURATION_FILE, configuration)


def _write_born(report: BornReport, folder: Path) -> list[Path]:
    from spectra_app.plotting import figure_born, save_figure

    written = [write_born(report, folder / f"born{suffix}") for suffix in (".csv", ".json", ".txt")]
    return [*written, *save_figure(figure_born(report), folder / "born.png", formats=("pdf",))]
