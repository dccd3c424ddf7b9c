"""A potential with the interface of ``spectra_app.potentials.Potential``: springs, fixed charges, a breathing alpha.

Atoms 2k and 2k+1 form a bond; every atom may also be tied to its start position (``onsite``), which breaks momentum
conservation but gives an exactly harmonic, ergodic system.  The polarization is sum q_i r_i of unwrapped positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor

from spectra_app.errors import StructureError
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.structure.neighbors import Neighbors
from spectra_app.structure.system import System, sum_by_structure


@dataclass(frozen=True)
class ToyCard:
    name: str = "toy"
    species: tuple[str, ...] = ("H", "O", "Ar")
    eps_inf: float | None = 1.5
    has_alpha: bool = True
    hash: str = "toyhash"


class ToyPrediction(NamedTuple):
    energy: Tensor
    forces: Tensor | None
    stress: Tensor | None
    dipole: Tensor
    polarizability: Tensor
    charges: Tensor
    dipole_by_atom: Tensor
    polarizability_by_atom: Tensor
    fixed_charges: Tensor
    solution: Tensor | None = None
    excess: Tensor | None = None
    extrapolation: None = None
    born_charges: Tensor | None = None


class ToyPotential:
    """U = sum_bonds k/2 (|r| - b)^2 + pair repulsion from the neighbour table + onsite springs - P.F."""

    def __init__(
        self,
        dtype: torch.dtype = torch.float64,
        bond_k: float = 30.0,
        onsite: Tensor | None = None,
        onsite_k: float = 0.0,
        repulsion: float = 0.2,
        bonds: bool = True,
    ) -> None:
        self.device, self.dtype, self.cutoff = torch.device("cpu"), dtype, 3.0
        self.card, self.eps_inf, self.scale = ToyCard(), 1.5, PhysicalScale(1.5, 0.0, 1.0)
        self.oxidation_states, self.training_range = None, None
        self.engine, self.engines = "eager", ("eager",)
        self.bond_k, self.onsite, self.onsite_k = bond_k, onsite, onsite_k
        self.repulsion, self.bonds = repulsion, bonds
        self.n_calls, self.fail_at = 0, -1

    def check_system(self, system: System) -> None:
        strange = sorted({chemical_symbols[z] for z in system.numbers.tolist()} - set(self.card.species))
        if strange:
            raise StructureError(f"element {', '.join(strange)}", wanted=f"only {', '.join(self.card.species)}")

    def __call__(
        self,
        system: System,
        neighbors: Neighbors,
        forces: bool = True,
        stress: bool = False,
        field: Tensor | None = None,
        polarizability: bool = True,
        guess: Tensor | None = None,
        iterations: object = None,
    ) -> ToyPrediction:
        self.n_calls += 1
        strain = torch.zeros(system.n_structures, 3, 3, dtype=self.dtype, requires_grad=True)
        positions = system.positions.detach().requires_grad_(True)
        with torch.enable_grad():
            stretched = positions + torch.einsum("ax,axy->ay", positions, strain[system.batch])
            cell = system.cell + system.cell @ strain
            dipole, charges = self._dipole(stretched, system)
            energy = self._energy(stretched, cell, positions, system, neighbors)
            if field is not None:
                energy = energy - (dipole * field).sum(-1)
            gradient, tension = torch.autograd.grad(energy.sum(), [positions, strain], allow_unused=True)
        bond = self._bond_vectors(system.positions)
        square_by_atom = (bond[:, :, None] * bond[:, None, :]).repeat_interleave(2, dim=0)
        square = sum_by_structure(square_by_atom, system)
        if self.fail_at == self.n_calls:
            gradient = gradient * float("nan")
        return ToyPrediction(
            energy=energy.detach().double(),
            forces=-gradient if forces else None,
            stress=None if not stress else tension / system.volume[:, None, None],
            dipole=dipole.detach(),
            polarizability=square if polarizability else torch.zeros_like(square),
            charges=charges.detach(),
            dipole_by_atom=charges[:, None].detach() * system.positions,
            polarizability_by_atom=square_by_atom,
            fixed_charges=charges.detach(),
        )

    def has_born_charges(self, system: System) -> bool:
        return False

    def born_charges(self, system: System, neighbors: Neighbors) -> Tensor:
        self.n_calls += 1
        _, charges = self._dipole(system.positions, system)
        return charges[:, None, None] * torch.eye(3, dtype=self.dtype) * 1.5**0.5

    def _dipole(self, positions: Tensor, system: System) -> tuple[Tensor, Tensor]:
        alternating = torch.arange(len(positions)) % 2
        charges = 0.4 * (1.0 - 2.0 * alternating).to(self.dtype)
        return sum_by_structure(charges[:, None] * positions, system), charges

    def _bond_vectors(self, positions: Tensor) -> Tensor:
        return positions[1::2] - positions[0::2]

    def _energy(
        self, stretched: Tensor, cell: Tensor, positions: Tensor, system: System, neighbors: Neighbors
    ) -> Tensor:
        per_atom = (
            0.5 * self.onsite_k * (positions - self.onsite).square().sum(-1)
            if self.onsite is not None
            else (0.0 * positions.sum(-1))
        )
        if self.bonds:
            length = self._bond_vectors(stretched).norm(dim=-1)
            per_atom = per_atom + (0.25 * self.bond_k * (length - 1.0) ** 2).repeat_interleave(2)
        if self.repulsion:
            shift = torch.einsum("ask,akx->asx", neighbors.shift, cell[system.batch])
            pair = stretched[neighbors.other] - stretched[:, None] + shift
            filler = torch.tensor([2.0 * self.cutoff, 0.0, 0.0], dtype=self.dtype)
            distance = torch.where(neighbors.mask[..., None], pair, filler).norm(dim=-1)
            per_atom = per_atom + 0.5 * self.repulsion * ((self.cutoff - distance).clamp(min=0.0) ** 2).sum(-1)
        return sum_by_structure(per_atom, system)


def dumbbells(n_bonds: int = 8, box: float = 8.0, seed: int = 0) -> Atoms:
    """ASE atoms: O-H bonds of length 1 A on a jittered lattice."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n_bonds ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n_bonds]
    centres = (grid + 0.25) * box / side
    direction = rng.normal(size=(n_bonds, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    positions = np.stack([centres, centres + direction], axis=1).reshape(-1, 3)
    return Atoms("OH" * n_bonds, positions=positions, cell=[box, box * 1.1, box * 0.95], pbc=True)
