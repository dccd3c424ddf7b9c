"""Atomic polarizabilities from bonds: numbers of elements and of pairs of elements, and nothing else.

    alpha_i = alpha_0 R_i^2,   R_i = (1 + c_Z) 1 + sum_j w(r_ij) [f_ZZ'(r_ij) 1 + g_ZZ'(r_ij) (d d^T - 1/3)]

d is the direction of the pair, w says what is a bond (``bond_weights``), f and g are linear in the radial basis.
The bond polarizability model of Raman spectroscopy (Wolkenstein 1941; Guha et al. 1996,
DOI 10.1103/PhysRevB.53.13106), made positive and given to atoms that also induce each other.

A network that reads alpha from its features overfits it: forces feel alpha little, and what they do not fix, the
training frames do (docs/ablation.md).  Here a hundred numbers are fixed by all forces of all frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectra_app.structure.neighbors import Neighbors


class BondPolarizability(nn.Module):
    """R_i [atom, xyz, xyz]; see the module.  Begins as the identity.

    Args:
        n_species: number of elements.
        n_radial: functions of the radial basis.
    """

    def __init__(self, n_species: int, n_radial: int) -> None:
        super().__init__()
        self.n_species = n_species
        self.elements = nn.Parameter(torch.zeros(n_species))
        self.isotropic = nn.Parameter(torch.zeros(n_species * n_species, n_radial))
        self.anisotropic = nn.Parameter(torch.zeros(n_species * n_species, n_radial))

    def forward(
        self, species: Tensor, neighbors: Neighbors, direction: Tensor, radial: Tensor, weights: Tensor
    ) -> Tensor:
        """The roots.

        Args:
            species: [atom].
            neighbors: of the pairs.
            direction: [atom, slot, xyz], unit vectors.
            radial: [atom, slot, basis], radial basis.
            weights: [atom, slot], of ``bond_weights``.
        """
        kinds = self.n_species * species[:, None] + species[neighbors.other]
        scale = weights * self.isotropic[kinds].mul(radial).sum(-1)
        stretch = weights * self.anisotropic[kinds].mul(radial).sum(-1)
        number = 1.0 + self.elements[species] + (scale - stretch / 3.0).sum(1)
        identity = torch.eye(3, dtype=number.dtype, device=number.device)
        root = number[:, None, None] * identity
        return root + (direction * stretch[..., None]).transpose(1, 2) @ direction
