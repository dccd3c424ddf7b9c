"""Sums over pairs of the CACE backbone as operations with one derivative: the fast way on a CPU.

``cace`` is the reference, differentiable to any order; here its functions of pairs, its sums over neighbours and its
messages are loops (``cace_kernels``), forward and backward, without an array of pairs x channels.  What is a matter of
atoms stays as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spectra_app.potentials.backbones import cace_kernels as kernels
from spectra_app.potentials.backbones.features import PairGeometry
from spectra_app.potentials.once import refuse_second_derivative


class PairValues(NamedTuple):
    """Functions of the pairs, differentiable once.

    Attributes:
        radial: [atom, slot, basis]; unset in empty slots.
        angular: [atom, slot, 16], harmonics to order 3; unset in empty slots.
        other: [atom, slot], neighbours.
        n_neighbors: [atom], how many there are.
    """

    radial: Tensor
    angular: Tensor
    other: np.ndarray
    n_neighbors: np.ndarray


def pair_values(geometry: PairGeometry, cutoff: float, frequencies: Tensor) -> PairValues:
    """Radial functions and harmonics of all pairs.

    Args:
        geometry: whose neighbours stand in the first slots; its vectors may require a gradient, of first order.
        cutoff: A.
        frequencies: [basis], A^-1.
    """
    neighbors, count = geometry.neighbors, np.empty(len(geometry.vectors), np.int64)
    numbers = frequencies.detach().double().numpy()
    radial, angular = _PairFunctions.apply(geometry.vectors, neighbors.mask.numpy(), cutoff, numbers, count)
    return PairValues(radial, angular, neighbors.other.numpy(), count)


def sums_by_element(pairs: PairValues, species: np.ndarray, n_species: int, n_harmonics: int) -> Tensor:
    """Sums over neighbours of every element [atom, harmonic, basis, element]."""
    found: Tensor = _SumByElement.apply(pairs.radial, pairs.angular, pairs, species, (n_species, n_harmonics))
    return found


def message_sums(pairs: PairValues, mix: Tensor, sent: Tensor, n_harmonics: int) -> Tensor:
    """sum_j Y_h(r_ij) (sum_b R_b(r_ij) mix_b) sent_j [atom, harmonic, channel].

    Args:
        pairs: of ``pair_values``.
        mix: [basis, channel], weights, without a gradient.
        sent: [atom, channel].
        n_harmonics: how many.
    """
    weights = np.ascontiguousarray(mix.detach().numpy())
    found: Tensor = _Message.apply(pairs.radial, pairs.angular, sent, pairs, weights, n_harmonics)
    return found


class _PairFunctions(torch.autograd.Function):
    """Pair vectors -> radial functions and harmonics; see ``pair_values``."""

    @staticmethod
    def forward(ctx, vectors, mask, cutoff, frequencies, count):  # type: ignore[no-untyped-def]
        values, shape = vectors.detach(), vectors.shape[:2]
        # Empty slots keep zeros: their gradients are zero whatever is done with whole arrays.
        radial, slope = (values.new_zeros(*shape, len(frequencies)) for _ in range(2))
        angular = values.new_zeros(*shape, kernels.N_HARMONICS)
        arrays = [values.numpy(), mask, cutoff, frequencies, count, radial.numpy(), slope.numpy(), angular.numpy()]
        kernels.pair_functions(*arrays)
        ctx.kept = values, count, slope, angular
        return radial, angular

    @staticmethod
    def backward(ctx, d_radial, d_angular):  # type: ignore[no-untyped-def]
        refuse_second_derivative()
        vectors, count, slope, angular = ctx.kept
        out = torch.zeros_like(vectors)
        given = [x.contiguous().numpy() for x in (d_radial, d_angular)]
        kernels.pair_gradients(vectors.numpy(), count, slope.numpy(), angular.numpy(), *given, out.numpy())
        return out, None, None, None, None


class _SumByElement(torch.autograd.Function):
    """Functions of pairs -> sums over the neighbours of every element; see ``sums_by_element``."""

    @staticmethod
    def forward(ctx, radial, angular, pairs, species, size):  # type: ignore[no-untyped-def]
        ctx.kept = radial.detach(), angular.detach(), pairs.other, pairs.n_neighbors, species
        out = radial.new_zeros(len(radial), *size, radial.shape[2])
        kernels.sum_by_element(*_arrays(ctx.kept), out.numpy())
        return out.permute(0, 2, 3, 1)

    @staticmethod
    def backward(ctx, d_out):  # type: ignore[no-untyped-def]
        refuse_second_derivative()
        d_radial, d_angular = (torch.zeros_like(values) for values in ctx.kept[:2])
        given = d_out.permute(0, 3, 1, 2).contiguous().numpy()
        kernels.sum_by_element_backward(*_arrays(ctx.kept), given, d_radial.numpy(), d_angular.numpy())
        return d_radial, d_angular, None, None, None


class _Message(torch.autograd.Function):
    """Functions of pairs, and what atoms send -> sums over neighbours; see ``message_sums``."""

    @staticmethod
    def forward(ctx, radial, angular, sent, pairs, mix, n_harmonics):  # type: ignore[no-untyped-def]
        values = sent.detach().contiguous()
        ctx.kept = radial.detach(), angular.detach(), pairs.other, pairs.n_neighbors, mix, values
        out = values.new_empty(len(values), n_harmonics, values.shape[1])
        kernels.message(*_arrays(ctx.kept), out.numpy())
        return out

    @staticmethod
    def backward(ctx, d_out):  # type: ignore[no-untyped-def]
        refuse_second_derivative()
        d_radial, d_angular, d_sent = (torch.zeros_like(ctx.kept[place]) for place in (0, 1, 5))
        gradients = [d_radial.numpy(), d_angular.numpy(), d_sent.numpy()]
        kernels.message_backward(*_arrays(ctx.kept), d_out.contiguous().numpy(), *gradients)
        return d_radial, d_angular, d_sent, None, None, None


def _arrays(kept):  # type: ignore[no-untyped-def]
    """Tensors as arrays."""
    return [one.numpy() if isinstance(one, Tensor) else one for one in kept]
