"""What a potential is (its card) and what it returns (a prediction)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

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


class Prediction(NamedTuple):
    """Results of one evaluation, detached from the graph; everything but energy, forces and stress is latent.

    ``scale.PhysicalScale`` makes physical dipoles and polarizabilities of it.

    Attributes:
        energy: [structure], eV, float64, reference energies of the elements included.
        forces: [atom, xyz], eV/A, or None.
        stress: [structure, xyz, xyz], eV/A^3, (1/V) dU/dstrain (positive under tension), or None.
        dipole: [structure, xyz], latent P, e A.
        polarizability: [structure, xyz, xyz], latent, e^2 A^2/eV (zero in variants without induced response).
        charges: [atom], latent, e.
        atomic_dipoles: [atom, xyz], latent, permanent plus induced, e A.
        atomic_polarizabilities: [atom, xyz, xyz], latent, e^2 A^2/eV.
        dipole_by_atom: [atom, xyz], latent, e A; adds up to ``dipole`` (charge moved between two atoms counts half for
            either).
        polarizability_by_atom: [atom, xyz, xyz], latent, e^2 A^2/eV; adds up to ``polarizability``: the atom's answer
            to a uniform field, in self-consistent response the answer to the others' answers included.
        fixed_charges: [atom], latent, e; the part of ``dipole`` that depends on images is sum_i z_i r_i with these z_i
            (constants of the elements, or all of the charges in variants with atomic charges).
    """

    energy: Tensor
    forces: Tensor | None
    stress: Tensor | None
    dipole: Tensor
    polarizability: Tensor
    charges: Tensor
    atomic_dipoles: Tensor
    atomic_polarizabilities: Tensor
    dipole_by_atom: Tensor
    polarizability_by_atom: Tensor
    fixed_charges: Tensor
