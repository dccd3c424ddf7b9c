"""``spectra-app record``: dipoles and polarizabilities along an existing trajectory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from spectra_app.cli import options
from spectra_app.cli.console import print_json, say
from spectra_app.cli.describe import say_extrapolation
from spectra_app.cli.model_options import CalculatorOptions, takes_calculators
from spectra_app.cli.stopping import stoppable_bar
from spectra_app.config import MDSettings


@takes_calculators
def record(
    trajectory: Annotated[
        Path,
        typer.Argument(
            help="extxyz, LAMMPS dump, XTC, TRR, DCD, NetCDF, XDATCAR, CP2K -pos-1.xyz, H5MD, ... (ASE or MDAnalysis)"
        ),
    ],
    model: options.ModelName,
    calculator: CalculatorOptions,
    output: Annotated[Path, typer.Option("--output", "-o", help="run file (HDF5)")] = Path("run.h5"),
    topology: options.TrajectoryTopology = None,
    timestep_fs: options.TrajectoryTimestepFs = None,
    species: options.TrajectorySpecies = None,
    lammps_units: options.LammpsUnits = None,
    temperature_K: Annotated[
        float | None,
        typer.Option("--temperature-K", help="temperature of the simulation, K  [default: of the velocities]"),
    ] = None,
    charge: Annotated[float, typer.Option("--charge", help="total charge, e")] = 0.0,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", help="frames per call of the model  [default: 8, of a calculator 1]", show_default=False
        ),
    ] = None,
    positions: Annotated[
        bool,
        typer.Option("--positions/--no-positions", help="also store unwrapped positions and velocities (for vdos)"),
    ] = True,
    parts: options.PartsLevel = None,
    eps_inf: options.EpsInf = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    restart: Annotated[bool, typer.Option("--restart", help="continue after the last checkpoint")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing run file")] = False,
    max_minutes: options.MaxMinutes = None,
    json: options.Json = False,
) -> None:
    """Evaluate a model along a trajectory of any code.

    The run file then serves ir, raman, vdos and dielectric. Ctrl-C saves everything; --restart goes on from there.
    So do SIGTERM, SIGUSR1 and --max-minutes, with exit code 75: submit again.
    """
    from spectra_app.dynamics import Progress
    from spectra_app.jobs.annotate import record_trajectory
    from spectra_app.jobs.opened_model import opened_model

    level = options.settings_from_options(MDSettings, "record", {"parts": parts}, ()).parts
    potential = opened_model(calculator.choice(model), device, options.float_type(dtype), eps_inf, say)
    with stoppable_bar("recording", "--restart") as bar:

        def show(progress: Progress) -> None:
            bar.update(progress.step, progress.total_steps, f"{progress.ms_per_step:.3g} ms/frame")

        result = record_trajectory(
            trajectory,
            potential,
            output,
            topology=topology,
            timestep_fs=timestep_fs,
            species=options.words(species),
            lammps_units=lammps_units,
            temperature_K=temperature_K,
            charge=charge,
            batch_size=batch_size,
            store_trajectory=positions,
            parts=level,
            restart=restart,
            overwrite=overwrite,
            progress=show,
            max_minutes=max_minutes,
        )
    if json:
        print_json(asdict(result))
    else:
        left_out = f"; {result.left_out}" if result.left_out else ""
        print(f"{result.n_frames} frames of {result.n_atoms} atoms, {result.timestep_fs:g} fs apart{left_out}")
        print(f"{result.ms_per_frame:.3g} ms per frame on {result.device}; run file {result.path}")
    say_extrapolation(result.extrapolation, model)
