"""Features of other architectures, brought to the size that our heads begin with."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from spectra_app.potentials.backbones.features import Features

_SMALLEST = 1e-6  # of a size, below which features are nothing and stay as they are


class FeatureScale(nn.Module):
    """One factor for scalars, one for vectors and one for tensors, which make their root mean square one.

    Vectors of neighbours cancel each other: in liquid water those of a MACE with random weights are of size 0.02, and
    heads that expect one learn dipoles of them fifty times more slowly.  Part of the weights; one until measured.
    """

    scalars: Tensor
    vectors: Tensor
    rank2: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("scalars", "vectors", "rank2"):
            self.register_buffer(name, torch.ones(()))

    def forward(self, features: Features) -> Features:
        """The features, scaled; energies are left alone."""
        return features._replace(
            scalars=self.scalars * features.scalars,
            vectors=None if features.vectors is None else self.vectors * features.vectors,
            rank2=None if features.rank2 is None else self.rank2 * features.rank2,
        )

    @torch.no_grad()
    def measure(self, samples: Iterable[Features]) -> None:
        """Take the factors from features as they are; sizes are those of a whole vector or tensor.

        Args:
            samples: not scaled, of typical structures.
        """
        sums: dict[str, list[tuple[Tensor, int]]] = {}
        for features in samples:
            for name, value in (
                ("scalars", features.scalars),
                ("vectors", features.vectors),
                ("rank2", features.rank2),
            ):
                if value is not None:
                    sums.setdefault(name, []).append((value.square().sum(), len(value) * value.shape[-1]))
        for name, parts in sums.items():
            size = torch.sqrt(torch.stack([total for total, _ in parts]).sum() / sum(count for _, count in parts))
            getattr(self, name).copy_(torch.where(size > _SMALLEST, 1.0 / size, torch.ones_like(size)))
