"""All heads of the default family as one operation with one derivative: the fast way on a CPU.

``energy`` and ``latent`` have the reference, differentiable to any order; loops over atoms stand in ``atom_kernels``,
over pairs in ``pair_kernels``.  Everything linear in the hidden scalars is one matrix product.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import silu

from spectra_app.electrostatics.smearing import Smearing, by_atom
from spectra_app.electrostatics.stability import largest_kappa, largest_polarizability
from spectra_app.potentials.backbones.features import PairGeometry
from spectra_app.potentials.heads import atom_kernels as kernels
from spectra_app.potentials.heads.pairs_fused import PairTape, constants_of
from spectra_app.potentials.heads.readouts import VECTOR_SCALE
from spectra_app.potentials.once import refuse_second_derivative, silu_backward
from spectra_app.units import COULOMB_CONSTANT

_Linear = tuple[Tensor, Tensor]


class FusedLatents(NamedTuple):
    """What the heads predict; fields as in ``latent.Latents`` and ``Multipoles``.

    Attributes:
        energies: [atom], short-range ones in units of the model's energy scale.
        charges: [atom], e.
        dipoles: [atom, xyz], e A.
        quadrupoles: [atom, xyz, xyz], e A^2; None where the variant has none.
        moved: [atom, slot], e.
        alpha: [atom, xyz, xyz], e^2 A^2/eV.
        kappa: [atom, slot], e^2/eV.
        transfer_energy: [atom], eV.
        fixed_charges: [atom], e.
    """

    energies: Tensor
    charges: Tensor
    dipoles: Tensor
    quadrupoles: Tensor | None
    moved: Tensor
    alpha: Tensor
    kappa: Tensor
    transfer_energy: Tensor
    fixed_charges: Tensor


def heads_fuse(latent: Any, energy: Any, n_rank2: int) -> bool:
    """Whether there are loops for heads of this form; the others are taken apart (``latent``, ``pairs_fused``).

    Args:
        latent: a ``latent.LatentHead``.
        energy: an ``energy.EnergyHead``.
        n_rank2: channels of the tensors of the backbone.
    """
    variant = latent.variant
    induced = variant.induced_charges and variant.induced_dipoles and latent.alpha_from_pairs
    of_pairs = variant.charges == "pair" and latent.ionic and not latent.reads_pairs
    return bool(induced and of_pairs and variant.dipoles and n_rank2 and hasattr(energy, "network"))


class HeadWeights:
    """What the loops read of the heads, laid out for them.

    Args:
        latent: a ``latent.LatentHead`` of a form that ``heads_fuse``; its weights are read now.
        energy: an ``energy.EnergyHead``, likewise.
        initial_alpha: e^2 A^2/eV, factor of the square of a root.
    """

    def __init__(self, latent: Any, energy: Any, initial_alpha: float) -> None:
        def linear(layer: Any) -> _Linear:
            return layer.weight.detach(), layer.bias.detach()

        self.pairs = constants_of(latent)
        self.hidden, self.energy = linear(latent.hidden[0]), (linear(energy.network[0]), linear(energy.network[2]))
        layers = [latent.pair_nodes, latent.kappa_nodes, latent.dipole.gate]
        self.mix: Tensor | None = None
        self.n_products = 0
        if latent.variant.quadrupoles:
            layers += [latent.quadrupole.gate, latent.quadrupole.rank2_gate]
            self.mix, self.n_products = latent.quadrupole.mix.weight.detach(), latent.quadrupole.gate.out_features
        parts = [linear(layer) for layer in layers]
        self.gates = torch.cat([w for w, _ in parts]), torch.cat([b for _, b in parts])
        n = len(self.pairs.frequencies)
        self.at_kappa, self.at_dipoles = 3 * n, 4 * n
        self.at_quadrupoles = self.at_dipoles + latent.dipole.gate.out_features
        self.states, self.bound = latent.oxidation_states, VECTOR_SCALE * latent.bound_charges.detach()
        gives = (latent.hands_switch[:, 0] > 0.0).to(self.bound)
        self.gives, self.takes_part = gives, gives + latent.takes_back
        self.initial_alpha, self.bounded = initial_alpha, latent.bounded


def fused_heads(
    features: tuple[Tensor, Tensor, Tensor],
    geometry: PairGeometry,
    species: Tensor,
    weights: HeadWeights,
    units: Tensor,
    sigma: float | Smearing,
) -> FusedLatents:
    """Everything that is read of the features, with one derivative by them and by the pair vectors.

    Args:
        features: scalars [atom, channel], vectors [atom, xyz, channel], components of tensors [atom, 5, channel].
        geometry: of pairs whose neighbours stand in the first slots, complete to the cutoff of the heads.
        species: [atom].
        weights: of the heads.
        units: [atom], latent charge of one elementary charge.
        sigma: A, smearing of the atoms.
    """
    fixed = weights.states[species] * units
    atoms = _Atoms(fixed, species, sigma, weights)
    found = _Fused.apply(*features, geometry.vectors, geometry, species, weights, atoms)
    energies, charges, dipoles, quadrupoles, moved, alpha, kappa, transfer = found
    return FusedLatents(
        energies, charges, dipoles, quadrupoles if quadrupoles.numel() else None, moved, alpha, kappa, transfer, fixed
    )


class _Atoms:
    """Numbers of atoms that no derivative goes through."""

    def __init__(self, fixed: Tensor, species: Tensor, sigma: float | Smearing, weights: HeadWeights) -> None:
        ones = torch.ones_like(fixed)
        self.fixed = fixed.numpy()
        beyond = fixed - weights.bound[species]
        self.beyond, self.given = beyond.numpy(), weights.gives[species] * beyond
        self.takes_part = weights.takes_part[species].numpy()
        width = by_atom(sigma, 1, fixed) * ones
        self.stiffness = (COULOMB_CONSTANT * math.sqrt(2.0 / math.pi) / width).numpy()
        endless = ones * math.inf
        self.largest_alpha = (largest_polarizability(1.0) * width**3 if weights.bounded else endless).numpy()
        self.largest_kappa = (largest_kappa(1.0) * width if weights.bounded else endless).numpy()


class _Fused(torch.autograd.Function):
    """Features and pair vectors -> what the heads predict; see ``fused_heads``."""

    @staticmethod
    def forward(ctx, s, v, t, vectors, geometry, species, weights, atoms):  # type: ignore[no-untyped-def]
        features = tuple(x.detach().contiguous() for x in (s, v, t))
        ctx.tape = _Tape(features, geometry, species, weights, atoms)
        return ctx.tape.forward()

    @staticmethod
    def backward(ctx, *gradients):  # type: ignore[no-untyped-def]
        refuse_second_derivative()
        return *ctx.tape.backward(*(g.contiguous() for g in gradients)), None, None, None, None


class _Tape:
    """One evaluation: what ``forward`` keeps for ``backward``."""

    def __init__(
        self,
        features: tuple[Tensor, Tensor, Tensor],
        geometry: PairGeometry,
        species: Tensor,
        weights: HeadWeights,
        atoms: _Atoms,
    ) -> None:
        self.s, self.v, self.t = features
        self.vectors, self.neighbors, self.species = geometry.vectors.detach(), geometry.neighbors, species
        self.weights, self.atoms = weights, atoms
        self.table = geometry.table(weights.pairs.cutoff, weights.pairs.frequencies)

    def forward(self) -> tuple[Tensor, ...]:
        w, atoms, n_atoms = self.weights, self.atoms, len(self.s)
        self.inner = torch.addmm(w.hidden[1], self.s, w.hidden[0].T)
        self.gates = torch.addmm(w.gates[1], silu(self.inner), w.gates[0].T)
        (first, bias), (last, constant) = w.energy
        self.energy_inner = torch.addmm(bias, self.s, first.T)
        energies = torch.addmv(constant.expand(n_atoms), silu(self.energy_inner), last[0])
        nodes, kappa_nodes = (
            self.gates[:, : w.at_kappa].contiguous(), self.gates[:, w.at_kappa : w.at_dipoles].contiguous()
        )  # fmt: skip
        self.pairs = PairTape(self.vectors, nodes, kappa_nodes, self.neighbors, self.table, self.species, w.pairs)
        moved, self.handed, self.kappa, self.roots = self.pairs.forward(atoms.given)
        gates, dtype = self.gates.numpy(), self.s
        dipoles = dtype.new_empty(n_atoms, 3)
        kernels.dipoles(self.v.numpy(), gates, w.at_dipoles, VECTOR_SCALE, dipoles.numpy())
        quadrupoles = dtype.new_empty(0)
        if w.mix is not None:
            self.mixed, quadrupoles = self.v @ w.mix.T, dtype.new_empty(n_atoms, 3, 3)
            kernels.quadrupoles(
                self.t.numpy(), gates, w.at_quadrupoles, w.n_products, self.mixed.numpy(), VECTOR_SCALE,
                quadrupoles.numpy(),
            )  # fmt: skip
        alpha, whole, kappa = torch.empty_like(self.roots), torch.zeros_like(moved), torch.zeros_like(self.kappa)
        charges, transfer, self.shares = (dtype.new_empty(n_atoms) for _ in range(3))
        kernels.polarizabilities(self.roots.numpy(), w.initial_alpha, atoms.largest_alpha, alpha.numpy())
        count, other = self.table.n_neighbors, self.neighbors.other.numpy()
        kernels.bent(self.kappa.numpy(), other, count, atoms.largest_kappa, self.shares.numpy(), kappa.numpy())
        kernels.charges(
            moved.numpy(), self.handed.numpy(), count, atoms.fixed, atoms.beyond, atoms.takes_part, atoms.stiffness,
            whole.numpy(), charges.numpy(), transfer.numpy(),
        )  # fmt: skip
        return energies, charges, dipoles, quadrupoles, whole, alpha, kappa, transfer

    def backward(
        self,
        d_energies: Tensor,
        d_charges: Tensor,
        d_dipoles: Tensor,
        d_quadrupoles: Tensor,
        d_moved: Tensor,
        d_alpha: Tensor,
        d_kappa: Tensor,
        d_transfer: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients by scalars, vectors, tensors and pair vectors."""
        w, atoms = self.weights, self.atoms
        d_v, d_t, d_gates = torch.empty_like(self.v), torch.zeros_like(self.t), torch.empty_like(self.gates)
        gates = self.gates.numpy()
        kernels.dipoles_backward(
            self.v.numpy(), gates, w.at_dipoles, VECTOR_SCALE, d_dipoles.numpy(), d_v.numpy(), d_gates.numpy()
        )
        if w.mix is not None:
            d_mixed = torch.empty_like(self.mixed)
            kernels.quadrupoles_backward(
                self.t.numpy(), gates, w.at_quadrupoles, w.n_products, self.mixed.numpy(), VECTOR_SCALE,
                d_quadrupoles.numpy(), d_t.numpy(), d_gates.numpy(), d_mixed.numpy(),
            )  # fmt: skip
            d_v += d_mixed @ w.mix
        d_roots = torch.empty_like(self.roots)
        kernels.polarizabilities_backward(
            self.roots.numpy(), w.initial_alpha, atoms.largest_alpha, d_alpha.numpy(), d_roots.numpy()
        )
        count, other, reverse = self.table.n_neighbors, self.neighbors.other.numpy(), self.neighbors.reverse.numpy()
        d_bent, d_own, d_handed = (torch.zeros_like(self.kappa) for _ in range(3))
        kernels.bent_backward(
            self.kappa.numpy(), other, count, reverse, atoms.largest_kappa, self.shares.numpy(), d_kappa.numpy(),
            d_bent.numpy(),
        )  # fmt: skip
        kernels.charges_backward(
            self.handed.numpy(), count, atoms.beyond, atoms.takes_part, atoms.stiffness, d_moved.numpy(),
            d_charges.numpy(), d_transfer.numpy(), d_own.numpy(), d_handed.numpy(),
        )  # fmt: skip
        d_vectors, d_nodes, d_kappa_nodes = self.pairs.backward(d_own, d_handed, d_bent, d_roots)
        d_gates[:, : w.at_kappa], d_gates[:, w.at_kappa : w.at_dipoles] = d_nodes, d_kappa_nodes
        d_s = silu_backward(d_gates @ w.gates[0], self.inner) @ w.hidden[0]
        (first, _), (last, _) = w.energy
        d_s += silu_backward(d_energies[:, None] * last, self.energy_inner) @ first
        return d_s, d_v, d_t, d_vectors
