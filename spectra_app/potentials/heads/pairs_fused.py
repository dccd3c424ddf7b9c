"""What the heads read of pairs as one operation with one derivative: the fast way on a CPU.

``latent`` has the reference, differentiable to any order; loops over pairs stand in ``pair_kernels``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectra_app.potentials.backbones.features import PairGeometry, PairTable
from spectra_app.potentials.heads import pair_kernels as kernels
from spectra_app.potentials.heads.bonds import OVERLAP_A, SWITCH_AT, SWITCH_WIDTH, UNBOUND
from spectra_app.potentials.once import refuse_second_derivative
from spectra_app.structure.neighbors import Neighbors

_FLOW_FORMS = {"switched": kernels.SWITCHED, "gaussian": kernels.GAUSSIAN, "overlap": kernels.OVERLAP}


@dataclass(frozen=True)
class PairConstants:
    """What does not change from one evaluation to the next.

    Attributes:
        cutoff: of the heads, A.
        frequencies: [basis], A^-1.
        radii: [element], A.
        bond_form: form of ``bond_weights``, of ``pair_kernels``.
        flow_form: form of ``flow_weights``, likewise.
        moved_scale: factor of charge moved between neighbours.
        kappa_scale: factor of kappa.
        roots: numbers of elements [element], of bonds and of contacts [2, element, element, basis] of
            ``bond_polarizability``; None where alpha is read otherwise.
        switch: [element, 2], of ``bonds.charge_handed_back``; None without oxidation states.
        takes: [element], likewise.
    """

    cutoff: float
    frequencies: np.ndarray
    radii: np.ndarray
    bond_form: int
    flow_form: int
    moved_scale: float
    kappa_scale: float
    roots: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    switch: np.ndarray | None
    takes: np.ndarray | None


def fused_pairs(
    geometry: PairGeometry,
    species: Tensor,
    constants: PairConstants,
    nodes: Tensor,
    kappa_nodes: Tensor | None,
    given: Tensor | None,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Charge moved and handed back, e, kappa before its bound, e^2/eV, [atom, slot] each, and roots [atom, xyz, xyz].

    Args:
        geometry: of pairs whose neighbours stand in the first slots, complete to the cutoff of the heads; its vectors
            may require a gradient, of first order.
        species: [atom].
        constants: of the heads.
        nodes: [atom, 3 basis], of the moved charge.
        kappa_nodes: [atom, basis]; None without response of charges.
        given: [atom], e, charge that cations hand back; None without oxidation states.

    Returns:
        moved, handed, kappa, roots; None for what is not there.
    """
    empty = nodes.new_empty(0)
    table = geometry.table(constants.cutoff, constants.frequencies)
    found: tuple[Tensor, ...] = _Pairs.apply(
        geometry.vectors,
        nodes,
        empty if kappa_nodes is None else kappa_nodes,
        geometry.neighbors,
        table,
        species,
        constants,
        given,
    )
    moved, handed, kappa, roots = (x if x.numel() else None for x in found)
    assert moved is not None
    return moved, handed, kappa, roots


class _Pairs(torch.autograd.Function):
    """Pair vectors and numbers of atoms -> what is between them; see ``fused_pairs``."""

    @staticmethod
    def forward(ctx, vectors, nodes, kappa_nodes, neighbors, table, species, constants, given):  # type: ignore[no-untyped-def]
        ctx.tape = PairTape(
            vectors.detach(), nodes.detach(), kappa_nodes.detach(), neighbors, table, species, constants
        )
        return ctx.tape.forward(given)

    @staticmethod
    def backward(ctx, *gradients):  # type: ignore[no-untyped-def]
        refuse_second_derivative()
        return *ctx.tape.backward(*(g.contiguous() for g in gradients)), None, None, None, None, None


class PairTape:
    """One evaluation: what ``forward`` keeps for ``backward``; arguments as of ``fused_pairs``, without derivative."""

    def __init__(
        self,
        vectors: Tensor,
        nodes: Tensor,
        kappa_nodes: Tensor,
        neighbors: Neighbors,
        table: PairTable,
        species: Tensor,
        constants: PairConstants,
    ) -> None:
        self.constants, self.nodes, self.kappa_nodes = constants, nodes, kappa_nodes
        self.vectors, self.other = vectors, neighbors.other.numpy()
        self.reverse, self.species = neighbors.reverse.numpy(), species.numpy()
        self.count, self.radial, self.slope, self.angular, self.envelope = table
        shape = vectors.shape[:2]
        self.bonded, self.weights = (vectors.new_empty(*shape, 2) for _ in range(2))
        one_form = constants.bond_form == constants.flow_form
        self.flow = self.bonded if one_form else torch.zeros_like(self.bonded)
        self.inner, self.shares = vectors.new_empty(shape), vectors.new_empty(shape[0])

    def forward(self, given: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Moved, handed, kappa, roots; empty for what is not there."""
        c, count, other, species = self.constants, self.count, self.other, self.species
        vectors, radial, envelope, bonded = self.vectors.numpy(), self.radial, self.envelope, self.bonded.numpy()
        for form, out in {c.bond_form: self.bonded, c.flow_form: self.flow}.items():
            kernels.bonds(
                vectors, count, other, species, c.radii, envelope, form, SWITCH_AT, SWITCH_WIDTH, OVERLAP_A, out.numpy()
            )  # fmt: skip
        shape = self.vectors.shape[:2]
        moved, handed, kappa, roots = self.vectors.new_zeros(shape), *(self.vectors.new_empty(0) for _ in range(3))
        kernels.moved(radial, count, other, self.nodes.numpy(), c.moved_scale, moved.numpy())
        if given is not None:
            handed = self.vectors.new_zeros(shape)
            kernels.handed(
                vectors, count, other, self.reverse, species, c.radii, envelope, given.numpy(), c.switch, c.takes,
                UNBOUND, handed.numpy(), self.weights.numpy(), self.shares.numpy(),
            )  # fmt: skip
        if self.kappa_nodes.numel():
            kappa = self.vectors.new_zeros(shape)
            nodes, flow = self.kappa_nodes.numpy(), self.flow.numpy()
            kernels.kappa(radial, count, other, nodes, flow, c.kappa_scale, kappa.numpy(), self.inner.numpy())
        if c.roots is not None:
            roots = self.vectors.new_empty(shape[0], 3, 3)
            kernels.roots(radial, self.angular, count, other, species, bonded, envelope, *c.roots, roots.numpy())
        return moved, handed, kappa, roots

    def backward(
        self, d_moved: Tensor, d_handed: Tensor, d_kappa: Tensor, d_roots: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients by the pair vectors [atom, slot, xyz] and by both kinds of numbers of atoms."""
        c, count, other, species, reverse = self.constants, self.count, self.other, self.species, self.reverse
        radial, bonded, angular = self.radial, self.bonded.numpy(), self.angular
        d_nodes, d_kappa_nodes = torch.zeros_like(self.nodes), torch.zeros_like(self.kappa_nodes)
        d_radial, d_direction = np.zeros_like(radial), torch.zeros_like(self.vectors)
        d_bonded, d_distance = torch.zeros_like(self.inner), torch.zeros_like(self.inner)
        d_flow = d_bonded if self.flow is self.bonded else torch.zeros_like(d_bonded)
        kernels.moved_backward(
            radial, count, other, reverse, self.nodes.numpy(), c.moved_scale, d_moved.numpy(), d_nodes.numpy(),
            d_radial,
        )  # fmt: skip
        if d_handed.numel():
            kernels.handed_backward(
                count, reverse, species, c.switch, self.weights.numpy(), self.shares.numpy(), UNBOUND, d_handed.numpy(),
                d_distance.numpy(),
            )  # fmt: skip
        if d_kappa.numel():
            kernels.kappa_backward(
                radial, count, other, reverse, self.kappa_nodes.numpy(), self.flow.numpy(), c.kappa_scale,
                self.inner.numpy(), d_kappa.numpy(), d_kappa_nodes.numpy(), d_radial, d_flow.numpy(),
            )  # fmt: skip
        if c.roots is not None:
            kernels.roots_backward(
                radial, angular, count, other, species, bonded, self.envelope, *c.roots[1:], d_roots.numpy(), d_radial,
                d_bonded.numpy(), d_direction.numpy(), d_distance.numpy(),
            )  # fmt: skip
        if d_flow is not d_bonded:
            d_distance += d_flow * self.flow[..., 1]
        out = torch.zeros_like(self.vectors)
        kernels.vector_gradients(
            self.vectors.numpy(), angular, count, self.slope, bonded, d_radial, d_bonded.numpy(),
            d_direction.numpy(), d_distance.numpy(), out.numpy(),
        )  # fmt: skip
        return out, d_nodes, d_kappa_nodes


def constants_of(head: Any) -> PairConstants:
    """Of a ``latent.LatentHead``, on the CPU."""

    def array(tensor: Tensor) -> np.ndarray:
        found: np.ndarray = tensor.detach().numpy()
        return found

    n_elements, roots = len(head.covalent_radii), None
    if hasattr(head, "alpha_bonds"):
        shape = (2, n_elements, n_elements)
        bonds, contacts = (array(t).reshape(*shape, t.shape[-1]) for t in head.alpha_bonds.tables())
        roots = array(head.alpha_bonds.elements), bonds, contacts
    return PairConstants(
        cutoff=head.cutoff,
        frequencies=array(head.radial.frequencies.double()),
        radii=array(head.covalent_radii),
        bond_form=kernels.GAUSSIAN if head.bond_weight == "gaussian" else kernels.SWITCHED,
        flow_form=_FLOW_FORMS[head.bond_weight],
        moved_scale=head.moved_scale,
        kappa_scale=head.kappa_scale,
        roots=roots,
        switch=array(head.hands_switch) if head.ionic else None,
        takes=array(head.takes_back) if head.ionic else None,
    )
