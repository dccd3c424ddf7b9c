"""Linear response of the latent charges and dipoles to potential and field (docs/theory.md).

    dq_i  = -kappa_i Phi_i                       induced atomic charge (the paper's form; not charge-conserving)
    dq_i  = -kappa_i (Phi_i - mu)                equilibrated over the structure: sum_i dq_i = 0 fixes mu (conserving)
    dp_ij = -kappa_ij (Phi_i - Phi_j)            charge moved from j to i (conserving)
    du_i  = alpha_i . E_i                        induced dipole

One-shot response answers the permanent multipoles' potential and field once, U = (1/2) sum (dq Phi - du.E), the work
already paid for polarizing included; ``self_consistent`` lets the induced terms answer each other too.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import torch
from torch import Tensor

from spectra_app.electrostatics.multipoles import Electrostatics
from spectra_app.structure.loops import may_use_loops
from spectra_app.structure.neighbors import Neighbors, gather_neighbors
from spectra_app.structure.system import System, sum_by_structure


class Induced(NamedTuple):
    """What several sets of potentials and fields (``source``) induce; None where the variant has no such response.

    Attributes:
        charges: [atom, source], e.
        moved: [atom, slot, source], e, charge moved from j to i; the charges are its sums over slots.
        dipoles: [atom, source, xyz], e A.
    """

    charges: Tensor | None
    moved: Tensor | None
    dipoles: Tensor | None

    def work(self, potential: Tensor, field: Tensor) -> Tensor:
        """Dq Phi - du.E of potential [atom, source], V, and field [atom, source, xyz], V/A: [atom, source], eV."""
        total = torch.zeros_like(potential)
        if self.charges is not None:
            total = total + self.charges * potential
        if self.dipoles is not None:
            total = total - (self.dipoles * field).sum(-1)
        return total


class Susceptibility(NamedTuple):
    """How every atom and pair answers; None where the variant has no such response.

    Attributes:
        alpha: [atom] (isotropic) or [atom, xyz, xyz] (symmetric), e^2 A^2/eV.
        kappa: [atom] (atomic family) or [atom, slot] (pairs, symmetric under i <-> j, zero in empty slots), e^2/eV.
        neighbors: the pairs.
        vectors: [atom, slot, xyz], r_j - r_i, A.
        pool: the structures over which induced atomic charges equilibrate; None: every atom answers for itself.
    """

    alpha: Tensor | None
    kappa: Tensor | None
    neighbors: Neighbors
    vectors: Tensor
    pool: System | None = None

    @property
    def by_pairs(self) -> bool:
        """Whether charge moves between neighbours."""
        return self.kappa is not None and self.kappa.dim() == 2

    def respond(self, potential: Tensor, field: Tensor) -> Induced:
        """Answer to potentials [atom, source], V, and fields [atom, source, xyz], V/A."""
        charges: Tensor | None = None
        moved: Tensor | None = None
        dipoles: Tensor | None = None
        if self.kappa is not None and self.by_pairs:
            difference = potential[:, None] - gather_neighbors(potential, self.neighbors)
            moved = -self.kappa[..., None] * difference
            charges = moved.sum(1)
        elif self.kappa is not None:
            charges = -self.kappa[:, None] * self._above_chemical_potential(potential)
        if self.alpha is not None:
            dipoles = self.alpha[:, None, None] * field if self.alpha.dim() == 1 else field @ self.alpha
        return Induced(charges, moved, dipoles)

    def _above_chemical_potential(self, potential: Tensor) -> Tensor:
        """Phi_i - mu [atom, source], V, mu = sum kappa Phi/sum kappa of the structure; Phi_i itself without a pool."""
        if self.pool is None or self.kappa is None:
            return potential
        level = sum_by_structure(self.kappa[:, None] * potential, self.pool)
        return potential - (level / sum_by_structure(self.kappa, self.pool)[:, None])[self.pool.batch]

    @property
    def arms(self) -> Tensor | None:
        """[atom, xyz], A, from the centre of kappa of its structure, of charge that flows in a uniform field.

        Zero in a cell, where the charges' potential -F.r has no meaning; None: charges do not flow.
        """
        if self.pool is None or self.kappa is None:
            return None
        arms = self._above_chemical_potential(self.pool.positions)
        return torch.where(self.pool.periodic[self.pool.batch, None], torch.zeros_like(arms), arms)

    def answer(self, potential: Tensor, field: Tensor) -> Induced:
        """As ``respond``, charges and dipoles alone and without derivative; by a compiled loop on the CPU."""
        alpha, kappa = self.alpha, self.kappa
        if alpha is None or kappa is None or alpha.dim() != 3 or not self.by_pairs or not may_use_loops(alpha.device):
            return self.respond(potential, field)._replace(moved=None)
        charges, dipoles = torch.empty_like(potential), torch.empty(*potential.shape, 3, dtype=potential.dtype)
        arrays = (x.detach().contiguous().numpy() for x in (kappa, self.neighbors.other, alpha, potential, field))
        _answer(*arrays, charges.numpy(), dipoles.numpy())
        return Induced(charges, None, dipoles)

    def respond_to_uniform_fields(self) -> Induced:
        """Answer to fields of 1 V/A along x, y and z; [.., 3 sources].

        Independent atomic charges (the paper's form) do not take part: their potential -F.r has no meaning in a cell.
        Those that equilibrate do in an open structure, where it has one.
        """
        identity = torch.eye(3, dtype=self.vectors.dtype, device=self.vectors.device)
        moved = -self.kappa[..., None] * self.vectors if self.kappa is not None and self.by_pairs else None
        dipoles = self.alpha
        if dipoles is not None and dipoles.dim() == 1:
            dipoles = dipoles[:, None, None] * identity
        arms = self.arms
        if arms is not None and self.kappa is not None:
            return Induced(self.kappa[:, None] * arms, None, dipoles)
        return Induced(None if moved is None else moved.sum(1), moved, dipoles)


@numba.njit(cache=True, fastmath=True)
def _answer(kappa, other, alpha, potential, field, charges, dipoles):  # type: ignore[no-untyped-def]
    """dq_i = -sum_j kappa_ij (Phi_i - Phi_j) and du_i = alpha_i E_i, source by source; kappa is zero in empty slots."""
    n_atoms, n_sources = potential.shape
    for i in range(n_atoms):
        for m in range(n_sources):
            total = potential.dtype.type(0.0)
            for s in range(other.shape[1]):
                total += kappa[i, s] * (potential[other[i, s], m] - potential[i, m])
            charges[i, m] = total
            x, y, z = field[i, m, 0], field[i, m, 1], field[i, m, 2]
            for a in range(3):
                dipoles[i, m, a] = alpha[i, a, 0] * x + alpha[i, a, 1] * y + alpha[i, a, 2] * z


def one_shot(system: System, susceptibility: Susceptibility, permanent: Electrostatics) -> tuple[Induced, Tensor]:
    """Response to the permanent multipoles alone.

    Args:
        system: the structures.
        susceptibility: of atoms and pairs.
        permanent: potential and field of the permanent multipoles.

    Returns:
        the induced quantities (one source); energy [structure], eV.
    """
    potential, field = permanent.potential[:, None], permanent.field[:, None]
    induced = susceptibility.respond(potential, field)
    return induced, 0.5 * sum_by_structure(induced.work(potential, field)[:, 0], system)


def direct_polarizability_by_atom(susceptibility: Susceptibility) -> Tensor:
    """alpha_i + (1/2) sum_j kappa_ij r_ij r_ij^T, what every atom adds to the polarizability of its structure.

    alpha_sys = sum_i alpha_i + sum_{i<j} kappa_ij r_ij r_ij^T, nothing induced by what is induced; half of every pair
    belongs to either end.

    Args:
        susceptibility: of atoms and pairs.

    Returns:
        [atom, xyz, xyz], e^2 A^2/eV.
    """
    return induced_moments(susceptibility.respond_to_uniform_fields(), susceptibility)


def induced_moments(induced: Induced, susceptibility: Susceptibility) -> Tensor:
    """Dipole of every atom in three fields: du_i + (1/2) sum_j dp_ij r_ij, r_ij = r_i - r_j of the pair's own image.

    Charges that equilibrate over an open structure add dq_i r_i.

    Args:
        induced: three sources.
        susceptibility: that has answered.

    Returns:
        [atom, xyz, source], e A.
    """
    vectors, arms = susceptibility.vectors, susceptibility.arms
    moments = vectors.new_zeros(len(vectors), 3, 3)
    if arms is not None and induced.charges is not None:
        moments = moments + arms[:, :, None] * induced.charges[:, None]
    if induced.dipoles is not None:
        moments = moments + induced.dipoles.transpose(1, 2)
    if induced.moved is not None:
        moments = moments - 0.5 * (vectors.transpose(1, 2) @ induced.moved)
    return moments
