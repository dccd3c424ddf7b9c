"""How far structures and runs lie outside a model's training data, and when that is worth a warning.

The numbers come from ``potentials.training_range``; 1 is the edge of the training data (docs/extrapolation.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols

from spectra_app.errors import SimulationError
from spectra_app.runs.layout import RANGE_KEY

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.dynamics.forces import ExtrapolationLike, PotentialLike
    from spectra_app.runs import Run

FAR = 1.5  # beyond this a single atom is worth a warning: ordinary 298 K dynamics of the shipped models reaches 1.2
OFTEN = 0.1  # and so is a larger share of frames beyond the edge: by construction it is about 0.02


@dataclass(frozen=True)
class OutsideDistance:
    """A distance that the training data do not have.

    Attributes:
        atom: number of the atom.
        other: its nearest atom of an element; None: there is none within the cutoff.
        symbols: of the atom, and of the element.
        distance_A: A; the cutoff where there is none.
        limits_A: smallest and largest such distance in the training data, A.
        cutoff_A: of the search, A.
    """

    atom: int
    other: int | None
    symbols: tuple[str, str]
    distance_A: float
    limits_A: tuple[float, float]
    cutoff_A: float

    @property
    def sentence(self) -> str:
        """Which atoms, how far apart, and what was seen."""
        low, high = self.limits_A
        symbol, other = self.symbols
        if low >= self.cutoff_A:
            seen = "never within the cutoff in training"
        elif high >= self.cutoff_A:
            seen = f"{low:.2f} A or more in training"
        else:
            seen = f"{low:.2f} to {high:.2f} A in training"
        if self.other is None:
            return f"{symbol} {self.atom} has no {other} within {self.cutoff_A:g} A ({seen})"
        return f"{symbol} {self.atom} - nearest {other} {self.other}: {self.distance_A:.2f} A ({seen})"


@dataclass(frozen=True)
class ExtrapolationReport:
    """Structures, or the frames of a run, beside the training data of the model.

    Attributes:
        largest: largest value of any atom in any frame; 1 is the edge of the training data.
        share: of frames with an atom beyond it.
        n_frames: replicas count as frames of their own.
        frame: of the largest value.
        replica: likewise.
        atom: likewise.
        symbol: of that atom.
        distance: the distance in that frame that is farthest outside; None where all are inside.
        by_atom: [atom], values of a single structure; None for several.
        time_fs: of the frame in a run, fs; None otherwise.
    """

    largest: float
    share: float
    n_frames: int
    frame: int
    replica: int
    atom: int
    symbol: str
    distance: OutsideDistance | None
    by_atom: tuple[float, ...] | None = None
    time_fs: float | None = None

    @property
    def outside(self) -> bool:
        """Whether it is worth a warning: an atom far outside, or a large share of frames beyond the edge."""
        return self.largest > FAR or self.share > OFTEN

    @property
    def sentence(self) -> str:
        """One line: the values; of what is outside also the atom, and the distance that training did not have."""
        value = f"extrapolation at most {self.largest:.2f} (1: edge of the training data)"
        often = "" if self.n_frames == 1 else f", {100.0 * self.share:.2g}% of frames beyond 1"
        if not self.outside:
            return value + often
        where = "" if self.n_frames == 1 else f" at {self._when}"
        reason = "" if self.distance is None else f"; {self.distance.sentence}"
        return (
            f"outside the training data: {self.symbol} {self.atom}{where}, extrapolation {self.largest:.2f} (1: edge)"
            f"{often}{reason}"
        )

    @property
    def _when(self) -> str:
        when = f"frame {self.frame}" if self.time_fs is None else f"{self.time_fs:g} fs"
        return f"{when}, replica {self.replica}" if self.replica else when


def extrapolation(model: PotentialLike, structure: Atoms) -> ExtrapolationReport | None:
    """How far every atom of a structure is outside the training data of a model.

    Args:
        model: from ``load_model``.
        structure: ASE atoms; ``info["charge"]`` is their total charge, e.

    Returns:
        The report, with ``by_atom``; None where the model does not know the range of its training data.

    Raises:
        StructureError: an element that the model does not know.
    """
    from spectra_app.structure.neighbors import build_neighbors
    from spectra_app.structure.system import from_ase

    if model.training_range is None:
        return None
    charge = float(structure.info.get("charge", 0.0))
    system = from_ase(structure, charge=charge, dtype=model.dtype, device=model.device)
    model.check_system(system)
    neighbors = build_neighbors(system, model.cutoff).to(dtype=model.dtype)
    found = model(system, neighbors, forces=False).extrapolation
    assert found is not None
    return report_of_structure(found, structure.numbers, model)


def report_of_structure(found: ExtrapolationLike, numbers: np.ndarray, model: PotentialLike) -> ExtrapolationReport:
    """The report of one structure from what a prediction says of it.

    Args:
        found: of every atom.
        numbers: [atom], atomic numbers.
        model: that made the prediction.
    """
    from spectra_app.dynamics.outside import range_facts

    value, beyond = (values.double().cpu().numpy() for values in (found.value, found.beyond))
    atom, place = int(value.argmax()), int(beyond.argmax())
    row = np.array([place, int(found.other[place]), float(found.distance[place])])
    facts = range_facts(model)
    assert facts is not None
    return ExtrapolationReport(
        largest=float(value[atom]),
        share=float(value[atom] > 1.0),
        n_frames=1,
        frame=0,
        replica=0,
        atom=atom,
        symbol=chemical_symbols[int(numbers[atom])],
        distance=_outside_distance(row, numbers, facts),
        by_atom=tuple(value.tolist()),
    )


def combined(reports: Sequence[ExtrapolationReport]) -> ExtrapolationReport | None:
    """One report of several structures, counted through, or of runs; None of none."""
    if not reports:
        return None
    n_frames = sum(report.n_frames for report in reports)
    place, worst = max(enumerate(reports), key=lambda numbered: numbered[1].largest)
    of_structures = worst.time_fs is None
    return replace(
        worst,
        share=sum(report.share * report.n_frames for report in reports) / n_frames,
        n_frames=n_frames,
        frame=sum(report.n_frames for report in reports[:place]) + worst.frame if of_structures else worst.frame,
        by_atom=worst.by_atom if len(reports) == 1 else None,
    )


def run_extrapolation(run: Run) -> ExtrapolationReport | None:
    """How far a run went outside the training data; None where it does not say.

    Args:
        run: a run, or several joined ones.
    """
    if run.joined:
        reports = [run_extrapolation(one) for one in run.joined]
        known = [report for report in reports if report is not None]
        return combined(known) if len(known) == len(reports) else None
    facts = run.metadata.get(RANGE_KEY)
    if facts is None or "extrapolation" not in run.observables:
        return None
    values = np.asarray(run.observable("extrapolation"))  # [frame, replica], NaN where a replica has gone wrong before
    n_frames = int(np.isfinite(values).sum())
    if n_frames == 0:
        return None
    frame, replica = (int(place) for place in np.unravel_index(int(np.nanargmax(values)), values.shape))
    atom = int(run.observable("extrapolation_atom")[frame][replica])
    return ExtrapolationReport(
        largest=float(values[frame, replica]),
        share=float((values > 1.0).sum()) / n_frames,
        n_frames=n_frames,
        frame=frame,
        replica=run.replicas[replica],
        atom=atom,
        symbol=chemical_symbols[int(run.numbers[atom])],
        distance=_outside_distance(run.observable("extrapolation_distance")[frame][replica], run.numbers, facts),
        time_fs=float(run.time_fs[frame]),
    )


def runs_extrapolation(paths: Sequence[Path]) -> ExtrapolationReport | None:
    """As ``run_extrapolation`` of several run files together; None where one of them does not say, or there is none."""
    from spectra_app.runs import read_run

    reports = [run_extrapolation(read_run(path)) for path in paths]
    known = [report for report in reports if report is not None]
    return combined(known) if len(known) == len(reports) else None


def unknown_extrapolation(model_name: str) -> str:
    """What is said where nothing is known."""
    if model_name.startswith("ase:"):
        return "extrapolation: unknown, a calculator does not say what its model was trained on"
    return (
        "extrapolation: unknown; told, in runs that are begun then, after: "
        f"spectra-app models {model_name} --trained-on DATA"
    )


def range_digest(model: PotentialLike) -> str | None:
    """Short hash of the range of the training data that a model has; None: it has none."""
    return None if model.training_range is None else model.training_range.digest


def goes_on_telling(model: PotentialLike, digest: str | None) -> bool:
    """Whether a run that is restarted records extrapolation: as it began.

    Args:
        model: of the restart.
        digest: of the range of the training data that it began with; None: it began without.

    Raises:
        SimulationError: the model has another range now, or none.
    """
    if digest is None:
        return False
    now = range_digest(model)
    if now != digest:
        raise SimulationError(
            "restart, range of the training data",
            got="none" if now is None else "another one",
            wanted=f"that with which the run began ({digest})",
            todo="Put the model's training_range.safetensors back, or begin a new run",
        )
    return True


def _outside_distance(row: np.ndarray, numbers: np.ndarray, facts: dict[str, Any]) -> OutsideDistance | None:
    """The distance of a row (atom, other atom, A) if the training data do not have it."""
    atom, other, distance = int(row[0]), int(row[1]), float(row[2])
    element = facts["species"][-1 - other] if other < 0 else chemical_symbols[int(numbers[other])]
    symbols = chemical_symbols[int(numbers[atom])], element
    low, high = facts["nearest_A"]["-".join(symbols)]
    rounding = 1e-3  # of float32, and of limits that are kept with three decimals
    if low - rounding <= distance <= high + rounding:
        return None
    return OutsideDistance(atom, None if other < 0 else other, symbols, distance, (low, high), facts["cutoff_A"])
