"""``spectra-app sfg``: sum-frequency spectrum of an interface, of a run or from arrays of any code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spectra_app.cli import options
from spectra_app.cli.spectrum_commands import finish
from spectra_app.cli.tables import is_run, needed, read_arrays
from spectra_app.config import SpectraSettings
from spectra_app.errors import SeriesError

if TYPE_CHECKING:
    import numpy as np

    from spectra_app.arrays import FrameArray
    from spectra_app.runs import Run

PARTS = ("dipoles_eA", "polarizabilities_e2A2_per_eV", "z_A")
"""Arrays of a slab, per molecule."""
WHOLE = ("dipole_eA", "polarizability_e2A2_per_eV")
"""Arrays of one interface, summed or weighted by the user."""
_TILT_A = 1e-6  # of the normal against z
_PIECE_FRAMES = 1024


@options.takes_spectra_settings("sfg")
def sfg(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="run file of a slab recorded with --parts molecules; or NPZ or HDF5 file with the arrays dipoles_eA "
            "[frame, (replica,) molecule, xyz], polarizabilities_e2A2_per_eV [..., xyz, xyz] and z_A "
            "[frame, (replica,) molecule] of a slab; or dipole_eA and polarizability_e2A2_per_eV of one interface",
        ),
    ],
    settings: SpectraSettings,
    area_A2: Annotated[
        float | None,
        typer.Option("--area-A2", help="area of one face, A^2  [default: the run's]", show_default=False),
    ] = None,
    timestep_fs: Annotated[
        float | None,
        typer.Option("--timestep-fs", help="time between frames, fs; a run file knows its own", show_default=False),
    ] = None,
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
    json: options.Json = False,
) -> None:
    """Sum-frequency spectrum of an interface.

    Imaginary and real part of the resonant second-order surface susceptibility, 1e-22 m^2/V.
    """
    run: Run | None = None
    if is_run(source):
        from spectra_app.runs import read_run

        run = read_run(source)
        arrays, common = _of_run(run, settings, area_A2)
    else:
        arrays, common = _of_table(source, settings, timestep_fs, area_A2)
    from spectra_app.spectra import interface_series, sfg_spectrum

    common |= {"elements": tuple(elements or ("ssp",)), "quantum_factor": settings.quantum_factor, "settings": settings}
    if set(arrays) >= set(PARTS):
        series = interface_series(
            *(arrays[name] for name in PARTS),
            timestep_fs=common["timestep_fs"],
            centre_A=centre_A,
            width_A=width_A,
            faces=faces,
        )
        spectrum = sfg_spectrum(series, **common)
    else:
        spectrum = sfg_spectrum(*(arrays[name] for name in WHOLE), **common)
    if run is not None:
        from spectra_app.jobs.policy import with_run_notes

        spectrum = with_run_notes(spectrum, run)
    finish("sfg", spectrum, source, output, None, json)


def _of_run(run: Run, settings: SpectraSettings, area_A2: float | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Contributions and heights of the parts of a slab's run, and its time step, temperature and area.

    Raises:
        SeriesError: no contributions or positions in the run, or faces that are not normal to z.
    """
    import numpy as np

    from spectra_app.jobs.policy import centres_of, contributions_of, integration_of, temperature_of, timestep_of

    arrays = (contributions_of(run, "dipole"), contributions_of(run, "polarizability"), _heights(centres_of(run)))
    cell = run.mean_cell_A
    if cell is None or np.abs([*cell[:2, 2], *cell[2, :2]]).max() > _TILT_A:
        raise SeriesError(
            f"cell of {run.path}",
            got="none" if cell is None else f"vectors {np.array2string(cell, precision=2).replace(chr(10), '')} A",
            wanted="a slab whose normal, the third cell vector, is along z",
            todo="Turn the structure before the run",
        )
    return dict(zip(PARTS, arrays, strict=True)), {
        "timestep_fs": timestep_of(run),
        "temperature_K": temperature_of(run, settings),
        **integration_of(run, settings),
        "area_A2": float(np.linalg.norm(np.cross(cell[0], cell[1]))) if area_A2 is None else area_A2,
    }


def _heights(centres: FrameArray) -> np.ndarray:
    """Z of every centre [frame, replica, part], A, in pieces: a run holds many atoms."""
    import numpy as np

    return np.concatenate([centres[k : k + _PIECE_FRAMES, :, :, 2] for k in range(0, len(centres), _PIECE_FRAMES)])


def _of_table(
    source: Path, settings: SpectraSettings, timestep_fs: float | None, area_A2: float | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of a file, and what else the spectrum takes.

    Raises:
        SeriesError: something is missing that neither the file nor an option says.
    """
    arrays = _read(source)
    return arrays, {
        "timestep_fs": needed(timestep_fs, "--timestep-fs", source, "0.5"),
        "temperature_K": needed(settings.temperature_K, "--temperature-K", source, "300"),
        "area_A2": needed(area_A2, "--area-A2", source, "154"),
    }


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
