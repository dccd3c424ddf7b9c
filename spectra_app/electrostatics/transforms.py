"""Fourier sums between atoms and reciprocal vectors, differentiable to any order.

With fractional coordinates f = r inv(cell) and kappa = 2 pi n, n integer, two maps carry periodic electrostatics:

    to_modes:  S(n) = sum_i sum_a c_ia (i kappa)^a exp(i kappa.f_i)          Cartesian moments -> structure factor
    to_atoms:  V_ia = Re sum_n W(n)^* (i kappa)^a exp(i kappa.f_i)           modes -> potential and its derivatives

``a`` is a multi-index (0; x y z; xx xy xz yy yz zz; ...).  They are adjoint to each other, and the derivative of either
with respect to f is the other one of the next rank.  So every derivative of every order is one of the two again: a
backward pass stores no array of atoms x vectors and multiplies matrices instead of differentiating sines.

An engine does the sums themselves, without derivatives: ``DenseEngine`` here, a mesh elsewhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from spectra_app.electrostatics.phases import waves

_CHUNK_ELEMENTS = 2**26  # atoms x vectors whose sines are kept; beyond, they are computed again in every sum


_HIGHEST_RANK = 6  # quadrupoles, differentiated four times


def multi_indices(rank: int) -> list[tuple[int, ...]]:
    """All symmetric Cartesian components up to a rank, as sorted tuples of axes: (), (0,), (1,), (2,), (0, 0), ..."""
    return [index for order in range(rank + 1) for index in itertools.combinations_with_replacement(range(3), order)]


def n_components(rank: int) -> int:
    """Number of symmetric Cartesian components up to a rank: 1, 4, 10, 20, 35."""
    return (rank + 1) * (rank + 2) * (rank + 3) // 6


_RANK_OF = {n_components(rank): rank for rank in range(_HIGHEST_RANK + 1)}
_PLACE = {index: place for place, index in enumerate(multi_indices(_HIGHEST_RANK))}


def _raised(rank: int) -> list[int]:
    """Place of component a + e_axis for every component a up to a rank, [axis * component]."""
    return [_PLACE[tuple(sorted((*index, axis)))] for axis in range(3) for index in multi_indices(rank)]


_RAISED = [_raised(rank) for rank in range(_HIGHEST_RANK)]
_raised_on: dict[tuple[int, torch.device], Tensor] = {}  # the same on every device where it was needed


class Engine(Protocol):
    """The sums of one batch at fixed positions, without derivatives.  All structures periodic, places padded."""

    integers: Tensor  # [structure, k, vector], zero where padded

    def to_modes(self, strengths: Tensor) -> tuple[Tensor, Tensor]:
        """[structure, component, place] -> real, imaginary part of sum_i s_ci exp(i kappa.f_i) [.., component, k]."""

    def to_atoms(self, cosine: Tensor, sine: Tensor) -> Tensor:
        """Two [structure, component, k] -> sum_n (cosine cos(kappa.f) + sine sin(kappa.f)) [.., component, place]."""

    def monomials(self, rank: int) -> Tensor:
        """Signed kappa^a [structure, component, k]; see ``signed_monomials``."""


def signed_monomials(integers: Tensor, rank: int) -> Tensor:
    """Kappa^a with the sign of i^|a|, + + - - by rank [structure, component, k]; the factor i of odd ranks is left out.

    Args:
        integers: [structure, k, vector].
        rank: highest rank.
    """
    kappa = (2.0 * math.pi * integers).unbind(-1)
    rows: dict[tuple[int, ...], Tensor] = {(): torch.ones_like(kappa[0])}
    for index in multi_indices(rank)[1:]:
        rows[index] = rows[index[:-1]] * kappa[index[-1]]
    signs = (1.0, 1.0, -1.0, -1.0)
    return torch.stack([signs[len(index) % 4] * row for index, row in rows.items()], dim=1)


def known_monomials(integers: Tensor, rank: int, cache: dict[int, Tensor]) -> Tensor:
    """``signed_monomials`` from a cache of them by rank, filled when first used."""
    for known, table in cache.items():
        if known >= rank:
            return table[:, : n_components(rank)]
    cache[rank] = signed_monomials(integers, rank)
    return cache[rank]


class DenseEngine:
    """Matrix products with cos(kappa.f) and sin(kappa.f): O(N K), exact.

    Args:
        fractional: [structure, place, vector], no gradient.
        integers: [structure, k, vector].
        monomials: cache of ``signed_monomials`` by rank, shared by all evaluations with the same vectors.

    Attributes:
        waves: cosines, then sines [structure, place, 2 k]; None where they are too many to be kept.
    """

    def __init__(self, fractional: Tensor, integers: Tensor, monomials: dict[int, Tensor]) -> None:
        self.integers, self._monomials = integers, monomials
        # Only the fraction matters; small angles keep the digits of float32 for atoms that have left the cell.
        self._fractional = fractional - torch.floor(fractional)
        n_places, n_k = fractional.shape[1], integers.shape[1]
        self._chunk = n_k if n_places * n_k <= _CHUNK_ELEMENTS else max(256, _CHUNK_ELEMENTS // n_places)
        self.waves = waves(self._fractional, integers) if self._chunk == n_k else None

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        if self.waves is not None:
            yield slice(None), self.waves
            return
        for start in range(0, self.integers.shape[1], self._chunk):
            block = slice(start, start + self._chunk)
            yield block, waves(self._fractional, self.integers[:, block])

    def to_modes(self, strengths: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Engine``."""
        parts = [(strengths @ table).chunk(2, dim=-1) for _, table in self._blocks()]
        if len(parts) == 1:
            return parts[0][0], parts[0][1]
        return torch.cat([p[0] for p in parts], dim=-1), torch.cat([p[1] for p in parts], dim=-1)

    def to_atoms(self, cosine: Tensor, sine: Tensor) -> Tensor:
        """See ``Engine``."""
        total: Tensor | None = None
        for block, table in self._blocks():
            part = torch.cat([cosine[..., block], sine[..., block]], dim=-1) @ table.transpose(1, 2)
            total = part if total is None else total + part
        assert total is not None
        return total

    def monomials(self, rank: int) -> Tensor:
        """See ``Engine``."""
        return known_monomials(self.integers, rank, self._monomials)


def _ranks(highest: int) -> list[tuple[slice, bool]]:
    """The run of components of every rank, and whether that rank is odd."""
    return [(slice(n_components(r - 1), n_components(r)), r % 2 == 1) for r in range(highest + 1)]


class _ToModes(torch.autograd.Function):
    """Moments [structure, source, component, place] -> S [structure, source, re/im, k]."""

    @staticmethod
    def forward(fractional: Tensor, moments: Tensor, engine: Engine) -> Tensor:
        n_s, n_m, n_c, n_p = moments.shape
        on_cos, on_sin = engine.to_modes(moments.reshape(n_s, n_m * n_c, n_p))
        on_cos, on_sin = (part.reshape(n_s, n_m, n_c, -1) for part in (on_cos, on_sin))
        rank = _RANK_OF[n_c]
        monomials = engine.monomials(rank)[:, None]
        on_cos, on_sin = on_cos * monomials, on_sin * monomials
        real, imaginary = on_cos[:, :, 0], on_sin[:, :, 0]
        for run, odd in _ranks(rank)[1:]:
            a, b = on_cos[:, :, run].sum(2), on_sin[:, :, run].sum(2)
            real, imaginary = (real - b, imaginary + a) if odd else (real + a, imaginary + b)
        return torch.stack([real, imaginary], dim=2)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        fractional, moments, ctx.engine = inputs
        ctx.save_for_backward(fractional, moments)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        fractional, moments = ctx.saved_tensors
        rank = _RANK_OF[moments.shape[2]]
        moves = ctx.needs_input_grad[0]
        values = _ToAtoms.apply(fractional, grad, ctx.engine, rank + 1 if moves else rank)
        return (
            _force(moments, values) if moves else None,
            values[:, :, : moments.shape[2]] if ctx.needs_input_grad[1] else None,
            None,
        )


class _ToAtoms(torch.autograd.Function):
    """Modes W [structure, source, re/im, k] -> V [structure, source, component, place]."""

    @staticmethod
    def forward(fractional: Tensor, modes: Tensor, engine: Engine, rank: int) -> Tensor:
        real, imaginary = modes[:, :, :1], modes[:, :, 1:]
        n_s, n_m = modes.shape[:2]
        monomials = engine.monomials(rank)[:, None]
        cosine, sine = [], []
        for run, odd in _ranks(rank):
            m = monomials[:, :, run]
            cosine.append(m * (imaginary if odd else real))
            sine.append(m * (-real if odd else imaginary))
        n_c = n_components(rank)
        values = engine.to_atoms(
            torch.cat(cosine, dim=2).reshape(n_s, n_m * n_c, -1), torch.cat(sine, dim=2).reshape(n_s, n_m * n_c, -1)
        )
        return values.reshape(n_s, n_m, n_c, -1)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        fractional, modes, ctx.engine, ctx.rank = inputs
        ctx.save_for_backward(fractional, modes)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        fractional, modes = ctx.saved_tensors
        moved = None
        if ctx.needs_input_grad[0]:
            moved = _force(grad, _ToAtoms.apply(fractional, modes, ctx.engine, ctx.rank + 1))
        back = _ToModes.apply(fractional, grad, ctx.engine) if ctx.needs_input_grad[1] else None
        return moved, back, None, None


def _force(moments: Tensor, values: Tensor) -> Tensor:
    """sum_a c_a V_{a + axis} [structure, place, axis]; ``values`` one rank above ``moments``."""
    n_s, n_m, n_c, n_p = moments.shape
    key = (_RANK_OF[n_c], values.device)
    if key not in _raised_on:
        _raised_on[key] = torch.tensor(_RAISED[key[0]], device=values.device)
    raised = values.index_select(2, _raised_on[key]).reshape(n_s, n_m, 3, n_c, n_p)
    return (moments[:, :, None] * raised).sum((1, 3)).transpose(1, 2)


def to_modes(fractional: Tensor, moments: Tensor, engine: Engine) -> Tensor:
    """Structure factor of Cartesian moments.

    Args:
        fractional: [structure, place, vector]; the point where ``engine`` was made.
        moments: [structure, source, component, place], in fractional coordinates, zero where padded.
        engine: does the sums.

    Returns:
        [structure, source, re/im, k], differentiable in ``fractional`` and ``moments``.
    """
    return _ToModes.apply(fractional, moments, engine)


def to_atoms(fractional: Tensor, modes: Tensor, engine: Engine, rank: int) -> Tensor:
    """Potential and its derivatives up to a rank at the atoms.

    Args:
        fractional: [structure, place, vector]; the point where ``engine`` was made.
        modes: [structure, source, re/im, k].
        engine: does the sums.
        rank: 0 for the potential, 1 with its gradient, 2 with its second derivatives.

    Returns:
        [structure, source, component, place], derivatives along fractional coordinates.
    """
    return _ToAtoms.apply(fractional, modes, engine, rank)
