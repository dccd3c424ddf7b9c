"""``spectra-app born``: the Born charge tensors of a structure."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from spectra_app.cli import options
from spectra_app.cli.console import list_files, print_json, say
from spectra_app.cli.describe import say_extrapolation
from spectra_app.cli.model_options import CalculatorOptions, takes_calculators
from spectra_app.errors import StructureError

LABEL = "born_charges"  # per-atom array of nine reference numbers in the structure file


@takes_calculators
def born(
    structure: Annotated[
        Path,
        typer.Argument(
            help="structure in any format of ASE (FILE@INDEX for one frame), or a run file: the mean of its frames"
        ),
    ],
    model: options.ModelName,
    calculator: CalculatorOptions,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="file by its suffix: .csv .json .txt (the report) .vasp .qe .png .pdf .svg; 'BORN' for phonopy; "
            "repeatable",
        ),
    ] = None,
    symmetrize: Annotated[
        bool, typer.Option("--symmetrize", help="also average over the space group (needs the extra 'phonopy')")
    ] = False,
    tolerance_A: Annotated[float, typer.Option("--tolerance-A", help="tolerance of the space group, A")] = 1e-3,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference", help=f"structure file with an array '{LABEL}'; default: STRUCTURE where it has one"
        ),
    ] = None,
    frames: Annotated[int, typer.Option("--frames", min=1, help="configurations of a run file, evenly chosen")] = 20,
    eps_inf: options.EpsInf = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "float64",
    json: options.Json = False,
) -> None:
    """Born charge tensors of a structure, or their thermal mean along a run.

    Per atom, element and crystallographic site, eigenvalues, sum rule, comparison with reference labels.
    """
    from spectra_app.born import born_charges
    from spectra_app.jobs.born_of_run import last_configuration, mean_born, write_born
    from spectra_app.jobs.extrapolation import extrapolation
    from spectra_app.jobs.opened_model import opened_model
    from spectra_app.jobs.structures import read_structure
    from spectra_app.runs import read_run
    from spectra_app.runs.opening import is_run_file

    run = read_run(structure) if is_run_file(structure) else None
    if run is not None and (symmetrize or reference is not None):
        raise StructureError(
            f"--symmetrize and --reference of run file {structure}", got="a mean over frames", wanted="one structure"
        )
    atoms = read_structure(structure) if run is None else last_configuration(run)
    labelled = atoms if reference is None else read_structure(reference)
    if reference is not None and LABEL not in labelled.arrays:
        raise StructureError(f"reference {reference}", got=f"no array '{LABEL}'", wanted="nine numbers for each atom")
    potential = opened_model(calculator.choice(model), device, options.float_type(dtype), eps_inf, say)
    outside = extrapolation(potential, atoms)
    if run is not None:
        report = mean_born(run, potential, frames)
    else:
        report = born_charges(
            potential, atoms, reference=labelled.arrays.get(LABEL), symmetrize=symmetrize, tolerance_A=tolerance_A
        )
    files = [write_born(report, path) for path in output or ()]
    if json:
        from spectra_app.born import born_json

        print_json({**born_json(report), "extrapolation": None if outside is None else asdict(outside)})
    else:
        from rich.console import Console

        from spectra_app.born import render_born_report

        Console().print(render_born_report(report))
    say_extrapolation(outside, model)
    if files:
        say("Files:")
        list_files(files)
