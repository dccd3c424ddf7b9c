"""The table of observables: what a recorded step holds, per replica.

Rows of the recorder, blocks, run file, ``record`` on a trajectory and ``read_run`` follow from ``OBSERVABLES``: a new
observable is one row and its formula.  A formula runs on the device at every recorded step and reads nothing back; what
needs the physical scale, the frames before, or numbers of the host is made once per block (``finish``): ``BlockMaker``
fills columns on the device and finishes blocks on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.changing_cell import StrainPart, charge_moments
from spectra_app.dynamics.contributions import Contributions, physical_dipoles, physical_polarizabilities
from spectra_app.dynamics.followed_dipole import DipoleRule, follow
from spectra_app.dynamics.instant import Instant
from spectra_app.dynamics.outside import extrapolation, extrapolation_atom, extrapolation_distance


@dataclass(frozen=True)
class Gathered:
    """Consecutive recorded steps on the host, as ``finish`` sees them.

    Attributes:
        step: [frame], steps since recording began.
        raw: by name, [frame, replica, ...], what the formulas gave.
        axes: [replica, xyz, xyz] or [frame, replica, xyz, xyz], what turns latent dipoles into physical ones.
        eps_e: [replica] or [frame, replica], screening.
        strain_dipole_eA: [frame, replica, xyz], latent, what the strain of a changing cell adds to the dipole; None
            where the cell is fixed.
        field: external field [xyz], V/A, by recorded step; None without one.
        dipole_parts_eA: [frame, replica, part, xyz], physical; None without parts.
        polarizability_parts_e2A2_per_eV: [frame, replica, part, xyz, xyz], physical; None likewise or without alpha.
        followed_dipole_eA: [frame, replica, xyz], physical; None where the dipole is a function of the positions.
    """

    step: np.ndarray
    raw: dict[str, np.ndarray]
    axes: np.ndarray
    eps_e: np.ndarray
    strain_dipole_eA: np.ndarray | None = None
    field: Callable[[int], np.ndarray] | None = None
    dipole_parts_eA: np.ndarray | None = None
    polarizability_parts_e2A2_per_eV: np.ndarray | None = None
    followed_dipole_eA: np.ndarray | None = None


@dataclass(frozen=True)
class RunKind:
    """What decides which observables a run has.

    Attributes:
        polarizability: the model predicts it.
        variable_cell: cell and volume may change.
        conserved: molecular dynamics, which has a conserved energy; a trajectory has none.
        field: there is an external field.
        parts: contributions of parts are asked for.
        extrapolation: the model knows the range of its training data.
        dipole: how the model knows the dipole (``followed_dipole``).
    """

    polarizability: bool
    variable_cell: bool
    conserved: bool
    field: bool
    parts: bool
    extrapolation: bool
    dipole: DipoleRule = "function"


def always(kind: RunKind) -> bool:
    """Whether a run of this kind has the observable: every one has."""
    return True


def _knows_range(kind: RunKind) -> bool:
    return kind.extrapolation


def _needs_cell(kind: RunKind) -> bool:
    return kind.variable_cell or kind.dipole == "modulo"


@dataclass(frozen=True)
class Observable:
    """One row of the table.

    Attributes:
        name: in the run file, in ``ObservableBlock.values`` and in ``Run.observables``.
        axes: after [frame, replica]; after [frame] where ``shared``, after [frame, replica, part] where ``of_parts``.
        unit: as the run file states it.
        cost: of recording it, in words, a float64 number being 8 bytes.
        formula: [structure, *axes] of an instant, on the device; None: made from other rows.
        finish: [frame, replica, *axes] of consecutive steps, on the host; None: the formula gives it already.
        has: whether a run of a kind has it.
        stored: in the run file; otherwise it only serves other rows.
        shared: the same for all replicas, hence without their axis.
        of_parts: of every part, stored as float32.
    """

    name: str
    axes: tuple[int, ...]
    unit: str
    cost: str
    formula: Callable[[Instant], Tensor] | None = None
    finish: Callable[[Gathered], np.ndarray] | None = None
    has: Callable[[RunKind], bool] = always
    stored: bool = True
    shared: bool = False
    of_parts: bool = False

    @property
    def n_columns(self) -> int:
        """Numbers per replica that its formula gives."""
        return 0 if self.formula is None else int(np.prod(self.axes, dtype=int))


def observables_of(kind: RunKind) -> tuple[Observable, ...]:
    """Rows that a run of this kind has, in the order of the table."""
    return tuple(row for row in OBSERVABLES if row.has(kind))


def stored_observables(kind: RunKind) -> tuple[Observable, ...]:
    """Rows that the run file of such a run holds, in the order of the table."""
    return tuple(row for row in observables_of(kind) if row.stored)


def named_observables(*names: str) -> tuple[Observable, ...]:
    """Rows of these names, in the order given; KeyError for one that the table lacks."""
    by_name = {row.name: row for row in OBSERVABLES}
    return tuple(by_name[name] for name in names)


def _conserved(instant: Instant) -> Tensor:
    assert instant.conserved_eV is not None
    return instant.conserved_eV


def _charge_moments(instant: Instant) -> Tensor:
    return instant.sum_over_atoms(charge_moments(instant.prediction.fixed_charges, instant.positions))


def _physical_dipole(frames: Gathered) -> np.ndarray:
    if frames.followed_dipole_eA is not None:
        return frames.followed_dipole_eA
    latent = frames.raw["dipole_latent"]
    return physical_dipoles(
        latent if frames.strain_dipole_eA is None else latent - frames.strain_dipole_eA, frames.axes
    )


def _field(frames: Gathered) -> np.ndarray:
    assert frames.field is not None
    return np.array([frames.field(int(step)) for step in frames.step])


def _dipole_parts(frames: Gathered) -> np.ndarray:
    assert frames.dipole_parts_eA is not None
    return frames.dipole_parts_eA


def _polarizability_parts(frames: Gathered) -> np.ndarray:
    assert frames.polarizability_parts_e2A2_per_eV is not None
    return frames.polarizability_parts_e2A2_per_eV


OBSERVABLES: tuple[Observable, ...] = (
    # Physical cell dipole, continuous in time, without what the strain of a changing cell adds to it
    # (``changing_cell``): its changes do not depend on images.
    Observable("dipole", (3,), "e Angstrom", "none on the device", finish=_physical_dipole),
    # Before the physical scale; of the positions as they stand.
    Observable("dipole_latent", (3,), "e Angstrom", "3 numbers", lambda instant: instant.prediction.dipole),
    Observable(
        "screening",
        (),
        "1",
        "none on the device",
        finish=lambda frames: np.broadcast_to(frames.eps_e, (len(frames.step), frames.eps_e.shape[-1])).copy(),
    ),
    Observable("energy", (), "eV", "1 number", lambda instant: instant.prediction.energy),
    Observable("temperature", (), "K", "1 number", lambda instant: instant.temperature_K),
    Observable("conserved", (), "eV", "1 number", _conserved, has=lambda kind: kind.conserved),
    Observable(
        "polarizability",
        (3, 3),
        "e+2 Angstrom+2 eV-1",
        "9 numbers, and the model's own: it is asked for it at recorded steps only",
        lambda instant: instant.prediction.polarizability,
        lambda frames: physical_polarizabilities(frames.raw["polarizability"], frames.axes),
        has=lambda kind: kind.polarizability,
    ),
    # How far the most unusual atom is outside the training data (docs/extrapolation.md), and which one it is.
    Observable("extrapolation", (), "1", "1 number, and the model's own", extrapolation, has=_knows_range),
    Observable("extrapolation_atom", (), "1", "1 number", extrapolation_atom, has=_knows_range),
    # The nearest distance that is farthest outside those of the training data: atom, other atom, A.
    Observable("extrapolation_distance", (3,), "1, 1, Angstrom", "3 numbers", extrapolation_distance, has=_knows_range),
    Observable(
        "volume",
        (),
        "Angstrom+3",
        "1 number",
        lambda instant: torch.linalg.det(instant.cell).abs(),
        has=lambda kind: kind.variable_cell,
    ),
    Observable(
        "field",
        (3,),
        "V Angstrom-1",
        "none on the device",
        finish=_field,
        has=lambda kind: kind.field,
        shared=True,
    ),
    Observable(
        "dipole_parts",
        (3,),
        "e Angstrom",
        "3 (6 where the cell changes) numbers per atom, kept up to the end of the block",
        finish=_dipole_parts,
        has=lambda kind: kind.parts,
        of_parts=True,
    ),
    Observable(
        "polarizability_parts",
        (3, 3),
        "e+2 Angstrom+2 eV-1",
        "9 numbers per atom, likewise",
        finish=_polarizability_parts,
        has=lambda kind: kind.parts and kind.polarizability,
        of_parts=True,
    ),
    # What the strain of a changing cell is taken out with.
    Observable(
        "charge_moments",
        (3,),
        "e Angstrom",
        "3 numbers and a sum over atoms",
        _charge_moments,
        has=lambda kind: kind.variable_cell,
        stored=False,
    ),
    Observable(
        "cell",
        (3, 3),
        "Angstrom",
        "9 numbers",
        lambda instant: instant.cell,
        has=_needs_cell,
        stored=False,
    ),
)


@dataclass(frozen=True)
class ObservableBlock:
    """Consecutive recorded steps.

    Attributes:
        step: [frame], steps since recording began.
        values: by name, [frame, replica, ...]; shapes and units stand in ``OBSERVABLES``.
    """

    step: np.ndarray
    values: dict[str, np.ndarray]


class BlockMaker:
    """The observables of one run: gives columns of instants and makes blocks of them.

    Args:
        kind: of the run; decides which observables it has.
        n_replicas: independent copies; one for a trajectory.
        atom_part: [atom of one replica], part an atom belongs to; needed where the kind has parts.
        field: external field [xyz], V/A, by recorded step; needed where the kind has one.
    """

    def __init__(
        self,
        kind: RunKind,
        n_replicas: int,
        atom_part: np.ndarray | None = None,
        field: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self._rows = observables_of(kind)
        self._formulas = [row.formula for row in self._rows if row.formula is not None]
        self._field = field
        self._strain = StrainPart() if kind.variable_cell else None
        self._followed, self._rule = follow(kind.dipole, n_replicas), kind.dipole
        self._parts: Contributions | None = None
        if atom_part is not None:
            self._parts = Contributions(atom_part, n_replicas, kind.polarizability, kind.variable_cell)
        self.n_columns = sum(row.n_columns for row in self._rows)

    @property
    def max_frames(self) -> int | None:
        """Frames per block that contributions of atoms, or their Born charges, leave room for; None: any number."""
        if self._parts is not None:
            return self._parts.max_frames
        return None if self._followed is None else self._followed.max_frames

    def columns(self, instant: Instant, out: Tensor | None = None) -> Tensor:
        """What the formulas give, [structure, column], float64, on the device; nothing is read back.

        Contributions of atoms are kept until ``block`` is called.

        Args:
            instant: all replicas at one step, or several frames of one replica.
            out: where it is written, [structure, column], float64.
        """
        n_structures = len(instant.cell)
        found = [formula(instant).reshape(n_structures, -1) for formula in self._formulas]
        if self._parts is not None:
            self._parts.add(instant.prediction, instant.positions)
        if self._followed is not None:
            self._followed.add(instant)
        return torch.cat(found, dim=1).double() if out is None else torch.cat(found, dim=1, out=out)

    def split(self, columns: np.ndarray) -> dict[str, np.ndarray]:
        """By name, [frame, replica, ...], of ``columns`` [frame, replica, column]."""
        raw, start = {}, 0
        for row in self._rows:
            if row.formula is not None:
                stop = start + row.n_columns
                raw[row.name] = columns[..., start:stop].reshape(*columns.shape[:2], *row.axes)
                start = stop
        return raw

    def block(
        self, step: np.ndarray, raw: dict[str, np.ndarray], axes: np.ndarray, eps_e: np.ndarray
    ) -> ObservableBlock:
        """The block of all instants given to ``columns`` since the last call.

        Args:
            step: [frame], steps since recording began.
            raw: of ``split``.
            axes: [replica, xyz, xyz] or [frame, replica, xyz, xyz], what turns latent dipoles into physical ones.
            eps_e: [replica] or [frame, replica], screening.
        """
        cells = None if self._strain is None else raw["cell"]
        strain = None
        if self._strain is not None and cells is not None:
            strain = self._strain.extend(raw["charge_moments"], cells)
        dipoles, alphas = (None, None) if self._parts is None else self._parts.take(axes, cells)
        followed = None if self._followed is None else self._followed.take(raw)
        if followed is not None and self._rule == "path":
            raw = raw | {"dipole_latent": followed}
        frames = Gathered(step, raw, axes, eps_e, strain, self._field, dipoles, alphas, followed)
        values = {
            row.name: raw[row.name] if row.finish is None else row.finish(frames) for row in self._rows if row.stored
        }
        return ObservableBlock(step, values)

    def carry(self) -> dict[str, Any]:
        """What a restart needs (call after ``block``): plain tensors."""
        return {
            "parts": None if self._parts is None else self._parts.carry(),
            "strain": None if self._strain is None else self._strain.tensors,
            "followed": None if self._followed is None else self._followed.carry(),
        }

    def restore(self, carry: dict[str, Any]) -> None:
        """Continue from ``carry``."""
        if self._strain is not None:
            self._strain = StrainPart.from_tensors(carry["strain"])
        if self._parts is not None:
            self._parts.restore(carry["parts"])
        if self._followed is not None:
            self._followed.restore(carry["followed"])
