"""The one interface of backbones: a batch of structures in, per-atom features out.

Adding an architecture is one file that defines a ``Backbone``, a class of settings in ``config/backbones.py`` and one
row in ``backbones.BACKBONES``; ``tests/potentials/test_backbones.py`` holds every row to what is promised here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spectra_app.errors import ConfigError
from spectra_app.potentials.backbones.painn_kernels import N_HARMONICS, pair_functions
from spectra_app.structure.neighbors import Neighbors, pair_vectors
from spectra_app.structure.pair_loops import pair_vectors_once
from spectra_app.structure.system import System


class Radial(NamedTuple):
    """Functions of the pair distances.

    Attributes:
        basis: [atom, slot, basis], radial basis times the smooth cutoff: zero at and beyond the cutoff.
        envelope: [atom, slot], the smooth cutoff itself.
    """

    basis: Tensor
    envelope: Tensor


class PairTable(NamedTuple):
    """Functions of the pairs without a derivative, for compiled loops; unset in empty slots.

    Attributes:
        n_neighbors: [atom], which stand in the first slots.
        radial: [atom, slot, basis], radial basis times the smooth cutoff.
        slope: [atom, slot, basis], its derivative by the distance.
        angular: [atom, slot, 9], harmonics of ``traceless.harmonics``; the directions at 1 to 3.
        envelope: [atom, slot, 2], the smooth cutoff and its derivative by the distance.
    """

    n_neighbors: np.ndarray
    radial: np.ndarray
    slope: np.ndarray
    angular: np.ndarray
    envelope: np.ndarray


class PairGeometry:
    """Geometry of all pairs, computed once and shared by backbone and heads.

    Attributes:
        neighbors: the table.
        vectors: [atom, slot, xyz], r_j - r_i, A.
        distance: [atom, slot], A; exactly the largest cutoff of the model in empty slots.
        direction: [atom, slot, xyz], unit vectors.

    Args:
        system: the structures.
        neighbors: table complete to ``cutoff``.
        cutoff: the largest one that will be asked for, A.
        once: by compiled loops, with one derivative; ``measure`` has to be called where distances are read.
    """

    distance: Tensor
    direction: Tensor

    def __init__(self, system: System, neighbors: Neighbors, cutoff: float, once: bool = False) -> None:
        self.neighbors = neighbors
        self._radial: dict[tuple[float, int], Radial] = {}
        self._tables: dict[tuple[float, int], PairTable] = {}
        if once:
            self.vectors = pair_vectors_once(system, neighbors, cutoff)
        else:
            self.vectors = pair_vectors(system, neighbors, cutoff)
            self.measure()

    def measure(self) -> None:
        """Sets ``distance`` and ``direction``."""
        self.distance = torch.sqrt((self.vectors * self.vectors).sum(dim=-1))
        self.direction = self.vectors / self.distance[..., None]

    def table(self, cutoff: float, frequencies: np.ndarray) -> PairTable:
        """Functions of the pairs for compiled loops, on the CPU, computed once for all who ask for the same basis.

        Args:
            cutoff: A.
            frequencies: [basis], A^-1, of ``RadialBasis``.
        """
        key = (cutoff, len(frequencies))
        if key not in self._tables:
            vectors = self.vectors.detach().numpy()
            shape, dtype = vectors.shape[:2], vectors.dtype
            radial, slope = (np.empty((*shape, len(frequencies)), dtype) for _ in range(2))
            angular, envelope = np.empty((*shape, N_HARMONICS), dtype), np.empty((*shape, 2), dtype)
            count = np.empty(shape[0], np.int64)
            mask = self.neighbors.mask.numpy()
            pair_functions(vectors, mask, cutoff, frequencies, count, radial, slope, angular, envelope)
            self._tables[key] = PairTable(count, radial, slope, angular, envelope)
        return self._tables[key]

    def radial(self, basis: RadialBasis) -> Radial:
        """Functions of the distances, computed once for all who ask for the same basis."""
        key = (basis.cutoff, basis.n_radial)
        if key not in self._radial:
            self._radial[key] = Radial(*basis(self.distance))
        return self._radial[key]


class Features(NamedTuple):
    """What a backbone knows of every atom's environment.

    Attributes:
        scalars: [atom, channel], invariant.
        vectors: [atom, xyz, channel], equivariant; None if the backbone has none.
        rank2: [atom, xyz, xyz, channel], symmetric traceless; None if the backbone has none (heads then form them
            from products of vectors).
        pairs: [atom, slot, channel], invariant, of the pair (i, j) as seen from i; None if the backbone has none.
        energies: [atom], atomic energies that the backbone reads out itself (of its layers, of its pairs), in units of
            the model's energy scale; None: the energy head reads them from the scalars.
    """

    scalars: Tensor
    vectors: Tensor | None = None
    rank2: Tensor | None = None
    pairs: Tensor | None = None
    energies: Tensor | None = None


class Backbone(nn.Module):
    """Base of all backbones.

    Attributes:
        n_scalars: channels of ``Features.scalars``.
        n_vectors: channels of ``Features.vectors`` (0: none).
        n_rank2: channels of ``Features.rank2`` (0: none).
        n_pairs: channels of ``Features.pairs`` (0: none).
        has_energies: whether ``Features.energies`` are given.
        compiles: whether ``once`` is faster than ``forward``, on the CPU.
        captured: whether a CUDA graph can hold its evaluation (engine ``graph``).
        rate: of learning, as a multiple of a training's: above one where weights of size one are scaled in use.
        cutoff: the distance from which on a neighbour does nothing, A.
    """

    n_scalars: int
    n_vectors: int = 0
    n_rank2: int = 0
    n_pairs: int = 0
    has_energies: bool = False
    compiles: bool = False
    captured: bool = True
    rate: float = 1.0
    cutoff: float

    def forward(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """Features of every atom.

        Args:
            system: the structures.
            species: [atom], index of the element in the model's list.
            neighbors: table complete to the cutoff; it may reach farther.
            geometry: geometry of the table's pairs.
        """
        raise NotImplementedError

    def once(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """As ``forward``, where one derivative by positions will be taken and none by weights: the fastest way."""
        result: Features = self(system, species, neighbors, geometry)
        return result

    def components(
        self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As ``once`` where that is compiled: scalars, vectors, and five components [atom, 5, channel] of tensors."""
        raise NotImplementedError

    def calibrate(self, samples: Sequence[tuple[System, Tensor, Neighbors]]) -> None:
        """Before a training: take from typical structures what is neither learned nor a setting; nothing here.

        Args:
            samples: single structures, their species, tables complete to the cutoff.
        """

    def check_vectors(self, variant: str) -> None:
        """Refuse a variant whose dipoles or quadrupoles this backbone cannot feed.

        Raises:
            ConfigError: the features have no vectors.
        """
        if not self.n_vectors:
            raise ConfigError(
                "model.backbone",
                got=f"{type(self).__name__}, which has no equivariant vectors, with variant {variant}",
                wanted="vectors for dipoles, quadrupoles and tensors",
                todo="Take variant q, p, uiq or pip with alpha: scalar, or a backbone with vectors",
            )


class RadialBasis(nn.Module):
    """Bessel functions with a polynomial envelope (Gasteiger et al., ICLR 2020, arXiv:2003.03123).

    R_n(d) = sqrt(2/r_c) sin(n pi d/r_c)/d * f(d/r_c),  f(x) = 1 - 21 x^5 + 35 x^6 - 15 x^7 for x < 1, else 0

    Value, first and second derivative vanish at the cutoff.
    """

    frequencies: Tensor

    def __init__(self, cutoff: float, n_radial: int) -> None:
        super().__init__()
        self.cutoff, self.n_radial = cutoff, n_radial
        frequencies = math.pi * torch.arange(1, n_radial + 1, dtype=torch.float64) / cutoff
        self.register_buffer("frequencies", frequencies.to(torch.get_default_dtype()), persistent=False)

    def forward(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Basis [..., basis] and envelope [...] at distances [...], A."""
        x = (distance / self.cutoff).clamp(max=1.0)
        envelope = 1.0 + x**5 * (-21.0 + x * (35.0 - 15.0 * x))
        waves = torch.sin(distance[..., None] * self.frequencies)
        return waves * (math.sqrt(2.0 / self.cutoff) * envelope / distance)[..., None], envelope
