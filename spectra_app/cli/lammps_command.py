"""``spectra-app lammps``: an input file of LAMMPS with our potential behind its fix external."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from spectra_app.cli import options
from spectra_app.cli.console import print_json
from spectra_app.errors import ConfigError


def lammps(
    input_file: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="of LAMMPS, units metal or real, with a line 'fix ID all external pf/callback 1 1'"
        ),
    ],
    model: options.ModelName,
    elements: Annotated[
        str | None,
        typer.Option("--elements", help="elements of types 1, 2, ...: e.g. O,H  [default: told by the masses]"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="run file (HDF5) for ir, raman, vdos  [default: none]")
    ] = None,
    record_stride: Annotated[int, typer.Option("--record-stride", help="steps between recorded dipoles")] = 1,
    record_from: Annotated[
        int, typer.Option("--record-from", help="step of LAMMPS before which nothing is recorded")
    ] = 0,
    positions: Annotated[
        bool, typer.Option("--positions/--no-positions", help="also store unwrapped positions and velocities (vdos)")
    ] = True,
    temperature_K: Annotated[
        float | None,
        typer.Option("--temperature-K", help="temperature of the simulation, K  [default: of the velocities]"),
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--variable", "-v", help="NAME=VALUE, a variable of the input; repeatable")
    ] = None,
    log: Annotated[str, typer.Option("--log", help="log file of LAMMPS, or none")] = "log.lammps",
    screen: Annotated[bool, typer.Option("--screen/--no-screen", help="what LAMMPS prints")] = True,
    charge: Annotated[float, typer.Option("--charge", help="total charge, e")] = 0.0,
    eps_inf: options.EpsInf = None,
    engine: Annotated[str, typer.Option("--engine", help="auto, eager or compiled")] = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing run file")] = False,
    max_minutes: options.MaxMinutes = None,
    json: options.Json = False,
) -> None:
    """Run LAMMPS with a model as its potential; record dipoles and polarizabilities.

    Energy, forces and virial are the model's; integrators, thermostats, barostats and dumps are LAMMPS's own.
    Frames of dynamics are recorded, none of a minimization. mpiexec works and is exact: every rank sees all atoms.
    """
    from spectra_app.couplings.lammps import LammpsRecording, run_lammps
    from spectra_app.couplings.lammps_input import read_input
    from spectra_app.potentials.folder import load_model

    pairs = {name: value for name, _, value in (word.partition("=") for word in variables or [])}
    if not all(name and value for name, value in pairs.items()):
        raise ConfigError("--variable", got=" ".join(variables or []), wanted="NAME=VALUE")
    read_input(input_file)  # refused before the model is loaded
    result = run_lammps(
        input_file,
        load_model(model, device=device, dtype=options.float_type(dtype), eps_inf=eps_inf),
        elements=options.words(elements),
        recording=LammpsRecording(output, record_stride, record_from, positions, temperature_K, overwrite),
        charge=charge,
        engine=engine,
        variables=pairs,
        arguments=["-log", log, *([] if screen else ["-screen", "none"])],
        max_minutes=max_minutes,
    )
    if result.rank > 0:
        return
    if json:
        print_json(asdict(result))
        return
    print(
        f"{result.n_evaluations} evaluations of {result.n_atoms} atoms, {result.ms_per_evaluation:.3g} ms each "
        f"({result.engine}); units {result.units}"
    )
    if result.path is not None:
        print(f"{result.n_frames} frames in {result.path}")
