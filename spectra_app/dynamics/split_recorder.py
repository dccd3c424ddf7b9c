"""A recorder for a batch whose replicas do not share one run file: other atoms, another cell, another temperature."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.forces import PredictionLike
from spectra_app.dynamics.recorder import NO_ROWS, Recorder, Rows
from spectra_app.dynamics.state import MDState, Particles
from spectra_app.potentials.training_range import Extrapolation


class SplitRecorder:
    """One recorder for each run file, which sees its replicas alone; does what ``Recorder`` does.

    Args:
        recorders: with the particles of each, in the order of the batch.
        particles: of each.
    """

    def __init__(self, recorders: Sequence[Recorder], particles: Sequence[Particles]) -> None:
        self.recorders = tuple(recorders)
        for recorder in self.recorders:
            recorder.alone = len(self.recorders) == 1
        replicas = np.cumsum([0, *(some.n_replicas for some in particles)]).tolist()
        atoms = np.cumsum([0, *(sum(some.sizes) for some in particles)]).tolist()
        self._replicas = [slice(*ends) for ends in itertools.pairwise(replicas)]
        self._atoms = [slice(*ends) for ends in itertools.pairwise(atoms)]

    @property
    def n_observables(self) -> int:
        """Recorded steps handed on, of the file with most."""
        return max(recorder.n_observables for recorder in self.recorders)

    @property
    def n_columns(self) -> int:
        """See ``Recorder``."""
        return self.recorders[0].n_columns

    @property
    def broken(self) -> dict[int, int]:
        """See ``Recorder``; replicas as the batch counts them."""
        return {
            where.start + replica: step
            for recorder, where in zip(self.recorders, self._replicas, strict=True)
            for replica, step in recorder.broken.items()
        }

    def observe(self, recorded_step: int, state: MDState, prediction: PredictionLike) -> None:
        """See ``Recorder``."""
        self.take(self.rows(recorded_step, state, prediction))

    def rows(self, recorded_step: int, state: MDState, prediction: PredictionLike) -> Rows:
        """See ``Recorder``."""
        parts = self._parts(state, prediction)
        return Rows.side_by_side([recorder.rows(recorded_step, *part) for recorder, part in parts])

    def is_row(self, recorded_step: int) -> bool:
        """See ``Recorder``."""
        return self.recorders[0].is_row(recorded_step)

    def is_frame(self, recorded_step: int) -> bool:
        """See ``Recorder``."""
        return self.recorders[0].is_frame(recorded_step)

    def columns(self, state: MDState, prediction: PredictionLike) -> Tensor:
        """See ``Recorder``."""
        return torch.cat([recorder.columns(*part) for recorder, part in self._parts(state, prediction)])

    def take(self, rows: Rows) -> None:
        """See ``Recorder``."""
        for recorder, replicas, atoms in zip(self.recorders, self._replicas, self._atoms, strict=True):
            recorder.take(
                rows._replace(
                    columns=None if rows.columns is None else rows.columns[:, replicas],
                    positions=None if rows.positions is None else rows.positions[:, atoms],
                    velocities=None if rows.velocities is None else rows.velocities[:, atoms],
                    cells=None if rows.cells is None else rows.cells[:, replicas],
                )
            )

    def flush(self) -> None:
        """See ``Recorder``."""
        for recorder in self.recorders:
            recorder.flush()

    def end(self, replica: int, from_step: int, hottest_K: float, reason: str, coming: Rows = NO_ROWS) -> None:
        """See ``Recorder``."""
        for recorder, where in zip(self.recorders, self._replicas, strict=True):
            if where.start <= replica < where.stop:
                seen = coming._replace(columns=None if coming.columns is None else coming.columns[:, where])
                recorder.end(replica - where.start, from_step, hottest_K, reason, seen)

    def salvage(self, hottest_K: Sequence[float], reason: str) -> None:
        """See ``Recorder``."""
        for recorder, where in zip(self.recorders, self._replicas, strict=True):
            recorder.salvage(hottest_K[where], reason)

    def carry(self) -> dict[str, Any]:
        """See ``Recorder``."""
        return {"files": [recorder.carry() for recorder in self.recorders]}

    def restore(self, carry: dict[str, Any]) -> None:
        """See ``Recorder``."""
        for recorder, kept in zip(self.recorders, carry["files"], strict=True):
            recorder.restore(kept)

    def _parts(
        self, state: MDState, prediction: PredictionLike
    ) -> list[tuple[Recorder, tuple[MDState, PredictionLike]]]:
        """Each recorder with what it sees."""
        found: list[tuple[Recorder, tuple[MDState, PredictionLike]]] = []
        for recorder, replicas, atoms in zip(self.recorders, self._replicas, self._atoms, strict=True):
            part = state._replace(
                positions=state.positions[atoms],
                velocities=state.velocities[atoms],
                cell=state.cell[replicas],
                reservoir=state.reservoir[replicas],
            )
            found.append((recorder, (part, PartOfPrediction(prediction, replicas, atoms))))
        return found


AnyRecorder = Recorder | SplitRecorder
"""What a run gives its rows to."""


class PartOfPrediction:
    """A prediction for some replicas of a batch; shapes and units stand in ``spectra_app.potentials.Prediction``.

    Args:
        whole: of all replicas.
        replicas: their numbers.
        atoms: those of their atoms.
    """

    solution: Tensor | None = None
    excess: Tensor | None = None

    def __init__(self, whole: PredictionLike, replicas: slice, atoms: slice) -> None:
        self._whole, self._replicas, self._atoms = whole, replicas, atoms

    @property
    def energy(self) -> Tensor:  # noqa: D102
        return self._whole.energy[self._replicas]

    @property
    def forces(self) -> Tensor | None:  # noqa: D102
        return None if self._whole.forces is None else self._whole.forces[self._atoms]

    @property
    def stress(self) -> Tensor | None:  # noqa: D102
        return None if self._whole.stress is None else self._whole.stress[self._replicas]

    @property
    def dipole(self) -> Tensor:  # noqa: D102
        return self._whole.dipole[self._replicas]

    @property
    def polarizability(self) -> Tensor:  # noqa: D102
        return self._whole.polarizability[self._replicas]

    @property
    def dipole_by_atom(self) -> Tensor:  # noqa: D102
        return self._whole.dipole_by_atom[self._atoms]

    @property
    def polarizability_by_atom(self) -> Tensor:  # noqa: D102
        return self._whole.polarizability_by_atom[self._atoms]

    @property
    def extrapolation(self) -> Extrapolation | None:  # noqa: D102
        whole = self._whole.extrapolation
        if whole is None:
            return None
        value, beyond, other, distance = (
            of[self._atoms] for of in (whole.value, whole.beyond, whole.other, whole.distance)
        )
        return Extrapolation(value, beyond, torch.where(other < 0, other, other - self._atoms.start), distance)

    @property
    def fixed_charges(self) -> Tensor:  # noqa: D102
        return self._whole.fixed_charges[self._atoms]

    @property
    def born_charges(self) -> Tensor | None:  # noqa: D102
        whole = self._whole.born_charges
        return None if whole is None else whole[self._atoms]
