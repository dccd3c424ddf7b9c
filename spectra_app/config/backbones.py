"""Settings of the backbones: one class per architecture."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spectra_app.config.base import Settings


class BackboneSettings(Settings):
    """What every backbone has."""

    name: str = Field(description="of the architecture")
    cutoff_A: float = Field(4.0, gt=0, description="cutoff of the environment, A")
    n_radial: int = Field(8, ge=2, description="radial basis functions")

    def in_words(self) -> str:
        """Size of the network for a card: its own keys with their values."""
        own = [name for name in type(self).model_fields if name not in BackboneSettings.model_fields]
        return ", ".join(f"{name.replace('_', ' ')} {getattr(self, name)}" for name in own)


class PaiNNSettings(BackboneSettings):
    """``painn``: equivariant message passing with vectors and rank-2 tensors."""

    name: Literal["painn"] = "painn"
    channels: int = Field(64, ge=4, description="scalar and vector features per atom")
    layers: int = Field(2, ge=1, description="message-passing layers")
    rank: Literal[1, 2] = Field(2, description="highest rank of the features: 1 vectors, 2 also rank-2 tensors")
    products: bool = Field(True, description="vectors and tensors of an atom multiply into new tensors (rank 2)")

    def in_words(self) -> str:
        """See ``BackboneSettings``."""
        return f"{self.layers} layers, {self.channels} channels, rank {self.rank}"


class CACESettings(BackboneSettings):
    """``cace``: Cartesian atomic cluster expansion, products of sums over neighbours."""

    name: Literal["cace"] = "cace"
    channels: int = Field(64, ge=4, description="sums over neighbours per tensor, and features per atom")
    embedding: int = Field(3, ge=1, description="numbers that describe an element, as neighbour and as centre")
    max_l: int = Field(3, ge=1, le=3, description="highest order of the tensors of a direction")
    max_nu: int = Field(3, ge=1, le=3, description="highest number of factors in an invariant (body order less 1)")
    layers: int = Field(1, ge=0, description="message-passing layers; 0: an atom knows only what is inside the cutoff")

    def in_words(self) -> str:
        """See ``BackboneSettings``."""
        return f"{self.channels} channels, l to {self.max_l}, nu to {self.max_nu}, message layers {self.layers}"


BACKBONE_SETTINGS: dict[str, type[BackboneSettings]] = {"painn": PaiNNSettings, "cace": CACESettings}
"""Value of ``model.backbone`` in a file -> the class of its keys."""
