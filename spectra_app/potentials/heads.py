"""Heads: from a backbone's features to atomic energies, latent multipoles and their responses.

All outputs are semi-local (smooth functions of the environment inside the cutoff) and start small, so that training
begins near the short-range model and grows into the long-range one.  What sums over neighbours (moved charge, kappa of
pairs) starts at zero or at one number: random weights of thirty neighbours made forces of 0.1 to 2 eV/A.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from spectra_app.electrostatics.multipoles import Multipoles, Variant
from spectra_app.electrostatics.smearing import Smearing
from spectra_app.electrostatics.stability import bounded_kappa, bounded_polarizability
from spectra_app.potentials.backbones.features import Backbone, Features, PairGeometry
from spectra_app.potentials.bond_polarizability import BondPolarizability, bond_ratios, bond_weights
from spectra_app.structure.neighbors import Neighbors, gather_neighbors
from spectra_app.structure.system import System, sum_by_structure

_N_PRODUCTS = 8  # vectors that enter the products which make a rank-2 tensor
_INITIAL_ALPHA = 0.03  # e^2 A^2/eV (0.4 A^3): a third of a water molecule's polarizability per atom
_INITIAL_KAPPA = 0.01  # e^2/eV
_VECTOR_SCALE = 0.1
_KEPT = 0.1  # of its oxidation state is the charge that a bound cation begins with
_UNBOUND = 1e-4  # bonds weaker than this leave a cation its charge
_SWITCH_AT, _SWITCH_WIDTH = 1.4, 0.06  # of the sum of the covalent radii: a stretched bond is one, a hydrogen bond not


class Latents(NamedTuple):
    """Everything the heads predict.

    Attributes:
        multipoles: permanent multipoles (total charges).
        fixed_charges: [atom], e; the part of the charges that does not move between atoms (z_i; all of q_i in the
            atomic family).
        moved: [atom, slot], e; p_ij, charge moved from j to i; None in the atomic family.
        alpha: [atom] or [atom, xyz, xyz], e^2 A^2/eV, or None.
        kappa: [atom] (atomic family) or [atom, slot] (pairs), e^2/eV, or None.
    """

    multipoles: Multipoles
    fixed_charges: Tensor
    moved: Tensor | None
    alpha: Tensor | None
    kappa: Tensor | None


class EnergyHead(nn.Module):
    """Short-range atomic energy [atom] in units of the model's energy scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1))

    def forward(self, features: Features) -> Tensor:
        """Atomic energies [atom]."""
        return self.network(features.scalars)[:, 0]


class LatentHead(nn.Module):
    """Latent multipoles and responses of one variant.

    Args:
        variant: what to predict.
        backbone: whose features are read.
        n_radial: functions of the radial basis (pair terms).
        initial_charges: [species], e; a first guess of the mean charge of each element, which breaks the symmetry
            between the two signs.
        covalent_radii: [species], A; how far induced charge moves between atoms.
        oxidation_states: [species], e, charge that an element carries through a cell (pair family); None: learned.
        hands_back: [species], 1 for cations that begin with their charge handed back along bonds, else 0.
        bond_weight: ``"gaussian"`` or ``"switched"``, see ``bond_weights``.
        alpha_form: ``"scalar"``, ``"tensor"`` or ``"bonds"``.
        alpha_positive: keep alpha positive definite.
        fixed_total: atomic charges sum to the structure's charge: without it the dipole of a molecule depends on the
            origin.
        bounded: keep positive alpha and kappa below their bounds (``electrostatics.stability``).
    """

    covalent_radii: Tensor
    oxidation_states: Tensor
    hands_back: Tensor
    takes_back: Tensor

    def __init__(
        self,
        variant: Variant,
        backbone: Backbone,
        n_radial: int,
        initial_charges: Tensor,
        covalent_radii: Tensor,
        alpha_form: str,
        alpha_positive: bool,
        fixed_total: bool = True,
        bounded: bool = True,
        oxidation_states: Tensor | None = None,
        hands_back: Tensor | None = None,
        bond_weight: str = "switched",
    ) -> None:
        super().__init__()
        self.bond_weight = bond_weight
        self.bounded = bounded
        self.fixed_total = fixed_total
        self.variant, self.n_radial = variant, n_radial
        self.alpha_form, self.alpha_positive = alpha_form, alpha_positive or alpha_form == "bonds"
        hidden, n_vectors = backbone.n_scalars, backbone.n_vectors
        self.hidden = nn.Sequential(nn.Linear(backbone.n_scalars, hidden), nn.SiLU())
        self.ionic = oxidation_states is not None
        if oxidation_states is None:
            self.element_charges = nn.Parameter(initial_charges.clone())  # z_Z, or the mean of q_Z
        else:
            assert hands_back is not None
            self.kept_charges = nn.Parameter(_KEPT * oxidation_states)
            self.register_buffer("oxidation_states", oxidation_states, persistent=False)
            self.register_buffer("hands_back", hands_back * (oxidation_states > 0), persistent=False)
            self.register_buffer("takes_back", (oxidation_states < 0).to(hands_back), persistent=False)
        pairs, atomic = variant.charges == "pair", variant.charges == "atomic"
        if atomic:
            self.charge = nn.Linear(hidden, 1)
        if pairs:
            self.pair_nodes = nn.Linear(hidden, 3 * n_radial)
            with torch.no_grad():  # g and a of _moved_charges begin at zero, h does not: all three learn
                self.pair_nodes.weight[: 2 * n_radial] = 0.0
                self.pair_nodes.bias.zero_()
        if variant.dipoles:
            self.dipole = _VectorReadout(hidden, n_vectors)
        if variant.quadrupoles:
            self.quadrupole = _TracelessReadout(hidden, backbone)
        if variant.induced_dipoles and alpha_form == "bonds":
            self.alpha_bonds = BondPolarizability(len(initial_charges), n_radial)
        elif variant.induced_dipoles:
            self.alpha_isotropic = _constant_readout(hidden)
            if alpha_form == "tensor":
                self.alpha_tensor = (_SquareReadout if alpha_positive else _TracelessReadout)(hidden, backbone)
                if alpha_positive and backbone.n_rank2:  # the square of the root is half of the first alpha
                    nn.init.constant_(self.alpha_isotropic.bias, math.log(math.sqrt(2.0) - 1.0))
        if variant.induced_charges and atomic:
            self.kappa = _constant_readout(hidden)
        if variant.induced_charges and pairs:
            self.kappa_nodes = nn.Linear(hidden, n_radial)
            nn.init.zeros_(self.kappa_nodes.weight)
            nn.init.zeros_(self.kappa_nodes.bias)
        self.register_buffer("covalent_radii", covalent_radii, persistent=False)

    def forward(
        self,
        system: System,
        species: Tensor,
        neighbors: Neighbors,
        pair: PairGeometry,
        f: Features,
        charge_unit: Tensor,
        sigma: float | Smearing,
    ) -> Latents:
        """All latent quantities of a batch; see ``Latents``.

        ``system.charge`` is the total latent charge of every structure, ``charge_unit`` [structure] the latent charge
        of one elementary charge, ``sigma`` the smearing of the atoms, A.
        """
        hidden = self.hidden(f.scalars)
        moved: Tensor | None = None
        if self.ionic:
            fixed = self.oxidation_states[species] * charge_unit[system.batch]
            moved = self._moved_charges(hidden, neighbors, pair) + self._handed_back(fixed, species, neighbors, pair)
            charges = fixed + moved.sum(1)
        elif self.variant.charges == "atomic":
            fixed = self.element_charges[species]
            charges = fixed + _VECTOR_SCALE * self.charge(hidden)[:, 0]
            charges = fixed = _shift_to_total_charge(charges, system) if self.fixed_total else charges
        else:
            fixed = _shift_to_total_charge(self.element_charges[species], system)
            moved = self._moved_charges(hidden, neighbors, pair)
            charges = fixed + moved.sum(1)
        alpha = self._alpha(hidden, f, species, neighbors, pair) if self.variant.induced_dipoles else None
        kappa = self._kappa(hidden, species, neighbors, pair) if self.variant.induced_charges else None
        if self.bounded:
            if alpha is not None and self.alpha_positive:
                alpha = bounded_polarizability(alpha, sigma)
            if kappa is not None:
                kappa = bounded_kappa(kappa, sigma, neighbors)
        dipoles = self.dipole(hidden, f) if self.variant.dipoles else None
        quadrupoles = _VECTOR_SCALE * self.quadrupole(hidden, f) if self.variant.quadrupoles else None
        return Latents(
            Multipoles(charges, dipoles, quadrupoles),
            fixed,
            moved,
            alpha,
            kappa,
        )

    def _moved_charges(self, hidden: Tensor, neighbors: Neighbors, pair: PairGeometry) -> Tensor:
        """p_ij = sum_b R_b (g_ib - g_jb + a_ib h_jb - h_ib a_jb): antisymmetric, zero at the cutoff [atom, slot]."""
        nodes = self.pair_nodes(hidden)
        g, a, h = nodes.chunk(3, dim=-1)
        gj, aj, hj = gather_neighbors(nodes, neighbors).chunk(3, dim=-1)
        strength = g[:, None] - gj + a[:, None] * hj - h[:, None] * aj
        return _VECTOR_SCALE * (pair.radial * strength).sum(-1)

    def _handed_back(self, fixed: Tensor, species: Tensor, neighbors: Neighbors, pair: PairGeometry) -> Tensor:
        """p0_ij [atom, slot]: the charge z_i of a cation, handed along its bonds to the anions j that share it.

            p0_ij = -(z_i - c_i) s_ij/(sum_j s_ij + 1e-4),   p0_ji = -p0_ij,   s = (1 + exp((r/R_ij - 1.4)/0.06))^-4

        with R_ij the sum of the covalent radii.  c is a charge of each element that begins at a tenth of its oxidation
        state: a bound atom begins with it, an unbound ion with its own charge, and a proton changes partners smoothly,
        while the charge that every atom carries through the cell stays that of its ion.  The tenth tells a training the
        sign and gives moved charges a potential to learn from; c does not change with z, so that a bound structure
        keeps its energy while a training finds out eps_e.  The switch is flat where bonds vibrate: with
        exp(4 - 4 (r/R)^2) in its place the oxygens of a silicon share its charge anew at every phonon (quartz, c = 0,
        same seed: 36 instead of 29 meV/A after 35 epochs; 22 with the tenth).
        """
        ratio = bond_ratios(species, self.covalent_radii, neighbors, pair)
        weight = torch.sigmoid((_SWITCH_AT - ratio) / _SWITCH_WIDTH).square().square() * pair.envelope
        gives, takes = self.hands_back[species], self.takes_back[species]
        takes_there = gather_neighbors(takes[:, None], neighbors)[..., 0]
        share = gives * (fixed - self.kept_charges[species]) / ((weight * takes_there).sum(1) + _UNBOUND)
        share_there = gather_neighbors(share[:, None], neighbors)[..., 0]
        return weight * (share_there * takes[:, None] - share[:, None] * takes_there)

    def _alpha(self, hidden: Tensor, f: Features, species: Tensor, neighbors: Neighbors, pair: PairGeometry) -> Tensor:
        if self.alpha_form == "bonds":
            weights = bond_weights(self.bond_weight, species, self.covalent_radii, neighbors, pair)
            return _INITIAL_ALPHA * self.alpha_bonds(species, neighbors, pair, weights)
        raw = self.alpha_isotropic(hidden)[:, 0]
        if self.alpha_positive:
            isotropic = _INITIAL_ALPHA / math.log(2.0) * softplus(raw)
        else:
            isotropic = _INITIAL_ALPHA * (1.0 + raw)
        if self.alpha_form == "scalar":
            return isotropic
        tensor = _INITIAL_ALPHA * self.alpha_tensor(hidden, f)
        return isotropic[:, None, None] * _identity_like(tensor) + tensor

    def _kappa(self, hidden: Tensor, species: Tensor, neighbors: Neighbors, pair: PairGeometry) -> Tensor:
        """Of atoms, or of pairs: these answer along bonds, and ``bond_weights`` say what is one.

        Without it thirty neighbours inside the cutoff, most of them no bond, start with ten times the polarizability
        of an atom.
        """
        if self.variant.charges == "atomic":
            return _INITIAL_KAPPA / math.log(2.0) * softplus(self.kappa(hidden)[:, 0])
        nodes = self.kappa_nodes(hidden)
        raw = (pair.radial * (nodes[:, None] + gather_neighbors(nodes, neighbors))).sum(-1)
        weight = bond_weights(self.bond_weight, species, self.covalent_radii, neighbors, pair)
        return _INITIAL_KAPPA / math.log(2.0) * softplus(raw) * weight


class _VectorReadout(nn.Module):
    """Equivariant vector sum_c gate_c v_c [atom, xyz]."""

    def __init__(self, hidden: int, n_vectors: int) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, n_vectors)

    def forward(self, hidden: Tensor, f: Features) -> Tensor:
        assert f.vectors is not None
        return _VECTOR_SCALE * (f.vectors @ self.gate(hidden)[:, :, None])[:, :, 0]


class _TracelessReadout(nn.Module):
    """Symmetric traceless tensors [atom, xyz, xyz]: gated rank-2 features plus products of gated vectors."""

    def __init__(self, hidden: int, backbone: Backbone) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, _N_PRODUCTS)
        self.mix = nn.Linear(backbone.n_vectors, 2 * _N_PRODUCTS, bias=False)
        if backbone.n_rank2:
            self.rank2_gate = nn.Linear(hidden, backbone.n_rank2)

    def forward(self, hidden: Tensor, f: Features) -> Tensor:
        assert f.vectors is not None
        left, right = self.mix(f.vectors).chunk(2, dim=-1)
        product = (left * self.gate(hidden)[:, None, :]) @ right.transpose(1, 2)
        product = 0.5 * (product + product.transpose(1, 2))
        trace = product.diagonal(dim1=-2, dim2=-1).sum(-1) / 3.0
        traceless = product - trace[:, None, None] * _identity_like(product)
        if f.rank2 is None:
            return traceless
        n_atoms = len(hidden)
        return traceless + (f.rank2.flatten(1, 2) @ self.rank2_gate(hidden)[:, :, None]).reshape(n_atoms, 3, 3)


class _SquareReadout(nn.Module):
    """Positive semidefinite tensors [atom, xyz, xyz]: sum_m V_m V_m^T of gated vectors, plus M M^T of a rank-2 one."""

    def __init__(self, hidden: int, backbone: Backbone) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, _N_PRODUCTS)
        self.mix = nn.Linear(backbone.n_vectors, _N_PRODUCTS, bias=False)
        nn.init.constant_(self.gate.bias, 0.1)  # nearly isotropic: a random anisotropy stays where data is silent
        nn.init.zeros_(self.gate.weight)
        if backbone.n_rank2:
            self.rank2_gate = nn.Linear(hidden, backbone.n_rank2)
            nn.init.zeros_(self.rank2_gate.weight)
            nn.init.zeros_(self.rank2_gate.bias)
            self.root = _constant_readout(hidden, math.sqrt(0.5) - 1.0)

    def forward(self, hidden: Tensor, f: Features) -> Tensor:
        assert f.vectors is not None
        left = self.mix(f.vectors) * self.gate(hidden)[:, None, :]
        square = left @ left.transpose(1, 2)
        if f.rank2 is None:
            return square
        root = (f.rank2.flatten(1, 2) @ self.rank2_gate(hidden)[:, :, None]).reshape(len(hidden), 3, 3)
        # An isotropic part in the root makes the anisotropy linear in the features: (c + M)^2 = c^2 + 2 c M + M^2.
        root = _VECTOR_SCALE * root + (1.0 + self.root(hidden))[:, :, None] * _identity_like(root)
        return square + root @ root.transpose(1, 2)


def _constant_readout(hidden: int, value: float = 0.0) -> nn.Linear:
    """A readout that begins as one number for all atoms."""
    layer = nn.Linear(hidden, 1)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
    return layer


def _identity_like(tensors: Tensor) -> Tensor:
    """3x3 identity in the dtype and on the device of ``tensors``."""
    return torch.eye(3, dtype=tensors.dtype, device=tensors.device)


def _shift_to_total_charge(charges: Tensor, system: System) -> Tensor:
    """Shift [atom] charges evenly so that every structure has its own total charge."""
    excess = system.charge - sum_by_structure(charges, system)
    if system.n_structures == 1:  # no number travels to the device: a captured graph can hold this
        return charges + excess / system.sizes[0]
    sizes = torch.tensor(system.sizes, dtype=charges.dtype, device=charges.device)
    return charges + (excess / sizes)[system.batch]
