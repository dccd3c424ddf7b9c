"""Open boundaries: smeared multipoles summed directly, O(N^2) per structure.

    U = (k_e/2) sum_{i != j} L_i L_j T(|r_i - r_j|),   T(r) = erf(a r)/r,  a = 1/(sqrt(2) sigma)
    L_i = q_i + u_i.grad_i + (1/2) Q_i : grad_i grad_i

All derivatives of T follow from the radial functions B_l = (-(1/r) d/dr)^l T, which are Boys functions:
B_l(r) = (2 a^2)^l (2 a/sqrt(pi)) F_l(a^2 r^2).  They stay finite at r = 0: neither padding nor short bonds need care.
Atoms of different widths have their own a for every pair (``smearing``).  The kernel of a wide sigma can be taken off,
which leaves one of short range (``cluster``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectra_app.electrostatics.boys import boys
from spectra_app.electrostatics.multipoles import Dense, Electrostatics, Multipoles, dense_layout, from_dense, to_dense
from spectra_app.electrostatics.smearing import Smearing, by_atom, narrowest
from spectra_app.structure.system import System
from spectra_app.units import COULOMB_CONSTANT


def radial_functions(squared_distance: Tensor, sigma: float | Tensor, highest: int) -> list[Tensor]:
    """B_0 ... B_highest of the smeared Coulomb kernel.

    Args:
        squared_distance: [...], A^2.
        sigma: smearing of the kernel, A, one number or [...].
        highest: the last order.

    Returns:
        one tensor [...] per order l, in A^-(2l+1).
    """
    a = 1.0 / (math.sqrt(2.0) * sigma)
    functions = boys(a * a * squared_distance, highest)
    return [(2 * a * a) ** order * (2 * a / math.sqrt(math.pi)) * functions[order] for order in range(highest + 1)]


def pair_widths(sigma: float | Smearing, layout: Dense, like: Tensor) -> float | Tensor:
    """Width of the kernel of every pair, sqrt((sigma_i^2 + sigma_j^2)/2) [structure, i, j], A, or one number for all.

    Args:
        sigma: A, or classes of atoms.
        layout: of the batch.
        like: a tensor of the wanted dtype and device.
    """
    if not isinstance(sigma, Smearing):
        return sigma
    least = narrowest(sigma) ** 2  # empty places, which are zeros, get the smallest width
    more = to_dense(by_atom(sigma, 2, like) - least, layout)
    return torch.sqrt(least + 0.5 * (more[:, :, None] + more[:, None, :]))


class DirectInteraction:
    """The interaction of smeared multipoles with open boundaries, ready to act on any of them; see ``Interaction``.

    Args:
        system: the structures; cells are ignored.
        sigma: smearing, A, of all atoms or by classes.
        highest_rank: 0 for charges, 1 with dipoles, 2 with quadrupoles.
        less: A; the kernel of this width is taken off.
    """

    def __init__(self, system: System, sigma: float | Smearing, highest_rank: int, less: float | None = None) -> None:
        self._layout = layout = dense_layout(system)
        r = to_dense(system.positions, layout)
        self._vectors = r[:, :, None, :] - r[:, None, :, :]  # [structure, i, j, xyz] = r_i - r_j
        highest = (1, 2, 4)[highest_rank]
        others = ~torch.eye(layout.shape[1], dtype=torch.bool, device=r.device)
        squared = (self._vectors * self._vectors).sum(-1)
        width = pair_widths(sigma, layout, squared)
        if less is None:
            functions = radial_functions(squared, width, highest)
        else:  # both kernels in one go: half of the Python
            narrow = width if isinstance(width, Tensor) else torch.full_like(squared[:, :1, :1], width)
            both = torch.stack([narrow, torch.full_like(narrow, less)])
            functions = [function[0] - function[1] for function in radial_functions(squared[None], both, highest)]
        self._b = [function * others for function in functions]

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        potential, field, _ = self._sum(charges, dipoles)
        return potential, field

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``."""
        q, u, quad = multipoles
        potential, field, u_r = self._sum(q[:, None], None if u is None else u[:, None])
        potential, field = potential[:, 0], field[:, 0]
        if quad is not None:
            of_quad, energy = self._quadrupoles(multipoles, None if u_r is None else u_r[..., 0])
            potential, field = potential + of_quad[0], field + of_quad[1]
        else:
            energy = torch.zeros_like(q)
        energy = energy + q * potential
        if u is not None:
            energy = energy - (u * field).sum(-1)
        total = to_dense(energy, self._layout).sum(-1)
        return Electrostatics(0.5 * total, potential, field)

    def potentials(self, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        return self.permanent(multipoles)[1:]

    def energy(self, multipoles: Multipoles) -> Tensor:
        """See ``Interaction``."""
        return self.permanent(multipoles).energy

    def _sum(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Potential [atom, source], field [atom, source, xyz], and u_j.r_ij [structure, i, j, source]."""
        b, vectors = self._b, self._vectors
        terms = []
        u_r: Tensor | None = None
        if charges is not None:
            q = to_dense(charges, self._layout)  # [structure, place, source]
            terms.append((b[0] @ q, torch.einsum("sij,sjm,sijx->simx", b[1], q, vectors)))
        if dipoles is not None:
            u = to_dense(dipoles, self._layout)  # [structure, place, source, xyz]
            u_r = torch.einsum("sjmx,sijx->sijm", u, vectors)
            away = torch.einsum("sijm,sijx->simx", b[2][..., None] * u_r, vectors)
            terms.append(((b[1][..., None] * u_r).sum(2), away - torch.einsum("sij,sjmx->simx", b[1], u)))
        potential, field = (sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True))
        scale = COULOMB_CONSTANT
        return scale * from_dense(potential, self._layout), scale * from_dense(field, self._layout), u_r

    def _quadrupoles(self, multipoles: Multipoles, u_r: Tensor | None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Potential [atom] and field [atom, xyz] of the quadrupoles, and Q_i : grad grad phi / 2 [atom]."""
        assert multipoles.quadrupoles is not None
        b, vectors = self._b, self._vectors
        quad = to_dense(multipoles.quadrupoles, self._layout)
        quad_r = torch.einsum("sjxy,sijy->sijx", quad, vectors)
        r_quad_r = (quad_r * vectors).sum(-1)
        potential = 0.5 * (r_quad_r * b[2]).sum(-1)
        field = 0.5 * torch.einsum("sij,sijx->six", r_quad_r * b[3], vectors)
        field = field - torch.einsum("sij,sijx->six", b[2], quad_r)
        q = to_dense(multipoles.charges, self._layout)
        u = None if multipoles.dipoles is None else to_dense(multipoles.dipoles, self._layout)
        energy = _quadrupole_energy(q, u, quad, u_r, quad_r, r_quad_r, vectors, b)
        potential, field, energy = (COULOMB_CONSTANT * from_dense(x, self._layout) for x in (potential, field, energy))
        return (potential, field), energy


def _quadrupole_energy(
    q: Tensor,
    u: Tensor | None,
    quad: Tensor,
    u_r: Tensor | None,
    quad_r: Tensor,
    r_quad_r: Tensor,
    vectors: Tensor,
    b: list[Tensor],
) -> Tensor:
    """(1/2) Q_i : grad grad phi(r_i) [structure, i], phi the potential of all other multipoles."""
    own_r = torch.einsum("sixy,sijy->sijx", quad, vectors)  # Q_i r_ij
    r_own_r = (own_r * vectors).sum(-1)
    energy = 0.5 * (q[:, None, :] * r_own_r * b[2]).sum(-1)
    if u is not None and u_r is not None:
        energy = energy + 0.5 * (u_r * r_own_r * b[3]).sum(-1)
        energy = energy - torch.einsum("sij,sijx,sjx->si", b[2], own_r, u)
    trace = torch.einsum("sixy,sjxy->sij", quad, quad)
    both = (own_r * quad_r).sum(-1)
    return energy + 0.25 * (2 * trace * b[2] - 4 * both * b[3] + r_quad_r * r_own_r * b[4]).sum(-1)
