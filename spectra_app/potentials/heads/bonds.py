"""What counts as a bond, how far charge flows, and the charge that cations hand back along their bonds."""

from __future__ import annotations

import torch
from torch import Tensor

from spectra_app.structure.neighbors import Neighbors, gather_neighbors

SWITCH_AT, SWITCH_WIDTH = 1.4, 0.06  # of the sum of the covalent radii: a stretched bond is one, a hydrogen bond not
OVERLAP_A = 0.5  # length in which the product of two orbitals falls off by e
UNBOUND = 1e-4  # bonds weaker than this leave a cation its charge


def bond_ratios(distance: Tensor, species: Tensor, covalent_radii: Tensor, neighbors: Neighbors) -> Tensor:
    """Distance of every pair over the sum of its covalent radii.

    Args:
        distance: [atom, slot], A.
        species: [atom].
        covalent_radii: [species], A.
        neighbors: of the pairs.

    Returns:
        [atom, slot].
    """
    radii = covalent_radii[species][:, None]
    return distance / (radii + gather_neighbors(radii, neighbors)[..., 0])


def bond_weights(form: str, ratio: Tensor, envelope: Tensor) -> Tensor:
    """What counts as a bond, by the distance r over the sum R of the covalent radii, times the smooth cutoff.

    ``switched``: 1/(1 + exp((r/R - 1.4)/0.06)), 1.00 along a bond, 0.94 where a proton stands between two oxygens
    (1.2 A), 0.0005 on a hydrogen bond of 1.8 A.
    ``gaussian``: exp(1 - (r/R)^2), 1 along a bond, 0.59 at 1.2 A and still 0.09 on that hydrogen bond.

    Args:
        form: ``"gaussian"``, else switched.
        ratio: [atom, slot], see ``bond_ratios``.
        envelope: [atom, slot], the smooth cutoff.

    Returns:
        [atom, slot].
    """
    if form == "gaussian":
        return torch.exp(1.0 - ratio.square()) * envelope
    return torch.sigmoid((SWITCH_AT - ratio) / SWITCH_WIDTH) * envelope


def flow_weights(form: str, ratio: Tensor, distance: Tensor, envelope: Tensor) -> Tensor:
    """How well induced charge flows between two atoms, the factor of kappa: along bonds, or as orbitals overlap.

    ``overlap``: exp((R - r)/0.5 A), 1 along a bond and 0.19 on a hydrogen bond of 1.8 A: response of electrons along
    hydrogen bonds is charge that crosses them.  Other forms are those of ``bond_weights``.

    Args:
        form: ``"overlap"``, or as of ``bond_weights``.
        ratio: [atom, slot], see ``bond_ratios``.
        distance: [atom, slot], A.
        envelope: [atom, slot], the smooth cutoff.

    Returns:
        [atom, slot].
    """
    if form == "overlap":
        return torch.exp((distance / ratio - distance) / OVERLAP_A) * envelope
    return bond_weights(form, ratio, envelope)


def charge_handed_back(
    given: Tensor, switch: Tensor, takes: Tensor, ratio: Tensor, envelope: Tensor, neighbors: Neighbors
) -> Tensor:
    """p0_ij: the charge z_i - c_i of a cation, handed along its bonds to the anions j that share it.

        p0_ij = -(z_i - c_i) s_ij/(sum_j s_ij + 1e-4),   p0_ji = -p0_ij,
        s = (1 - (1 - f)^4)/(1 + exp((r/R_ij - x_i)/y_i))

    with R_ij the sum of the covalent radii and f the smooth cutoff.  c is a charge of each element that begins at a
    tenth of its oxidation state: a bound atom begins with it, an unbound ion with its own charge, and a proton changes
    partners smoothly, while the charge that every atom carries through the cell stays that of its ion.  The tenth tells
    a training the sign and gives moved charges a potential to learn from; c does not change with z, so that a bound
    structure keeps its energy while a training finds out eps_e.

    The switch stands between the first and the second shell of anions, x = 1.5 and y = 0.035: s is flat where bonds
    vibrate, else the oxygens of a silicon share its charge anew at every phonon (exp(4 - 4 (r/R)^2), quartz, c = 0,
    same seed: 36 instead of 29 meV/A after 35 epochs; 22 with the tenth), flat where they stretch (at x = 1.4 the
    charge jumps as a Si-O bond of 2.3 A breaks), and zero at the second shell, which begins at 1.75.  Hydrogen has one
    partner, which takes all whatever s is, and hydrogen bonds begin at 1.5: x = 1 and y = 0.07.

    Args:
        given: [atom], e; z_i - c_i of cations that hand back, else 0.
        switch: [atom, 2], x_i and y_i of these cations, else 0.
        takes: [atom], 1 for anions, else 0.
        ratio: [atom, slot], see ``bond_ratios``.
        envelope: [atom, slot], the smooth cutoff.
        neighbors: of the pairs.

    Returns:
        [atom, slot], e, antisymmetric.
    """
    there = gather_neighbors(torch.cat([switch, takes[:, None]], dim=1), neighbors)
    takes_there = there[..., 2]
    x, y = (switch[:, None] + there[..., :2]).unbind(-1)  # one end gives, the other takes
    weight = torch.sigmoid((x - ratio) / y.clamp(min=1e-3)) * (1.0 - (1.0 - envelope).square().square())
    share = given / ((weight * takes_there).sum(1) + UNBOUND)
    share_there = gather_neighbors(share[:, None], neighbors)[..., 0]
    return weight * (share_there * takes[:, None] - share[:, None] * takes_there)
