"""Latent multipoles and responses of atoms and pairs from a backbone's features.

All outputs are semi-local (smooth functions of the environment inside the cutoff) and start small, so that training
begins near the short-range model and grows into the long-range one.  What sums over neighbours (moved charge, kappa of
pairs) starts at zero or at one number: random weights of thirty neighbours made forces of 0.1 to 2 eV/A.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from ase.data import atomic_numbers, covalent_radii
from torch import Tensor, nn
from torch.nn.functional import softplus

from spectra_app.config import ModelSettings
from spectra_app.electrostatics.multipoles import Multipoles, Variant
from spectra_app.electrostatics.smearing import Smearing
from spectra_app.electrostatics.stability import bounded_kappa, bounded_polarizability, self_energies
from spectra_app.potentials.backbones.features import Backbone, Features, PairGeometry, RadialBasis
from spectra_app.potentials.elements import ELECTRONEGATIVE_ENOUGH, PAULING
from spectra_app.potentials.heads.atoms_fused import HeadWeights, fused_heads
from spectra_app.potentials.heads.bond_polarizability import BondPolarizability
from spectra_app.potentials.heads.bonds import bond_ratios, bond_weights, charge_handed_back, flow_weights
from spectra_app.potentials.heads.energy import EnergyHead
from spectra_app.potentials.heads.pairs_fused import constants_of, fused_pairs
from spectra_app.potentials.heads.readouts import (
    VECTOR_SCALE,
    SquareReadout,
    TracelessReadout,
    VectorReadout,
    constant_readout,
    identity_like,
)
from spectra_app.potentials.once import Kept
from spectra_app.structure.neighbors import Neighbors, gather_neighbors, reverse_pairs
from spectra_app.structure.system import System, sum_by_structure

_INITIAL_ALPHA = 0.03  # e^2 A^2/eV (0.4 A^3): a third of a water molecule's polarizability per atom
_INITIAL_KAPPA = 0.01  # e^2/eV
_SHELL_SWITCH, _HYDROGEN_SWITCH = (1.5, 0.035), (1.0, 0.07)  # where cations hand back charge (``charge_handed_back``)


class Latents(NamedTuple):
    """Everything the heads predict.

    Attributes:
        multipoles: permanent multipoles (total charges).
        fixed_charges: [atom], e; the part of the charges that does not move between atoms (z_i; all of q_i in the
            atomic family).
        moved: [atom, slot], e; p_ij, charge moved from j to i; None in the atomic family.
        alpha: [atom] or [atom, xyz, xyz], e^2 A^2/eV, or None.
        kappa: [atom] (atomic family) or [atom, slot] (pairs), e^2/eV, or None.
        transfer_energy: [atom], eV; self-energy of the charge that atoms hold because a cation changed its partners, or
            None where no charge is handed back.
    """

    multipoles: Multipoles
    fixed_charges: Tensor
    moved: Tensor | None
    alpha: Tensor | None
    kappa: Tensor | None
    transfer_energy: Tensor | None


class _Pairs(NamedTuple):
    """What is read of pairs.

    Attributes:
        moved: [atom, slot], e, learned charge moved from j to i.
        handed: [atom, slot], e, charge that cations hand back; None without oxidation states.
        kappa: [atom, slot], e^2/eV, before its bound; None without response of the charges of pairs.
        roots: [atom, xyz, xyz], of alpha from pairs; None where alpha is read otherwise.
    """

    moved: Tensor
    handed: Tensor | None
    kappa: Tensor | None
    roots: Tensor | None


class LatentHead(nn.Module):
    """Latent multipoles and responses of one variant.

    Args:
        settings: architecture; its oxidation states are a table of elements, or learned ("free", "auto").
        variant: what to predict.
        species: chemical symbols, in the order of the embedding.
        backbone: whose features are read.

    Raises:
        ConfigError: the variant needs vectors, and the backbone has none.
    """

    covalent_radii: Tensor
    oxidation_states: Tensor
    hands_switch: Tensor
    takes_back: Tensor

    def __init__(self, settings: ModelSettings, variant: Variant, species: tuple[str, ...], backbone: Backbone) -> None:
        super().__init__()
        self.variant, self.bond_weight = variant, settings.bond_weight
        self.bounded = settings.bounded_response
        self.fixed_total = settings.total_charge == "fixed"
        self.alpha_form = settings.alpha
        self.alpha_from_pairs = settings.alpha in ("bonds", "pairs")
        self.alpha_positive = settings.alpha_positive or self.alpha_from_pairs
        if variant.dipoles or variant.quadrupoles or (variant.induced_dipoles and settings.alpha == "tensor"):
            backbone.check_vectors(variant.name)
        self.cutoff = settings.heads.cutoff_A or backbone.cutoff
        n_radial = settings.heads.n_radial or settings.backbone.n_radial
        self.radial = RadialBasis(self.cutoff, n_radial)
        hidden, n_vectors = backbone.n_scalars, backbone.n_vectors
        self.hidden = nn.Sequential(nn.Linear(backbone.n_scalars, hidden), nn.SiLU())
        pauling = torch.tensor([PAULING.get(symbol, 2.0) for symbol in species])
        states = settings.oxidation_states if isinstance(settings.oxidation_states, dict) else None
        self.ionic = states is not None
        if states is None:
            # A first guess of z_Z, or of the mean of q_Z: it breaks the symmetry between the two signs.
            self.element_charges = nn.Parameter(0.2 * (pauling.mean() - pauling))
        else:
            numbers = torch.tensor([float(states[symbol]) for symbol in species])
            # c_Z in units of VECTOR_SCALE: it begins at a tenth of the oxidation state, and one step of an optimizer,
            # which charges every atom of the element alike, is as small as that of any other charge.
            self.bound_charges = nn.Parameter(numbers.clone())
            self.register_buffer("oxidation_states", numbers, persistent=False)
            hands_back = (pauling >= ELECTRONEGATIVE_ENOUGH) & (numbers > 0)
            switch = torch.tensor([_HYDROGEN_SWITCH if symbol == "H" else _SHELL_SWITCH for symbol in species])
            self.register_buffer("hands_switch", switch * hands_back[:, None], persistent=False)
            self.register_buffer("takes_back", (numbers < 0).to(numbers), persistent=False)
        pairs, atomic = variant.charges == "pair", variant.charges == "atomic"
        if atomic:
            self.charge = nn.Linear(hidden, 1)
        if pairs:
            self.pair_nodes = nn.Linear(hidden, 3 * n_radial)
            with torch.no_grad():  # g and a of _moved_charges begin at zero, h does not: all three learn
                self.pair_nodes.weight[: 2 * n_radial] = 0.0
                self.pair_nodes.bias.zero_()
        if variant.dipoles:
            self.dipole = VectorReadout(hidden, n_vectors)
        if variant.quadrupoles:
            self.quadrupole = TracelessReadout(hidden, backbone)
        if variant.induced_dipoles and self.alpha_from_pairs:
            self.alpha_bonds = BondPolarizability(len(species), n_radial, contacts=settings.alpha == "pairs")
        elif variant.induced_dipoles:
            self.alpha_isotropic = constant_readout(hidden)
            if self.alpha_form == "tensor":
                self.alpha_tensor = (SquareReadout if self.alpha_positive else TracelessReadout)(hidden, backbone)
                if self.alpha_positive and backbone.n_rank2:  # the square of the root is half of the first alpha
                    nn.init.constant_(self.alpha_isotropic.bias, math.log(math.sqrt(2.0) - 1.0))
        if variant.induced_charges and atomic:
            self.kappa = constant_readout(hidden)
        if variant.induced_charges and pairs:
            self.kappa_nodes = nn.Linear(hidden, n_radial)
            nn.init.zeros_(self.kappa_nodes.weight)
            nn.init.zeros_(self.kappa_nodes.bias)
        self.moved_scale, self.kappa_scale = VECTOR_SCALE, _INITIAL_KAPPA / math.log(2.0)
        self.reads_pairs = pairs and backbone.n_pairs > 0
        if self.reads_pairs:
            self.pair_features = nn.Linear(backbone.n_pairs, 2 if variant.induced_charges else 1, bias=False)
            nn.init.zeros_(self.pair_features.weight)
        radii = torch.tensor([float(covalent_radii[atomic_numbers[symbol]]) for symbol in species])
        self.register_buffer("covalent_radii", radii, persistent=False)
        self._kept = Kept[HeadWeights]()

    def forward(
        self,
        system: System,
        species: Tensor,
        neighbors: Neighbors,
        geometry: PairGeometry,
        f: Features,
        charge_unit: Tensor,
        sigma: float | Smearing,
        once: bool = False,
    ) -> Latents:
        """All latent quantities of a batch; see ``Latents``.

        ``system.charge`` is the total latent charge of every structure, ``charge_unit`` [structure] the latent charge
        of one elementary charge, ``sigma`` the smearing of the atoms, A.  ``once``: by compiled loops where there are
        any; one derivative by positions will be taken, and none by weights.
        """
        hidden = self.hidden(f.scalars)
        fixed = given = transfer_energy = None
        if self.ionic:
            fixed = self.oxidation_states[species] * charge_unit[system.batch]
            gives, takes = self.hands_switch[species, 0] > 0.0, self.takes_back[species]
            beyond_bound = fixed - VECTOR_SCALE * self.bound_charges[species]
            given = gives * beyond_bound
        pairs = self._pairs(hidden, species, neighbors, geometry, f, given, once)
        moved = None if pairs is None else pairs.moved
        if pairs is not None and pairs.handed is not None and fixed is not None:
            moved = pairs.moved + pairs.handed
            transfer_energy = self_energies((gives + takes) * (beyond_bound + pairs.handed.sum(1)), sigma)
        alpha, kappa = self._alpha(hidden, f, species, neighbors, geometry, pairs), None
        if self.variant.induced_charges and self.variant.charges == "atomic":
            kappa = self.kappa_scale * softplus(self.kappa(hidden)[:, 0])
        elif pairs is not None:
            kappa = pairs.kappa
        if self.bounded:
            if alpha is not None and self.alpha_positive:
                alpha = bounded_polarizability(alpha, sigma)
            if kappa is not None:
                kappa = bounded_kappa(kappa, sigma, neighbors)
        if fixed is None:
            fixed = self.element_charges[species]
            if self.variant.charges == "atomic":
                fixed = fixed + VECTOR_SCALE * self.charge(hidden)[:, 0]
            if self.fixed_total and self.variant.equilibrates and kappa is not None:
                taken, transfer_energy = _shared_by_kappa(_excess_charge(fixed, system), kappa, system)
                fixed = fixed + taken
            elif self.fixed_total or moved is not None:
                fixed = _shift_to_total_charge(fixed, system)
        charges = fixed if moved is None else fixed + moved.sum(1)
        dipoles = self.dipole(hidden, f) if self.variant.dipoles else None
        quadrupoles = VECTOR_SCALE * self.quadrupole(hidden, f) if self.variant.quadrupoles else None
        return Latents(Multipoles(charges, dipoles, quadrupoles), fixed, moved, alpha, kappa, transfer_energy)

    def fused(
        self,
        energy: EnergyHead,
        features: tuple[Tensor, Tensor, Tensor],
        species: Tensor,
        geometry: PairGeometry,
        units: Tensor,
        sigma: float | Smearing,
    ) -> tuple[Tensor, Latents]:
        """Short-range energies [atom] of the energy head, and all latent quantities, as ``forward`` with ``once``.

        Where ``heads_fuse``.  ``features``: of ``Backbone.components``; ``units`` [atom], latent charge of one
        elementary charge.
        """

        def weights(both: nn.ModuleList) -> HeadWeights:
            return HeadWeights(self, energy, _INITIAL_ALPHA)

        found = fused_heads(
            features, geometry, species, self._kept.of(nn.ModuleList([self, energy]), weights), units, sigma
        )
        multipoles = Multipoles(found.charges, found.dipoles, found.quadrupoles)
        latents = Latents(multipoles, found.fixed_charges, found.moved, found.alpha, found.kappa, found.transfer_energy)
        return found.energies, latents

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        super()._apply(fn, recurse)
        self._kept = Kept[HeadWeights]()
        return self

    def _pairs(
        self,
        hidden: Tensor,
        species: Tensor,
        neighbors: Neighbors,
        geometry: PairGeometry,
        f: Features,
        given: Tensor | None,
        once: bool,
    ) -> _Pairs | None:
        """What is read of pairs; None in the family of atomic charges.

        ``given`` [atom], e: charge that cations hand back along their bonds; None without oxidation states.
        """
        if self.variant.charges != "pair":
            return None
        nodes = self.pair_nodes(hidden)
        kappa_nodes = self.kappa_nodes(hidden) if self.variant.induced_charges else None
        if once and not self.reads_pairs and hidden.device.type == "cpu":
            constants = constants_of(self)
            return _Pairs(*fused_pairs(geometry, species, constants, nodes, kappa_nodes, given))
        radial, envelope = geometry.radial(self.radial)
        ratio, bonded = self._bonds(species, neighbors, geometry)
        of_pairs = self.pair_features(f.pairs) * envelope[..., None] if self.reads_pairs else None
        moved = self._moved_charges(nodes, radial, neighbors)
        if of_pairs is not None:
            moved = moved + VECTOR_SCALE * (of_pairs[..., 0] - reverse_pairs(of_pairs[..., 0], neighbors))
        handed = kappa = roots = None
        if given is not None:
            switch, takes = self.hands_switch[species], self.takes_back[species]
            handed = charge_handed_back(given, switch, takes, ratio, envelope, neighbors)
        if kappa_nodes is not None:
            raw = (radial * (kappa_nodes[:, None] + gather_neighbors(kappa_nodes, neighbors))).sum(-1)
            if of_pairs is not None:
                raw = raw + of_pairs[..., 1] + reverse_pairs(of_pairs[..., 1], neighbors)
            # Not alike for all neighbours: else thirty of them, most of them no bond, start with ten times the
            # polarizability of an atom.
            flow = flow_weights(self.bond_weight, ratio, geometry.distance, envelope)
            kappa = self.kappa_scale * softplus(raw) * flow
        if self.variant.induced_dipoles and self.alpha_from_pairs:
            roots = self.alpha_bonds(species, neighbors, geometry.direction, geometry.radial(self.radial), bonded)
        return _Pairs(moved, handed, kappa, roots)

    def _bonds(self, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> tuple[Tensor, Tensor]:
        """Distances over sums of covalent radii, and what counts as a bond [atom, slot]."""
        ratio = bond_ratios(geometry.distance, species, self.covalent_radii, neighbors)
        return ratio, bond_weights(self.bond_weight, ratio, geometry.radial(self.radial).envelope)

    def _moved_charges(self, nodes: Tensor, radial: Tensor, neighbors: Neighbors) -> Tensor:
        """p_ij = sum_b R_b (g_ib - g_jb + a_ib h_jb - h_ib a_jb): zero at the cutoff [atom, slot]."""
        g, a, h = nodes.chunk(3, dim=-1)
        gj, aj, hj = gather_neighbors(nodes, neighbors).chunk(3, dim=-1)
        strength = g[:, None] - gj + a[:, None] * hj - h[:, None] * aj
        return self.moved_scale * (radial * strength).sum(-1)

    def _alpha(
        self,
        hidden: Tensor,
        f: Features,
        species: Tensor,
        neighbors: Neighbors,
        geometry: PairGeometry,
        pairs: _Pairs | None,
    ) -> Tensor | None:
        if not self.variant.induced_dipoles:
            return None
        if self.alpha_from_pairs:
            roots = None if pairs is None else pairs.roots
            if roots is None:
                radial, bonded = geometry.radial(self.radial), self._bonds(species, neighbors, geometry)[1]
                roots = self.alpha_bonds(species, neighbors, geometry.direction, radial, bonded)
            return _INITIAL_ALPHA * roots @ roots
        raw = self.alpha_isotropic(hidden)[:, 0]
        if self.alpha_positive:
            isotropic = _INITIAL_ALPHA / math.log(2.0) * softplus(raw)
        else:
            isotropic = _INITIAL_ALPHA * (1.0 + raw)
        if self.alpha_form == "scalar":
            return isotropic
        tensor = _INITIAL_ALPHA * self.alpha_tensor(hidden, f)
        return isotropic[:, None, None] * identity_like(tensor) + tensor


def _excess_charge(charges: Tensor, system: System) -> Tensor:
    """What the [atom] charges of every structure lack of its total charge [structure], e."""
    return system.charge - sum_by_structure(charges, system)


def _shared_by_kappa(excess: Tensor, kappa: Tensor, system: System) -> tuple[Tensor, Tensor]:
    """Charge that atoms of one chemical potential take of an excess, and the work it costs them.

    e_i = kappa_i Q/sum kappa and e_i^2/(2 kappa_i): the minimum of the sum of the second at a given sum of the first
    (docs/theory.md, "Equilibration").

    Args:
        excess: [structure], Q, e.
        kappa: [atom], e^2/eV.
        system: the structures.

    Returns:
        [atom], e; [atom], eV.
    """
    level = (excess / sum_by_structure(kappa, system))[system.batch]
    taken = kappa * level
    return taken, 0.5 * taken * level


def _shift_to_total_charge(charges: Tensor, system: System) -> Tensor:
    """Shift [atom] charges evenly so that every structure has its own total charge."""
    excess = _excess_charge(charges, system)
    if system.alike:  # no number travels to the device: a captured graph can hold this
        return charges + (excess / system.sizes[0])[system.batch]
    sizes = torch.tensor(system.sizes, dtype=charges.dtype, device=charges.device)
    return charges + (excess / sizes)[system.batch]
