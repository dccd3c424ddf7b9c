"""The whole chain of ``spectra-app run``: structure -> run file -> spectra, Born charges, figures, summary.

Every part leaves a whole file or none, and is made again only when it is missing or no longer fits: a finished run file
of the same settings is kept, an interrupted one continued.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spectra_app.cli.compute import SPECTRA
from spectra_app.cli.draw import write_spectrum
from spectra_app.cli.report import describe_spectrum, spectrum_facts
from spectra_app.config import RunFileSettings
from spectra_app.errors import TrajectoryError

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.plotting.curves import Curve
    from spectra_app.spectra.result import Spectrum
    from spectra_app.trajectory import Run

RUN_FILE = "run.h5"
CONFIGURATION_FILE = "configuration.yaml"
SUMMARY_FILE = "summary.txt"
FACTS_FILE = "summary.json"


@dataclass(frozen=True)
class Results:
    """What a chain left behind.

    Attributes:
        folder: where everything is.
        summary: lines for a person.
        facts: the numbers, for a program.
        files: every file, in order of making.
    """

    folder: Path
    summary: tuple[str, ...]
    facts: dict[str, Any]
    files: tuple[Path, ...]


def run_chain(settings: RunFileSettings, say: Callable[[str], None], *, overwrite: bool = False) -> Results:
    """Do everything a recipe asks for.

    Args:
        settings: the recipe.
        say: told what begins.
        overwrite: replace a run file of other settings instead of refusing.

    Raises:
        TrajectoryError: the folder holds a run of other settings.
        Exit: interrupted; the same call continues.
    """
    from spectra_app.born import write_text
    from spectra_app.cli.structures import start_structure
    from spectra_app.trajectory import read_run

    folder = settings.output
    atoms = start_structure(settings.model, settings.structure, settings.repeat)
    say(f"{_formula(atoms)} with model '{settings.model}'; results in {folder}/")
    lines = [f"spectra-app run: {_formula(atoms)}, model '{settings.model}'", ""]
    run_file = folder / RUN_FILE
    facts: dict[str, Any] = {"model": settings.model, "md": _dynamics(settings, atoms, run_file, say, lines, overwrite)}
    configuration = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    files = [run_file, write_text(folder / CONFIGURATION_FILE, configuration)]
    run = read_run(run_file)
    spectra: dict[str, Spectrum] = {}
    for kind in (task for task in settings.tasks if task != "born"):
        say(f"{kind} ...")
        spectra[kind] = SPECTRA[kind](run, settings.spectra)
        files += write_spectrum(kind, spectra[kind], [folder / kind], _references(settings, kind))
        lines += ["", *describe_spectrum(spectra[kind])]
        facts[kind] = spectrum_facts(spectra[kind])
    if "born" in settings.tasks:
        say("born ...")
        files += _born(settings, run, folder, lines, facts)
    files += _overview(settings, run, spectra, folder)
    lines += ["", f"Files in {folder}/", *(f"  {path.relative_to(folder)}" for path in files)]
    return _close(folder, lines, facts, files)


def _close(folder: Path, lines: list[str], facts: dict[str, Any], files: list[Path]) -> Results:
    """Write the summaries."""
    from spectra_app.born import write_text
    from spectra_app.cli.console import to_json

    lines += [f"  {SUMMARY_FILE}", f"  {FACTS_FILE}"]
    summary = write_text(folder / SUMMARY_FILE, "\n".join(lines))
    numbers = write_text(folder / FACTS_FILE, to_json(facts))
    return Results(folder, tuple(lines), facts, (*files, summary, numbers))


def _dynamics(
    settings: RunFileSettings,
    atoms: Atoms,
    run_file: Path,
    say: Callable[[str], None],
    lines: list[str],
    overwrite: bool,
) -> dict[str, Any]:
    """Make the run file, continue it, or keep it."""
    from spectra_app.cli.md import describe, simulate
    from spectra_app.trajectory.checkpoint import checkpoint_path

    state = "absent" if overwrite else run_state(settings, atoms, run_file)
    if state == "complete":
        say(f"molecular dynamics: {run_file} is complete and kept")
        facts = _kept(run_file)
        lines += [
            f"{facts['n_steps']} recorded steps of {facts['timestep_fs']:g} fs, kept from an earlier call; "
            f"{facts['temperature_K']:.1f} K; {facts['ms_per_step']:.3g} ms per step"
        ]
        return facts
    restart = state == "interrupted" and checkpoint_path(run_file).is_file()
    if restart:
        say(f"molecular dynamics: continuing {run_file}")
    run_file.parent.mkdir(parents=True, exist_ok=True)
    result = simulate(settings.model, atoms, settings.md, run_file, restart=restart, overwrite=not restart)
    lines += describe(result)
    return {**vars(result), "path": str(result.path)}


def run_state(settings: RunFileSettings, atoms: Atoms, run_file: Path) -> str:
    """Whether a run file is "absent", "interrupted" or "complete" for these settings.

    Raises:
        TrajectoryError: it belongs to other settings, another model or other atoms.
    """
    from spectra_app.potentials.checkpoint import read_card
    from spectra_app.trajectory import read_run

    if not run_file.exists():
        return "absent"
    try:
        run = read_run(run_file)
    except TrajectoryError:
        # Stopped before the first block was written, or damaged: the checkpoint, if any, decides.
        return "interrupted"
    then = run.metadata["configuration"].get("md", {})
    now = settings.md.model_dump(mode="json")
    changed = [f"md.{key}: {then[key]} -> {now[key]}" for key in now if key in then and then[key] != now[key]]
    if run.metadata["model_hash"] != read_card(settings.model).hash:
        changed.append(f"model: {run.metadata['model_name']} -> {settings.model}")
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


def _kept(run_file: Path) -> dict[str, Any]:
    """The facts of a run that is not made again."""
    from spectra_app.trajectory import read_run

    run = read_run(run_file)
    timestep = float(run.metadata["timestep_fs"])
    return {
        "path": str(run_file),
        "n_steps": int(run.step[-1]),
        "n_frames": len(run.step),
        "n_atoms": len(run.numbers),
        "n_replicas": run.screening.shape[1],
        "timestep_fs": timestep,
        "ms_per_step": float(run.metadata["ms_per_step"]),
        "temperature_K": float(run.temperature_K.mean()),
        "device": run.metadata["device"],
    }


def _references(settings: RunFileSettings, kind: str) -> list[Curve]:
    """The reference spectrum of the recipe for a kind."""
    if kind not in settings.reference:
        return []
    from spectra_app.plotting.readers import read_curve

    return [read_curve(settings.reference[kind], is_reference=True)]


def _born(settings: RunFileSettings, run: Run, folder: Path, lines: list[str], facts: dict[str, Any]) -> list[Path]:
    """Born charges of the last configuration of the run (a liquid has no better one), first replica."""
    from ase import Atoms

    from spectra_app.born import born_json
    from spectra_app.born.charges import born_charges
    from spectra_app.cli.born import write_born
    from spectra_app.plotting.panels import figure_born
    from spectra_app.plotting.style import save_figure
    from spectra_app.potentials.checkpoint import load_model

    cell = run.cell_A if run.cell_A is None or run.cell_A.ndim == 2 else run.cell_A[-1, 0]
    atoms = Atoms(run.numbers, run.positions_A[-1, 0], cell=cell, pbc=run.periodic)
    potential = load_model(settings.model, device=settings.md.device, dtype="float64", eps_inf=settings.md.eps_inf)
    report = born_charges(potential, atoms)
    for element in report.elements:
        lines += [""] if element is report.elements[0] else []
        lines += [
            f"Born charge {element.symbol}: {element.mean_e:+.3f} e (spread {element.std_e:.3f}, {element.count} atoms)"
        ]
    lines += [f"  sum rule: largest violation {report.sum_rule_max_e:.1e} e"]
    facts["born"] = born_json(report)
    written = [write_born(report, folder / f"born{suffix}") for suffix in (".csv", ".json", ".txt")]
    return [*written, *save_figure(figure_born(report), folder / "born.png", formats=("pdf",))]


def _overview(settings: RunFileSettings, run: Run, spectra: dict[str, Spectrum], folder: Path) -> list[Path]:
    """One page with every spectrum, and temperature and energy of the run."""
    import numpy as np

    from spectra_app.plotting.curves import WATER_BANDS
    from spectra_app.plotting.overview import figure_overview
    from spectra_app.plotting.panels import RunTrace
    from spectra_app.plotting.results import curve_from_spectrum, raman_curves, vdos_curves
    from spectra_app.plotting.style import save_figure

    energy = run.energy_eV if run.conserved_eV is None else run.conserved_eV
    shift = 1e3 * (energy - energy[0]).mean(axis=1) / len(run.numbers)
    trace = RunTrace(
        run.time_fs / 1000.0,
        run.temperature_K.mean(axis=1),
        shift,
        "conserved energy" if run.conserved_eV is not None else "potential energy",
        settings.md.temperature_K,
    )
    is_water = sorted(set(run.numbers.tolist())) == [1, 8] and np.sum(run.numbers == 1) == 2 * np.sum(run.numbers == 8)
    figure = figure_overview(
        infrared=[curve_from_spectrum(spectra["ir"]), *_references(settings, "ir")] if "ir" in spectra else (),
        raman=[*raman_curves(spectra["raman"])[0], *_references(settings, "raman")] if "raman" in spectra else (),
        vdos=vdos_curves(spectra["vdos"]) if "vdos" in spectra else (),
        trace=trace,
        bands=WATER_BANDS if is_water and run.periodic else None,
    )
    return list(save_figure(figure, folder / "overview.png", formats=("pdf",)))


def _formula(atoms: Atoms) -> str:
    where = "periodic" if atoms.pbc.all() else "isolated"
    return f"{atoms.get_chemical_formula()}, {len(atoms)} atoms, {where}"
