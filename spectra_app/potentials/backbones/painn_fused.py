"""The PaiNN backbone as one operation with one derivative: the fast way on a CPU where no second derivative is wanted.

``painn`` is the reference, differentiable to any order; here forward and backward are written out, loops over pairs and
atoms in compiled kernels (``painn_kernels``) and everything between channels in matrix products.  No array of
pairs x channels x harmonics stands in memory, and a hundred small operations become one.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import silu

from spectra_app.potentials.backbones import painn_kernels as kernels
from spectra_app.potentials.backbones.features import PairGeometry, PairTable
from spectra_app.potentials.backbones.message_kernels import message, message_backward
from spectra_app.potentials.backbones.update_kernels import gate_inputs, gate_inputs_backward, update, update_backward
from spectra_app.potentials.once import refuse_second_derivative, silu_backward

_MIXED = ("left", "right", "left2", "right2")  # factors of products, made from vectors and from tensors


class _Layer(NamedTuple):
    """Weights of one layer; linear maps as (weight, bias)."""

    phi: tuple[Tensor, Tensor, Tensor, Tensor]
    filters: Tensor
    mix: tuple[Tensor, ...]
    gate: tuple[Tensor, Tensor, Tensor, Tensor]


class PaiNNLike(Protocol):
    """What is read of a ``painn.PaiNN``."""

    radial: Any
    embedding: Any
    rank2_basis: Tensor
    messages: Any
    updates: Any


class FusedWeights:
    """What the kernels read of a backbone, laid out for them.

    Args:
        backbone: of rank 2; its weights are read now.
    """

    def __init__(self, backbone: PaiNNLike) -> None:
        self.cutoff, self.n_radial = backbone.radial.cutoff, backbone.radial.n_radial
        self.frequencies = backbone.radial.frequencies.double().numpy()
        self.embedding = backbone.embedding.weight.detach()
        like = self.embedding
        first: Any = backbone.updates[0]
        self.products, self.soft_square = bool(first.products), float(first.soft_square)
        self.layers = [
            _layer(message, update) for message, update in zip(backbone.messages, backbone.updates, strict=True)
        ]
        # First layer: filters times what every element sends, by rank [element * basis, channel].
        phi = self.layers[0].phi
        sent = torch.addmm(phi[3], silu(torch.addmm(phi[1], like, phi[0].T)), phi[2].T)  # [element, channel]
        by_rank = self.layers[0].filters.unflatten(1, (-1, like.shape[1])).permute(1, 0, 2)  # [rank, basis, channel]
        self.first = (sent[None, :, None, :] * by_rank[:, None]).flatten(1, 2).contiguous()


def _layer(message: Any, update: Any) -> _Layer:
    def linear(pair: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return tuple(x.detach() for x in (pair[0].weight, pair[0].bias, pair[2].weight, pair[2].bias))

    filters = [message.filters[rank] for rank in range(3)]
    if hasattr(message, "carry_filter"):
        filters.append(message.carry_filter[:, 0])
    joined = torch.cat(filters, dim=1).detach().contiguous()
    halves = [half for map_ in (update.mix_vectors, update.mix_rank2) for half in map_.weight.detach().chunk(2)]
    return _Layer(linear(message.phi), joined, tuple(half.T.contiguous() for half in halves), linear(update.gate))


def fused_features(geometry: PairGeometry, species: Tensor, weights: FusedWeights) -> tuple[Tensor, Tensor, Tensor]:
    """Scalars [atom, channel], vectors [atom, xyz, channel] and components of tensors [atom, 5, channel].

    Args:
        geometry: of pairs whose neighbours stand in the first slots, complete to the cutoff; its vectors may require a
            gradient, of first order.
        species: [atom].
        weights: of the backbone.
    """
    table = geometry.table(weights.cutoff, weights.frequencies)
    result: tuple[Tensor, Tensor, Tensor] = _Fused.apply(
        geometry.vectors, geometry.neighbors.other, table, species, weights
    )
    return result


class _Fused(torch.autograd.Function):
    """Pair vectors -> features; see ``fused_features``."""

    @staticmethod
    def forward(ctx, vectors, other, table, species, weights):  # type: ignore[no-untyped-def]
        tape = _Tape(vectors.detach(), other.numpy(), table, species.numpy(), weights)
        result = tape.forward()
        ctx.tape = tape
        return result

    @staticmethod
    def backward(ctx, ds, dv, dt):  # type: ignore[no-untyped-def]
        refuse_second_derivative()
        return ctx.tape.backward(ds, dv, dt), None, None, None, None


class _Tape:
    """One evaluation: what ``forward`` keeps for ``backward``."""

    def __init__(
        self, vectors: Tensor, other: np.ndarray, table: PairTable, species: np.ndarray, weights: FusedWeights
    ) -> None:
        self.vectors, self.other, self.species, self.weights = vectors, other, species, weights
        self.count, self.radial, self.slope, self.angular = table[:4]
        self.kept: list[dict[str, Tensor]] = []

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        w, n_atoms = self.weights, len(self.vectors)
        n_elements = len(w.embedding)
        sums = self.vectors.new_zeros(n_atoms, kernels.N_HARMONICS, n_elements * w.n_radial)
        by_element = sums.view(n_atoms, kernels.N_HARMONICS, n_elements, w.n_radial).numpy()
        kernels.sum_by_element(self.radial, self.angular, self.other, self.count, self.species, by_element)
        s = w.embedding[torch.from_numpy(self.species)] + sums[:, 0] @ w.first[0]
        v, t = sums[:, 1:4] @ w.first[1], sums[:, 4:] @ w.first[2]
        for place, layer in enumerate(w.layers):
            keep: dict[str, Tensor] = {}
            if place > 0:
                self._message(layer, s, v, t, keep)
            self._update(layer, s, v, t, keep)
            self.kept.append(keep)
        return s, v, t

    def _message(self, layer: _Layer, s: Tensor, v: Tensor, t: Tensor, keep: dict[str, Tensor]) -> None:
        """Adds the message to the features."""
        n_atoms, c = s.shape
        keep["inner"] = torch.addmm(layer.phi[1], s, layer.phi[0].T)
        sent, gate = torch.addmm(layer.phi[3], silu(keep["inner"]), layer.phi[2].T).chunk(2, dim=1)
        keep["gate"], keep["v"] = gate, v.clone()
        keep["sent"] = torch.cat([sent[:, None], v * gate[:, None]], dim=1)
        out = s.new_empty(n_atoms, kernels.N_HARMONICS, c)
        message(
            self.radial,
            self.angular,
            self.other,
            self.count,
            layer.filters.numpy(),
            keep["sent"].numpy(),
            out.numpy(),
        )
        s += out[:, 0]
        v += out[:, 1:4]
        t += out[:, 4:]

    def _update(self, layer: _Layer, s: Tensor, v: Tensor, t: Tensor, keep: dict[str, Tensor]) -> None:
        """Lets the ranks of every atom speak to each other."""
        w, (n_atoms, c) = self.weights, s.shape
        for name, features, mix in zip(_MIXED, (v, v, t, t), layer.mix, strict=True):
            keep[name] = features @ mix
        mixed = [keep[name].numpy() for name in _MIXED]
        keep["inputs"] = s.new_empty(n_atoms, 3, c)
        gate_inputs(s.numpy(), mixed[1], mixed[3], s.numpy().dtype.type(w.soft_square), keep["inputs"].numpy())
        keep["hidden"] = torch.addmm(layer.gate[1], keep["inputs"].flatten(1), layer.gate[0].T)
        keep["gates"] = torch.addmm(layer.gate[3], silu(keep["hidden"]), layer.gate[2].T).unflatten(1, (-1, c))
        gates = keep["gates"].numpy()
        update(s.numpy(), v.numpy(), t.numpy(), *mixed, gates, w.products)

    def backward(self, ds: Tensor, dv: Tensor, dt: Tensor) -> Tensor:
        """Gradient by the pair vectors [atom, slot, xyz]."""
        w, n_atoms = self.weights, len(self.vectors)
        n_elements = len(w.embedding)
        ds, dv, dt = ds.clone(), dv.clone(), dt.clone()
        d_radial, d_angular = np.zeros_like(self.radial), np.zeros_like(self.angular)
        for place in reversed(range(len(w.layers))):
            layer, keep = w.layers[place], self.kept[place]
            self._update_backward(layer, ds, dv, dt, keep)
            if place > 0:
                self._message_backward(layer, ds, dv, dt, keep, d_radial, d_angular)
        d_sums = self.vectors.new_empty(n_atoms, kernels.N_HARMONICS, n_elements * w.n_radial)
        torch.mm(ds, w.first[0].T, out=d_sums[:, 0])
        d_sums[:, 1:4] = dv @ w.first[1].T
        d_sums[:, 4:] = dt @ w.first[2].T
        by_element = d_sums.view(n_atoms, kernels.N_HARMONICS, n_elements, w.n_radial).numpy()
        kernels.sum_by_element_backward(
            self.radial, self.angular, self.other, self.count, self.species, by_element,
            d_radial, d_angular,
        )  # fmt: skip
        out = torch.zeros_like(self.vectors)
        kernels.pair_gradients(
            self.vectors.numpy(), self.count, self.slope, self.angular,
            d_radial, d_angular, out.numpy(),
        )  # fmt: skip
        return out

    def _update_backward(self, layer: _Layer, ds: Tensor, dv: Tensor, dt: Tensor, keep: dict[str, Tensor]) -> None:
        """Changes the gradients by the features behind an update into those before it."""
        w = self.weights
        mixed = [keep[name].numpy() for name in _MIXED]
        gradients = [torch.empty_like(keep[name]) for name in _MIXED]
        d_mixed = [gradient.numpy() for gradient in gradients]
        d_gates = torch.empty_like(keep["gates"])
        update_backward(
            ds.numpy(), dv.numpy(), dt.numpy(), *mixed, keep["gates"].numpy(), w.products, *d_mixed, d_gates.numpy()
        )
        d_inputs = (silu_backward(d_gates.flatten(1) @ layer.gate[2], keep["hidden"]) @ layer.gate[0]).unflatten(
            1, (3, -1)
        )
        gate_inputs_backward(mixed[1], mixed[3], keep["inputs"].numpy(), d_inputs.numpy(), d_mixed[1], d_mixed[3])
        ds += d_inputs[:, 0]
        for features, gradient, mix in zip((dv, dv, dt, dt), gradients, layer.mix, strict=True):
            features += gradient @ mix.T

    def _message_backward(
        self,
        layer: _Layer,
        ds: Tensor,
        dv: Tensor,
        dt: Tensor,
        keep: dict[str, Tensor],
        d_radial: np.ndarray,
        d_angular: np.ndarray,
    ) -> None:
        """Likewise of a message; adds to the gradients by radial basis and harmonics."""
        d_out = torch.cat([ds[:, None], dv, dt], dim=1)
        d_sent = torch.empty_like(keep["sent"])
        message_backward(
            self.radial, self.angular, self.other, self.count, layer.filters.numpy(),
            keep["sent"].numpy(), d_out.numpy(), d_radial, d_angular, d_sent.numpy(),
        )  # fmt: skip
        d_carried = d_sent[:, 1:]
        d_gate = (d_carried * keep["v"]).sum(1)
        dv += d_carried * keep["gate"][:, None]
        d_inner = silu_backward(torch.cat([d_sent[:, 0], d_gate], dim=1) @ layer.phi[2], keep["inner"])
        ds += d_inner @ layer.phi[0]
