"""How far an atom's environment lies outside those that a model was trained on (docs/theory.md, "Extrapolation").

Two measures, both cheap beside an evaluation and both in units in which 1 is the edge of the training data: a distance
of the network's scalar features, and one of the distances to the nearest atom of every element.  The second sees what
the first misses (an environment that is emptier than any seen) and says which two atoms are too near or too far.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spectra_app.structure.neighbors import Neighbors


class Extrapolation(NamedTuple):
    """Of every atom, how far it is outside; 1 is the edge of the training data.

    Attributes:
        value: [atom], the larger one of both measures.
        beyond: [atom], how far the distance below is outside what was seen between the two elements, in standard
            deviations; negative inside.
        other: [atom], the atom whose distance is farthest outside what was seen between the two elements (or nearest to
            the edge where none is outside); -1 - element where there is none of an element within the cutoff.
        distance: [atom], that distance, A; the cutoff where there is none.
    """

    value: Tensor
    beyond: Tensor
    other: Tensor
    distance: Tensor


class Gaussian(NamedTuple):
    """Where the atoms of each element lie in some space, and how far the edge is.

    Attributes:
        mean: [element, column].
        whiten: [element, column, whitened], the length of (x - mean) whiten is 1 at the edge.
    """

    mean: Tensor
    whiten: Tensor

    def length(self, values: Tensor, species: Tensor) -> Tensor:
        """Distances [atom] of values [atom, column], 1 at the edge; ``species`` [atom]."""
        white = (values[None] - self.mean[:, None]) @ self.whiten  # [element, atom, whitened]
        return torch.sqrt((white * white).sum(-1)).gather(0, species[None])[0]


class TrainingRange(nn.Module):
    """The training data of a model as far as extrapolation is concerned; buffers that are no part of its weights.

    Args:
        features: of the network's scalars.
        nearest: of the distances to the nearest atom of every element.
        limits_A: [element, other element, 2], smallest and largest distance of an atom to the nearest one of the other
            element, A; the cutoff stands for none within it.
        spread_A: [element, other element], standard deviation of the same, A.
        cutoff: A, of the distances.
        source: the frames in words.
        digest: short hash, which a run file remembers; empty before it is saved.
    """

    feature_mean: Tensor
    feature_whiten: Tensor
    nearest_mean: Tensor
    nearest_whiten: Tensor
    limits_A: Tensor
    spread_A: Tensor

    def __init__(
        self,
        features: Gaussian,
        nearest: Gaussian,
        limits_A: Tensor,
        spread_A: Tensor,
        cutoff: float,
        source: str = "",
        digest: str = "",
    ) -> None:
        super().__init__()
        tensors = {
            "feature_mean": features.mean,
            "feature_whiten": features.whiten,
            "nearest_mean": nearest.mean,
            "nearest_whiten": nearest.whiten,
            "limits_A": limits_A,
            "spread_A": spread_A,
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)
        self.cutoff, self.source, self.digest = cutoff, source, digest

    def tensors(self) -> dict[str, Tensor]:
        """What is stored of it."""
        return dict(self.named_buffers())

    def limits(self, species: tuple[str, ...]) -> dict[str, list[float]]:
        """Smallest and largest distance, A, of an atom of one element to the nearest of another, by ``"H-O"``.

        Args:
            species: symbols of the elements.
        """
        low_high = self.limits_A.double().cpu().numpy().round(3)
        return {f"{a}-{b}": low_high[i, j].tolist() for i, a in enumerate(species) for j, b in enumerate(species)}

    def forward(self, scalars: Tensor, species: Tensor, neighbors: Neighbors, vectors: Tensor) -> Extrapolation:
        """Of every atom; tensor operations of fixed shapes, nothing is read back.

        Args:
            scalars: [atom, channel], of the backbone.
            species: [atom], index of the element.
            neighbors: table complete to ``cutoff``.
            vectors: [atom, slot, xyz], r_j - r_i, A.
        """
        with torch.no_grad():
            distance = torch.sqrt((vectors * vectors).sum(dim=-1))
            nearest, others = nearest_by_element(species, neighbors, distance, self.cutoff, len(self.limits_A))
            deviation = Gaussian(self.nearest_mean, self.nearest_whiten).length(nearest, species)
            unusual = Gaussian(self.feature_mean, self.feature_whiten).length(scalars.detach(), species)
            low, high = self.limits_A[species].unbind(-1)  # [atom, other element]
            outside = torch.maximum(nearest - high, low - nearest) / self.spread_A[species]
            beyond, farthest = outside.max(dim=1, keepdim=True)
            return Extrapolation(
                torch.maximum(unusual, deviation),
                beyond[:, 0],
                others.gather(1, farthest)[:, 0],
                nearest.gather(1, farthest)[:, 0],
            )


def side_by_side(parts: Sequence[Extrapolation]) -> Extrapolation:
    """Of the atoms of several batches one after the other, counted through."""
    starts = itertools.accumulate((len(part.value) for part in parts[:-1]), initial=0)
    counted = [
        part._replace(other=torch.where(part.other < 0, part.other, part.other + start))
        for part, start in zip(parts, starts, strict=True)
    ]
    return Extrapolation(*(torch.cat(columns) for columns in zip(*counted, strict=True)))


def extrapolate(
    known: TrainingRange | None, scalars: Tensor, species: Tensor, neighbors: Neighbors, vectors: Tensor
) -> Extrapolation | None:
    """As ``TrainingRange.forward``; None where nothing is known."""
    return None if known is None else known(scalars, species, neighbors, vectors)


def nearest_by_element(
    species: Tensor, neighbors: Neighbors, distance: Tensor, cutoff: float, n_elements: int
) -> tuple[Tensor, Tensor]:
    """The nearest atom of every element.

    Args:
        species: [atom], index of the element.
        neighbors: table complete to the cutoff.
        distance: [atom, slot], A.
        cutoff: A.
        n_elements: of the model.

    Returns:
        distances [atom, element], A, the cutoff where there is none; atoms [atom, element], -1 - element then.
    """
    elements = torch.arange(n_elements, device=species.device)[:, None, None]
    matches = (species[neighbors.other] == elements) & neighbors.mask & (distance < cutoff)
    slots = torch.where(matches, distance, torch.full_like(distance, cutoff))  # [element, atom, slot]
    nearest, slot = slots.min(dim=2)
    found = neighbors.other.expand_as(slots).gather(2, slot[..., None])[..., 0]
    other = torch.where(nearest < cutoff, found, -1 - elements[..., 0])
    return nearest.T, other.T
