"""``spectra-app ir | raman | vdos | dielectric``: from a run file or a plain table to a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectra_app.cli import options
from spectra_app.cli.console import list_files, print_json, say
from spectra_app.cli.tables import TableOptions, is_run, takes_table
from spectra_app.config import SpectraSettings

if TYPE_CHECKING:
    from spectra_app.jobs.spectrum import Kind
    from spectra_app.spectra import Spectrum

MotionInput = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="run file; or, without any model, a trajectory: TRR, NetCDF, LAMMPS dump, extxyz, XDATCAR, XTC, DCD, CP2K "
        "or H5MD",
    ),
]
DipoleInput = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="run file; or dipoles of GPUMD, CP2K, LAMMPS, i-PI; or a table (CSV, text, NPY, NPZ, HDF5)",
    ),
]
AlphaInput = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="run file; or polarizabilities of GPUMD, CP2K, TRAVIS; or a table (CSV, text, NPY, NPZ, HDF5: nine "
        "columns xx xy xz yx ... or six xx yy zz yz xz xy)",
    ),
]
References = Annotated[
    list[Path] | None, typer.Option("--reference", "-r", help="measured or computed spectrum to draw; repeatable")
]


@options.takes_spectra_settings("ir")
@takes_table("dipole")
def ir(
    source: DipoleInput,
    settings: SpectraSettings,
    table: TableOptions,
    output: options.Output = None,
    reference: References = None,
    json: options.Json = False,
) -> None:
    """Infrared spectrum in absolute units.

    Absorption coefficient times refractive index of a cell (cm^-1), with eps_inf also n, k, absorption, reflectivity,
    with the number of molecules molar quantities; intensity of an isolated molecule (km/mol).
    """
    finish("ir", _spectrum("ir", source, settings, table), source, output, reference, json)


@options.takes_spectra_settings("raman")
@takes_table("polarizability")
def raman(
    source: AlphaInput,
    settings: SpectraSettings,
    table: TableOptions,
    output: options.Output = None,
    reference: References = None,
    json: options.Json = False,
) -> None:
    """Raman spectrum and depolarization ratio.

    Unpolarized, VV, VH, isotropic and anisotropic parts; any geometry in Porto notation, as the sample lies.
    """
    finish("raman", _spectrum("raman", source, settings, table), source, output, reference, json)


@options.takes_spectra_settings("vdos")
def vdos(
    source: MotionInput,
    settings: SpectraSettings,
    output: options.Output = None,
    topology: options.TrajectoryTopology = None,
    timestep_fs: options.TrajectoryTimestepFs = None,
    species: options.TrajectorySpecies = None,
    lammps_units: options.LammpsUnits = None,
    reference: References = None,
    json: options.Json = False,
) -> None:
    """Vibrational density of states, per element.

    It integrates to the number of degrees of freedom.
    """
    from spectra_app.jobs import run_spectrum
    from spectra_app.runs import is_run_file

    if source.is_file() and not is_run_file(source):
        from spectra_app.jobs.trajectory_vdos import vdos_of_trajectory

        found, notes = vdos_of_trajectory(
            source,
            settings,
            topology=topology,
            timestep_fs=timestep_fs,
            species=options.words(species),
            lammps_units=lammps_units,
        )
        for note in notes:
            say(f"{source}: {note}")
        finish("vdos", found, source, output, reference, json)
        return
    options.refuse_for_run_file(
        source, topology=topology, timestep_fs=timestep_fs, species=species, lammps_units=lammps_units
    )
    finish("vdos", run_spectrum(source, "vdos", settings), source, output, reference, json)


@options.takes_spectra_settings("dielectric")
@takes_table("dipole")
def dielectric(
    source: DipoleInput,
    settings: SpectraSettings,
    table: TableOptions,
    output: options.Output = None,
    reference: References = None,
    json: options.Json = False,
) -> None:
    """Complex dielectric function of a periodic cell.

    The full tensor and its trace/3, and the static dielectric constant with its error.
    """
    finish("dielectric", _spectrum("dielectric", source, settings, table), source, output, reference, json)


def _spectrum(kind: Kind, source: Path, settings: SpectraSettings, table: TableOptions) -> Spectrum:
    from spectra_app.jobs import run_spectrum, series_spectrum

    if is_run(source):
        return run_spectrum(source, kind, settings)
    return series_spectrum(source, kind, settings, request=table.request(), say=say)


def finish(
    kind: str,
    spectrum: Spectrum,
    source: Path,
    output: Sequence[Path] | None,
    reference: Sequence[Path] | None,
    json: bool,
) -> None:
    """Write the files, say what was found."""
    from spectra_app.cli.describe import describe_spectrum, spectrum_facts
    from spectra_app.plotting.outputs import compare_with_references, write_spectrum

    references = []
    if reference:
        from spectra_app.plotting import read_references

        references = read_references(reference)
    comparisons = compare_with_references(spectrum, references)
    outputs = list(output) if output else [Path(f"{source.stem}_{kind}")]
    files = write_spectrum(kind, spectrum, outputs, references, comparisons=comparisons)
    if json:
        print_json({**spectrum_facts(spectrum, comparisons), "files": files})
        return
    print("\n".join(describe_spectrum(spectrum, comparisons)))
    say("Files:")
    list_files(files)
