"""What a user must know of a potential."""

from __future__ import annotations

from dataclasses import dataclass, field

from spectra_app.config import ModelSettings
from spectra_app.electrostatics.multipoles import parse_variant
from spectra_app.potentials.scale import PhysicalScale


@dataclass(frozen=True)
class ModelCard:
    """What a user must know of a model.

    Attributes:
        name: name in the zoo, or of its folder.
        species: chemical symbols the model knows.
        settings: architecture.
        scale: what turns its latent responses into physical ones.
        errors: measured errors with units in their names (metrics of ``evaluate``).
        data: what it was trained on, in words.
        licence: licence of the training data.
        created: ISO date.
        hash: short hash of weights, ``model.yaml`` and physical scale.
    """

    name: str
    species: tuple[str, ...]
    settings: ModelSettings
    scale: PhysicalScale = field(default_factory=PhysicalScale)
    errors: dict[str, float] = field(default_factory=dict)
    data: str = ""
    licence: str = ""
    created: str = ""
    hash: str = ""

    @property
    def eps_inf(self) -> float | None:
        """High-frequency dielectric constant of the material, or None."""
        return self.scale.eps_inf

    @property
    def variant(self) -> str:
        """Name of the electrostatic variant."""
        return self.settings.variant

    @property
    def has_alpha(self) -> bool:
        """Whether the model predicts a polarizability: induced dipoles, or charges induced between pairs."""
        variant = parse_variant(self.settings.variant)
        return variant.induced_dipoles or (variant.induced_charges and variant.charges == "pair")
