"""Atomic polarizabilities from bonds and contacts: numbers of elements and of pairs of elements, and nothing else.

    alpha_i = alpha_0 R_i^2
    R_i = (1 + c_Z) 1 + sum_j w(r_ij) [f_ZZ'(r_ij) 1 + g_ZZ'(r_ij) (d d^T - 1/3)]
                      + sum_j (w_c(r_ij) - w(r_ij)) [f^c_ZZ'(r_ij) 1 + g^c_ZZ'(r_ij) (d d^T - 1/3)]

d is the direction of the pair, w says what is a bond (``bond_weights``), w_c is the smooth cutoff: what is no bond is a
contact, such as a hydrogen bond, along which electrons answer too.  f and g are linear in the radial basis.
The bond polarizability model of Raman spectroscopy (Wolkenstein 1941; Guha et al. 1996,
DOI 10.1103/PhysRevB.53.13106), made positive and given to atoms that also induce each other.

A network that reads alpha from its features overfits it: forces feel alpha little, and what they do not fix, the
training frames do (docs/ablation.md).  Here a hundred numbers are fixed by all forces of all frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectra_app.potentials.backbones.features import Radial
from spectra_app.structure.neighbors import Neighbors


class BondPolarizability(nn.Module):
    """R_i [atom, xyz, xyz]; see the module.  Begins as the identity.

    Args:
        n_species: number of elements.
        n_radial: functions of the radial basis.
        contacts: whether pairs that are no bonds count too.
    """

    def __init__(self, n_species: int, n_radial: int, contacts: bool) -> None:
        super().__init__()
        self.n_species = n_species
        self.elements = nn.Parameter(torch.zeros(n_species))
        self.isotropic = nn.Parameter(torch.zeros(n_species * n_species, n_radial))
        self.anisotropic = nn.Parameter(torch.zeros(n_species * n_species, n_radial))
        self.has_contacts = contacts
        if contacts:
            self.contacts = nn.Parameter(torch.zeros(2, n_species * n_species, n_radial))

    def tables(self) -> tuple[Tensor, Tensor]:
        """Isotropic and anisotropic numbers [2, pair of elements, basis] of bonds and contacts (no basis: none)."""
        bonds = torch.stack([self.isotropic, self.anisotropic])
        return bonds, self.contacts if self.has_contacts else bonds[..., :0]

    def forward(
        self, species: Tensor, neighbors: Neighbors, direction: Tensor, radial: Radial, weights: Tensor
    ) -> Tensor:
        """The roots.

        Args:
            species: [atom].
            neighbors: of the pairs.
            direction: [atom, slot, xyz], unit vectors.
            radial: of the pairs.
            weights: [atom, slot], of ``bond_weights``.
        """
        kinds = self.n_species * species[:, None] + species[neighbors.other]
        scale = weights * self.isotropic[kinds].mul(radial.basis).sum(-1)
        stretch = weights * self.anisotropic[kinds].mul(radial.basis).sum(-1)
        if self.has_contacts:
            of_contacts = (radial.envelope - weights) * self.contacts[:, kinds].mul(radial.basis).sum(-1)
            scale, stretch = scale + of_contacts[0], stretch + of_contacts[1]
        number = 1.0 + self.elements[species] + (scale - stretch / 3.0).sum(1)
        identity = torch.eye(3, dtype=number.dtype, device=number.device)
        root = number[:, None, None] * identity
        return root + (direction * stretch[..., None]).transpose(1, 2) @ direction
