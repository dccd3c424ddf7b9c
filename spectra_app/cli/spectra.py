"""``spectra-app ir | raman | vdos | dielectric``: from a run file or a plain table to a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spectra_app.cli import options
from spectra_app.cli.console import list_files, print_json, say
from spectra_app.cli.tables import InputOptions, needed, open_input
from spectra_app.config import SpectraSettings

if TYPE_CHECKING:
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
DipoleUnit = Annotated[
    str | None, typer.Option("--unit", help="unit, where the file does not say it: eA, D (debye), au (e bohr)")
]
AlphaUnit = Annotated[
    str | None, typer.Option("--unit", help="unit, where the file does not say it: e2A2/eV, A3, au (bohr^3), epm2/V")
]
References = Annotated[
    list[Path] | None, typer.Option("--reference", "-r", help="measured or computed spectrum to draw; repeatable")
]


def ir(
    source: DipoleInput,
    output: options.Output = None,
    resolution_per_cm: options.Resolution = None,
    window: options.Window = None,
    max_wavenumber_per_cm: options.MaxWavenumber = None,
    temperature_K: options.SpectrumTemperatureK = None,
    eps_inf: options.SpectrumEpsInf = None,
    blocks: options.Blocks = None,
    method: options.Method = None,
    precision: options.Precision = None,
    quantum_factor: options.QuantumFactor = None,
    n_molecules: options.NMolecules = None,
    timestep_fs: options.TableTimestepFs = None,
    unit: DipoleUnit = None,
    volume_A3: options.TableVolumeA3 = None,
    cell_A: options.TableCell = None,
    unwrap: options.TableUnwrap = False,
    columns: options.TableColumns = None,
    key: options.TableKey = None,
    format: options.TableFormat = None,
    reference: References = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Infrared spectrum in absolute units.

    Absorption coefficient times refractive index of a cell (cm^-1), with eps_inf also n, k, absorption, reflectivity,
    with the number of molecules molar quantities; intensity of an isolated molecule (km/mol).
    """
    settings = options.settings_from_options(SpectraSettings, "spectra", locals(), overrides or ())
    given = InputOptions(format, unit, timestep_fs, columns, key, unwrap, cell_A, volume_A3)
    spectrum = _dipole_spectrum("ir", source, settings, given)
    finish("ir", spectrum, source, output, reference, json)


def raman(
    source: AlphaInput,
    output: options.Output = None,
    laser_nm: options.LaserNm = None,
    resolution_per_cm: options.Resolution = None,
    window: options.Window = None,
    max_wavenumber_per_cm: options.MaxWavenumber = None,
    temperature_K: options.SpectrumTemperatureK = None,
    blocks: options.Blocks = None,
    method: options.Method = None,
    precision: options.Precision = None,
    prefactor: options.Prefactor = None,
    geometries: options.Geometries = None,
    timestep_fs: options.TableTimestepFs = None,
    unit: AlphaUnit = None,
    columns: options.TableColumns = None,
    key: options.TableKey = None,
    format: options.TableFormat = None,
    reference: References = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Raman spectrum and depolarization ratio.

    Unpolarized, VV, VH, isotropic and anisotropic parts; any geometry in Porto notation, as the sample lies.
    """
    settings = options.settings_from_options(SpectraSettings, "spectra", locals(), overrides or ())
    series = open_input(source, "polarizability", InputOptions(format, unit, timestep_fs, columns, key), settings)
    if series is None:
        spectrum = _run_spectrum("raman", source, settings)
    else:
        from spectra_app.spectra import raman_spectrum

        spectrum = raman_spectrum(
            series.values,
            timestep_fs=series.timestep_fs,
            temperature_K=needed(series.temperature_K, "--temperature-K", source, "300"),
            laser_nm=settings.laser_nm,
            prefactor=settings.prefactor,
            geometries=settings.geometries,
            settings=settings,
        )
    finish("raman", spectrum, source, output, reference, json)


def vdos(
    source: MotionInput,
    output: options.Output = None,
    resolution_per_cm: options.Resolution = None,
    window: options.Window = None,
    max_wavenumber_per_cm: options.MaxWavenumber = None,
    blocks: options.Blocks = None,
    method: options.Method = None,
    precision: options.Precision = None,
    topology: options.TrajectoryTopology = None,
    timestep_fs: options.TrajectoryTimestepFs = None,
    species: options.TrajectorySpecies = None,
    lammps_units: options.LammpsUnits = None,
    reference: References = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Vibrational density of states, per element.

    It integrates to the number of degrees of freedom.
    """
    settings = options.settings_from_options(SpectraSettings, "spectra", locals(), overrides or ())
    from spectra_app.cli.compute import vdos_of_file
    from spectra_app.series.run_file import is_long_run, is_run_file

    if source.is_file() and not is_run_file(source):
        from spectra_app.series.trajectory_velocities import vdos_of_trajectory

        found, notes = vdos_of_trajectory(
            source, settings, topology=topology, timestep_fs=timestep_fs,
            species=options.words(species), lammps_units=lammps_units,
        )  # fmt: skip
        for note in notes:
            say(f"{source}: {note}")
        finish("vdos", found, source, output, reference, json)
        return
    options.refuse_for_run_file(source, topology=topology, timestep_fs=timestep_fs, species=species,
                                lammps_units=lammps_units)  # fmt: skip
    # A long run's other recorded series alone would be gigabytes.
    spectrum = vdos_of_file(source, settings) if is_long_run(source) else _run_spectrum("vdos", source, settings)
    finish("vdos", spectrum, source, output, reference, json)


def dielectric(
    source: DipoleInput,
    output: options.Output = None,
    resolution_per_cm: options.Resolution = None,
    window: options.Window = None,
    max_wavenumber_per_cm: options.MaxWavenumber = None,
    temperature_K: options.SpectrumTemperatureK = None,
    eps_inf: options.SpectrumEpsInf = None,
    blocks: options.Blocks = None,
    method: options.Method = None,
    precision: options.Precision = None,
    timestep_fs: options.TableTimestepFs = None,
    unit: DipoleUnit = None,
    volume_A3: options.TableVolumeA3 = None,
    cell_A: options.TableCell = None,
    unwrap: options.TableUnwrap = False,
    columns: options.TableColumns = None,
    key: options.TableKey = None,
    format: options.TableFormat = None,
    reference: References = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Complex dielectric function of a periodic cell.

    The full tensor and its trace/3, and the static dielectric constant with its error.
    """
    settings = options.settings_from_options(SpectraSettings, "spectra", locals(), overrides or ())
    given = InputOptions(format, unit, timestep_fs, columns, key, unwrap, cell_A, volume_A3)
    spectrum = _dipole_spectrum("dielectric", source, settings, given)
    finish("dielectric", spectrum, source, output, reference, json)


def _run_spectrum(kind: str, source: Path, settings: SpectraSettings) -> Spectrum:
    from spectra_app.cli.compute import spectrum_of_run
    from spectra_app.trajectory import read_run

    return spectrum_of_run(kind, read_run(source), settings)


def _dipole_spectrum(kind: str, source: Path, settings: SpectraSettings, given: InputOptions) -> Spectrum:
    """Infrared spectrum or dielectric function of a run file or of dipoles of another code."""
    series = open_input(source, "dipole", given, settings)
    if series is None:
        return _run_spectrum(kind, source, settings)
    from spectra_app.spectra import dielectric_function, infrared_spectrum

    quantity: Literal["dipole", "current"] = "current" if series.quantity == "current" else "dipole"
    temperature = needed(series.temperature_K, "--temperature-K", source, "300")
    if kind == "ir":
        return infrared_spectrum(
            series.values,
            timestep_fs=series.timestep_fs,
            temperature_K=temperature,
            volume_A3=series.volume_A3,
            eps_inf=series.eps_inf,
            n_molecules=settings.n_molecules if series.volume_A3 is not None else None,
            quantity=quantity,
            quantum_factor=settings.quantum_factor,
            settings=settings,
        )
    return dielectric_function(
        series.values,
        timestep_fs=series.timestep_fs,
        temperature_K=temperature,
        volume_A3=needed(series.volume_A3, "--volume-A3", source, "1945.1"),
        eps_inf=needed(series.eps_inf, "--eps-inf", source, "1.78"),
        quantity=quantity,
        settings=settings,
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
    from spectra_app.cli.draw import write_spectrum
    from spectra_app.cli.report import compare_with_references, describe_spectrum, spectrum_facts

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
