"""Born charges of a run, and the files of a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spectra_app.config import ModelChoice
from spectra_app.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.born import BornReport
    from spectra_app.dynamics.forces import PotentialLike
    from spectra_app.runs import Run


def run_born(run: Run, model: str | ModelChoice, *, device: str = "auto", eps_inf: float | None = None) -> BornReport:
    """Born charges of the last configuration of the first replica: a liquid has no better one.

    Args:
        run: with stored configurations.
        model: name in the zoo or folder, or a choice of one or two models.
        device: torch device.
        eps_inf: high-frequency dielectric constant; None takes the model's.

    Raises:
        TrajectoryError: no stored positions.
        ModelError: no such model.
    """
    from spectra_app.born import born_charges
    from spectra_app.jobs.opened_model import opened_model

    potential = opened_model(model, device, "float64", eps_inf)
    return born_charges(potential, last_configuration(run))


def mean_born(run: Run, model: PotentialLike, n_frames: int = 20) -> BornReport:
    """Born charges averaged over configurations of the first replica, evenly chosen: thermal means with their spread.

    Args:
        run: with stored configurations.
        model: from ``load_model``.
        n_frames: how many; fewer where the run has fewer.

    Returns:
        the report of the mean tensors at the last of the configurations; ``spread_e`` is the standard deviation of the
        isotropic charges over the frames.

    Raises:
        TrajectoryError: no stored positions.
        ModelError: a model without Born charges.
    """
    import numpy as np

    from spectra_app.born import born_charges, build_born_report

    one = run.joined[0] if run.joined else run
    frames = np.unique(np.linspace(0, len(one.positions_A) - 1, n_frames).astype(int))
    found = np.stack([born_charges(model, configuration(one, int(frame))).born_e for frame in frames])
    last = configuration(one, int(frames[-1]))
    periodic = bool(last.pbc.all())
    return build_born_report(
        found.mean(axis=0),
        last.numbers,
        last.positions,
        np.asarray(last.cell.array) if periodic else None,
        eps_inf=model.eps_inf if periodic else None,
        source=f"model '{model.card.name}'",
        nominal_e=model.oxidation_states,
        spread_e=np.trace(found, axis1=2, axis2=3).std(axis=0) / 3.0,
        n_frames=len(frames),
    )


def last_configuration(run: Run) -> Atoms:
    """Last stored configuration of the first replica.

    Raises:
        TrajectoryError: none was stored.
    """
    return configuration(run.joined[0] if run.joined else run, -1)


def configuration(run: Run, frame: int) -> Atoms:
    """A stored configuration of the first replica.

    Raises:
        TrajectoryError: none was stored.
    """
    from ase import Atoms

    cell = run.cell_A if run.cell_A is None or run.cell_A.ndim == 2 else run.cell_A[frame, 0]
    return Atoms(run.numbers, run.positions_A[frame, 0], cell=cell, pbc=run.pbc)


def write_born(report: BornReport, path: Path) -> Path:
    """Write a report by the name of the file.

    Raises:
        ConfigError: an ending that is not known, or a BORN file without eps_inf.
    """
    from spectra_app.born import (
        format_born_report,
        format_espresso,
        format_phonopy_born,
        format_vasp,
        write_born_csv,
        write_born_json,
        write_text,
    )

    suffix = path.suffix.lower()
    if suffix == ".csv":
        return write_born_csv(report, path)
    if suffix == ".json":
        return write_born_json(report, path)
    if suffix == ".txt":
        return write_text(path, format_born_report(report))
    if suffix in (".vasp", ".qe"):
        text = format_vasp(report.born_e, report.numbers)
        if suffix == ".qe":
            text = format_espresso(report.born_e, report.numbers, report.eps_inf)
        return write_text(path, text)
    if suffix in (".png", ".pdf", ".svg"):
        from spectra_app.plotting import figure_born, save_figure

        return save_figure(figure_born(report), path)[0]
    if path.name == "BORN" or suffix == ".born":
        if report.eps_inf is None:
            raise ConfigError("eps_inf for a BORN file", got="none", wanted="a number", todo="Give eps_inf (--eps-inf)")
        return write_text(path, format_phonopy_born(report.born_e, report.eps_inf, report.symmetry))
    raise ConfigError(
        f"output {path}",
        got=f"suffix '{suffix}'",
        wanted=".csv, .json, .txt, .vasp, .qe, .png, .pdf, .svg or a file named BORN",
    )
