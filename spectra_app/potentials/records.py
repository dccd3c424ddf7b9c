"""What a potential is (its card) and what it returns (a prediction)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from spectra_app.config import ModelSettings
from spectra_app.electrostatics.multipoles import parse_variant

# Pauling electronegativities (W. M. Haynes, CRC Handbook, 97th ed., 9-103) set the sign convention and a first guess of
# the element charges; elements without a value count as 2.0.
PAULING = {
    **{
        "H": 2.20,
        "Li": 0.98,
        "Be": 1.57,
        "B": 2.04,
        "C": 2.55,
        "N": 3.04,
        "O": 3.44,
        "F": 3.98,
        "Na": 0.93,
        "Mg": 1.31,
    },
    **{"Al": 1.61, "Si": 1.90, "P": 2.19, "S": 2.58, "Cl": 3.16, "K": 0.82, "Ca": 1.00, "Sc": 1.36, "Ti": 1.54},
    **{"V": 1.63, "Cr": 1.66, "Mn": 1.55, "Fe": 1.83, "Co": 1.88, "Ni": 1.91, "Cu": 1.90, "Zn": 1.65, "Ga": 1.81},
    **{"Ge": 2.01, "As": 2.18, "Se": 2.55, "Br": 2.96, "Rb": 0.82, "Sr": 0.95, "Y": 1.22, "Zr": 1.33, "Nb": 1.6},
    **{"Mo": 2.16, "Ru": 2.2, "Rh": 2.28, "Pd": 2.20, "Ag": 1.93, "Cd": 1.69, "In": 1.78, "Sn": 1.96, "Sb": 2.05},
    **{
        "Te": 2.1,
        "I": 2.66,
        "Cs": 0.79,
        "Ba": 0.89,
        "La": 1.10,
        "Ce": 1.12,
        "Hf": 1.3,
        "Ta": 1.5,
        "W": 2.36,
        "Re": 1.9,
    },
    **{"Os": 2.2, "Ir": 2.20, "Pt": 2.28, "Au": 2.54, "Hg": 2.00, "Tl": 1.62, "Pb": 2.33, "Bi": 2.02},
}


@dataclass(frozen=True)
class ModelCard:
    """What a user must know of a model.

    Attributes:
        name: name in the zoo, or of its folder.
        species: chemical symbols the model knows.
        settings: architecture.
        eps_inf: high-frequency dielectric constant of the material, or None.
        errors: measured errors with units in their names (metrics of ``evaluate``).
        data: what it was trained on, in words.
        licence: licence of the training data.
        created: ISO date.
        hash: short hash of the weights.
        chi: mean latent susceptibility tr(alpha)/(3 eps0 V) of the material; None where no report on it exists.
    """

    name: str
    species: tuple[str, ...]
    settings: ModelSettings
    eps_inf: float | None = None
    errors: dict[str, float] = field(default_factory=dict)
    data: str = ""
    licence: str = ""
    created: str = ""
    hash: str = ""
    chi: float | None = None

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
    """Results of one evaluation, detached from the graph; latent quantities before electronic screening.

    Attributes:
        energy: [structure], eV, float64, reference energies of the elements included.
        forces: [atom, xyz], eV/A, or None.
        stress: [structure, xyz, xyz], eV/A^3, (1/V) dU/dstrain (positive under tension), or None.
        dipole: [structure, xyz], latent P, e A.
        polarizability: [structure, xyz, xyz], latent, e^2 A^2/eV (zero in variants without induced response).
        screening: [structure], eps_e: physical dipole = sqrt(eps_e) dipole, physical polarizability = eps_e times it.
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
    screening: Tensor
    charges: Tensor
    atomic_dipoles: Tensor
    atomic_polarizabilities: Tensor
    dipole_by_atom: Tensor
    polarizability_by_atom: Tensor
    fixed_charges: Tensor
