"""The harmonic limit as tables: for a person, as CSV with units in the header, as JSON."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from spectra_app.harmonic.limit import HarmonicLimit
from spectra_app.harmonic.polar_modes import static_tensor

Columns = dict[str, list[Any]]


def mode_columns(limit: HarmonicLimit, geometries: tuple[str, ...] = ()) -> Columns:
    """One row per mode, by column name with its unit.

    Args:
        limit: the harmonic limit.
        geometries: Porto symbols, a column each.
    """
    modes = limit.modes
    numbers = np.arange(1, len(modes.frequencies_per_cm) + 1)
    degeneracy = np.empty(len(numbers), dtype=int)
    for places in modes.groups():
        degeneracy[places] = len(places)
    columns: Columns = {
        "mode": numbers.tolist(),
        "wavenumber_per_cm": modes.frequencies_per_cm.tolist(),
        "representation": [name or "" for name in limit.representations],
        "degeneracy": degeneracy.tolist(),
        "reduced_mass_amu": modes.reduced_masses_amu.tolist(),
    }
    if limit.infrared is not None:
        columns["infrared_km_per_mol"] = limit.infrared.intensities_km_per_mol.tolist()
        for axis, values in zip("xyz", limit.infrared.charges.T, strict=True):
            columns[f"dipole_derivative_{axis}_e_per_sqrt_amu"] = values.tolist()
    if limit.raman is not None:
        columns["raman_activity_A4_per_amu"] = limit.raman.activities_A4_per_amu.tolist()
        columns["raman_isotropic_A4_per_amu"] = limit.raman.isotropic.tolist()
        columns["raman_anisotropic_A4_per_amu"] = limit.raman.anisotropic.tolist()
        columns["depolarization"] = limit.raman.depolarization.tolist()
        for name in geometries:
            columns[f"raman_{name}_A4_per_amu"] = limit.raman.of_geometry(name).tolist()
    return columns


def modes_csv(limit: HarmonicLimit, geometries: tuple[str, ...] = ()) -> str:
    """Every mode, one line each; ``#`` lines before say what it is."""
    stream = io.StringIO()
    for line in (headline(limit), *(f"warning: {sentence}" for sentence in limit.warnings)):
        stream.write(f"# {line}\n")
    columns = mode_columns(limit, geometries)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([f"{value:.8g}" if isinstance(value, float) else value for value in row])
    return stream.getvalue()


def splittings_csv(limit: HarmonicLimit) -> str:
    """Transverse and longitudinal frequencies, one line for each polar mode and direction."""
    stream = io.StringIO()
    stream.write(f"# {headline(limit)}; waves along Cartesian directions\n")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["direction", "transverse_per_cm", "longitudinal_per_cm", "splitting_per_cm", "strength"])
    for direction, rows in limit.splittings.items():
        for one in rows:
            numbers = (one.transverse_per_cm, one.longitudinal_per_cm)
            values = (*numbers, numbers[1] - numbers[0], one.strength)
            writer.writerow([direction, *(f"{value:.8g}" for value in values)])
    return stream.getvalue()


def limit_json(limit: HarmonicLimit, geometries: tuple[str, ...] = ()) -> dict[str, Any]:
    """Everything but spectra, for programs; NaN is null."""
    thermo = limit.thermochemistry
    return {
        "structure": limit.atoms.get_chemical_formula(),
        "kind": limit.kind,
        "source": limit.source,
        "spacegroup": limit.spacegroup,
        "relaxation": limit.relaxation,
        "warnings": list(limit.warnings),
        "modes": {
            name: [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]
            for name, values in mode_columns(limit, geometries).items()
        },
        "rigid_motions_per_cm": limit.modes.rigid_per_cm.tolist(),
        "eps_inf": None if limit.cell is None else limit.cell.eps_inf.tolist(),
        "eps_static": None if limit.cell is None else static_tensor(limit.cell).tolist(),
        "splittings": {direction: [vars(one) for one in rows] for direction, rows in limit.splittings.items()},
        "thermochemistry": vars(thermo),
        "settings": dict(limit.settings),
    }


def headline(limit: HarmonicLimit) -> str:
    """What this is, in one line."""
    group = f", {limit.spacegroup}" if limit.spacegroup else ""
    return f"Harmonic limit of {limit.atoms.get_chemical_formula()} ({limit.kind}{group}), {limit.source}"


def render_limit(limit: HarmonicLimit, max_modes: int = 60) -> RenderableType:
    """For a person: modes (degenerate ones as one row), LO-TO, dielectric constants, thermochemistry, warnings.

    Args:
        limit: the harmonic limit.
        max_modes: rows of the table; the CSV holds all of them.
    """
    parts: list[RenderableType] = [Text(headline(limit), style="bold"), Text(limit.relaxation)]
    parts.append(_mode_table(limit, max_modes))
    if len(limit.modes.groups()) > max_modes:
        parts.append(Text(f"... and {len(limit.modes.groups()) - max_modes} more: see the CSV", style="dim"))
    if any(limit.splittings.values()):
        parts.append(_splitting_table(limit))
    if limit.cell is not None:
        static = np.array2string(np.diag(static_tensor(limit.cell)), precision=3)
        high = np.array2string(np.diag(limit.cell.eps_inf), precision=3)
        parts.append(Text(f"dielectric constants xx, yy, zz: {high} at high frequency, {static} static (fixed cell)"))
    thermo = limit.thermochemistry
    name = "G" if thermo.model == "ideal gas" else "F"
    parts.append(
        Text(
            f"zero-point energy {thermo.zero_point_eV:.4f} eV; at {thermo.temperature_K:g} K ({thermo.model}): "
            f"{'H' if name == 'G' else 'U'} {thermo.internal_energy_eV:.4f} eV, "
            f"S {1e3 * thermo.entropy_eV_per_K:.4f} meV/K, {name} {thermo.free_energy_eV:.4f} eV"
        )
    )
    parts += [Text(f"warning: {sentence}", style="yellow") for sentence in limit.warnings]
    return Group(*parts)


def format_limit(limit: HarmonicLimit, width: int = 110) -> str:
    """As ``render_limit``, plain text."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(render_limit(limit, max_modes=10**6))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _mode_table(limit: HarmonicLimit, max_modes: int) -> Table:
    table = Table(title="Normal modes", title_justify="left", header_style="bold")
    table.add_column("mode", justify="right")
    table.add_column("cm^-1", justify="right")
    table.add_column("symmetry")
    if limit.infrared is not None:
        table.add_column("infrared, km/mol", justify="right")
    if limit.raman is not None:
        table.add_column("Raman, A^4/amu", justify="right")
        table.add_column("depolarization", justify="right")
    for places in limit.modes.groups()[:max_modes]:
        first, last = int(places[0]) + 1, int(places[-1]) + 1
        frequency = float(limit.modes.frequencies_per_cm[places].mean())
        cells = [
            str(first) if first == last else f"{first}-{last}",
            f"{frequency:.1f}" if frequency >= 0.0 else f"{-frequency:.1f}i",
            limit.representations[int(places[0])] or "",
        ]
        if limit.infrared is not None:
            cells.append(f"{limit.infrared.intensities_km_per_mol[places].sum():.2f}")
        if limit.raman is not None:
            cells.append(f"{limit.raman.activities_A4_per_amu[places].sum():.2f}")
            iso, aniso = limit.raman.isotropic[places].sum(), limit.raman.anisotropic[places].sum()
            seen = np.isfinite(limit.raman.depolarization[places]).any()
            cells.append(f"{3.0 * aniso / (45.0 * iso + 4.0 * aniso):.3f}" if seen else "")
        table.add_row(*cells)
    return table


def _splitting_table(limit: HarmonicLimit) -> Table:
    table = Table(title="Transverse and longitudinal modes", title_justify="left", header_style="bold")
    for name in ("waves along", "TO, cm^-1", "LO, cm^-1", "LO - TO", "strength"):
        table.add_column(name, justify="right")
    for direction, rows in limit.splittings.items():
        for one in rows:
            to, lo = one.transverse_per_cm, one.longitudinal_per_cm
            table.add_row(direction, f"{to:.1f}", f"{lo:.1f}", f"{lo - to:.1f}", f"{one.strength:.3f}")
    return table
