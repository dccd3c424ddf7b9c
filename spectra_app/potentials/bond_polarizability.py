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

from spectra_app.potentials.backbones.features import PairGeometry
from spectra_app.structure.neighbors import Neighbors, gather_neighbors

_SWITCH_AT, _SWITCH_WIDTH = 1.4, 0.06  # of the sum of the covalent radii: a stretched bond is one, a hydrogen bond not


def bond_weights(
    form: str, species: Tensor, covalent_radii: Tensor, neighbors: Neighbors, pair: PairGeometry
) -> Tensor:
    """What counts as a bond, by the distance r over the sum R of the covalent radii, times the smooth cutoff.

    ``switched``: 1/(1 + exp((r/R - 1.4)/0.06)), 1.00 along a bond, 0.94 where a proton stands between two oxygens
    (1.2 A), 0.0005 on a hydrogen bond of 1.8 A.
    ``gaussian``: exp(1 - (r/R)^2), 1 along a bond, 0.59 at 1.2 A and still 0.09 on that hydrogen bond.

    Args:
        form: ``"switched"`` or ``"gaussian"``.
        species: [atom].
        covalent_radii: [species], A.
        neighbors: of the pairs.
        pair: their geometry.

    Returns:
        [atom, slot].
    """
    ratio = bond_ratios(species, covalent_radii, neighbors, pair)
    if form == "gaussian":
        return torch.exp(1.0 - ratio.square()) * pair.envelope
    return torch.sigmoid((_SWITCH_AT - ratio) / _SWITCH_WIDTH) * pair.envelope


def bond_ratios(species: Tensor, covalent_radii: Tensor, neighbors: Neighbors, pair: PairGeometry) -> Tensor:
    """Distance of every pair over the sum of its covalent radii [atom, slot]; arguments as in ``bond_weights``."""
    radii = covalent_radii[species][:, None]
    return pair.distance / (radii + gather_neighbors(radii, neighbors)[..., 0])


class BondPolarizability(nn.Module):
    """Factor of alpha_0 [atom, xyz, xyz]: the square of R_i; see the module.  Begins as the identity.

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

    def forward(self, species: Tensor, neighbors: Neighbors, pair: PairGeometry, weights: Tensor) -> Tensor:
        """Squares of the roots; ``weights`` [atom, slot] of ``bond_weights``."""
        kinds = self.n_species * species[:, None] + species[neighbors.other]
        scale = weights * self.isotropic[kinds].mul(pair.radial).sum(-1)
        stretch = weights * self.anisotropic[kinds].mul(pair.radial).sum(-1)
        number = 1.0 + self.elements[species] + (scale - stretch / 3.0).sum(1)
        identity = torch.eye(3, dtype=number.dtype, device=number.device)
        root = number[:, None, None] * identity
        root = root + (pair.direction * stretch[..., None]).transpose(1, 2) @ pair.direction
        return root @ root
