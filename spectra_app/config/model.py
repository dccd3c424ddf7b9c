"""Architecture of a potential."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from spectra_app.config.backbones import BACKBONE_SETTINGS, BackboneSettings, PaiNNSettings
from spectra_app.config.base import Settings

VariantName = Literal[
    "sr",
    "q",
    "u",
    "uQ",
    "uiq",
    "uiu",
    "uiqiu",
    "uQiqiu",
    "qeq",
    "ueqiu",
    "uQeqiu",
    "p",
    "pu",
    "puQ",
    "pip",
    "piu",
    "puiu",
    "puip",
    "puipiu",
    "puQipiu",
]


class HeadSettings(Settings):
    """Where the heads look for pairs: charge moved between atoms, its response, polarizability of bonds."""

    cutoff_A: float | None = Field(None, gt=0, description="cutoff of pairs, A; null: the backbone's")
    n_radial: int | None = Field(None, ge=2, description="radial basis functions of pairs; null: the backbone's")


def _class_of(name: object) -> type[BackboneSettings]:
    """The class of a backbone's keys; for an unknown one, of what all have."""
    return BACKBONE_SETTINGS.get(str(name), BackboneSettings)


class ModelSettings(Settings):
    """Architecture of a potential.

    In a file the keys of the backbone stand beside the others (``backbone: painn``, ``channels: 64``), here they are
    one object of the backbone's own class.
    """

    backbone: SerializeAsAny[BackboneSettings] = Field(
        PaiNNSettings(), description="architecture of the network, with its keys: " + ", ".join(BACKBONE_SETTINGS)
    )
    variant: VariantName = Field("puQipiu", description="latent multipoles and responses (docs/theory.md)")
    heads: HeadSettings = HeadSettings()
    sigma_A: float = Field(1.0, gt=0, description="Gaussian smearing of the multipoles, A")
    element_sigma_A: Literal["auto"] | dict[str, float] = Field(
        "auto",
        description="smearing of single elements, A, e.g. {I: 1.5}; auto: wider for soft ones (Cl, Br, I, S, Pb)",
    )
    ewald_tolerance: float = Field(1e-4, gt=0, lt=0.1, description="relative weight of the first neglected k vector")
    response: Literal["one-shot", "self-consistent"] = Field(
        "self-consistent", description="induced terms answer the permanent multipoles only, or each other too"
    )
    response_tolerance: float = Field(
        1e-5, gt=0, lt=0.1, description="relative residual of the self-consistent potentials and fields"
    )
    total_charge: Literal["fixed", "free"] = Field(
        "fixed",
        description="atomic charges (variants without p): shifted to the total charge, evenly or (variants with eq) by "
        "kappa; or as they come",
    )
    alpha: Literal["scalar", "tensor", "bonds", "pairs"] = Field(
        "tensor",
        description="atomic polarizability: a number or a tensor of the features, or a tensor of the bonds, or of the "
        "bonds and of other pairs (hydrogen bonds, contacts)",
    )
    alpha_positive: bool = Field(
        True, description="keep every atomic polarizability positive definite (of bonds and pairs: always)"
    )
    bounded_response: bool = Field(
        True, description="keep alpha and kappa below the values at which atoms could polarize each other without end"
    )
    bond_weight: Literal["gaussian", "switched", "overlap"] = Field(
        "switched",
        description="what counts as a bond (kappa, alpha of bonds): exp(1 - (r/R)^2); a switch that ends before "
        "hydrogen bonds begin; or that switch for alpha and, for kappa, exp((R - r)/0.5 A), which crosses them",
    )
    oxidation_states: Literal["auto", "free"] | dict[str, int] = Field(
        "auto",
        description="variants with p: charge that every element carries through a cell, e, e.g. {Pb: 2, I: -1}; auto: "
        "the common ones where they explain the total charge of every frame; free: learned",
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_backbone(cls, data: Any) -> Any:
        """Put the keys of the backbone into its own settings."""
        if not isinstance(data, dict) or isinstance(data.get("backbone"), BackboneSettings | dict):
            return data
        name = data.get("backbone", "painn")
        schema = _class_of(name)
        own = {key: data[key] for key in schema.model_fields if key in data and key != "name"}
        rest = {key: value for key, value in data.items() if key not in own}
        return rest | {"backbone": {"name": name} | own}

    @classmethod
    def keys_in_file(cls, section: Any) -> list[str]:
        """See ``Settings``: those of the backbone that the section names stand beside the others."""
        name = section.get("backbone", "painn") if isinstance(section, dict) else "painn"
        own = [key for key in _class_of(name).model_fields if key != "name"]
        return [*cls.model_fields, *own]

    @field_validator("backbone", mode="before")
    @classmethod
    def _of_its_class(cls, value: Any) -> Any:
        """Settings of the class that the name stands for."""
        if not isinstance(value, dict):
            return value
        name = value.get("name", "painn")
        if name not in BACKBONE_SETTINGS:
            raise ValueError(f"one of {', '.join(map(repr, BACKBONE_SETTINGS))}")
        return BACKBONE_SETTINGS[name].model_validate(value)

    @model_serializer(mode="wrap")
    def _spread_backbone(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The keys as a file has them."""
        data = serialize(self)
        backbone = data.pop("backbone")
        return {"backbone": backbone.pop("name")} | backbone | data
