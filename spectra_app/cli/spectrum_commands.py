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
from spectra_app.errors import SeriesError

if TYPE_CHECKING:
    from spectra_app.jobs.spectrum import Kind
    from spectra_app.spectra import Spectrum

_RUNS = "run file, or several of one system, to be merged"

MotionInput = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help=f"{_RUNS}; or, without any model, a trajectory: TRR, NetCDF, LAMMPS dump, extxyz, XDATCAR, XTC, DCD, "
        "CP2K or H5MD",
    ),
]
DipoleInput = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help=f"{_RUNS}; or dipoles of GPUMD, CP2K, LAMMPS, i-PI; or a table (CSV, text, NPY, NPZ, HDF5)",
    ),
]
AlphaInput = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help=f"{_RUNS}; or polarizabilities of GPUMD, CP2K, TRAVIS; or a table (CSV, text, NPY, NPZ, HDF5: nine "
        "columns xx xy xz yx ... or six xx yy zz yz xz xy)",
    ),
]
References = Annotated[
    list[Path] | None, typer.Option("--reference", "-r", help="measured or computed spectrum to draw; repeatable")
]


@options.takes_spectra_settings("ir")
@takes_table("dipole")
def ir(
    sources: DipoleInput,
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
    finish("ir", _spectrum("ir", sources, settings, table), sources[0], output, reference, json)


@options.takes_spectra_settings("raman")
@takes_table("polarizability")
def raman(
    sources: AlphaInput,
    settings: SpectraSettings,
    table: TableOptions,
    output: options.Output = None,
    reference: References = None,
    json: options.Json = False,
) -> None:
    """Raman spectrum and depolarization ratio.

    Unpolarized, VV, VH, isotropic and anisotropic parts; any geometry in Porto notation, as the sample lies.
    """
    finish("raman", _spectrum("raman", sources, settings, table), sources[0], output, reference, json)


@options.takes_spectra_settings("vdos")
def vdos(
    sources: MotionInput,
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

    source = sources[0]
    if any(path.is_file() and not is_run_file(path) for path in sources):
        _refuse_several(sources)
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
    finish("vdos", run_spectrum(sources, "vdos", settings), source, output, reference, json)


@options.takes_spectra_settings("dielectric")
@takes_table("dipole")
def dielectric(
    sources: DipoleInput,
    settings: SpectraSettings,
    table: TableOptions,
    output: options.Output = None,
    reference: References = None,
    json: options.Json = False,
) -> None:
    """Complex dielectric function of a periodic cell.

    The full tensor and its trace/3, and the static dielectric constant with its error.
    """
    finish("dielectric", _spectrum("dielectric", sources, settings, table), sources[0], output, reference, json)


def _spectrum(kind: Kind, sources: Sequence[Path], settings: SpectraSettings, table: TableOptions) -> Spectrum:
    from spectra_app.jobs import run_spectrum, series_spectrum

    if all(is_run(source) for source in sources):
        return run_spectrum(sources, kind, settings)
    _refuse_several(sources)
    return series_spectrum(sources[0], kind, settings, request=table.request(), say=say)


def _refuse_several(sources: Sequence[Path]) -> None:
    """Refuse files of other programs beside others.

    Raises:
        SeriesError: more than one file, not all of them run files.
    """
    if len(sources) > 1:
        other = next(source for source in sources if not is_run(source))
        raise SeriesError(
            f"merging {len(sources)} files, {other}",
            got="no run file",
            wanted="run files of md or record",
            todo="Series of other programs: one [frame, replica, ...] array in Python (infrared_spectrum)",
        )


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
