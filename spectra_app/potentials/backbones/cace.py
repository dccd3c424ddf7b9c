"""Cartesian atomic cluster expansion: products of sums over neighbours, and messages if wanted.

After Cheng, npj Comput. Mater. 10, 157 (2024), doi 10.1038/s41524-024-01332-4; formulas in
docs/theory.md, "Cartesian cluster expansion".  An atom's environment is a sum over neighbours of (trainable Bessel
function of the distance) x (tensor of the direction) x (embeddings of both elements); products of these sums with all
indices contracted are its invariants to order nu in the density of neighbours; products that leave one or two indices
free are the vectors and rank-2 tensors that the heads read.  What differs from the paper, and why:

* The tensors of a direction are symmetric and traceless (1, 3, 5, 7 components to l = 3) in place of the monomials
  x^a y^b z^c (1, 3, 6, 10).  The trace that a monomial of order l carries is a sum of order l - 2 with the radial
  functions of order l; as every order has weights of its own over the same functions, and channels add before they
  multiply, both span the same space.
* Radial functions and the neighbour's embedding mix freely into the channels of an order, W_l [basis x embedding,
  channel], where the paper keeps a block for every pair of embedding numbers: fewer channels say the same.
* The sum over neighbours runs before that mixing, over elements: one batched matrix product of harmonics [harmonic,
  slot] with radial functions by element [slot, basis x element], and everything else is a matter of atoms.
* A message of atom j is R_k(r_ij) h_k(B_j), R_k mixed from the radial functions, expanded in the same tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from spectra_app.config import CACESettings
from spectra_app.potentials.backbones.cace_fused import message_sums, pair_values, sums_by_element
from spectra_app.potentials.backbones.features import Backbone, Features, PairGeometry
from spectra_app.potentials.backbones.traceless import (
    N_COMPONENTS,
    basis_tensors,
    harmonics,
    matrices_product,
    third_as_rows,
    vectors_product,
)
from spectra_app.structure.neighbors import Neighbors, gather_neighbors
from spectra_app.structure.system import System


class CACE(Backbone):
    """CACE backbone; see the module.

    Args:
        settings: architecture.
        n_species: number of elements.
    """

    messages: nn.ModuleList
    readouts: nn.ModuleList

    def __init__(self, settings: CACESettings, n_species: int) -> None:
        super().__init__()
        channels, embedding, n_radial = settings.channels, settings.embedding, settings.n_radial
        self.max_l, self.cutoff = settings.max_l, settings.cutoff_A
        self.radial = BesselBasis(settings.cutoff_A, n_radial)
        self.sender, self.receiver = nn.Embedding(n_species, embedding), nn.Embedding(n_species, embedding)
        n_rows = n_radial * embedding
        self.filters = nn.Parameter(torch.randn(self.max_l + 1, n_rows, channels) / math.sqrt(n_rows))
        self.gates = nn.Linear(embedding, (self.max_l + 1) * channels)
        nn.init.ones_(self.gates.bias)
        self.start = nn.Linear(embedding, channels)
        self.contractions = Contractions(settings.max_l, settings.max_nu)
        self.messages = nn.ModuleList(_Message(channels, n_radial, self.max_l) for _ in range(settings.layers))
        n_invariants = self.contractions.n_invariants
        self.readouts = nn.ModuleList(_Readout(channels, n_invariants) for _ in range(settings.layers + 1))
        self.vectors = nn.Linear(self.contractions.n_vectors * channels, channels, bias=False)
        if self.contractions.n_tensors:
            self.tensors = nn.Linear(self.contractions.n_tensors * channels, channels, bias=False)
        self.n_scalars = self.n_vectors = channels
        self.compiles = True
        self.n_rank2 = channels if self.contractions.n_tensors else 0
        self.to(torch.get_default_dtype())

    def forward(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """See ``Backbone.forward``."""
        radial = self.radial(geometry.distance)  # [atom, slot, basis]
        angular = harmonics(geometry.direction, self.max_l).transpose(1, 2)  # [atom, harmonic, slot]
        by_element = angular @ self._by_element(radial, species[neighbors.other])

        def received(message: _Message, scalars: Tensor) -> Tensor:
            return angular @ (message.radial(radial) * gather_neighbors(message.sent(scalars), neighbors))

        return self._features(*self._of_atoms(species, by_element.unflatten(-1, (radial.shape[-1], -1)), received))

    def once(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """See ``Backbone.once``: loops over pairs, on the CPU."""
        if species.device.type != "cpu":
            return super().once(system, species, neighbors, geometry)
        return self._features(*self._once(species, geometry))

    def components(
        self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Backbone.components``."""
        scalars, vectors, tensors = self._once(species, geometry)
        assert tensors is not None
        return scalars, vectors, tensors

    def _once(self, species: Tensor, geometry: PairGeometry) -> tuple[Tensor, Tensor, Tensor | None]:
        """As ``_of_atoms``, with compiled sums over neighbours."""
        n_harmonics = sum(N_COMPONENTS[: self.max_l + 1])
        pairs = pair_values(geometry, self.cutoff, self.radial.frequencies)
        by_element = sums_by_element(pairs, species.numpy(), self.sender.num_embeddings, n_harmonics)

        def received(message: _Message, scalars: Tensor) -> Tensor:
            return message_sums(pairs, message.radial.weight.T, message.sent(scalars), n_harmonics)

        return self._of_atoms(species, by_element, received)

    def _of_atoms(
        self, species: Tensor, by_element: Tensor, received: Callable[[_Message, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Scalars [atom, channel], vectors [atom, xyz, channel] and components of tensors [atom, 5, channel].

        Args:
            species: [atom].
            by_element: [atom, harmonic, basis, element], sums over the neighbours of every element.
            received: of a layer and the scalars: sums over neighbours of what they send, [atom, harmonic, channel].
        """
        receiver = self.receiver(species)
        density = self._density(by_element, receiver)
        vectors = self.contractions.vectors(density)
        scalars = self.readouts[0](self.start(receiver), self.contractions.invariants(density, vectors))
        for message, readout in zip(self.messages, self.readouts[1:], strict=True):
            assert isinstance(message, _Message)
            density = message(density, received(message, scalars))
            vectors = self.contractions.vectors(density)
            scalars = readout(scalars, self.contractions.invariants(density, vectors))
        tensors = self.contractions.tensors(density)
        return (
            scalars,
            self.vectors(torch.cat(vectors, dim=-1)),
            self.tensors(torch.cat(tensors, dim=-1)) if tensors else None,
        )

    def _features(self, scalars: Tensor, vectors: Tensor, tensors: Tensor | None) -> Features:
        """With tensors as matrices."""
        return Features(scalars, vectors, None if tensors is None else self.contractions.as_matrices(tensors))

    def _by_element(self, radial: Tensor, kinds: Tensor) -> Tensor:
        """Radial functions in the columns of the neighbour's element [atom, slot, basis * element]."""
        # Rows of the identity: one_hot would read the largest index back from a GPU.
        rows = torch.eye(self.sender.num_embeddings, dtype=radial.dtype, device=radial.device)[kinds]
        return (radial[..., None] * rows[..., None, :]).flatten(-2)

    def _density(self, by_element: Tensor, receiver: Tensor) -> list[Tensor]:
        """A-basis, for every order [atom, component, channel], from sums [atom, harmonic, basis, element]."""
        mixed = (by_element @ self.sender.weight).flatten(-2)
        gates = self.gates(receiver)[:, None].chunk(self.max_l + 1, dim=-1)
        parts = mixed.split(N_COMPONENTS[: self.max_l + 1], dim=1)
        return [(part @ weights) * gate for part, weights, gate in zip(parts, self.filters, gates, strict=True)]


class BesselBasis(nn.Module):
    """As ``features.RadialBasis``, with frequencies that are trained; they begin at n pi/r_c."""

    def __init__(self, cutoff: float, n_radial: int) -> None:
        super().__init__()
        self.cutoff, self.n_radial = cutoff, n_radial
        self.frequencies = nn.Parameter(math.pi / cutoff * torch.arange(1, n_radial + 1))

    def forward(self, distance: Tensor) -> Tensor:
        """Basis [..., basis] at distances [...], A: zero with two derivatives at and beyond the cutoff."""
        x = (distance / self.cutoff).clamp(max=1.0)
        envelope = 1.0 + x**5 * (-21.0 + x * (35.0 - 15.0 * x))
        waves = torch.sin(distance[..., None] * self.frequencies)
        return waves * (math.sqrt(2.0 / self.cutoff) * envelope / distance)[..., None]


class Contractions(nn.Module):
    """Products of the A-basis, channel by channel: invariants to order 3, vectors and rank-2 tensors to order 2.

    docs/theory.md, "Cartesian cluster expansion".

    Args:
        max_l: highest order of the tensors, 1 to 3.
        max_nu: highest number of factors, 1 to 3.

    Attributes:
        n_invariants: how many invariants.
        n_vectors: how many vectors.
        n_tensors: how many rank-2 tensors.
    """

    matrix: Tensor
    vectors_product: Tensor
    matrices_product: Tensor
    third_as_rows: Tensor

    def __init__(self, max_l: int, max_nu: int) -> None:
        super().__init__()
        self.max_l, self.max_nu = max_l, max_nu
        for name, constant in _constants().items():
            self.register_buffer(name, constant, persistent=False)
        density = [torch.zeros(1, n, 1, dtype=torch.float64) for n in N_COMPONENTS[: max_l + 1]]
        vectors = self.vectors(density)
        self.n_invariants, self.n_vectors = len(self.invariants(density, vectors)), len(vectors)
        self.n_tensors = len(self.tensors(density))

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Round the constants from float64 at every change of dtype: a model cast up from float32 turns exactly."""
        super()._apply(fn, recurse)
        for name, constant in _constants().items():
            setattr(self, name, constant.to(getattr(self, name)))
        return self

    def vectors(self, density: list[Tensor]) -> list[Tensor]:
        """[atom, xyz, channel] each; ``density`` [atom, component, channel] of every order."""
        found = [density[1]]
        if self.max_nu > 1 and self.max_l > 1:
            found.append((self.as_matrices(density[2]) * density[1][:, None]).sum(2))  # A2.A1
        if self.max_nu > 1 and self.max_l > 2:
            found.append((self._rows(density) * density[2][:, None]).sum(2))  # A3:A2
        return found

    def invariants(self, density: list[Tensor], vectors: list[Tensor]) -> list[Tensor]:
        """[atom, channel] each, with ``vectors`` of the same ``density``."""
        found = [density[0][:, 0]]
        if self.max_nu > 1:
            found += [(part * part).sum(1) for part in density[1:]]
        if self.max_nu > 2:
            found += [(density[1] * vector).sum(1) for vector in vectors[1:]]  # A1.A2.A1, A1.A3:A2
        return found

    def tensors(self, density: list[Tensor]) -> list[Tensor]:
        """[atom, component, channel] each, of rank 2."""
        found = density[2:3]
        if self.max_nu > 1:
            found = [*found, self.vectors_product @ _outer(density[1], density[1])]
        if self.max_nu > 1 and self.max_l > 1:
            found.append(self.matrices_product @ _outer(density[2], density[2]))
        if self.max_nu > 1 and self.max_l > 2:
            found.append((self._rows(density) * density[1][:, :, None]).sum(1))  # A3.A1
        return found

    def _rows(self, density: list[Tensor]) -> Tensor:
        """Rank-3 tensors as matrices [atom, xyz, component, channel] between vectors and rank-2 tensors."""
        return (self.third_as_rows @ density[3]).unflatten(1, (3, 5))

    def as_matrices(self, tensors: Tensor) -> Tensor:
        """Rank-2 tensors [atom, xyz, xyz, channel] of components [atom, 5, channel]."""
        return (self.matrix @ tensors).unflatten(1, (3, 3))


def _constants() -> dict[str, Tensor]:
    """Of ``Contractions``, in float64."""
    return {
        "matrix": basis_tensors(2).flatten(1).T.contiguous(),
        "vectors_product": vectors_product(),
        "matrices_product": matrices_product(),
        "third_as_rows": third_as_rows(),
    }


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """Products of all components, channel by channel: [atom, m, c] x [atom, n, c] -> [atom, m n, c]."""
    return (a[:, :, None] * b[:, None]).flatten(1, 2)


class _Readout(nn.Module):
    """s += W B + W' silu(W'' B + s) of the invariants B."""

    def __init__(self, channels: int, n_invariants: int) -> None:
        super().__init__()
        self.invariants = nn.Linear(n_invariants * channels, 2 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, scalars: Tensor, invariants: list[Tensor]) -> Tensor:
        """The next scalars [atom, channel]."""
        linear, hidden = self.invariants(torch.cat(invariants, dim=-1)).chunk(2, dim=-1)
        return scalars + linear + self.out(silu(hidden + scalars))


class _Message(nn.Module):
    """A'_l = M_l A_l + F_l sum_j Y_l(r_ij) R_k(r_ij) h_k(s_j): memory, and messages of the neighbours' invariants."""

    def __init__(self, channels: int, n_radial: int, max_l: int) -> None:
        super().__init__()
        self.max_l = max_l
        self.sent = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels))
        self.radial = nn.Linear(n_radial, channels, bias=False)
        self.filters = nn.Parameter(torch.randn(max_l + 1, channels, channels) / math.sqrt(channels))
        self.memory = nn.Parameter(torch.randn(max_l + 1, channels, channels) / math.sqrt(channels))

    def forward(self, density: list[Tensor], sums: Tensor) -> list[Tensor]:
        """The next A-basis; ``sums`` [atom, harmonic, channel] over neighbours, of what they send."""
        parts = sums.split(N_COMPONENTS[: self.max_l + 1], dim=1)
        return [
            part @ weights + own @ memory
            for part, own, weights, memory in zip(parts, density, self.filters, self.memory, strict=True)
        ]
