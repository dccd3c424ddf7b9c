"""Open boundaries: smeared multipoles summed directly, O(N^2) per structure.

    U = (k_e/2) sum_{i != j} L_i L_j T(|r_i - r_j|),   T(r) = erf(a r)/r,  a = 1/(sqrt(2) sigma)
    L_i = q_i + u_i.grad_i + (1/2) Q_i : grad_i grad_i

All derivatives of T follow from the radial functions B_l = (-(1/r) d/dr)^l T, which are Boys functions:
B_l(r) = (2 a^2)^l (2 a/sqrt(pi)) F_l(a^2 r^2) (Helgaker, Jorgensen, Olsen, Molecular Electronic-Structure Theory,
ch. 9.8).  They stay finite at r = 0, so neither padding nor short bonds need care.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectra_app.electrostatics.multipoles import Dense, Electrostatics, Multipoles, from_dense, to_dense
from spectra_app.system import System
from spectra_app.units import COULOMB_CONSTANT

_SERIES_LIMIT = 12.0  # below: power series (28 to 60 terms); above: upward recursion, which has lost its cancellation
_SERIES_TERMS = {torch.float32: 44, torch.float64: 64}


class _Boys(torch.autograd.Function):
    """F_l(x) = int_0^1 t^{2l} exp(-x t^2) dt; dF_l/dx = -F_{l+1}, hence differentiable to any order."""

    @staticmethod
    def forward(x: Tensor, order: int) -> Tensor:
        small = x.clamp(max=_SERIES_LIMIT)
        term = torch.full_like(small, 1.0 / (2 * order + 1))
        series = term.clone()
        for n in range(1, _SERIES_TERMS.get(x.dtype, 64)):
            term = term * (2.0 * small / (2 * order + 2 * n + 1))
            series = series + term
        series = series * torch.exp(-small)
        large = x.clamp(min=_SERIES_LIMIT)
        decay = torch.exp(-large)
        upward = 0.5 * torch.sqrt(math.pi / large) * torch.erf(torch.sqrt(large))
        for step in range(order):
            upward = ((2 * step + 1) * upward - decay) / (2.0 * large)
        return torch.where(x < _SERIES_LIMIT, series, upward)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(inputs[0])
        ctx.order = inputs[1]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return -grad * _Boys.apply(x, ctx.order + 1), None


def radial_functions(squared_distance: Tensor, sigma: float, highest: int) -> list[Tensor]:
    """B_0 ... B_highest of the smeared Coulomb kernel.

    Args:
        squared_distance: [...], A^2.
        sigma: smearing of the kernel, A.
        highest: the last order.

    Returns:
        one tensor [...] per order l, in A^-(2l+1).
    """
    a = 1.0 / (math.sqrt(2.0) * sigma)
    x = a * a * squared_distance
    return [(2 * a * a) ** order * (2 * a / math.sqrt(math.pi)) * _Boys.apply(x, order) for order in range(highest + 1)]


def direct_electrostatics(system: System, multipoles: Multipoles, layout: Dense, sigma: float) -> Electrostatics:
    """Energy, potential and field of smeared multipoles with open boundaries.

    Args:
        system: the structures; cells are ignored.
        multipoles: permanent multipoles.
        layout: dense layout of the batch.
        sigma: smearing of the kernel, A.
    """
    r = to_dense(system.positions, layout)
    q = to_dense(multipoles.charges, layout)
    vectors = r[:, :, None, :] - r[:, None, :, :]  # [structure, i, j, xyz] = r_i - r_j
    highest = 4 if multipoles.quadrupoles is not None else 2 if multipoles.dipoles is not None else 1
    b = radial_functions((vectors * vectors).sum(-1), sigma, highest)
    others = ~torch.eye(layout.shape[1], dtype=torch.bool, device=r.device)
    b = [function * others for function in b]
    potential = torch.einsum("sij,sj->si", b[0], q)
    field = torch.einsum("sij,sijx->six", b[1] * q[:, None, :], vectors)
    u = None if multipoles.dipoles is None else to_dense(multipoles.dipoles, layout)
    quad = None if multipoles.quadrupoles is None else to_dense(multipoles.quadrupoles, layout)
    u_r = quad_r = r_quad_r = None
    if u is not None:
        u_r = torch.einsum("sjx,sijx->sij", u, vectors)
        potential = potential + (u_r * b[1]).sum(-1)
        field = field + torch.einsum("sij,sijx->six", u_r * b[2], vectors) - torch.einsum("sij,sjx->six", b[1], u)
    if quad is not None:
        quad_r = torch.einsum("sjxy,sijy->sijx", quad, vectors)
        r_quad_r = (quad_r * vectors).sum(-1)
        potential = potential + 0.5 * (r_quad_r * b[2]).sum(-1)
        field = field + 0.5 * torch.einsum("sij,sijx->six", r_quad_r * b[3], vectors)
        field = field - torch.einsum("sij,sijx->six", b[2], quad_r)
    energy = q * potential
    if u is not None:
        energy = energy - (u * field).sum(-1)
    if quad is not None:
        assert quad_r is not None
        assert r_quad_r is not None
        energy = energy + _quadrupole_energy(q, u, quad, u_r, quad_r, r_quad_r, vectors, b)
    return Electrostatics(
        energy=0.5 * COULOMB_CONSTANT * energy.sum(-1),
        potential=COULOMB_CONSTANT * from_dense(potential, layout),
        field=COULOMB_CONSTANT * from_dense(field, layout),
    )


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
