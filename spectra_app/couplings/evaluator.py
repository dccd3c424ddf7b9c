"""A model that another program calls again and again while it moves the atoms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from spectra_app.dynamics.engine import choose_engine
from spectra_app.dynamics.forces import PotentialLike, PredictionLike
from spectra_app.dynamics.predictor import NO_HISTORY
from spectra_app.dynamics.skin import beyond_skin, beyond_skin_strained
from spectra_app.errors import SimulationError
from spectra_app.structure.distances import check_distances
from spectra_app.structure.neighbors import Neighbors, build_neighbors
from spectra_app.structure.system import (
    System,
    check_structure,
    check_vacuum,
    concatenate,
    make_system,
    select_structures,
    slab_cell,
)
from spectra_app.structure.tightening import tighten


class SystemMaker:
    """Makes batches of structures of the same atoms from the arrays of another program.

    Args:
        numbers: [atom], atomic numbers.
        pbc: whether each cell vector is periodic: all, none, or two (a slab).
        charge: total charge of a structure, e.
        device: of the model.
    """

    def __init__(
        self,
        numbers: np.ndarray,
        pbc: Sequence[bool] = (True, True, True),
        charge: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.numbers = np.asarray(numbers)
        self.pbc = np.asarray(pbc, dtype=bool)
        self.slab = int(self.pbc.sum()) == 2
        self._charge, self._device = charge, device
        self._height: float | None = None
        self._checked = False

    @property
    def periodic(self) -> bool:
        """Whether the structures have a cell."""
        return bool(self.pbc.any())

    def __call__(self, positions_A: Sequence[np.ndarray], cells_A: Sequence[np.ndarray | None]) -> System:
        """A batch, float64; the first structure of all is checked.

        Args:
            positions_A: [structure][atom, xyz], A, as continuous in time as they are to be.
            cells_A: [structure][vector, xyz], A; anything for open structures.

        Raises:
            StructureError: NaN, overlapping atoms, a flat cell, lengths that are not in A, one periodic direction only.
        """
        parts = [self._one(positions, cell) for positions, cell in zip(positions_A, cells_A, strict=True)]
        return parts[0] if len(parts) == 1 else concatenate(parts)

    def _one(self, positions: np.ndarray, cell: np.ndarray | None) -> System:
        own = None if cell is None or not self.periodic else np.asarray(cell, dtype=float)
        if not self._checked:
            check_structure(positions, np.zeros((3, 3)) if own is None else own, self.pbc)
        if own is not None and self.slab:
            own = slab_cell(positions, own, self.pbc)
            length = float(np.linalg.norm(own[2]))
            self._height = length if self._height is None else self._height
            own[2] *= self._height / length
        if not self._checked:
            check_distances(positions, self.numbers, own, "structure", stretched=False)
            self._checked = True
        return make_system(positions, self.numbers, own, self._charge, self._device, slab=self.slab)


class Evaluator:
    """Calls a model along a run of another program: checks the first structure, keeps the table of neighbours.

    The table has a skin, and serves as long as it is certainly complete (``dynamics.skin``), also in a cell that
    changes.

    Args:
        model: the potential.
        skin_A: extra range of the table, A.
        engine: see ``dynamics.engine.choose_engine``; chosen at the first structure.
        n_evaluations: how often the model will be called, where that is known; decides whether ``auto`` measures.
        interval_fs: time between calls, fs, of one and the same structure that moves: self-consistent response then
            begins with what the last steps foretell.  None: calls need not follow each other.

    Attributes:
        answers_fs: time between calls that ask for the polarizability, fs, where that is not every one.
    """

    def __init__(
        self,
        model: PotentialLike,
        skin_A: float = 0.5,
        engine: str = "auto",
        n_evaluations: int = 10**6,
        interval_fs: float | None = None,
    ) -> None:
        self.model = model
        self.interval_fs = interval_fs
        self.answers_fs: float | None = None
        self._skin_A, self._engine, self._n_evaluations = skin_A, engine, n_evaluations
        self._neighbors: Neighbors | None = None
        self._built_from: System | None = None
        self._history = NO_HISTORY
        self.n_calls = 0
        self.n_tables = 0

    def __call__(
        self, system: System, *, forces: bool = True, stress: bool = False, polarizability: bool = True
    ) -> PredictionLike:
        """The model at these positions.

        Args:
            system: structures, float64, on the model's device; positions as continuous as the dipole is to be.
            forces: compute forces.
            stress: compute the stress.
            polarizability: compute the polarizability.

        Raises:
            StructureError: unknown element, a charge that the model does not allow, a cell too small.
            SimulationError: energy or forces are not numbers.
            ConvergenceError: the self-consistent response has no solution.
        """
        if self._is_new(system):
            self._begin(system)
        cast = system.to(dtype=self.model.dtype)
        neighbors = self._table(system)
        if cast.positions.device.type == "cpu":
            neighbors = tighten(neighbors, cast, self.model.cutoff)
        guess = None
        if self.interval_fs is not None:
            between_answers = self.interval_fs if self.answers_fs is None else self.answers_fs
            guess = self._history.guess(polarizability, self.interval_fs, between_answers)
        prediction = self.model(
            cast, neighbors, forces=forces, stress=stress, polarizability=polarizability, guess=guess
        )
        if self.interval_fs is not None:
            self._history = self._history.after(prediction.solution)
        self.n_calls += 1
        finite = torch.isfinite(prediction.energy).all()
        if prediction.forces is not None:
            finite = finite & torch.isfinite(prediction.forces).all()
        if not bool(finite):
            raise SimulationError(
                f"energy and forces at call {self.n_calls} of the model",
                got="NaN or infinity",
                wanted="a finite number",
                todo="Atoms may be on top of each other: check start structure, time step and temperature",
            )
        return prediction

    def _is_new(self, system: System) -> bool:
        """Whether these are other structures than those of the last call."""
        old = self._built_from
        return (
            old is None
            or old.sizes != system.sizes
            or (old.slab is None) != (system.slab is None)
            or not torch.equal(old.numbers, system.numbers)
            or not torch.equal(old.periodic, system.periodic)
        )

    def _begin(self, system: System) -> None:
        self.model.check_system(system)
        self._neighbors, self._built_from, self._history = None, None, NO_HISTORY
        if self.n_calls == 0:  # an engine is the fastest for one structure; more are measured in one
            first = torch.arange(system.sizes[0], device=system.positions.device)
            one = select_structures(system, torch.zeros(1, dtype=torch.int64, device=first.device), first)
            refused = {"graph": "steps that another program makes"}
            choose_engine(self._engine, self.model, one, self._n_evaluations, refused)

    def _table(self, system: System) -> Neighbors:
        if self._neighbors is None or self._built_from is None or not self._complete(system, self._built_from):
            if system.slab is not None:
                check_vacuum(system, self.model.cutoff + self._skin_A)
            table = build_neighbors(system, self.model.cutoff + self._skin_A)
            self._neighbors, self._built_from = table.to(dtype=self.model.dtype), system
            self.n_tables += 1
        return self._neighbors

    def _complete(self, system: System, old: System) -> bool:
        """Whether the table of ``old`` holds every pair within the cutoff now."""
        if torch.equal(old.cell, system.cell):
            beyond = beyond_skin(system.positions, old.positions, self._skin_A)
        else:
            now, before = (system.positions, system.cell), (old.positions, old.cell)
            beyond = beyond_skin_strained(*now, *before, system.batch, self.model.cutoff, self._skin_A)
        return bool((beyond <= 0.0).all())
