"""``spectra-app parts``: an infrared or Raman spectrum taken apart by kinds, molecules and distances."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spectra_app.cli import options
from spectra_app.cli.spectrum_commands import References, finish
from spectra_app.cli.tables import CELL_WANTED, is_run, needed, parse_numbers, read_arrays
from spectra_app.config import SpectraSettings
from spectra_app.errors import ConfigError, SeriesError

if TYPE_CHECKING:
    import numpy as np

    from spectra_app.runs import Run

Kind = Literal["ir", "raman"]
Intensity = Literal["total", "vv", "vh", "isotropic", "anisotropic"]

SERIES = {"ir": "dipoles_eA", "raman": "polarizabilities_e2A2_per_eV"}
"""Arrays of the contributions in a table."""
GROUPS = ("kinds", "molecules", "positions_A", "cell_A")
"""Arrays that say what the parts are."""


@options.takes_spectra_settings("parts")
def parts(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="run file recorded with --parts; or NPZ or HDF5 file with the arrays dipoles_eA [frame, (replica,) "
            "part, xyz] or polarizabilities_e2A2_per_eV [..., xyz, xyz], and kinds [part], molecules [part], "
            "positions_A [frame, (replica,) part, xyz], cell_A [vector, xyz] as far as there are",
        ),
    ],
    settings: SpectraSettings,
    spectrum: Annotated[Kind, typer.Option("--spectrum", help="which spectrum is taken apart")] = "ir",
    distances: Annotated[
        str | None,
        typer.Option("--distances", metavar="A,A,...", help="also by the distance of two parts, divided here, A"),
    ] = None,
    output: options.Output = None,
    intensity: Annotated[Intensity, typer.Option("--intensity", help="Raman intensity; total is VV + VH")] = "total",
    cell_A: options.TableCell = None,
    timestep_fs: options.TableTimestepFs = None,
    reference: References = None,
    json: options.Json = False,
) -> None:
    """Infrared or Raman spectrum in parts that add up.

    By kinds of molecules or elements, within and between molecules, and with --distances by how far apart two parts
    are. Each family adds up to the whole spectrum, cross-correlations included. Record the contributions with
    spectra-app md --parts molecules, or of an existing trajectory with spectra-app record --parts molecules.
    """
    if settings.quantum_factor != "none":
        raise ConfigError("spectra.quantum_factor", got=settings.quantum_factor, wanted="none for a spectrum in parts")
    edges = () if distances is None else parse_numbers(distances, "--distances", "rising distances, A: 3.5,5.5,7.5")
    run: Run | None = None
    if is_run(source):
        from spectra_app.runs import read_run

        run = read_run(source)
        values, common = _of_run(run, spectrum, settings, bool(edges))
    else:
        values, common = _of_table(source, spectrum, settings, timestep_fs, cell_A, bool(edges))
    common |= {"distance_edges_A": edges, "settings": settings}
    from spectra_app.spectra import infrared_parts, raman_parts

    if spectrum == "ir":
        found = infrared_parts(values, **common)
    else:
        del common["volume_A3"]
        found = raman_parts(
            values, intensity=intensity, laser_nm=settings.laser_nm, prefactor=settings.prefactor, **common
        )
    if run is not None:
        from spectra_app.jobs.policy import with_run_notes

        found = with_run_notes(found, run)
    finish(f"{spectrum}_parts", found, source, output, reference, json)


def _of_run(run: Run, kind: Kind, settings: SpectraSettings, distances: bool) -> tuple[Any, dict[str, Any]]:
    """Contributions of a run file, and what else the spectrum takes.

    Raises:
        SeriesError: it has none of this kind, or no positions where distances are wanted.
    """
    from spectra_app.jobs.policy import (
        centres_of,
        contributions_of,
        integration_of,
        temperature_of,
        timestep_of,
        volume_of,
    )

    values = contributions_of(run, "dipole" if kind == "ir" else "polarizability")
    assert run.parts is not None
    return values, {
        "kinds": run.parts.kinds,
        "molecules": run.parts.molecules,
        "positions_A": centres_of(run) if distances else None,
        "cell_A": run.mean_cell_A,
        "timestep_fs": timestep_of(run),
        "temperature_K": temperature_of(run, settings),
        "volume_A3": volume_of(run, settings) if kind == "ir" else None,
        **integration_of(run, settings),
    }


def _of_table(
    source: Path, kind: Kind, settings: SpectraSettings, timestep_fs: float | None, cell: str | None, distances: bool
) -> tuple[Any, dict[str, Any]]:
    """Contributions of an NPZ or HDF5 file, and what else the spectrum takes.

    Raises:
        SeriesError: something is missing that neither the file nor an option says.
    """
    import numpy as np

    wanted = f"an NPZ or HDF5 file with {SERIES[kind]}, and {', '.join(GROUPS)} as far as there are"
    arrays = read_arrays(source, (SERIES[kind], *GROUPS), wanted)
    if SERIES[kind] not in arrays or (distances and "positions_A" not in arrays):
        raise SeriesError(f"arrays in {source}", got=", ".join(sorted(arrays)) or "none of them", wanted=wanted)
    values = arrays[SERIES[kind]]
    box = arrays.get("cell_A") if cell is None else _cell(cell)
    volume = settings.volume_A3
    if volume is None and box is not None and box.shape == (3, 3):
        volume = float(abs(np.linalg.det(box)))
    n_parts = values.shape[-2 if kind == "ir" else -3] if values.ndim > 2 else 0
    kinds = [str(name.decode() if isinstance(name, bytes) else name) for name in arrays.get("kinds", ["all"] * n_parts)]
    return values, {
        "kinds": kinds,
        "molecules": arrays.get("molecules"),
        "positions_A": arrays["positions_A"] if distances else None,
        "cell_A": box,
        "timestep_fs": needed(timestep_fs, "--timestep-fs", source, "0.5"),
        "temperature_K": needed(settings.temperature_K, "--temperature-K", source, "300"),
        "volume_A3": volume,
    }


def _cell(text: str) -> np.ndarray:
    """Cell vectors of an option.

    Raises:
        ConfigError: neither three nor nine numbers.
    """
    import numpy as np

    numbers = parse_numbers(text, "--cell-A", CELL_WANTED)
    if len(numbers) not in (3, 9):
        raise ConfigError("--cell-A", got=text, wanted=CELL_WANTED)
    return np.diag(numbers) if len(numbers) == 3 else np.reshape(numbers, (3, 3))
