"""Born charges of a run, and the files of a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spectra_app.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.born import BornReport
    from spectra_app.runs import Run


def run_born(run: Run, model: str, *, device: str = "auto", eps_inf: float | None = None) -> BornReport:
    """Born charges of the last configuration of the first replica: a liquid has no better one.

    Args:
        run: with stored configurations.
        model: name in the zoo or folder.
        device: torch device.
        eps_inf: high-frequency dielectric constant; None takes the model's.

    Raises:
        TrajectoryError: no stored positions.
        ModelError: no such model.
    """
    from spectra_app.born import born_charges
    from spectra_app.potentials.folder import load_model

    potential = load_model(model, device=device, dtype="float64", eps_inf=eps_inf)
    return born_charges(potential, last_configuration(run))


def last_configuration(run: Run) -> Atoms:
    """Last stored configuration of the first replica.

    Raises:
        TrajectoryError: none was stored.
    """
    from ase import Atoms

    run = run.joined[0] if run.joined else run
    cell = run.cell_A if run.cell_A is None or run.cell_A.ndim == 2 else run.cell_A[-1, 0]
    return Atoms(run.numbers, run.positions_A[-1, 0], cell=cell, pbc=run.pbc)


def write_born(report: BornReport, path: Path) -> Path:
    """Write a report by the name of the file.

    Raises:
        ConfigError: an ending that is not known, or a BORN file without eps_inf.
    """
    from spectra_app.born import format_born_report, format_phonopy_born, write_born_csv, write_born_json, write_text

    suffix = path.suffix.lower()
    if suffix == ".csv":
        return write_born_csv(report, path)
    if suffix == ".json":
        return write_born_json(report, path)
    if suffix == ".txt":
        return write_text(path, format_born_report(report))
    if path.name == "BORN" or suffix == ".born":
        if report.eps_inf is None:
            raise ConfigError("eps_inf for a BORN file", got="none", wanted="a number", todo="Give eps_inf (--eps-inf)")
        return write_text(path, format_phonopy_born(report.born_e, report.eps_inf, report.symmetry))
    raise ConfigError(f"output {path}", got=f"suffix '{suffix}'", wanted=".csv, .json, .txt or a file named BORN")
