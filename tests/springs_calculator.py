"""An ASE calculator whose every result is known in closed form: springs between atoms 2k and 2k + 1.

    U = sum k/2 (|r| - b)^2,   M_a = sum_i q_i r_ia + s sum_bonds |r|^2 r_a
    Z*_i,ab = q_i d_ab -+ s (|r|^2 d_ab + 2 r_a r_b),   alpha_ab = a (d_ab + r_a r_b) per bond

with r = r_(2k+1) - r_2k.  Positions are taken as they stand, unwrapped.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

MASSES = {"H": 1.008, "O": 15.999}


class Springs(Calculator):
    """The springs.

    Args:
        gives: names of the results beside energy and forces.
        k_eV_per_A2: of the springs.
        length_A: of the springs at rest.
        charge_e: of the first atom of each pair; the other has the opposite one.
        second: s, e/A^2: the dipole is of third order in the positions.
        fails_at: call at which it fails, counted from 1.
        nan_at: call at which forces are NaN.
        seconds: that a call takes.
    """

    implemented_properties = [  # noqa: RUF012 (declared as a plain list in ase)
        "energy", "forces", "stress", "dipole", "polarization", "polarizability", "born_charges",
        "molecular_dipoles", "atomic_dipoles", "charges",
    ]  # fmt: skip

    def __init__(
        self,
        gives: tuple[str, ...] = ("dipole",),
        k_eV_per_A2: float = 30.0,
        length_A: float = 1.0,
        charge_e: float = 0.4,
        second: float = 0.0,
        fails_at: int = 0,
        nan_at: int = 0,
        seconds: float = 0.0,
        alpha: float = 0.05,
        periodic_dipole: str | None = None,
    ) -> None:
        super().__init__()
        self.gives, self.k, self.length, self.q, self.s = gives, k_eV_per_A2, length_A, charge_e, second
        self.fails_at, self.nan_at, self.seconds, self.alpha = fails_at, nan_at, seconds, alpha
        self.n_calls, self.asked, self.seen = 0, [], Atoms()
        if periodic_dipole is not None:
            self.periodic_dipole = periodic_dipole

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """All that it gives, whatever is asked."""
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        self.asked.append(tuple(properties))
        self.seen = atoms
        time.sleep(self.seconds)
        if self.n_calls == self.fails_at:
            raise CalculationFailed("SCF not converged\nin 250 iterations")
        values = self.values(atoms.positions, atoms.cell.array if atoms.pbc.any() else None)
        if self.n_calls == self.nan_at:
            values["forces"][3, 1] = np.nan
        values["forces"] = np.asfortranarray(values["forces"])  # as Fortran codes have it
        self.results = {name: values[name] for name in ("energy", "forces", *self.gives)}

    def values(self, positions: np.ndarray, cell: np.ndarray | None) -> dict[str, Any]:
        """Everything at positions [atom, xyz], A."""
        r = positions[1::2] - positions[0::2]
        length = np.linalg.norm(r, axis=1)
        pull = (self.k * (length - self.length) / length)[:, None] * r
        forces = np.stack([pull, -pull], axis=1).reshape(-1, 3)
        charges = self.q * np.tile([1.0, -1.0], len(r))
        extra = self.s * (length**2)[:, None] * r
        dipole = (charges[:, None] * positions).sum(axis=0) + extra.sum(axis=0)
        slope = self.s * ((length**2)[:, None, None] * np.eye(3) + 2.0 * r[:, :, None] * r[:, None, :])
        born = charges[:, None, None] * np.eye(3) + np.stack([-slope, slope], axis=1).reshape(-1, 3, 3)
        by_bond = -self.q * r + extra
        values: dict[str, Any] = {
            "energy": float(0.5 * self.k * ((length - self.length) ** 2).sum()),
            "forces": forces,
            "dipole": dipole,
            "born_charges": born,
            "charges": charges,
            "polarizability": self.alpha * (len(r) * np.eye(3) + r.T @ r),
            "molecular_dipoles": by_bond,
            "atomic_dipoles": np.repeat(0.5 * by_bond, 2, axis=0),
        }
        if cell is not None:
            volume = abs(np.linalg.det(cell))
            quanta = dipole @ np.linalg.inv(cell)
            values["polarization"] = (quanta - np.floor(quanta)) @ cell / volume  # of the branch between 0 and 1
            tension = (pull[:, :, None] * r[:, None, :]).sum(axis=0) / volume
            values["stress"] = tension[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        return values


def springs(*gives: str, **options: Any) -> Springs:
    """As a specification names it: ``'ase:tests.springs_calculator:springs("dipole", charge_e=0.5)'``."""
    return Springs(gives, **options)


def undeclared_springs(*gives: str) -> Any:
    """As ``springs``, without saying that it returns a calculator."""
    return Springs(gives)


class FromFile(Springs):
    """Springs that a file describes."""

    def __init__(self, path: str) -> None:
        import pickle
        from pathlib import Path

        pickle.loads(Path(path).read_bytes())
        super().__init__()


def pairs(n_bonds: int = 4, box_A: float | None = None, seed: int = 0) -> Atoms:
    """O-H pairs of length 1 A on a jittered grid."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n_bonds ** (1 / 3)))
    box = 3.5 * side if box_A is None else box_A
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n_bonds]
    centres = (grid + 0.3) * box / side
    along = rng.normal(size=(n_bonds, 3))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    positions = np.stack([centres, centres + 0.98 * along], axis=1).reshape(-1, 3)
    atoms = Atoms("OH" * n_bonds, positions=positions)
    if box_A is not None:
        atoms.cell, atoms.pbc = [[box, 0, 0], [0.1 * box, 1.1 * box, 0], [0.2, -0.3, 0.95 * box]], True
    return atoms
