"""The one page printed at the end of a run, and written as summary.txt and summary.json."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from spectra_app.born.export import write_text
from spectra_app.harmonic.shifts import ModeShifts
from spectra_app.plotting.facts import BornFacts, RunFacts, SpectrumFacts, Summary
from spectra_app.plotting.harmonic_facts import harmonic_line

_MODES_SHOWN = 60  # lines of a page; the CSV has all


def render_summary(summary: Summary) -> RenderableType:
    """The page as a rich renderable for the terminal."""
    parts: list[RenderableType] = [Rule(Text(summary.title, style="bold"), align="left"), _facts_table(summary)]
    if any(spectrum.peaks for spectrum in summary.spectra):
        parts.append(_peaks_table(summary.spectra))
    if summary.shifts is not None and len(summary.shifts.rows) <= _MODES_SHOWN:
        parts.append(_shifts_table(summary.shifts))
    for sentence in summary.warnings:
        parts.append(Text(f"Warning: {sentence}", style="yellow"))
    if summary.files:
        parts.append(Padding(_file_tree(summary), (1, 0, 0, 0)))
    return Group(*parts)


def format_summary(summary: Summary, width: int = 100) -> str:
    """The page as plain text.

    Args:
        summary: the facts.
        width: characters per line.
    """
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(render_summary(summary))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def summary_json(summary: Summary) -> dict[str, Any]:
    """The facts as JSON-ready values, units in the names."""
    return asdict(summary)


def write_summary(summary: Summary, folder: Path | str) -> tuple[Path, Path]:
    """Write ``summary.txt`` and ``summary.json`` atomically.

    Args:
        summary: the facts.
        folder: where to.

    Raises:
        SpectraAppError: the folder cannot be written, or the disk is full.
    """
    text = write_text(Path(folder) / "summary.txt", format_summary(summary))
    return text, write_text(Path(folder) / "summary.json", json.dumps(summary_json(summary), indent=1, allow_nan=False))


def _facts_table(summary: Summary) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    model, run = summary.model, summary.run
    if model is not None:
        parts = [f"{model.name} ({model.variant}, {model.hash})" if model.hash else f"{model.name} ({model.variant})"]
        if model.forces_rmse_meV_per_A is not None:
            parts.append(f"force error {model.forces_rmse_meV_per_A:.1f} meV/A ({model.forces_rmse_of} frames)")
        if model.eps_inf is not None:
            parts.append(f"eps_inf {model.eps_inf:.4g}")
        table.add_row("Model", ", ".join(parts))
    if run is not None:
        table.add_row("Run", _run_line(run))
        if run.equilibration is not None:
            table.add_row("Equilibration", run.equilibration.removeprefix("equilibration: "))
        table.add_row("Temperature", _temperature_line(run))
        if run.energy_drift_meV_per_atom_per_ps is not None:
            table.add_row("Energy drift", f"{run.energy_drift_meV_per_atom_per_ps:+.3f} meV/atom/ps")
    if summary.extrapolation is not None:
        table.add_row("Extrapolation", summary.extrapolation.removeprefix("extrapolation: "))
    if summary.harmonic is not None:
        table.add_row("Normal modes", harmonic_line(summary.harmonic))
    if summary.shifts is not None:
        table.add_row("Modes in dynamics", summary.shifts.sentence)
    for spectrum in summary.spectra:
        limits = f"resolution {spectrum.resolution_per_cm:.3g} cm^-1, Nyquist {spectrum.nyquist_per_cm:.0f} cm^-1"
        table.add_row(spectrum.title, "\n".join([limits, spectrum.sentence, *spectrum.notes]))
    if summary.born is not None:
        table.add_row("Born charges", _born_line(summary.born))
    clock = "" if summary.seconds is None else f", {_duration(summary.seconds)} of wall time"
    table.add_row("Made by", f"spectra-app {summary.version}, {summary.created}{clock}")
    return table


def _run_line(run: RunFacts) -> str:
    parts = [f"{run.n_atoms} atoms", f"{run.duration_ps:.4g} ps"]
    if run.n_replicas > 1:
        parts[1] += f" x {run.n_replicas} replicas"
    if run.n_runs > 1:
        parts[1] += f" at most, {run.n_runs} runs merged"
    if run.density_g_per_cm3 is not None:
        parts.append(f"{run.density_g_per_cm3:.3f} g/cm^3")
    if run.ms_per_step is not None:
        parts.append(f"{run.ms_per_step:.1f} ms per step")
    return ", ".join(parts)


def _temperature_line(run: RunFacts) -> str:
    if run.temperature_K is None:
        return "not recorded"
    target = "" if run.target_K is None else f" (target {run.target_K:g} K)"
    return f"{run.temperature_K:.1f} +- {run.temperature_error_K:.1f} K{target}"


def _born_line(born: BornFacts) -> str:
    means = ", ".join(f"{symbol} {mean:+.3f} +- {born.std_e[symbol]:.3f} e" for symbol, mean in born.mean_e.items())
    line = f"{means}; sum rule to {born.sum_rule_max_e:.1e} e"
    if born.rmse_e is not None:
        line += f"; RMSE {born.rmse_e:.3f} e against the reference"
    return line


def _peaks_table(spectra: Sequence[SpectrumFacts]) -> Table:
    """Peaks by spectrum; the unit of the heights stands below the spectrum's name."""
    table = Table(title="Main peaks", title_justify="left", padding=(0, 1))
    table.add_column("spectrum (unit of height)")
    for name in ("position, cm^-1", "width, cm^-1", "height"):
        table.add_column(name, justify="right", no_wrap=True)
    for spectrum in spectra:
        names = [spectrum.title, f"  ({spectrum.unit or 'dimensionless'})"]
        if len(spectrum.peaks) == 1:
            names = ["\n".join(names)]
        for rank, peak in enumerate(spectrum.peaks):
            table.add_row(
                names[rank] if rank < len(names) else "",
                with_error(peak.position_per_cm, peak.position_error_per_cm, coarsest=1.0),
                f"{peak.width_per_cm:.0f}",
                with_error(peak.height, peak.height_error),
                end_section=rank == len(spectrum.peaks) - 1,
            )
    return table


def _shifts_table(shifts: ModeShifts) -> Table:
    """Every mode: harmonic, in the dynamics, and the width of its line."""
    table = Table(title="Normal modes in the dynamics, cm^-1", title_justify="left", padding=(0, 1))
    for name in ("mode", "symmetry", "harmonic", "dynamics", "shift", "width"):
        table.add_column(name, justify="left" if name == "symmetry" else "right", no_wrap=True)
    for row in shifts.rows:
        numbers = ("", "", "")
        if row.md_per_cm is not None and row.shift_per_cm is not None and row.width_per_cm is not None:
            numbers = (
                with_error(row.md_per_cm, row.md_error_per_cm, coarsest=0.1),
                f"{row.shift_per_cm:+.1f}",
                with_error(row.width_per_cm, row.width_error_per_cm, coarsest=0.1),
            )
        place = str(row.first) if row.first == row.last else f"{row.first}-{row.last}"
        table.add_row(place, row.representation or "", f"{row.harmonic_per_cm:.1f}", *numbers)
    return table


def with_error(value: float, error: float | None, coarsest: float = 0.0) -> str:
    """A number and its standard error, both rounded to two digits of the error: 41000 +- 7000, 0.0188 +- 0.0021.

    Args:
        value: the number, any unit.
        error: same unit; None or 0: not known, four digits of the value.
        coarsest: smallest unit shown, e.g. 1 for wavenumbers; 0: none.
    """
    if not error:
        return f"{value:.4g}" if not coarsest else f"{round(value / coarsest) * coarsest:g}"
    step = max(10.0 ** (math.floor(math.log10(error)) - 1), coarsest)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    rounded = [round(number / step) * step for number in (value, max(error, coarsest))]
    if decimals > 5:
        return f"{rounded[0]:.4g} +- {rounded[1]:.2g}"
    return f"{rounded[0]:.{decimals}f} +- {rounded[1]:.{decimals}f}"


def _file_tree(summary: Summary) -> Tree:
    tree = Tree(Text(summary.folder, style="bold"))
    branches: dict[str, Tree] = {"": tree}
    longest = max(len(Path(file.path).name) for file in summary.files)
    for file in summary.files:
        path = Path(file.path)
        parent = "" if str(path.parent) == "." else str(path.parent)
        if parent not in branches:
            branches[parent] = tree.add(f"{parent}/")
        line = Text(path.name.ljust(longest + 2))
        line.append(file.description, style="dim")
        branches[parent].add(line)
    return tree


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
