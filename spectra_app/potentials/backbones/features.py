"""The one interface of backbones: a batch of structures in, per-atom features out.

Adding an architecture is one file that defines a ``Backbone`` and one row in ``backbones.BACKBONES``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spectra_app.structure.neighbors import Neighbors, pair_vectors
from spectra_app.structure.system import System


class PairGeometry(NamedTuple):
    """Geometry of all pairs, computed once and shared by backbone and heads.

    Attributes:
        vectors: [atom, slot, xyz], r_j - r_i, A.
        distance: [atom, slot], A; exactly the cutoff in empty slots.
        direction: [atom, slot, xyz], unit vectors.
        radial: [atom, slot, basis], radial basis times the smooth cutoff: zero at and beyond the cutoff.
        envelope: [atom, slot], the smooth cutoff itself.
    """

    vectors: Tensor
    distance: Tensor
    direction: Tensor
    radial: Tensor
    envelope: Tensor


class Features(NamedTuple):
    """What a backbone knows of every atom's environment.

    Attributes:
        scalars: [atom, channel], invariant.
        vectors: [atom, xyz, channel], equivariant; None if the backbone has none.
        rank2: [atom, xyz, xyz, channel], symmetric traceless; None if the backbone has none (heads then form them
            from products of vectors).
    """

    scalars: Tensor
    vectors: Tensor | None
    rank2: Tensor | None


class Backbone(nn.Module):
    """Base of all backbones.

    Attributes:
        n_scalars: channels of ``Features.scalars``.
        n_vectors: channels of ``Features.vectors`` (0: none).
        n_rank2: channels of ``Features.rank2`` (0: none).
    """

    n_scalars: int
    n_vectors: int
    n_rank2: int = 0

    def forward(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """Features of every atom.

        Args:
            system: the structures.
            species: [atom], index of the element in the model's list.
            neighbors: table complete to the cutoff.
            geometry: geometry of the table's pairs.
        """
        raise NotImplementedError


class RadialBasis(nn.Module):
    """Bessel functions with a polynomial envelope (Gasteiger et al., ICLR 2020, arXiv:2003.03123).

    R_n(d) = sqrt(2/r_c) sin(n pi d/r_c)/d * f(d/r_c),  f(x) = 1 - 21 x^5 + 35 x^6 - 15 x^7 for x < 1, else 0

    Value, first and second derivative vanish at the cutoff.
    """

    frequencies: Tensor

    def __init__(self, cutoff: float, n_radial: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        frequencies = math.pi * torch.arange(1, n_radial + 1, dtype=torch.float64) / cutoff
        self.register_buffer("frequencies", frequencies.to(torch.get_default_dtype()), persistent=False)

    def forward(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Basis [..., basis] and envelope [...] at distances [...], A."""
        x = (distance / self.cutoff).clamp(max=1.0)
        envelope = 1.0 + x**5 * (-21.0 + x * (35.0 - 15.0 * x))
        waves = torch.sin(distance[..., None] * self.frequencies)
        return waves * (math.sqrt(2.0 / self.cutoff) * envelope / distance)[..., None], envelope


def pair_geometry(system: System, neighbors: Neighbors, radial: RadialBasis) -> PairGeometry:
    """Geometry of the table's pairs; see ``PairGeometry``."""
    vectors = pair_vectors(system, neighbors, radial.cutoff)
    distance = torch.sqrt((vectors * vectors).sum(dim=-1))
    return PairGeometry(vectors, distance, vectors / distance[..., None], *radial(distance))
