"""``spectra-app sfg``: sum-frequency spectrum of an interface from arrays of any code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spectra_app.cli import options
from spectra_app.cli.spectra import finish
from spectra_app.cli.tables import read_arrays
from spectra_app.config import SpectraSettings
from spectra_app.errors import SeriesError

if TYPE_CHECKING:
    import numpy as np

PARTS = ("dipoles_eA", "polarizabilities_e2A2_per_eV", "z_A")
"""Arrays of a slab, per molecule."""
WHOLE = ("dipole_eA", "polarizability_e2A2_per_eV")
"""Arrays of one interface, summed or weighted by the user."""


def sfg(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="NPZ or HDF5 file with the arrays dipoles_eA [frame, (replica,) molecule, xyz], "
            "polarizabilities_e2A2_per_eV [..., xyz, xyz] and z_A [frame, (replica,) molecule] of a slab; or dipole_eA "
            "and polarizability_e2A2_per_eV of one interface",
        ),
    ],
    area_A2: Annotated[float, typer.Option("--area-A2", help="area of one face, A^2")],
    timestep_fs: Annotated[float, typer.Option("--timestep-fs", help="time between frames, fs")],
    temperature_K: options.SpectrumTemperatureK = None,
    output: options.Output = None,
    elements: Annotated[
        list[str] | None,
        typer.Option("--element", "-e", help="ssp, sps, pss, or axes such as zzz; repeatable  [default: ssp]"),
    ] = None,
    faces: Annotated[
        Literal["both", "upper", "lower"], typer.Option("--faces", help="faces of the slab that are added up")
    ] = "both",
    width_A: Annotated[
        float, typer.Option("--width-A", help="distance from the slab's centre over which molecules are switched on, A")
    ] = 3.0,
    centre_A: Annotated[
        float | None,
        typer.Option("--centre-A", help="centre of the slab along z, A  [default: mean z]", show_default=False),
    ] = None,
    resolution_per_cm: options.Resolution = None,
    window: options.Window = None,
    max_wavenumber_per_cm: options.MaxWavenumber = None,
    blocks: options.Blocks = None,
    method: options.Method = None,
    precision: options.Precision = None,
    quantum_factor: options.QuantumFactor = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Sum-frequency spectrum of an interface.

    Imaginary and real part of the resonant second-order surface susceptibility, 1e-22 m^2/V.
    """
    settings = options.settings_from_options(SpectraSettings, "spectra", locals(), overrides or ())
    if settings.temperature_K is None:
        raise SeriesError(f"temperature of {source}", got="none", wanted="kelvin", todo="Say --temperature-K 300")
    arrays = _read(source)
    from spectra_app.spectra import interface_series, sfg_spectrum

    common: dict[str, Any] = {
        "timestep_fs": timestep_fs,
        "temperature_K": settings.temperature_K,
        "area_A2": area_A2,
        "elements": tuple(elements or ("ssp",)),
        "quantum_factor": settings.quantum_factor,
        "settings": settings,
    }
    if set(arrays) >= set(PARTS):
        series = interface_series(
            *(arrays[name] for name in PARTS), timestep_fs=timestep_fs, centre_A=centre_A, width_A=width_A, faces=faces
        )
        spectrum = sfg_spectrum(series, **common)
    else:
        spectrum = sfg_spectrum(*(arrays[name] for name in WHOLE), **common)
    finish("sfg", spectrum, source, output, None, json)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file: those of a slab, or those of one interface.

    Raises:
        SeriesError: no such file, or neither set of arrays in it.
    """
    wanted = f"an NPZ or HDF5 file with {', '.join(PARTS)}; or with {' and '.join(WHOLE)}"
    found = read_arrays(path, (*PARTS, *WHOLE), wanted)
    if not (set(found) >= set(PARTS) or set(found) >= set(WHOLE)):
        raise SeriesError(f"arrays in {path}", got=", ".join(sorted(found)) or "none of them", wanted=wanted)
    return found
