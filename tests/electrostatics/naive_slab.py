"""Slabs written out naively: the exact kernel of two-dimensional periodicity, and a finite patch summed directly.

The kernel (Parry, Surf. Sci. 49, 433 (1975), DOI 10.1016/0039-6028(75)90362-3, here with smeared charges only):

    f(rho, z) = (1/A) sum_{G != 0} (pi/G) [ e^{G z} erfc(G s + z/(2 s)) + e^{-G z} erfc(G s - z/(2 s)) ] cos(G.rho)
              - (2 pi/A) [ z erf(z/(2 s)) + 2 s/sqrt(pi) e^{-z^2/(4 s^2)} ],        s = sigma/sqrt(2)

is the sum over all lateral images of erf(r/(sqrt2 sigma))/r, without the constant that a neutral cell does not see.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from spectra_app.units import COULOMB_CONSTANT
from tests.electrostatics.naive import pair_from_tensors, pair_width, self_energy


def slab_kernel(vector: Tensor, lateral: Tensor, sigma: float, reach: float = 9.0) -> Tensor:
    """Sum over lateral images of the smeared Coulomb kernel at one vector.

    Args:
        vector: [xyz], A.
        lateral: [vector, xyz], A, the two periodic vectors.
        sigma: smearing, A.
        reach: largest G sigma.
    """
    normal = torch.linalg.cross(lateral[0], lateral[1])
    area = normal.norm()
    normal = normal / area
    dual = 2.0 * math.pi * torch.linalg.inv(torch.stack([*lateral, normal])).T[:2]
    steps = [int(reach / sigma * float(v.norm()) / (2 * math.pi)) + 1 for v in lateral]
    n = torch.cartesian_prod(*(torch.arange(-m, m + 1) for m in steps)).to(vector)
    g = n @ dual
    g = g[(g.norm(dim=1) < reach / sigma) & (n != 0).any(dim=1)]
    size, z, s = g.norm(dim=1), vector @ normal, sigma / math.sqrt(2.0)

    def branch(height: Tensor) -> Tensor:
        return torch.exp(size * height) * torch.special.erfc(size * s + height / (2 * s))

    waves = (math.pi / size * (branch(z) + branch(-z)) * torch.cos(g @ vector)).sum()
    plane = z * torch.erf(z / (2 * s)) + 2 * s / math.sqrt(math.pi) * torch.exp(-((z / (2 * s)) ** 2))
    return (waves - 2.0 * math.pi * plane) / area


def slab_energy(positions: Tensor, lateral: Tensor, q: Tensor, u: Tensor, quad: Tensor, sigma) -> Tensor:
    """Energy of one cell of a slab in open space, eV, with the atoms' own smeared self-terms left out.

    ``sigma`` is one number or one for each atom.
    """
    widths = torch.as_tensor(sigma, dtype=positions.dtype).expand(len(positions))
    total = positions.new_zeros(())
    for i in range(len(positions)):
        for j in range(i + 1):
            functions = [partial(slab_kernel, lateral=lateral, sigma=pair_width(float(widths[i]), float(widths[j])))]
            for _ in range(4):
                functions.append(torch.func.jacrev(functions[-1]))
            tensors = [function(positions[i] - positions[j]) for function in functions]
            energy = pair_from_tensors(tensors, q[i], u[i], quad[i], q[j], u[j], quad[j])
            total = total + (0.5 if i == j else 1.0) * energy
    return COULOMB_CONSTANT * total - self_energy(q, u, quad, widths)


def patch_energy(positions: Tensor, lateral: Tensor, q: Tensor, sigma: float, radius: float) -> Tensor:
    """Energy of one cell of charges in a round patch of the slab, each image of whole cells; converges as 1/radius."""
    steps = [int(2 * radius / float(v.norm())) + 2 for v in lateral]
    n = torch.cartesian_prod(*(torch.arange(-m, m + 1) for m in steps)).to(positions)
    shifts = n @ lateral
    shifts = shifts[shifts.norm(dim=1) < radius]
    vectors = positions[:, None, None] - positions[None, :, None] + shifts
    distance = vectors.norm(dim=-1)
    own = distance < 1e-9
    safe = torch.where(own, torch.ones_like(distance), distance)
    kernel = torch.where(own, torch.zeros_like(safe), torch.erf(safe / (math.sqrt(2.0) * sigma)) / safe)
    return 0.5 * COULOMB_CONSTANT * torch.einsum("i,j,ijn->", q, q, kernel)
