"""From instants to blocks of observables: columns filled on the device, finished once per block on the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectra_app.dynamics.changing_cell import StrainPart
from spectra_app.dynamics.contributions import Contributions
from spectra_app.dynamics.observables import Gathered, Instant, RunKind, observables_of


@dataclass(frozen=True)
class ObservableBlock:
    """Consecutive recorded steps.

    Attributes:
        step: [frame], steps since recording began.
        values: by name, [frame, replica, ...]; shapes and units stand in ``observables.OBSERVABLES``.
    """

    step: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def dipole_eA(self) -> np.ndarray:  # noqa: N802
        """[frame, replica, xyz], physical cell dipole, continuous in time."""
        return self.values["dipole"]

    @property
    def dipole_latent_eA(self) -> np.ndarray:  # noqa: N802
        """[frame, replica, xyz], before the physical scale."""
        return self.values["dipole_latent"]

    @property
    def polarizability_e2A2_per_eV(self) -> np.ndarray | None:  # noqa: N802
        """[frame, replica, xyz, xyz], physical; None where the model has none."""
        return self.values.get("polarizability")

    @property
    def energy_eV(self) -> np.ndarray:  # noqa: N802
        """[frame, replica], potential energy."""
        return self.values["energy"]

    @property
    def conserved_eV(self) -> np.ndarray | None:  # noqa: N802
        """[frame, replica]; None for a trajectory."""
        return self.values.get("conserved")

    @property
    def volume_A3(self) -> np.ndarray | None:  # noqa: N802
        """[frame, replica]; None where the cell is fixed."""
        return self.values.get("volume")

    @property
    def field_V_per_A(self) -> np.ndarray | None:  # noqa: N802
        """[frame, xyz], external field; None without one."""
        return self.values.get("field")

    @property
    def dipole_parts_eA(self) -> np.ndarray | None:  # noqa: N802
        """[frame, replica, part, xyz], contributions to the dipole; None where not recorded."""
        return self.values.get("dipole_parts")


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
        self._parts: Contributions | None = None
        if atom_part is not None:
            self._parts = Contributions(atom_part, n_replicas, kind.polarizability, kind.variable_cell)
        self.n_columns = sum(row.n_columns for row in self._rows)

    @property
    def max_frames(self) -> int | None:
        """Frames per block that contributions of atoms leave room for; None: any number."""
        return None if self._parts is None else self._parts.max_frames

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
        parts = (None, None) if self._parts is None else self._parts.take(axes, cells)
        frames = Gathered(step, raw, axes, eps_e, strain, self._field, *parts)
        values = {
            row.name: raw[row.name] if row.finish is None else row.finish(frames) for row in self._rows if row.stored
        }
        return ObservableBlock(step, values)

    def carry(self) -> dict[str, Any]:
        """What a restart needs (call after ``block``): plain tensors."""
        return {
            "parts": None if self._parts is None else self._parts.carry(),
            "strain": None if self._strain is None else self._strain.tensors,
        }

    def restore(self, carry: dict[str, Any]) -> None:
        """Continue from ``carry``."""
        if self._strain is not None:
            self._strain = StrainPart.from_tensors(carry["strain"])
        if self._parts is not None:
            self._parts.restore(carry["parts"])
