"""PaiNN with rank-2 features: equivariant message passing with scalars, vectors and (by default) rank-2 tensors.

After Schuett, Unke, Gastegger, ICML 2021 (arXiv:2102.03150), with five changes:

* The filter of a message is linear in the radial basis, W(r) = sum_b R_b(r) w_b, so the sum over neighbours runs before
  the filter: A_b = sum_j R_b(r_ij) Y(r_ij) x_j is one batched matrix product over the padded table for all ranks, and
  the filter acts on atoms.
* Before the first message an atom's features are its element's, so the first sum runs over elements, not channels.
* Next to the directions r_ij/|r_ij| of PaiNN the messages carry their second harmonics, and atoms rank-2 features.
  On liquid water they lower the force error of a short training by a quarter (4 minutes on one core, 48 channels: 33
  instead of 44 meV/A) for 1.4 times the time per step; ``rank: 1`` leaves them out.
* An atom's vectors and tensors multiply into new tensors (``products``), which raises the number of neighbours that one
  feature correlates.  On 446 molecules, 3 minutes on one core: 62 instead of 65 meV/A on frames held out, at 1.15 times
  the time per step.
* A length that a gate reads is sqrt(|v|^2 + l^2) with l, ``soft_length``, as large as usual lengths.  |v| alone is a
  cone: where an atom stands on a centre of inversion all of its vectors vanish, the energy falls linearly to any side,
  and a mode of cubic BaTiO3 got 5500i cm^-1 (l = 1e-4, which models before format 6 have).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectra_app.config import PaiNNSettings
from spectra_app.potentials.backbones.features import Backbone, Features, PairGeometry, RadialBasis
from spectra_app.potentials.backbones.painn_fused import FusedWeights, fused_features
from spectra_app.potentials.backbones.traceless import basis_tensors, harmonics, matrices_product, vectors_product
from spectra_app.potentials.once import Kept
from spectra_app.structure.neighbors import Neighbors, gather_neighbors
from spectra_app.structure.system import System


class PaiNN(Backbone):
    """PaiNN backbone; see the module.

    Args:
        settings: architecture.
        n_species: number of elements.
    """

    rank2_basis: Tensor
    messages: nn.ModuleList
    updates: nn.ModuleList

    def __init__(self, settings: PaiNNSettings, n_species: int) -> None:
        super().__init__()
        channels, layers, rank, n_radial = settings.channels, settings.layers, settings.rank, settings.n_radial
        products = settings.products and rank == 2
        self.rank, self.cutoff, self.compiles = rank, settings.cutoff_A, rank == 2
        self.radial = RadialBasis(settings.cutoff_A, n_radial)
        self.n_scalars = self.n_vectors = channels
        self.n_rank2 = channels if rank == 2 else 0
        self.register_buffer("rank2_basis", basis_tensors(2), persistent=False)
        self.embedding = nn.Embedding(n_species, channels)
        self.messages = nn.ModuleList(_Message(channels, n_radial, rank, first=layer == 0) for layer in range(layers))
        self.updates = nn.ModuleList(_Update(channels, rank, products, settings.soft_length) for _ in range(layers))
        self._fused = Kept[FusedWeights]()
        self.to(torch.get_default_dtype())

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Round the constants from float64 at every change of dtype: a model cast up from float32 turns exactly."""
        super()._apply(fn, recurse)
        self._fused = Kept[FusedWeights]()
        like = self.embedding.weight.detach()
        self.rank2_basis = basis_tensors(2).to(like)
        for update in self.updates:
            assert isinstance(update, _Update)
            if update.products:
                update.coupling_vectors = vectors_product().to(like)
                update.coupling_tensors = matrices_product().to(like)
        return self

    def forward(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """See ``Backbone.forward``."""
        radial = geometry.radial(self.radial).basis  # [atom, slot, basis]
        angular = harmonics(geometry.direction, self.rank)  # [atom, slot, harmonic]
        # [atom, harmonic * basis, slot]: everything a sum over neighbours is weighed with.
        weights = (angular[..., :, None] * radial[..., None, :]).flatten(-2).transpose(1, 2)
        # Rows of the identity: one_hot would read the largest index back from a GPU.
        kinds = torch.eye(self.embedding.num_embeddings, dtype=weights.dtype, device=weights.device)[species]
        by_element = weights @ kinds[neighbors.other]  # [atom, harmonic * basis, element]
        scalars = self.embedding(species)
        vectors: Tensor | None = None
        rank2: Tensor | None = None
        for message, update in zip(self.messages, self.updates, strict=True):
            if vectors is None:
                assert isinstance(message, _Message)
                scalars, vectors, rank2 = message.from_elements(scalars, by_element, self.embedding.weight)
            else:
                scalars, vectors, rank2 = message(scalars, vectors, rank2, neighbors, weights, radial)
            scalars, vectors, rank2 = update(scalars, vectors, rank2, self.rank2_basis)
        if rank2 is None:
            return Features(scalars, vectors)
        return Features(scalars, vectors, self._tensors(rank2))

    def once(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """See ``Backbone.once``: compiled loops on the CPU, where there are vectors and tensors."""
        if not self.compiles or species.device.type != "cpu":
            return super().once(system, species, neighbors, geometry)
        scalars, vectors, rank2 = self.components(system, species, neighbors, geometry)
        return Features(scalars, vectors, self._tensors(rank2))

    def components(
        self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Backbone.components``."""
        return fused_features(geometry, species, self._fused.of(self, FusedWeights))

    def _tensors(self, rank2: Tensor) -> Tensor:
        """Tensors [atom, xyz, xyz, channel] of components [atom, 5, channel]."""
        return (self.rank2_basis.flatten(1).T @ rank2).reshape(-1, 3, 3, rank2.shape[-1])


class _Message(nn.Module):
    """s_i += sum_j W_0 phi(s_j);  v_i += sum_j (W_1 phi(s_j) r_ij/|r_ij| + W_v psi(s_j) v_j);  t_i as v_i, with W_2."""

    def __init__(self, channels: int, n_radial: int, rank: int, first: bool) -> None:
        super().__init__()
        self.n_radial, self.rank = n_radial, rank
        self.phi = nn.Sequential(
            nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, (1 if first else 2) * channels)
        )
        spread = 0.5 / n_radial**0.5
        self.filters = nn.Parameter(torch.randn(rank + 1, n_radial, channels) * spread)
        if not first:
            self.carry_filter = nn.Parameter(torch.randn(n_radial, 1, channels) * spread)

    def from_elements(self, s: Tensor, by_element: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The first message; ``by_element`` [atom, harmonic * basis, element] sums over each element's neighbours."""
        s_sum, v_sum, t_sum = self._filtered(by_element @ self.phi(embedding))
        return s + s_sum, v_sum, t_sum

    def forward(
        self, s: Tensor, v: Tensor, t: Tensor | None, neighbors: Neighbors, weights: Tensor, radial: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        n_atoms, c = s.shape
        sent, gate = self.phi(s).chunk(2, dim=-1)
        # Gathered apart: slicing a common block costs a pass of zeros in every backward pass.
        carried = gather_neighbors((v * gate[:, None, :]).flatten(1), neighbors)
        s_sum, v_sum, t_sum = self._filtered(weights @ gather_neighbors(sent, neighbors))
        carried_sum = (radial.transpose(1, 2) @ carried).reshape(n_atoms, self.n_radial, 3, c)
        v = v + v_sum + (carried_sum * self.carry_filter).sum(1)
        return s + s_sum, v, None if t is None or t_sum is None else t + t_sum

    def _filtered(self, sums: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Apply the filters to neighbour sums [atom, harmonic * basis, channel], rank by rank."""
        by_harmonic = sums.unflatten(1, (-1, self.n_radial))  # [atom, harmonic, basis, channel]
        parts = by_harmonic.split([1, 3, 5] if self.rank == 2 else [1, 3], dim=1)
        filtered = [(part * self.filters[order]).sum(2) for order, part in enumerate(parts)]
        return filtered[0][:, 0], filtered[1], filtered[2] if self.rank == 2 else None


class _Update(nn.Module):
    """Mixes channels and lets the ranks of one atom speak to each other."""

    coupling_vectors: Tensor
    coupling_tensors: Tensor

    def __init__(self, channels: int, rank: int, products: bool, soft_length: float) -> None:
        super().__init__()
        self.rank, self.products, self.soft_square = rank, products, soft_length**2
        self.mix_vectors = nn.Linear(channels, 2 * channels, bias=False)
        if rank == 2:
            self.mix_rank2 = nn.Linear(channels, 2 * channels, bias=False)
        if products:
            self.register_buffer("coupling_vectors", vectors_product(), persistent=False)
            self.register_buffer("coupling_tensors", matrices_product(), persistent=False)
        self.n_gates = n_gates = 3 if rank == 1 else 8 if products else 6
        self.gate = nn.Sequential(
            nn.Linear((rank + 1) * channels, channels), nn.SiLU(), nn.Linear(channels, n_gates * channels)
        )

    def forward(self, s: Tensor, v: Tensor, t: Tensor | None, basis: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        left, right = self.mix_vectors(v).chunk(2, dim=-1)  # [atom, xyz, channel]
        inputs = [s, torch.sqrt((right * right).sum(1) + self.soft_square)]
        if t is None:
            add, product, keep = self.gate(torch.cat(inputs, dim=-1)).chunk(3, dim=-1)
            return s + add + product * (left * right).sum(1), v + keep[:, None] * left, None
        left2, right2 = self.mix_rank2(t).chunk(2, dim=-1)  # [atom, component, channel]
        inputs.append(torch.sqrt((right2 * right2).sum(1) + self.soft_square))
        gates = self.gate(torch.cat(inputs, dim=-1)).chunk(self.n_gates, dim=-1)
        add, product, keep, product2, keep2, turn = gates[:6]
        turned = ((basis.flatten(1).T @ left2).reshape(-1, 3, 3, s.shape[1]) * right[:, None]).sum(2)  # T.v
        s = s + add + product * (left * right).sum(1) + product2 * (left2 * right2).sum(1)
        v = v + keep[:, None] * left + turn[:, None] * turned
        t = t + keep2[:, None] * left2
        if self.products:
            t = t + gates[6][:, None] * (self.coupling_vectors @ _outer(left, right))
            t = t + gates[7][:, None] * (self.coupling_tensors @ _outer(left2, right2))
        return s, v, t


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """Products of all components, channel by channel: [atom, m, c] x [atom, n, c] -> [atom, m n, c]."""
    return (a[:, :, None] * b[:, None]).flatten(1, 2)
