"""The model with everything static: tables of fixed capacity, a fixed cell, a fixed number of iterations.

Replicas are evaluated in groups of consecutive ones of one size, one after the other inside a step: what a group needs
in between is the memory that the next one uses again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from spectra_app.dynamics.engine.fixed_table import capacity, has_nearest_images, nearest_image_table, searched_table
from spectra_app.dynamics.forces import Evaluated, ForceFunction, PotentialLike, PredictionLike
from spectra_app.dynamics.groups import GROUP_ATOMS, joined_predictions, replica_groups
from spectra_app.dynamics.predictor import History
from spectra_app.electrostatics.iterations import Iterations
from spectra_app.structure.neighbors import Neighbors, build_neighbors
from spectra_app.structure.system import System


class Room(NamedTuple):
    """What is static while nothing is too small; part of the state, so that a restart has the same shapes.

    Attributes:
        slots: neighbours of an atom that there is room for.
        fields: iterations of self-consistent response.
        answers: likewise, of the answers to uniform fields.
    """

    slots: int
    fields: int = 3  # what water needs with a warm start; every one more is a new capture
    answers: int = 1

    @property
    def iterations(self) -> Iterations:
        """Of self-consistent response."""
        return Iterations(self.fields, self.answers)


class _Group(NamedTuple):
    """Consecutive replicas of one size: in float64 and in the model's dtype; which atoms and replicas they are.

    ``inverse`` [structure, xyz, vector], A^-1, of their cells; None where the host searches for neighbours (``images``)
    or where they are open.
    """

    system: System
    cast: System
    atoms: slice
    inverse: Tensor | None
    images: bool


class StaticForces:
    """Energies and forces with static shapes; see ``forces.ForceField`` for the way in which shapes follow the atoms.

    Args:
        model: the potential.
        system: the replicas, float64, on the model's device.
        skin_A: extra range of the tables, A.
        timestep_fs: between steps, fs.
        record_fs: between recorded steps, fs.
        group_atoms: most atoms that are evaluated together; a replica is never divided.

    Attributes:
        room: for which the tables were made; None before ``fill``.
        tables: one for each group.
    """

    def __init__(
        self,
        model: PotentialLike,
        system: System,
        skin_A: float,
        timestep_fs: float,
        record_fs: float,
        group_atoms: int = GROUP_ATOMS,
    ) -> None:
        self.model, self.reach_A = model, model.cutoff + skin_A
        self._timestep_fs, self._record_fs = timestep_fs, record_fs
        self._groups = _groups(system, model.dtype, self.reach_A, group_atoms)
        cells = {id(group.cast.cell) for group in self._groups}
        vectors = getattr(model, "kept_vectors", None)
        if vectors is not None:  # what a step looks up must not be made inside
            vectors.room = max(vectors.room, len(cells))
        self.room: Room | None = None
        self.tables: list[Neighbors] = []

    def fill(self, reference: Tensor, room: Room | None) -> Room:
        """Neighbours of the reference positions, in the room that is given, or in more where that is too small.

        Tables keep their tensors while the room stays: a captured step reads them where they are.

        Args:
            reference: [atom, xyz], A, float64.
            room: None: what the first table needs, and some more.
        """
        if room is None:
            tables = [build_neighbors(group.system._replace(positions=reference[group.atoms]), self.reach_A)
                      for group in self._groups]  # fmt: skip
            room = Room(capacity(max(int(table.mask.sum(1).max()) for table in tables)))
        found = [self._table(group, reference[group.atoms], room.slots) for group in self._groups]
        most = int(torch.stack([torch.as_tensor(n) for _, n in found]).max())  # the one thing that is read back
        if most > room.slots:
            return self.fill(reference, room._replace(slots=capacity(most)))
        if self.room is None or self.room.slots != room.slots:
            self.tables = [table.to(dtype=self.model.dtype) for table, _ in found]
        else:
            for table, (new, _) in zip(self.tables, found, strict=True):
                for mine, other in zip(table[:4], new[:4], strict=True):
                    mine.copy_(other)
        self.room = room
        return room

    def _table(self, group: _Group, reference: Tensor, slots: int) -> tuple[Neighbors, Tensor | int]:
        system = group.system._replace(positions=reference)
        if group.images:
            return searched_table(system, self.reach_A, slots)
        return nearest_image_table(system, group.inverse, self.reach_A, slots)

    def evaluator(self, recorded: bool, note: Callable[[Tensor], None] | None = None) -> ForceFunction:
        """The model at new positions, with the tables as they stand and the iterations of the room.

        Args:
            recorded: also the polarizability.
            note: is given by how much the iterations stay above the tolerance [2] (``Prediction.excess``).
        """

        def evaluate(
            positions: Tensor,
            cell: Tensor,
            reference_positions: Tensor,
            reference_cell: Tensor,
            step: int,
            history: History = History(),  # noqa: B008  (immutable)
        ) -> Evaluated:
            guess = history.guess(recorded, self._timestep_fs, self._record_fs)
            cast = positions.to(self.model.dtype)
            parts = [
                self.predict(place, cast[group.atoms], recorded, None if guess is None else guess[group.atoms])
                for place, group in enumerate(self._groups)
            ]
            excess = [part.excess for part in parts if part.excess is not None]
            if note is not None and excess:
                note(torch.stack(excess).amax(0))
            prediction = joined_predictions(parts)
            return Evaluated(prediction, reference_positions, reference_cell, history.after(prediction.solution))

        return evaluate

    def predict(self, place: int, positions: Tensor, recorded: bool, guess: Tensor | None) -> PredictionLike:
        """The model for one group.

        Args:
            place: of the group.
            positions: [atom of the group, xyz], A, in the model's dtype.
            recorded: also the polarizability.
            guess: of ``Prediction.solution``, of the group's atoms.
        """
        assert self.room is not None
        return self.model(
            self._groups[place].cast._replace(positions=positions),
            self.tables[place],
            polarizability=recorded,
            guess=guess,
            iterations=self.room.iterations,
        )


def _groups(system: System, dtype: torch.dtype, reach_A: float, group_atoms: int) -> list[_Group]:
    """Consecutive replicas of one size and one kind of boundaries."""
    casts: dict[int, Tensor] = {}  # cells in the model's dtype: one tensor for the same cells
    groups = []
    for part in replica_groups(system, group_atoms, alike=True):
        cell = part.system.cell
        cast = part.system.to(dtype=dtype)
        cast = cast._replace(cell=casts.setdefault(id(cell), cast.cell))
        images = not has_nearest_images(part.system, reach_A)
        closed = bool(part.system.periodic[0]) and not images
        groups.append(_Group(part.system, cast, part.atoms, torch.linalg.inv(cell) if closed else None, images))
    return groups
