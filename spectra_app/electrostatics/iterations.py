"""Conjugate gradients of self-consistent response: one iteration, and a fixed number of them.

One that has converged, source by source and structure by structure, moves no more: a fixed number of iterations that is
large enough gives what iterating to the tolerance gives, and nothing has to be read back to know when to stop.  Whether
it was large enough is a number on the device.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from spectra_app.electrostatics.response import Induced
from spectra_app.structure.system import System


class Iterations(NamedTuple):
    """How many iterations are made, whatever comes out.

    Attributes:
        fields: for the response to the permanent multipoles.
        answers: for the responses to uniform fields; not more than ``fields``.
    """

    fields: int
    answers: int


class LinearEquation(Protocol):
    """(1 - G chi) phi = rhs; see ``self_consistent``."""

    system: System

    def answer(self, phi: Tensor) -> Induced: ...  # noqa: D102
    def act(self, induced: Induced) -> Tensor: ...  # noqa: D102
    def inner(self, induced: Induced, phi: Tensor) -> Tensor: ...  # noqa: D102


class Search(NamedTuple):
    """Where the iterations of some sources stand.

    Attributes:
        point: [atom, source, 4], the solution so far.
        slope: [atom, source, 4], its residual.
        direction: [atom, source, 4], along which the next step goes.
        answer: chi of the direction.
        size: [structure, source], of the residual, squared.
    """

    point: Tensor
    slope: Tensor
    direction: Tensor
    answer: Induced
    size: Tensor

    def of(self, rows: list[int] | slice) -> Search:
        """Some of the sources."""
        point, slope, direction = (x[:, rows] for x in (self.point, self.slope, self.direction))
        return Search(point, slope, direction, of_sources(self.answer, rows), self.size[:, rows])


def iterate_once(equation: LinearEquation, search: Search, active: Tensor) -> tuple[Search, Tensor]:
    """One iteration.

    Args:
        equation: to be solved.
        search: where it stands.
        active: [structure, source], which of them move.

    Returns:
        where it stands then; the curvature along the direction [structure, source], positive where there is a solution.
    """
    batch = equation.system.batch
    point, slope, direction, answer, size = search
    image = direction - equation.act(answer)
    curvature = equation.inner(answer, image)
    step = torch.where(active, size / torch.where(active, curvature, 1.0), 0.0)[batch, :, None]
    point, slope = point + step * direction, slope - step * image
    new = equation.answer(slope)
    new_size = equation.inner(new, slope)
    ratio = torch.where(active, new_size / torch.where(active, size, 1.0), 0.0)[batch, :, None]
    direction = slope + ratio * direction
    return Search(point, slope, direction, along(new, ratio, answer), new_size), curvature  # chi is linear


def iterate_fixed(
    equation: LinearEquation, phi: Tensor, residual: Tensor, wanted: Tensor, iterations: Iterations
) -> tuple[Tensor, Tensor, Tensor]:
    """A fixed number of iterations; nothing is read back.

    Args:
        equation: to be solved.
        phi: [atom, source, 4], a guess.
        residual: [atom, source, 4], of it.
        wanted: [structure, source], size of the residual, squared, with which a source has converged.
        iterations: of the first source, and of all others.

    Returns:
        solution and its residual [atom, source, 4]; by how much the squared residuals are above what is wanted [2], of
        the first source and of the others: converged where at most 1, infinite where there is no solution.
    """
    answer = equation.answer(residual)
    search = Search(phi, residual, residual, answer, equation.inner(answer, residual))
    done: list[Search] = []  # all sources but the first
    bad = wanted.new_zeros(())
    for iteration in range(iterations.fields):
        if iteration == iterations.answers and search.size.shape[1] > 1:
            done.append(search.of(slice(1, None)))
            search = search.of(slice(0, 1))
        active = search.size > wanted[:, : search.size.shape[1]]
        search, curvature = iterate_once(equation, search, active)
        bad = bad + (active & (curvature <= 0)).sum()
    parts = [search, *done]
    point, slope, size = (torch.cat([getattr(p, name) for p in parts], dim=1) for name in ("point", "slope", "size"))
    above = torch.where(size > wanted, size / wanted, torch.where(size == size, 0.0, torch.nan))
    above = torch.where(bad > 0, torch.inf, above)
    first = above[:, :1].amax()
    return point, slope, torch.stack([first, above[:, 1:].amax() if above.shape[1] > 1 else torch.zeros_like(first)])


def of_sources(induced: Induced, rows: list[int] | slice) -> Induced:
    """Some of the sources; what moves between pairs left out."""
    charges, dipoles = (None if x is None else x[:, rows] for x in (induced.charges, induced.dipoles))
    return Induced(charges, None, dipoles)


def along(induced: Induced, ratio: Tensor, other: Induced) -> Induced:
    """``induced`` plus ``ratio`` [atom, source, 1] times ``other``; what moves between pairs left out."""
    charges, dipoles = induced.charges, induced.dipoles
    if charges is not None and other.charges is not None:
        charges = charges + ratio[..., 0] * other.charges
    if dipoles is not None and other.dipoles is not None:
        dipoles = dipoles + ratio * other.dipoles
    return Induced(charges, None, dipoles)
