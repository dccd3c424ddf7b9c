"""Energies and forces along a run: calls the model and reuses the neighbour table while no atom has moved too far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.field_work import field_moments, field_weights
from spectra_app.dynamics.fields import FieldSchedule
from spectra_app.dynamics.groups import GROUP_ATOMS, ReplicaGroup, joined_predictions, replica_groups, table_of_group
from spectra_app.dynamics.predictor import NO_HISTORY, History
from spectra_app.dynamics.skin import beyond_skin, beyond_skin_scaled, beyond_skin_strained, flat_cells
from spectra_app.electrostatics.iterations import Iterations
from spectra_app.errors import ConvergenceError, SimulationError
from spectra_app.structure.neighbors import Neighbors, build_neighbors
from spectra_app.structure.system import System, check_vacuum, select_structures
from spectra_app.structure.tightening import tighten

MAX_MOVE_A = 5.0  # in one step; hydrogen at 300 K moves 0.02 A in 0.5 fs


class ExtrapolationLike(Protocol):
    """What dynamics reads of a ``spectra_app.potentials.training_range.Extrapolation``."""

    @property
    def value(self) -> Tensor: ...  # noqa: D102
    @property
    def beyond(self) -> Tensor: ...  # noqa: D102
    @property
    def other(self) -> Tensor: ...  # noqa: D102
    @property
    def distance(self) -> Tensor: ...  # noqa: D102


class RangeLike(Protocol):
    """What is stored of a ``spectra_app.potentials.training_range.TrainingRange`` with a run."""

    digest: str
    source: str
    cutoff: float

    def limits(self, species: tuple[str, ...]) -> dict[str, list[float]]: ...  # noqa: D102


class PredictionLike(Protocol):
    """What dynamics reads of a ``spectra_app.potentials.Prediction``; shapes and units stand there."""

    @property
    def energy(self) -> Tensor: ...  # noqa: D102
    @property
    def forces(self) -> Tensor | None: ...  # noqa: D102
    @property
    def stress(self) -> Tensor | None: ...  # noqa: D102
    @property
    def dipole(self) -> Tensor: ...  # noqa: D102
    @property
    def polarizability(self) -> Tensor: ...  # noqa: D102
    @property
    def dipole_by_atom(self) -> Tensor: ...  # noqa: D102
    @property
    def polarizability_by_atom(self) -> Tensor: ...  # noqa: D102
    @property
    def fixed_charges(self) -> Tensor: ...  # noqa: D102
    @property
    def solution(self) -> Tensor | None: ...  # noqa: D102
    @property
    def excess(self) -> Tensor | None: ...  # noqa: D102
    @property
    def extrapolation(self) -> ExtrapolationLike | None: ...  # noqa: D102
    @property
    def born_charges(self) -> Tensor | None: ...  # noqa: D102


class ScaleLike(Protocol):
    """What dynamics needs of a ``spectra_app.potentials.scale.PhysicalScale``."""

    def axes(self, system: System) -> Tensor: ...  # noqa: D102
    def eps_e_of(self, system: System) -> Tensor: ...  # noqa: D102
    def vectors(self, latent: Tensor, system: System) -> Tensor: ...  # noqa: D102
    def tensors(self, latent: Tensor, system: System) -> Tensor: ...  # noqa: D102


class PotentialLike(Protocol):
    """What dynamics needs of a ``spectra_app.potentials.Potential``."""

    engine: str

    @property
    def engines(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def cutoff(self) -> float: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102
    @property
    def card(self) -> Any: ...  # noqa: D102
    @property
    def training_range(self) -> RangeLike | None: ...  # noqa: D102
    @property
    def eps_inf(self) -> float | None: ...  # noqa: D102
    @property
    def scale(self) -> ScaleLike: ...  # noqa: D102
    @property
    def oxidation_states(self) -> dict[str, int] | None: ...  # noqa: D102
    def check_system(self, system: System) -> None: ...  # noqa: D102
    def has_born_charges(self, system: System) -> bool: ...  # noqa: D102
    def born_charges(self, system: System, neighbors: Neighbors) -> Tensor: ...  # noqa: D102
    def __call__(  # noqa: D102
        self,
        system: System,
        neighbors: Neighbors,
        forces: bool = True,
        stress: bool = False,
        field: Tensor | None = None,
        polarizability: bool = True,
        guess: Tensor | None = None,
        iterations: Iterations | None = None,
    ) -> PredictionLike: ...


class Evaluated(NamedTuple):
    """The model at one instant.

    Attributes:
        prediction: of the model.
        reference_positions: [atom, xyz], A, of the neighbour table that was used.
        reference_cell: [replica, vector, xyz], A, likewise.
        history: solutions of self-consistent response, this one included.
        moments: [replica, 14], what the external field acts on (``field_work.field_moments``); None without field.
        middle: [12, 2], weights of the mean field between the last step and this one; None without field.
    """

    prediction: PredictionLike
    reference_positions: Tensor
    reference_cell: Tensor
    history: History = NO_HISTORY
    moments: Tensor | None = None
    middle: Tensor | None = None


class _Field(NamedTuple):
    """An external field at one step, on the device: [1, xyz], V/A, in the model's dtype, and weights of the moments."""

    value: Tensor
    weights: Tensor
    middle: Tensor


class ForceFunction(Protocol):
    """A function that evaluates the model at new positions; see ``ForceField.__call__``."""

    def __call__(  # noqa: D102
        self,
        positions: Tensor,
        cell: Tensor,
        reference_positions: Tensor,
        reference_cell: Tensor,
        step: int,
        history: History = NO_HISTORY,
    ) -> Evaluated: ...


class ForceField:
    """A model with its neighbour table.

    The table itself is a cache; which table is used is decided by the reference positions, which belong to the state.

    Attributes:
        n_rebuilds: tables built.
        raises: whether the only replica of a batch raises where it goes wrong, and is not just noted.
        lost: replicas of several that went wrong since the caller last emptied it, and what was found.

    Args:
        model: the potential.
        system: the replicas, float64, on the model's device; gives everything but positions and cell.
        skin_A: extra range of the table, A.
        stress: also ask for the stress (needed when the cell fluctuates).
        field: external field along the steps.
        is_recorded: whether a step's polarizability will be read; None: every one.
        timestep_fs: between steps, fs.
        record_fs: between recorded steps, fs.
        any_shape: the cell may also change its shape, not only its volume.
    """

    def __init__(
        self,
        model: PotentialLike,
        system: System,
        skin_A: float,
        stress: bool = False,
        field: FieldSchedule | None = None,
        is_recorded: Callable[[int], bool] | None = None,
        timestep_fs: float = 0.5,
        record_fs: float = 0.5,
        any_shape: bool = False,
    ) -> None:
        self.model = model
        self._timestep_fs, self._record_fs = timestep_fs, record_fs
        self._is_recorded = is_recorded
        self.skin_A = skin_A
        self.stress = stress
        self._template = system
        self._cast = system.to(dtype=model.dtype)
        self._schedule = field
        self._field: _Field | None = None
        self._groups: list[ReplicaGroup] | None = None
        self._neighbors: Neighbors | None = None
        self._built_from: Tensor | None = None
        self._fixed_cell, self._any_shape = not stress, any_shape
        self.n_rebuilds = 0
        self.lost: dict[int, str] = {}
        self.raises = True

    def __call__(
        self,
        positions: Tensor,
        cell: Tensor,
        reference_positions: Tensor,
        reference_cell: Tensor,
        step: int,
        history: History = NO_HISTORY,
    ) -> Evaluated:
        """Evaluate the model.

        Args:
            positions: [atom, xyz], A, float64.
            cell: [replica, vector, xyz], A.
            reference_positions: positions of the last table, [atom, xyz], A.
            reference_cell: cell of the last table, [replica, vector, xyz], A.
            step: of these positions, counted from the very start; tells the field.
            history: solutions of self-consistent response up to the last step.

        Raises:
            SimulationError: atoms fly apart, or a position is not a number, in the only replica.  One of several is put
                back to where its neighbours were looked for, and noted in ``lost``.
            ConvergenceError: the response of the only replica has no solution; likewise.
        """
        excess = self._excess(positions, cell, reference_positions, reference_cell)
        furthest = float(excess.max())  # the one host synchronisation of a step
        if not furthest <= MAX_MOVE_A:
            self._note_flown(excess)
            positions, cell = self._put_back(positions, cell, reference_positions, reference_cell)
            furthest = float(self._excess(positions, cell, reference_positions, reference_cell).max())
        if furthest > 0.0:
            if self._any_shape and self._note_flat(cell):
                positions, cell = self._put_back(positions, cell, reference_positions, reference_cell)
            reference_positions, reference_cell = positions, cell
        if reference_positions is not self._built_from:
            self._rebuild(reference_positions, reference_cell)
        assert self._neighbors is not None
        system = self._cast._replace(positions=positions.to(self.model.dtype))
        if not self._fixed_cell:
            system = system._replace(cell=cell.to(self.model.dtype))
        neighbors = self._table_for(system)
        field = self._field_at(step)
        value = None if field is None else field.value
        recorded = self._is_recorded is None or self._is_recorded(step)
        guess = history.guess(recorded, self._timestep_fs, self._record_fs)
        try:
            prediction = self._predict(system, neighbors, value, recorded, guess)
        except ConvergenceError as error:
            self._note_unsolvable(system, value, error)
            positions, cell = self._put_back(positions, cell, reference_positions, reference_cell)
            system = system._replace(positions=positions.to(self.model.dtype))
            prediction = self._predict(system, self._table_for(system), value, recorded, None)
        history = history.after(prediction.solution)
        if field is None:
            return Evaluated(prediction, reference_positions, reference_cell, history)
        dipole = self.model.scale.vectors(prediction.dipole, system)
        moments = field_moments(dipole, self.model.scale.tensors(prediction.polarizability, system), field.weights)
        return Evaluated(prediction, reference_positions, reference_cell, history, moments, field.middle)

    def _predict(
        self, system: System, neighbors: Neighbors, field: Tensor | None, recorded: bool, guess: Tensor | None
    ) -> PredictionLike:
        def of(part: System, table: Neighbors, start: Tensor | None) -> PredictionLike:
            return self.model(
                part, table, forces=True, stress=self.stress, field=field, polarizability=recorded, guess=start
            )

        if len(system.positions) <= GROUP_ATOMS or system.n_structures == 1:
            return of(system, neighbors, guess)
        parts = []
        for group in self._groups_of(system):
            part = group.system._replace(positions=system.positions[group.atoms])
            if not self._fixed_cell:
                part = part._replace(cell=system.cell[group.replicas])
            start = None if guess is None else guess[group.atoms]
            parts.append(of(part, table_of_group(neighbors, group.atoms), start))
        return joined_predictions(parts)

    def _groups_of(self, system: System) -> list[ReplicaGroup]:
        """Groups of the replicas, or of those of them that are given; kept, with their cells, for all replicas."""
        if system.sizes != self._cast.sizes:
            return replica_groups(system, GROUP_ATOMS)
        if self._groups is None:
            self._groups = replica_groups(self._cast, GROUP_ATOMS)
            if (vectors := getattr(self.model, "kept_vectors", None)) is not None:
                vectors.room = max(vectors.room, len(self._groups))
        return self._groups

    def _table_for(self, system: System) -> Neighbors:
        """The table of neighbours, on the CPU without what lies beyond the cutoff."""
        assert self._neighbors is not None
        if system.positions.device.type != "cpu" or not self.model.cutoff:
            return self._neighbors
        return tighten(self._neighbors, system, self.model.cutoff)

    def _note_flown(self, excess: Tensor) -> None:
        """Note the replicas whose atoms fly apart.

        Args:
            excess: of every atom, A (``_excess``).

        Raises:
            SimulationError: it is the only replica.
        """
        farthest = [float(part.max()) for part in excess.split(list(self._template.sizes))]
        for k, furthest in ((k, moved) for k, moved in enumerate(farthest) if not moved <= MAX_MOVE_A):
            if self._template.n_structures == 1 and self.raises:
                raise SimulationError(
                    "atomic positions", got=f"a move by {furthest:.3g} A in one step", wanted="a small one"
                )
            self.lost[k] = f"a move by {furthest:.3g} A in one step"

    def _note_flat(self, cell: Tensor) -> bool:
        """Note the replicas whose cell has lost its shape; whether there are any.

        Raises:
            SimulationError: it is the only replica.
        """
        found = flat_cells(cell, self._template)
        if found and self._template.n_structures == 1:
            raise SimulationError(
                "shape of the cell",
                got=found[0],
                wanted="a solid, which keeps its shape",
                todo="A liquid does not resist shear: use md.cell isotropic",
            )
        self.lost |= {k: f"a cell of {reason}" for k, reason in found.items()}
        return bool(found)

    def _note_unsolvable(self, system: System, field: Tensor | None, error: ConvergenceError) -> None:
        """Note the replicas whose response has no solution, which the model tells of the whole batch only.

        Raises:
            ConvergenceError: it is the only replica, or each has one by itself.
        """
        atoms = torch.arange(len(system.positions), device=system.positions.device)
        found = {}
        for k in range(0 if system.n_structures == 1 and self.raises else system.n_structures):
            one = select_structures(system, torch.tensor([k], device=atoms.device), atoms[system.batch == k])
            neighbors = build_neighbors(one.to(dtype=torch.float64), self.model.cutoff).to(dtype=self.model.dtype)
            try:
                self._predict(one, neighbors, field, False, None)
            except ConvergenceError as alone:
                found[k] = str(alone)
        if not found:
            raise error
        self.lost |= found

    def _put_back(
        self, positions: Tensor, cell: Tensor, reference: Tensor, reference_cell: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Positions and cell with the lost replicas where the table was built from, where the model can treat them."""
        lost = torch.zeros_like(self._template.periodic)
        lost[list(self.lost)] = True
        positions = torch.where(lost[self._template.batch][:, None], reference, positions)
        return positions, torch.where(lost[:, None, None], reference_cell, cell)

    def _field_at(self, step: int) -> _Field | None:
        """The field at a step; made anew only where it changes."""
        if self._schedule is not None and (self._field is None or self._schedule.field.varies):
            now, before = self._schedule.at_step(step), self._schedule.at_step(max(step - 1, 0))
            weights = torch.from_numpy(np.stack([field_weights(now), field_weights(0.5 * (before + now))]))
            value = torch.from_numpy(now)[None].to(self.model.device, self.model.dtype)
            self._field = _Field(value, *weights.to(self.model.device).unbind())
        return self._field

    def _rebuild(self, positions: Tensor, cell: Tensor) -> None:
        system = self._template._replace(positions=positions, cell=cell)
        reach = self.model.cutoff and self.model.cutoff + self.skin_A  # 0: no neighbours are asked for
        if system.slab is not None:
            check_vacuum(system, reach)
        self._neighbors = build_neighbors(system, reach).to(dtype=self.model.dtype)
        self._built_from = positions
        self.n_rebuilds += 1

    def _excess(self, positions: Tensor, cell: Tensor, reference: Tensor, reference_cell: Tensor) -> Tensor:
        """By how much every atom has moved further than the table allows [atom], A; positive: it is not valid."""
        if self._fixed_cell:
            return beyond_skin(positions, reference, self.skin_A)
        measure = beyond_skin_strained if self._any_shape else beyond_skin_scaled
        batch, cutoff = self._template.batch, self.model.cutoff
        return measure(positions, cell, reference, reference_cell, batch, cutoff, self.skin_A)
