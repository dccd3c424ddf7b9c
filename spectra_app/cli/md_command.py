"""``spectra-app md``: molecular dynamics that records dipoles and polarizabilities."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectra_app.cli import options
from spectra_app.cli.console import print_json, say, warn
from spectra_app.cli.describe import say_extrapolation
from spectra_app.cli.model_options import CalculatorOptions, takes_calculators
from spectra_app.cli.stopping import stoppable_bar
from spectra_app.config import MDSettings, ModelChoice

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.jobs.simulation_result import SimulationResult


@takes_calculators
def md(
    structure: Annotated[
        list[Path],
        typer.Argument(
            help="start structure in any format of ASE (FILE@INDEX for one frame); several, of any size, or FILE@: for "
            "all frames: one for each replica"
        ),
    ],
    model: options.ModelName,
    calculator: CalculatorOptions,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="run file (HDF5); where replicas differ in atoms, cell or temperature: several, run_0.h5, "
            "run_300K.h5, ..., or a folder of them",
        ),
    ] = Path("run.h5"),
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file with these settings, bare or under 'md:'")
    ] = None,
    ensemble: options.Ensemble = None,
    thermostat: options.Thermostat = None,
    timestep_fs: options.TimestepFs = None,
    temperature_K: options.TemperatureK = None,
    pressure_GPa: options.PressureGPa = None,
    cell: options.CellShape = None,
    thermostat_time_fs: options.ThermostatTimeFs = None,
    barostat_time_fs: options.BarostatTimeFs = None,
    compressibility_per_GPa: options.CompressibilityPerGPa = None,
    equilibration: options.Equilibration = None,
    equilibration_steps: options.EquilibrationSteps = None,
    equilibration_max_steps: options.EquilibrationMaxSteps = None,
    steps: options.Steps = None,
    replicas: options.Replicas = None,
    record_stride: options.RecordStride = None,
    trajectory_stride: options.TrajectoryStride = None,
    parts: options.PartsLevel = None,
    skin_A: options.SkinA = None,
    field_V_per_A: options.FieldVPerA = None,
    field_table: options.FieldTable = None,
    seed: options.Seed = None,
    engine: options.Engine = None,
    processes: options.Processes = None,
    device: options.MDDevice = None,
    dtype: options.MDDtype = None,
    eps_inf: options.EpsInf = None,
    repeat: Annotated[
        tuple[int, int, int], typer.Option("--repeat", metavar="A B C", help="repetitions along the cell vectors")
    ] = (1, 1, 1),
    restart: Annotated[
        bool, typer.Option("--restart", help="continue an interrupted run, or one that is to have more --steps")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing run file")] = False,
    max_minutes: options.MaxMinutes = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Molecular dynamics: equilibrate, then record.

    Ctrl-C saves everything; --restart goes on from there.
    A replica that goes wrong stops alone; the others run on, and only where none is left the command fails.
    So do SIGTERM, SIGUSR1 and --max-minutes, with exit code 75: submit again.
    """
    given = dict(locals())
    settings = options.settings_from_options(MDSettings, "md", given, overrides or (), config)
    from spectra_app.jobs.structures import read_structures

    atoms, choice = read_structures(structure, repeat), calculator.choice(model)
    result = simulate(choice, atoms, settings, output, restart=restart, overwrite=overwrite, max_minutes=max_minutes)
    if json:
        print_json(asdict(result))
    else:
        print("\n".join(describe(result)))
    for sentence in failures_of(result):
        warn(sentence)
    say_extrapolation(result.extrapolation, model)


def simulate(
    model: str | ModelChoice,
    atoms: Atoms | Sequence[Atoms],
    settings: MDSettings,
    output: Path,
    *,
    restart: bool = False,
    overwrite: bool = False,
    max_minutes: float | None = None,
    say: Callable[[str], None] = say,
) -> SimulationResult:
    """Molecular dynamics with a progress bar; Ctrl-C says how to go on.

    Args:
        model: name in the zoo or folder, or a choice of one or two models.
        atoms: start structure; several: one for each replica.
        settings: of the run.
        output: run file.
        restart: continue from the checkpoint beside the run file.
        overwrite: replace an existing run file.
        max_minutes: wall time after which everything is saved and the run stopped, min.
        say: told what was imported for a calculator.

    Raises:
        Exit: stopped, with the exit code of ``StoppedError``.
    """
    from spectra_app import jobs
    from spectra_app.dynamics import Progress

    with stoppable_bar("equilibration", "--restart") as bar:

        def show(progress: Progress) -> None:
            note = f"{progress.temperature_K:.0f} K  {progress.ms_per_step:.3g} ms/step"
            bar.update(progress.step, progress.total_steps, note, progress.phase)

        return jobs.simulate(
            model,
            atoms,
            settings,
            output,
            restart=restart,
            overwrite=overwrite,
            progress=show,
            max_minutes=max_minutes,
            say=say,
        )


def failures_of(result: SimulationResult) -> list[str]:
    """One sentence for each replica that went wrong while others ran on."""
    return [
        f"{replica} ({result.n_replicas} in all) went wrong near step {step} (equilibration included) and was left "
        f"behind: {reason}. Its record up to there is kept; spectra are made of the others"
        for replica, step, reason in result.failures
    ]


def describe(result: SimulationResult) -> list[str]:
    """A run in a few lines for a person."""
    copies = f", {result.n_replicas} replicas" if result.n_replicas > 1 else ""
    duration = result.n_steps * result.timestep_fs / 1000.0
    several = len(result.files) > 1
    atoms = f"{min(file.n_atoms for file in result.files)} to {max(file.n_atoms for file in result.files)}"
    again = "" if result.restarted_at_step is None else f", continued at step {result.restarted_at_step}"
    lines = [] if result.equilibration is None else [result.equilibration.sentence]
    lines += [
        f"{result.n_steps} recorded steps of {result.timestep_fs:g} fs ({duration:.4g} ps); "
        f"{atoms if several else result.n_atoms} atoms{copies}",
        f"{result.ms_per_step:.3g} ms per step on {result.device} ({result.engine}); {result.temperature_K:.1f} K; "
        f"energy drift {result.energy_drift_meV_per_atom_per_ps:.2g} meV/atom/ps",
    ]
    for before, now in itertools.pairwise(result.made_by):
        drawn = ", with new random numbers from seed and step" if now.reseeded else ""
        lines.append(
            f"up to step {now.from_step} (equilibration included) on {before.device} ({before.engine}), then on "
            f"{now.device} ({now.engine}){drawn}"
        )
    if not several:
        return [*lines, f"{result.n_frames} frames in {result.path}{again}"]
    lines.append(f"{result.n_frames} frames{again}:")
    return lines + [
        f"  {file.path}: {file.n_atoms} atoms, {file.n_replicas} replica{'s' if file.n_replicas > 1 else ''}, "
        f"{file.temperature_K:.1f} K"
        for file in result.files
    ]
