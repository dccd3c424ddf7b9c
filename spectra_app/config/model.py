"""Architecture of a potential."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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


class ModelSettings(Settings):
    """Architecture of a potential."""

    backbone: Literal["painn"] = Field("painn", description="message-passing architecture")
    variant: VariantName = Field("puQipiu", description="latent multipoles and responses (docs/theory.md)")
    channels: int = Field(64, ge=4, description="scalar and vector features per atom")
    layers: int = Field(2, ge=1, description="message-passing layers")
    rank: Literal[1, 2] = Field(2, description="highest rank of the features: 1 vectors, 2 also rank-2 tensors")
    products: bool = Field(True, description="vectors and tensors of an atom multiply into new tensors (rank 2)")
    cutoff_A: float = Field(4.0, gt=0, description="cutoff of the environment, A")
    n_radial: int = Field(8, ge=2, description="radial basis functions")
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
        description="atomic charges (variants without p): shifted evenly to the total charge, or as they come",
    )
    alpha: Literal["scalar", "tensor", "bonds"] = Field(
        "tensor", description="atomic polarizability: a number or a tensor of the features, or a tensor of the bonds"
    )
    alpha_positive: bool = Field(
        True, description="keep every atomic polarizability positive definite (of the bonds: always)"
    )
    bounded_response: bool = Field(
        True, description="keep alpha and kappa below the values at which atoms could polarize each other without end"
    )
    bond_weight: Literal["gaussian", "switched"] = Field(
        "switched",
        description="what counts as a bond (kappa, alpha of bonds): exp(1 - (r/R)^2), or a switch that ends before "
        "hydrogen bonds begin",
    )
    oxidation_states: Literal["auto", "free"] | dict[str, int] = Field(
        "auto",
        description="variants with p: charge that every element carries through a cell, e, e.g. {Pb: 2, I: -1}; auto: "
        "the common ones where they explain the total charge of every frame; free: learned",
    )
