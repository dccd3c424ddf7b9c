"""Periodic boundaries: smeared multipoles summed over reciprocal vectors, tinfoil boundary.

    U = (1/(2 eps0 V)) sum_{k != 0} g(k) |S(k)|^2 - U_self,     g(k) = exp(-sigma^2 k^2/2)/k^2
    S(k) = sum_i (q_i + i k.u_i - (1/2) k.Q_i.k) exp(i k.r_i)
    U_self = (1/(2 eps0 (2 pi)^{3/2})) sum_i [ q_i^2/sigma + u_i^2/(3 sigma^3) + Q_i:Q_i/(10 sigma^5) ]

The cutoff of the sum follows from a tolerance, and g falls smoothly to zero over its last tenth, so that no vector
enters or leaves with a jump when the cell changes.

Atoms of different widths (``smearing``): sigma is the smallest of them, and over classes c of atoms, each with its own
sums, S(k) = sum_c exp(-(sigma_c^2 - sigma^2) k^2/4) S_c(k).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from spectra_app.electrostatics.lattice import KVectors, k_vectors
from spectra_app.electrostatics.mesh import choose_engine
from spectra_app.electrostatics.multipoles import Dense, Electrostatics, Multipoles, dense_layout, from_dense, to_dense
from spectra_app.electrostatics.smearing import Smearing, by_atom, narrowest
from spectra_app.electrostatics.transforms import (
    DenseEngine,
    Engine,
    multi_indices,
    n_components,
    to_atoms,
    to_modes,
)
from spectra_app.structure.system import System
from spectra_app.units import EPSILON_0

__all__ = ["KVectors", "ReciprocalInteraction", "k_vectors", "kernel", "reciprocal_cutoff"]

TAPER_START = 0.9  # fraction of the cutoff where the taper begins


def reciprocal_cutoff(tolerance: float, sigma: float | Iterable[float], highest_rank: int) -> float:
    """Cutoff of the reciprocal sum [A^-1].

    The term of rank-l multipoles decays as (sigma k)^{2l} exp(-sigma^2 k^2/2); the cutoff is where that has fallen to
    ``tolerance`` of its largest value.

    Args:
        tolerance: relative weight of the first neglected vector.
        sigma: smearing, A; of several widths the smallest decides.
        highest_rank: 0 for charges, 1 with dipoles, 2 with quadrupoles.
    """
    if not isinstance(sigma, float | int):
        sigma = min(sigma)
    if highest_rank == 0:
        return math.sqrt(-2.0 * math.log(tolerance)) / sigma
    peak = highest_rank * (math.log(2.0 * highest_rank) - 1.0)
    x = math.sqrt(2.0 * highest_rank) + 1.0
    for _ in range(60):  # fixed point of x^2/2 = 2 l ln x - ln(tolerance) - peak; contracts for x > sqrt(2 l)
        x = math.sqrt(2.0 * (2.0 * highest_rank * math.log(x) - math.log(tolerance) - peak))
    return x / sigma


def kernel(k_squared: Tensor, sigma: float, cutoff: float) -> Tensor:
    """g(k) = exp(-sigma^2 k^2/2)/k^2 with its taper [...], A^2; zero at k = 0 and beyond the cutoff."""
    empty = k_squared <= 0
    k2 = torch.where(empty, torch.ones_like(k_squared), k_squared)
    x = ((torch.sqrt(k2) / cutoff - TAPER_START) / (1.0 - TAPER_START)).clamp(0.0, 1.0)
    taper = 1.0 - x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)
    return torch.where(empty, torch.zeros_like(k2), torch.exp(-0.5 * sigma**2 * k2) / k2 * taper)


def cell_sums(cell: Tensor, k: KVectors, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """What the sums take from a cell; kept with the vectors while the cell is the same tensor and has no derivative.

    Args:
        cell: [structure, vector, xyz], A.
        k: reciprocal vectors of every structure.
        sigma: the smallest smearing, A.

    Returns:
        inverse of the cell [structure, xyz, vector], A^-1; k^2 [structure, k], A^-2; weight of |S|^2 [structure, k].
    """
    keeps = not cell.requires_grad and not torch.compiler.is_compiling()
    kept = k.of_cell.get((id(cell), sigma)) if keeps else None
    if kept is not None and kept[0] is cell:
        return kept[1], kept[2], kept[3]
    inverse = torch.linalg.inv_ex(cell).inverse  # unlike inv, waits for no GPU
    vectors = 2.0 * math.pi * k.integers @ inverse.transpose(1, 2)  # k = 2 pi n inv(cell)^T
    prefactor = 1.0 / (EPSILON_0 * torch.linalg.det(cell).abs())  # [structure]
    k_squared = (vectors * vectors).sum(-1)
    weight = kernel(k_squared, sigma, k.cutoff) * prefactor[:, None]
    if keeps:
        k.of_cell.clear()  # of another cell, which is gone
        k.of_cell[id(cell), sigma] = (cell, inverse, k_squared, weight)
    return inverse, k_squared, weight


class ReciprocalInteraction:
    """The interaction of smeared multipoles in periodic cells, ready to act on any of them; see ``Interaction``.

    Args:
        system: the structures; all periodic.
        k: reciprocal vectors of every structure.
        sigma: smearing, A, of all atoms or by classes.
    """

    def __init__(self, system: System, k: KVectors, sigma: float | Smearing) -> None:
        self._layout = layout = dense_layout(system)
        self._sigma = sigma
        self._self_unit = 1.0 / (EPSILON_0 * (2.0 * math.pi) ** 1.5)
        self._inverse, k_squared, self._weight = cell_sums(system.cell, k, narrowest(sigma))
        self._fractional = to_dense(system.positions, layout) @ self._inverse  # [structure, place, vector]
        self._engine: Engine = choose_engine(self._fractional.detach(), k, narrowest(sigma))
        self._classes = _Classes(sigma, k_squared, layout) if isinstance(sigma, Smearing) else None
        self._fixed = (system.cell, k) if not system.cell.requires_grad else None
        self._own_charge = self._self_unit / by_atom(sigma, 1, k_squared)
        self._own_dipole = self._self_unit / (3.0 * by_atom(sigma, 3, k_squared))

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``."""
        modes = self._modes_of(multipoles)
        return Electrostatics(self._energy(modes, multipoles), *self._potentials(modes, multipoles))

    def potentials(self, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        return self._potentials(self._modes_of(multipoles), multipoles)

    def _potentials(self, modes: Tensor, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        q, u, _ = multipoles
        potential, field = self._at_atoms(modes, q[:, None], None if u is None else u[:, None])
        return potential[:, 0], field[:, 0]

    def energy(self, multipoles: Multipoles) -> Tensor:
        """See ``Interaction``."""
        return self._energy(self._modes_of(multipoles), multipoles)

    def _modes_of(self, multipoles: Multipoles) -> Tensor:
        q, u, quad = multipoles
        moments = self._moments(q[:, None], None if u is None else u[:, None], None if quad is None else quad[:, None])
        return self._to_modes(moments)

    def _energy(self, modes: Tensor, multipoles: Multipoles) -> Tensor:
        """Energy [structure] of multipoles with these modes, without their self-terms."""
        q, u, quad = multipoles
        energy = (self._weight * (modes * modes).sum((1, 2))).sum(-1)
        own = q * q / by_atom(self._sigma, 1, q)
        if u is not None:
            own = own + (u * u).sum(-1) / (3.0 * by_atom(self._sigma, 3, q))
        if quad is not None:
            own = own + (quad * quad).sum((-2, -1)) / (10.0 * by_atom(self._sigma, 5, q))
        return energy - 0.5 * self._self_unit * to_dense(own, self._layout).sum(-1)

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        return self._at_atoms(self._to_modes(self._moments(charges, dipoles, None)), charges, dipoles)

    @property
    def packs(self) -> bool:
        """Whether ``packed`` gives all: cells without derivative, atoms of one width, and waves that are kept."""
        kept = isinstance(self._engine, DenseEngine) and self._engine.waves is not None
        return kept and self._classes is None and self._fixed is not None

    def packed(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What ``packed.PackedEquation`` is made of.

        Returns:
            cosines, then sines [structure, place, 2 k]; what the y of a place gives to the structure factor
            [structure or 1, 1, re/im, component of y, cos/sin, k]; twice the weights [structure, 1, 1, k]; self-terms
            of the components of y [4].
        """
        assert isinstance(self._engine, DenseEngine)
        assert self._engine.waves is not None
        assert self._fixed is not None
        factors, own = _packed_factors(*self._fixed, self._inverse, self._own_charge, self._own_dipole)
        return self._engine.waves, factors, 2.0 * self._weight[:, None, None], own

    def _to_modes(self, moments: Tensor) -> Tensor:
        """Structure factors [structure, source, re/im, k] of the clouds, relative to the narrowest."""
        if self._classes is None:
            return to_modes(self._fractional, moments, self._engine)
        return self._classes.together(to_modes(self._fractional, self._classes.apart(moments), self._engine))

    def _to_atoms(self, modes: Tensor) -> Tensor:
        """Potential and gradient [structure, source, component, place] that the clouds see."""
        if self._classes is None:
            return to_atoms(self._fractional, modes, self._engine, 1)
        return self._classes.own(to_atoms(self._fractional, self._classes.damped(modes), self._engine, 1))

    def _at_atoms(self, modes: Tensor, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """Potential [atom, source] and field [atom, source, xyz] of sources with these modes, self-terms removed."""
        # d|S|^2/dq_i = 2 Re[S* e^{ikr}], and its gradients for the higher moments.
        values = self._to_atoms(2.0 * self._weight[:, None, None] * modes)
        potential = from_dense(values[:, :, 0].transpose(1, 2), self._layout)
        gradient = values[:, :, 1:].permute(0, 3, 1, 2) @ self._inverse.transpose(1, 2)[:, None]
        field = -from_dense(gradient, self._layout)
        if charges is not None:
            potential = potential - _along(self._own_charge, charges) * charges
        if dipoles is not None:
            field = field + _along(self._own_dipole, dipoles) * dipoles
        return potential, field

    def _moments(self, charges: Tensor | None, dipoles: Tensor | None, quadrupoles: Tensor | None) -> Tensor:
        """Cartesian moments in fractional coordinates [structure, source, component, place]."""
        inverse = self._inverse[:, None]
        rows = []
        if charges is None:
            assert dipoles is not None
            charges = torch.zeros_like(dipoles[..., 0])
        rows.append(to_dense(charges, self._layout).transpose(1, 2)[:, :, None])
        if dipoles is not None:
            rows.append((to_dense(dipoles, self._layout) @ inverse).permute(0, 2, 3, 1))
        elif quadrupoles is not None:
            rows.append(rows[0].new_zeros(*rows[0].shape[:2], 3, rows[0].shape[-1]))
        if quadrupoles is not None:
            inverse = inverse[:, None]
            # (1/2) Q : grad grad over the six distinct components: each off-diagonal one stands for two.
            quad = inverse.transpose(-2, -1) @ to_dense(quadrupoles, self._layout) @ inverse
            distinct = [
                0.5 * quad[..., a, b] if a == b else 0.5 * (quad[..., a, b] + quad[..., b, a])
                for a, b in multi_indices(2)[n_components(1) :]
            ]
            rows.append(torch.stack(distinct, dim=1).permute(0, 3, 1, 2))
        return torch.cat(rows, dim=2)


def _packed_factors(
    cell: Tensor, k: KVectors, inverse: Tensor, own_charge: float | Tensor, own_dipole: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Factors and self-terms of ``ReciprocalInteraction.packed``; kept with the vectors while the cell is the same."""
    keeps, key = not torch.compiler.is_compiling(), (id(cell), -1.0)
    kept = k.of_cell.get(key) if keeps else None
    if kept is not None and kept[0] is cell:
        return kept[1], kept[2]
    alike = bool((k.cells == k.cells[:1]).all())
    rows = slice(0, 1) if alike else slice(None)
    vectors = (2.0 * math.pi * k.integers[rows] @ inverse[rows].transpose(1, 2)).transpose(1, 2)  # [., xyz, k]
    factors = vectors.new_zeros(len(vectors), 1, 2, 4, 2, vectors.shape[-1])
    factors[:, 0, 0, 0, 0] = factors[:, 0, 1, 0, 1] = -1.0  # y of a charge is -q
    factors[:, 0, 0, 1:, 1], factors[:, 0, 1, 1:, 0] = -vectors, vectors  # i k.u exp(i k.r)
    own = torch.full((4,), float(own_dipole), dtype=vectors.dtype, device=vectors.device)
    own[:1] = float(own_charge)
    if keeps:
        k.of_cell[key] = (cell, factors, own)
    return factors, own


def _along(values: float | Tensor, of_atoms: Tensor) -> float | Tensor:
    """One number for all, or [atom] shaped to multiply [atom, ...]."""
    return values.reshape(-1, *[1] * (of_atoms.dim() - 1)) if isinstance(values, Tensor) else values


class _Classes:
    """Sums of atoms by the width of their clouds: every source becomes one for each class."""

    def __init__(self, sigma: Smearing, k_squared: Tensor, layout: Dense) -> None:
        least = narrowest(sigma) ** 2
        members = torch.stack([sigma.is_of(place) for place in range(len(sigma.widths))], dim=1)  # [atom, class]
        self._members = to_dense(members.to(k_squared), layout).transpose(1, 2)[:, :, None, None]
        factors = [torch.exp(-0.25 * (width**2 - least) * k_squared) for width in sigma.widths]
        self._factors = torch.stack(factors, dim=1)[:, :, None, None]  # [structure, class, 1, 1, k]

    def apart(self, moments: Tensor) -> Tensor:
        """[structure, source, component, place] -> one source for each class, zero where an atom is of another."""
        return (moments[:, None] * self._members).flatten(1, 2)

    def together(self, modes: Tensor) -> Tensor:
        """The modes of all classes, each with its factor -> [structure, source, re/im, k]."""
        return (modes.unflatten(1, (self._factors.shape[1], -1)) * self._factors).sum(1)

    def damped(self, modes: Tensor) -> Tensor:
        """[structure, source, re/im, k] -> what every class sees of them."""
        return (modes[:, None] * self._factors).flatten(1, 2)

    def own(self, values: Tensor) -> Tensor:
        """What every class sees [structure, class * source, component, place] -> what every atom sees."""
        return (values.unflatten(1, (self._factors.shape[1], -1)) * self._members).sum(1)
