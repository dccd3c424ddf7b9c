"""The run of a recipe: where it begins, and whether it is made, continued, kept or merged from others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra_app.config import ModelChoice, RunFileSettings
from spectra_app.errors import ConfigError, TrajectoryError
from spectra_app.jobs.spectrum import opened
from spectra_app.jobs.structures import start_structure
from spectra_app.jobs.summary import RUN_FILE
from spectra_app.runs import Run, read_run

if TYPE_CHECKING:
    from ase import Atoms


def begin_of(settings: RunFileSettings) -> Atoms:
    """Where the dynamics of a recipe begins.

    Args:
        settings: the recipe.

    Raises:
        ConfigError: several temperatures.
    """
    if len(settings.md.temperatures_K) > 1:
        raise ConfigError(
            "md.temperature_K of a recipe",
            got=f"{len(settings.md.temperatures_K)} temperatures",
            wanted="one, as its spectra have",
            todo="Run the recipe once for each (-s output=FOLDER), or spectra-app md and the spectra of each run file",
        )
    return start_structure(settings.model, settings.structure, settings.repeat)


def merged_runs(settings: RunFileSettings, choice: ModelChoice) -> Run:
    """The runs that a recipe names, as one.

    Args:
        settings: the recipe.
        choice: its model.

    Raises:
        TrajectoryError: they do not belong together.
        ConfigError: they are of another model than the recipe.
    """
    from spectra_app.couplings.open_model import read_card

    run = opened(list(settings.runs))
    if run.metadata["model_hash"] != read_card(choice, settings.md.eps_inf).hash:
        raise ConfigError(
            "model of the recipe", got=str(choice), wanted=f"'{run.metadata['model_name']}', that of {run.path}"
        )
    return run


def make_run(
    settings: RunFileSettings,
    choice: ModelChoice,
    atoms: Atoms,
    say: Callable[[str], None],
    overwrite: bool,
    dynamics: Callable[..., Any],
) -> None:
    """Make the run file of a recipe, continue it, or keep it.

    Args:
        settings: the recipe.
        choice: its model.
        atoms: start structure.
        say: told which of these it is.
        overwrite: replace a run of other settings.
        dynamics: called as ``jobs.simulate`` is.

    Raises:
        TrajectoryError: a run of other settings is there.
        StoppedError: a signal, or the time is over.
    """
    run_file = settings.output / RUN_FILE
    state = "absent" if overwrite else run_state(settings, atoms, run_file, choice)
    if state == "complete":
        say(f"molecular dynamics: {run_file} is complete and kept")
        return
    if state == "interrupted":
        say(f"molecular dynamics: continuing {run_file}")
    run_file.parent.mkdir(parents=True, exist_ok=True)
    restart = state == "interrupted"
    dynamics(choice, atoms, settings.md, run_file, restart=restart, overwrite=overwrite, say=say)


def run_state(settings: RunFileSettings, atoms: Atoms, run_file: Path, choice: ModelChoice) -> str:
    """Whether a run file is "absent", "interrupted" or "complete" for these settings.

    Args:
        settings: of the recipe.
        atoms: start structure.
        run_file: that may be there.
        choice: its model.

    Raises:
        TrajectoryError: it belongs to other settings, another model or other atoms; or is damaged.
    """
    from spectra_app.couplings.open_model import read_card
    from spectra_app.dynamics import read_field_table
    from spectra_app.runs.restart_file import checkpoint_path, is_begun

    if not run_file.exists():
        return "absent"
    try:
        run = read_run(run_file)
    except TrajectoryError:
        if checkpoint_path(run_file).is_file() or not is_begun(run_file):  # stopped before the first block was written
            return "interrupted"
        raise
    then = run.metadata["configuration"].get("md", {})
    now = settings.md.model_dump(mode="json")
    changed = [f"md.{key}: {then[key]} -> {now[key]}" for key in now if key in then and then[key] != now[key]]
    if run.metadata["model_hash"] != read_card(choice, settings.md.eps_inf).hash:
        changed.append(f"model: {run.metadata['model_name']} -> {choice}")
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
