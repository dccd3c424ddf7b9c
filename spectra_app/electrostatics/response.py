"""One-shot linear response: induced terms answer the field of the permanent multipoles once (physics.md 2-4).

Each function returns the induced quantity and its energy; the energy is -(1/2) response x force, the work already
paid for polarizing included.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spectra_app.neighbors import Neighbors, gather_neighbors
from spectra_app.system import System, sum_by_structure
from spectra_app.units import EPSILON_0


def induced_charges(kappa: Tensor, potential: Tensor) -> tuple[Tensor, Tensor]:
    """dq_i = -kappa_i Phi_i,  U_i = -(1/2) kappa_i Phi_i^2 (the paper's form; not charge-conserving).

    Args:
        kappa: [atom], e^2/eV, >= 0.
        potential: [atom], V.

    Returns:
        induced charge [atom], e; energy [atom], eV.
    """
    induced = -kappa * potential
    return induced, 0.5 * induced * potential


def induced_pair_charges(kappa: Tensor, potential: Tensor, neighbors: Neighbors) -> tuple[Tensor, Tensor]:
    """dp_ij = -kappa_ij (Phi_i - Phi_j),  U = -(1/2) sum_{i<j} kappa_ij (Phi_i - Phi_j)^2 (charge-conserving).

    Args:
        kappa: [atom, slot], e^2/eV, >= 0, symmetric under i <-> j, zero in empty slots.
        potential: [atom], V.
        neighbors: the pairs.

    Returns:
        charge moved from j to i [atom, slot], e; energy [atom], eV (half of each pair's to either atom).
    """
    difference = potential[:, None] - gather_neighbors(potential, neighbors)
    moved = -kappa * difference
    return moved, 0.25 * (moved * difference).sum(dim=1)


def induced_dipoles(alpha: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """du_i = alpha_i . E_i,  U_i = -(1/2) E_i . alpha_i . E_i.

    Args:
        alpha: [atom] (isotropic) or [atom, xyz, xyz] (symmetric), e^2 A^2/eV.
        field: [atom, xyz], V/A.

    Returns:
        induced dipole [atom, xyz], e A; energy [atom], eV.
    """
    induced = alpha[:, None] * field if alpha.dim() == 1 else (alpha @ field[:, :, None])[:, :, 0]
    return induced, -0.5 * (induced * field).sum(dim=-1)


def system_polarizability(
    system: System, alpha: Tensor | None, kappa_pair: Tensor | None, vectors: Tensor | None
) -> Tensor:
    """alpha_sys = sum_i alpha_i + sum_{i<j} kappa_ij r_ij r_ij^T.

    Args:
        system: the structures.
        alpha: [atom] or [atom, xyz, xyz], e^2 A^2/eV; None without induced dipoles.
        kappa_pair: [atom, slot], e^2/eV; None without pair response.
        vectors: [atom, slot, xyz], A; needed with ``kappa_pair``.

    Returns:
        [structure, xyz, xyz], e^2 A^2/eV.
    """
    per_atom = system.positions.new_zeros(len(system.positions), 3, 3)
    if alpha is not None:
        identity = torch.eye(3, dtype=alpha.dtype, device=alpha.device)
        per_atom = per_atom + (alpha[:, None, None] * identity if alpha.dim() == 1 else alpha)
    if kappa_pair is not None:
        assert vectors is not None
        per_atom = per_atom + 0.5 * (kappa_pair[..., None] * vectors).transpose(1, 2) @ vectors
    return sum_by_structure(per_atom, system)


def electronic_screening(system: System, polarizability: Tensor, eps_inf: float | None) -> Tensor:
    """eps_e that scales latent to physical responses (physics.md 4).

    1 for an open structure or an unknown eps_inf; else eps_inf/(1 + chi), chi = tr(alpha_sys)/(3 eps0 V), which is
    eps_inf itself without induced response.

    Args:
        system: the structures.
        polarizability: [structure, xyz, xyz], latent, e^2 A^2/eV.
        eps_inf: high-frequency dielectric constant of the material.

    Returns:
        [structure]; physical dipole = sqrt(eps_e) dipole, physical polarizability = eps_e polarizability.
    """
    ones = torch.ones_like(polarizability[:, 0, 0])
    if eps_inf is None:
        return ones
    trace = polarizability.diagonal(dim1=-2, dim2=-1).sum(-1)
    volume = torch.where(system.periodic, system.volume, ones)
    chi = trace / (3.0 * EPSILON_0 * volume)
    return torch.where(system.periodic, eps_inf / (1.0 + chi), ones)
