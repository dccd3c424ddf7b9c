"""Short-range energies of atoms."""

from __future__ import annotations

from torch import Tensor, nn

from spectra_app.potentials.backbones.features import Backbone, Features


class EnergyHead(nn.Module):
    """Short-range atomic energy [atom] in units of the model's energy scale: the backbone's own, or of its scalars."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        channels = backbone.n_scalars
        if not backbone.has_energies:
            self.network = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1))

    def forward(self, features: Features) -> Tensor:
        """Atomic energies [atom]."""
        return self.network(features.scalars)[:, 0] if features.energies is None else features.energies
