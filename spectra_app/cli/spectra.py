"""``spectra-app ir | raman | vdos | dielectric``: from a run file or a plain table to a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectra_app.cli import options
from spectra_app.cli.console import list_files, print_json, say
from spectra_app.config import SpectraSettings
from spectra_app.errors import SeriesError

if TYPE_CHECKING:
    from spectra_app.spectra import Spectrum

RunFile = Annotated[Path, typer.Argument(metavar="INPUT", help="run file of spectra-app md or record")]
DipoleInput = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="run file; or dipoles of any code as a table (.csv .txt .dat .tsv, three columns; .npy .npz)",
    ),
]
AlphaInput = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="run file; or polarizabilities of any code as a table (nine columns xx xy xz yx ... or six "
        "xx yy zz yz xz xy; .npy .npz)",
    ),
]
DipoleUnit = Annotated[str | None, typer.Option("--unit", help="unit of a plain table: eA, D (debye), au (e bohr)")]
AlphaUnit = Annotated[str | None, typer.Option("--unit", help="unit of a plain table: e2A2/eV, A3, au (bohr^3)")]
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
    timestep_fs: options.TableTimestepFs = None,
    unit: DipoleUnit = None,
    volume_A3: options.TableVolumeA3 = None,
    columns: options.TableColumns = None,
    key: options.TableKey = None,
    reference: References = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Infrared spectrum in absolute units.

    Absorption coefficient times refractive index of a cell (cm^-1); intensity of an isolated molecule (km/mol).
    """
    settings = options.settings_from_options(SpectraSettings, "spectra", locals(), overrides or ())
    spectrum = _dipole_spectrum("ir", source, settings, timestep_fs, unit, volume_A3, columns, key)
    _finish("ir", spectrum, source, output, reference, json)


def raman(
    source: AlphaInput,
    output: options.Output = None,
    laser_nm: options.LaserNm = None,
    resolution_per_cm: options.Resolution = None,
    window: options.Window = None,
    max_wavenumber_per_cm: options.MaxWavenumber = None,
    temperature_K: options.SpectrumTemperatureK = None,
    blocks: options.Blocks = None,
    timestep_fs: options.TableTimestepFs = None,
    unit: AlphaUnit = None,
    columns: options.TableColumns = None,
    key: options.TableKey = None,
    reference: References = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Raman spectrum and depolarization ratio.

    Unpolarized, VV, VH, isotropic and anisotropic parts.
    """
    settings = options.settings_from_options(SpectraSettings, "spectra", locals(), overrides or ())
    from spectra_app.cli.tables import is_table, read_polarizabilities

    if is_table(source):
        from spectra_app.spectra import raman_spectrum

        series = read_polarizabilities(source, unit, timestep_fs, columns, key)
        spectrum: Spectrum = raman_spectrum(
            series.values,
            timestep_fs=series.timestep_fs,
            temperature_K=_temperature(settings, source),
            laser_nm=settings.laser_nm,
            settings=settings,
        )
    else:
        spectrum = _run_spectrum("raman", source, settings)
    _finish("raman", spectrum, source, output, reference, json)


def vdos(
    source: RunFile,
    output: options.Output = None,
    resolution_per_cm: options.Resolution = None,
    window: options.Window = None,
    max_wavenumber_per_cm: options.MaxWavenumber = None,
    blocks: options.Blocks = None,
    reference: References = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Vibrational density of states, per element.

    It integrates to the number of degrees of freedom.
    """
    settings = options.settings_from_options(SpectraSettings, "spectra", locals(), overrides or ())
    _finish("vdos", _run_spectrum("vdos", source, settings), source, output, reference, json)


def dielectric(
    source: DipoleInput,
    output: options.Output = None,
    resolution_per_cm: options.Resolution = None,
    window: options.Window = None,
    max_wavenumber_per_cm: options.MaxWavenumber = None,
    temperature_K: options.SpectrumTemperatureK = None,
    eps_inf: options.SpectrumEpsInf = None,
    blocks: options.Blocks = None,
    timestep_fs: options.TableTimestepFs = None,
    unit: DipoleUnit = None,
    volume_A3: options.TableVolumeA3 = None,
    columns: options.TableColumns = None,
    key: options.TableKey = None,
    reference: References = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Complex dielectric function of a periodic cell.

    The full tensor and its trace/3.
    """
    settings = options.settings_from_options(SpectraSettings, "spectra", locals(), overrides or ())
    spectrum = _dipole_spectrum("dielectric", source, settings, timestep_fs, unit, volume_A3, columns, key)
    _finish("dielectric", spectrum, source, output, reference, json)


def _run_spectrum(kind: str, source: Path, settings: SpectraSettings) -> Spectrum:
    from spectra_app.cli.compute import SPECTRA
    from spectra_app.trajectory import read_run

    return SPECTRA[kind](read_run(source), settings)


def _temperature(settings: SpectraSettings, source: Path) -> float:
    if settings.temperature_K is None:
        raise SeriesError(f"temperature of {source}", got="none", wanted="kelvin", todo="Say --temperature-K 300")
    return settings.temperature_K


def _dipole_spectrum(
    kind: str,
    source: Path,
    settings: SpectraSettings,
    timestep_fs: float | None,
    unit: str | None,
    volume_A3: float | None,
    columns: str | None,
    key: str | None,
) -> Spectrum:
    """Infrared spectrum or dielectric function of a run file or of a table of dipoles."""
    from spectra_app.cli.tables import is_table, read_dipoles

    if not is_table(source):
        return _run_spectrum(kind, source, settings)
    series = read_dipoles(source, unit, timestep_fs, columns, key)
    from spectra_app.spectra import dielectric_function, infrared_spectrum

    common: dict[str, Any] = {
        "timestep_fs": series.timestep_fs,
        "temperature_K": _temperature(settings, source),
        "volume_A3": volume_A3,
        "eps_inf": settings.eps_inf,
        "settings": settings,
    }
    if kind == "ir":
        return infrared_spectrum(series.values, **common)
    for name, value in (("--volume-A3", volume_A3), ("--eps-inf", settings.eps_inf)):
        if value is None:
            raise SeriesError(
                f"{name} for {source}", got="none", wanted="a number", todo="A dielectric function needs it"
            )
    return dielectric_function(series.values, **common)


def _finish(
    kind: str,
    spectrum: Spectrum,
    source: Path,
    output: Sequence[Path] | None,
    reference: Sequence[Path] | None,
    json: bool,
) -> None:
    """Write the files, say what was found."""
    from spectra_app.cli.draw import write_spectrum
    from spectra_app.cli.report import describe_spectrum, spectrum_facts

    references = []
    if reference:
        from spectra_app.plotting import read_references

        references = read_references(reference)
    outputs = list(output) if output else [Path(f"{source.stem}_{kind}")]
    files = write_spectrum(kind, spectrum, outputs, references)
    if json:
        print_json({**spectrum_facts(spectrum), "files": files})
        return
    print("\n".join(describe_spectrum(spectrum)))
    say("Files:")
    list_files(files)
