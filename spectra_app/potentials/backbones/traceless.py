"""Symmetric traceless tensors to rank 3: harmonics of a direction, orthonormal bases, contractions of one with another.

A symmetric traceless tensor of rank l has 2 l + 1 independent components.  They are kept on an orthonormal basis E_m:
T = sum_m T_m E_m, T_m = E_m : T, so that a full contraction of two tensors is the dot product of their components.
"""

from __future__ import annotations

import math
from itertools import permutations

import torch
from torch import Tensor

MAX_RANK = 3
N_COMPONENTS = (1, 3, 5, 7)
"""Components of a tensor of rank 0, 1, 2, 3."""


def harmonics(direction: Tensor, rank: int) -> Tensor:
    """Real spherical harmonics of a unit vector to a rank: 1, the three of it, five of second, seven of third order.

    Those of one order are the components of the traceless part of d d ... d (``basis_tensors``), scaled so that their
    squares sum to 1: sum_m Y_m(d) Y_m(d') = P_l(d.d'), the Legendre polynomial.

    Args:
        direction: [..., xyz], unit vectors.
        rank: 1, 2 or 3.

    Returns:
        [..., harmonic], 4, 9 or 16 of them.
    """
    x, y, z = direction.unbind(-1)
    found = [torch.ones_like(x), x, y, z]
    if rank == 1:
        return torch.stack(found, dim=-1)
    root = math.sqrt(3.0)
    flat = x * x - y * y
    found += [root * x * y, root * y * z, root * x * z, 0.5 * root * flat, 1.5 * z * z - 0.5]
    if rank == 2:
        return torch.stack(found, dim=-1)
    outer, inner, middle = math.sqrt(10.0) / 4.0, math.sqrt(6.0) / 4.0, math.sqrt(15.0)
    near = inner * (5.0 * z * z - 1.0)
    found += [outer * x * (flat - 2.0 * y * y), outer * y * (flat + 2.0 * x * x), middle * x * y * z]
    found += [0.5 * middle * z * flat, near * x, near * y, z * (2.5 * z * z - 1.5)]
    return torch.stack(found, dim=-1)


def basis_tensors(rank: int) -> Tensor:
    """[component, xyz ... xyz] in float64: orthonormal symmetric traceless tensors in the order of ``harmonics``."""
    seeds: list[list[tuple[str, float]]] = [
        [[("", 1.0)]],
        [[("x", 1.0)], [("y", 1.0)], [("z", 1.0)]],
        [[("xy", 1.0)], [("yz", 1.0)], [("xz", 1.0)], [("xx", 1.0), ("yy", -1.0)], [("zz", 1.0)]],
        [
            [("xxx", 1.0), ("xyy", -3.0)],
            [("xxy", 3.0), ("yyy", -1.0)],
            [("xyz", 1.0)],
            [("xxz", 1.0), ("yyz", -1.0)],
            [("xzz", 1.0)],
            [("yzz", 1.0)],
            [("zzz", 1.0)],
        ],
    ][rank]
    found = torch.zeros(N_COMPONENTS[rank], *(3,) * rank, dtype=torch.float64)
    for tensor, terms in zip(found, seeds, strict=True):
        for axes, weight in terms:
            for order in permutations("xyz".index(axis) for axis in axes):
                tensor[order] += weight
        tensor.copy_(without_traces(tensor))
        tensor /= tensor.square().sum().sqrt()
    return found


def without_traces(tensor: Tensor) -> Tensor:
    """Traceless part of a symmetric tensor of rank 0 to 3, [xyz ... xyz]."""
    identity = torch.eye(3, dtype=tensor.dtype)
    if tensor.dim() < 2:
        return tensor
    if tensor.dim() == 2:
        return tensor - tensor.trace() / 3.0 * identity
    trace = torch.einsum("aab->b", tensor)
    parts = torch.einsum("ab,c->abc", identity, trace)
    return tensor - (parts + parts.permute(0, 2, 1) + parts.permute(2, 1, 0)) / 5.0


def vectors_product() -> Tensor:
    """Traceless part of (a b^T + b a^T)/2 [component, 9]; a_x b_y stands at 3 x + y."""
    return basis_tensors(2).flatten(1)


def matrices_product() -> Tensor:
    """Traceless part of (A B + B A)/2 [component, 25]; the components A_m B_n stand at 5 m + n."""
    basis = basis_tensors(2)
    return torch.einsum("kxy,mxz,nzy->kmn", basis, basis, basis).flatten(1)


def third_as_rows() -> Tensor:
    """A rank-3 tensor as a matrix between vectors and rank-2 tensors, R_am = sum_bc T_abc E_m,bc [3 x 5, component]."""
    return torch.einsum("tabc,mbc->amt", basis_tensors(3), basis_tensors(2)).flatten(0, 1)
