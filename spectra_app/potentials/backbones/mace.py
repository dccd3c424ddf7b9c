"""MACE: the layers of mace-torch on our table of neighbours (Batatia et al., NeurIPS 2022, arXiv:2206.07697).

The network is the library's own, so that weights of its models fit; nothing of its energy beyond the layers is used
(references of elements, scale and shift are those of ``Potential``).  Features:

* scalars: those of all layers;
* vectors and tensors: those of all layers, where a layer has them.  The last one of a MACE has scalars only, and some
  models have scalars in all: there the sums over neighbours stand for them, which the layer multiplies into its
  scalars, and which cost nothing more;
* energies: what the library reads out layer by layer, and the nuclear repulsion where there is one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spectra_app.config import MACESettings
from spectra_app.errors import ConfigError, MissingExtraError
from spectra_app.potentials.backbones.feature_scale import FeatureScale
from spectra_app.potentials.backbones.features import Backbone, Features, PairGeometry
from spectra_app.potentials.backbones.irreps import cartesian_rank2, cartesian_vectors, rank2_basis
from spectra_app.potentials.backbones.library_kernels import kernels_run_on
from spectra_app.potentials.backbones.mace_kernels import with_kernels
from spectra_app.potentials.backbones.mace_library import EXTRA, in_precision, mace_modules, quiet
from spectra_app.structure.edges import edges_within
from spectra_app.structure.neighbors import Neighbors
from spectra_app.structure.system import System

KNOWN_OF_STRUCTURES = ("total_charge", "total_spin")
_TYPICAL_DENSITY = 0.08  # atoms per A^3, where nobody has counted neighbours


class MACEBackbone(Backbone):
    """Layers of mace-torch; see the module.

    Args:
        settings: architecture.
        n_species: number of elements.

    Raises:
        MissingExtraError: mace-torch is not installed.
        ConfigError: it cannot be used here, or has no layer of such a name.
    """

    captured = False  # nobody has tried the library's layers in a CUDA graph

    kinds: Tensor
    numbers: Tensor
    all_numbers: Tensor
    rank2_basis: Tensor

    def __init__(self, settings: MACESettings, n_species: int) -> None:
        super().__init__()
        self.settings, self.n_species, self.cutoff = settings, n_species, settings.cutoff_A
        arguments = library_arguments(settings, n_species)
        with in_precision(), quiet():
            self.network = mace_modules().MACE(**arguments).double()
        self._plain = (self.network,)  # on whose parameters kernels work; no module of this one
        self._made_for: tuple[torch.device, torch.dtype] | None = None  # kernels, if they are used
        self.scale = FeatureScale()
        self.by_number = settings.pair_repulsion or settings.distance_transform != "none"
        self._parts = [_Parts(*layer) for layer in zip(self.network.interactions, self.network.products, strict=True)]
        self.n_scalars, self.has_energies = settings.layers * settings.channels, True
        self.n_vectors, self.n_rank2 = (
            settings.channels * sum(order in parts for parts in self._parts) for order in (1, 2)
        )
        # A network of distances with biases gives something of nothing, where the cutoff does not multiply it.
        self._fixed_edges = settings.cutoff_on_weights or "NonLinear" not in settings.interaction
        for name, tensor in (
            ("kinds", torch.eye(n_species)),
            ("numbers", torch.eye(119)),
            ("all_numbers", torch.arange(119)),
            ("rank2_basis", rank2_basis()),
        ):
            self.register_buffer(name, tensor, persistent=False)
        _forget_buffers(self.network)
        # Constants of the library, exact: a model cast up from float32 turns exactly.
        constants = (pair for pair in self.named_buffers() if pair[0] not in self.state_dict())
        self._exact = {name: tensor.clone() for name, tensor in constants if tensor.is_floating_point()}
        self.to(torch.get_default_dtype())

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        super()._apply(fn, recurse)
        like = self.like
        fast = self.settings.kernels != "e3nn" and kernels_run_on(like.device)
        if fast and self._made_for != (like.device, like.dtype):
            self.use_kernels()
        elif not fast and self._made_for is not None:
            self._made_for, self.network = None, self._plain[0].to(like)
        self._restore_constants()
        return self

    @property
    def like(self) -> Tensor:
        """A tensor of the device and dtype that the weights have."""
        return self._plain[0].node_embedding.linear.weight.detach()

    def use_kernels(self) -> None:
        """Tensor products of ``settings.kernels`` from now on, on the present device and in the present dtype.

        On a GPU this happens by itself; weights and their names stay what they are.

        Raises:
            ConfigError: their package is not installed, or they cannot do this architecture.
        """
        like, arguments = self.like, library_arguments(self.settings, self.n_species)
        fast = with_kernels(self._plain[0], partial(mace_modules().MACE, **arguments), self.settings.kernels, like)
        _forget_buffers(fast)
        self.network, self._made_for = fast, (like.device, like.dtype)
        self._restore_constants()

    def _restore_constants(self) -> None:
        with torch.no_grad():
            for name, tensor in self.named_buffers():
                if name in self._exact:
                    tensor.copy_(self._exact[name])

    def __reduce__(self) -> tuple[Any, ...]:
        """Settings and weights: the code that e3nn makes for a network does not travel between processes."""
        weights = {name: tensor.detach() for name, tensor in self.state_dict().items()}
        learns = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return _made_again, (self.settings, self.n_species, weights, learns, self.training)

    @property
    def channels_last(self) -> bool:
        """In features of the network the channels of a component lie together, as cuequivariance has them."""
        return self._made_for is not None and self.settings.kernels == "cuequivariance"

    def forward(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """See ``Backbone``."""
        scaled: Features = self.scale(self._features(system, species, neighbors, geometry))
        return scaled

    def _features(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """As ``forward``, not scaled."""
        network = self.network
        fixed = self._fixed_edges and species.device.type == "cuda"
        edges = edges_within(neighbors, geometry.vectors, self.cutoff, fixed)
        index = torch.stack([edges.sender, edges.receiver])
        vectors = -edges.vectors  # the library's point from sender to receiver
        lengths = torch.linalg.norm(vectors, dim=-1, keepdim=True)
        kinds = self.kinds[species]
        numbered = (self.numbers[system.numbers] if self.by_number else kinds, index, self.all_numbers)
        harmonics = network.spherical_harmonics(vectors)
        radial, cutoff = network.radial_embedding(lengths, *numbered)
        features = network.node_embedding(kinds)
        if self.settings.embeddings is not None:
            features = features + network.joint_embedding(system.batch, self._of_structures(system))
        embedded = features
        layers = []
        for number, (interaction, product) in enumerate(zip(network.interactions, network.products, strict=True)):
            messages, own = interaction(
                node_attrs=kinds,
                node_feats=features,
                edge_attrs=harmonics,
                edge_feats=radial,
                edge_index=index,
                cutoff=cutoff,
                first_layer=number == 0,
            )
            features = product(node_feats=messages, sc=own, node_attrs=kinds)
            layers.append((features, messages))
        energies = self._energies([features for features, _ in layers], species)
        if self.settings.embedding_readout:
            energies = energies + network.embedding_readout(embedded, species)[:, 0]
        if self.settings.pair_repulsion:
            energies = energies + network.pair_repulsion_fn(lengths, *numbered)
        ranks = [
            torch.cat(
                [parts.of(order, *layer, self.channels_last) for parts, layer in zip(self._parts, layers, strict=True)],
                dim=1,
            )
            if count
            else None
            for order, count in ((0, self.n_scalars), (1, self.n_vectors), (2, self.n_rank2))
        ]
        scalars, firsts, seconds = ranks
        assert scalars is not None
        return Features(
            scalars[..., 0],
            None if firsts is None else cartesian_vectors(firsts),
            None if seconds is None else cartesian_rank2(seconds, self.rank2_basis),
            energies=energies,
        )

    def calibrate(self, samples: Sequence[tuple[System, Tensor, Neighbors]]) -> None:
        """See ``Backbone``: features become of size one."""
        with torch.no_grad():
            geometries = (PairGeometry(system, neighbors, self.cutoff) for system, _, neighbors in samples)
            found = [self._features(*sample, geometry) for sample, geometry in zip(samples, geometries, strict=True)]
        self.scale.measure(found)

    def _of_structures(self, system: System) -> dict[str, Tensor]:
        """Total charge, e, and multiplicity [structure], as far as the network knows them."""
        known = {
            "total_charge": system.charge.round(),
            "total_spin": torch.full_like(system.charge, self.settings.total_spin),
        }
        return {name: known[name] for name in self.settings.embeddings or ()}

    def _energies(self, layers: list[Tensor], species: Tensor) -> Tensor:
        """Sum of the readouts [atom]."""
        readouts, head = self.network.readouts, torch.zeros_like(species)
        read = layers[-1:] if len(readouts) == 1 else layers
        found: Tensor = sum(readout(part, head)[:, 0] for readout, part in zip(readouts, read, strict=True))
        return found


class _Parts:
    """Where the orders of a layer's features stand, in what it gives to the next, or in its sums over neighbours."""

    def __init__(self, interaction: Any, product: Any) -> None:
        self._given, self._summed = {}, {}
        place = 0
        for channels, irrep in product.linear.irreps_out:
            self._given[irrep.l] = (place, channels)
            place += channels * irrep.dim
        place = 0
        for _, irrep in interaction.irreps_out:
            self._summed[irrep.l] = place
            place += irrep.dim

    def __contains__(self, order: int) -> bool:
        return order in self._given or order in self._summed

    def of(self, order: int, features: Tensor, messages: Tensor, channels_last: bool) -> Tensor:
        """Features of an order [atom, channel, component].

        Args:
            order: 0, 1 or 2.
            features: [atom, ...], of the layer.
            messages: [atom, channel, ...] or [atom, ..., channel], its sums over neighbours.
            channels_last: in both, the channels of a component lie together.
        """
        size = 2 * order + 1
        if order in self._given:
            place, channels = self._given[order]
            chosen = features[:, place : place + channels * size]
            shape = (size, channels) if channels_last else (channels, size)
            found = chosen.reshape(len(features), *shape)
        else:
            place = self._summed[order]
            found = messages.narrow(1 if channels_last else 2, place, size)
        return found.transpose(1, 2) if channels_last else found


def library_arguments(settings: MACESettings, n_species: int) -> dict[str, Any]:
    """What the constructor of the library's ``MACE`` is given; one head, energies of elements zero.

    Args:
        settings: architecture.
        n_species: number of elements; their atomic numbers are 1, 2, ..., which nothing here depends on.

    Raises:
        ConfigError: the library has no layer of such a name.
        MissingExtraError: products of a basis that cuequivariance gives, and it is not installed.
    """
    modules = mace_modules()

    def chosen(table: dict[str, Any], key: str) -> Any:
        name = getattr(settings, key)
        if name not in table:
            raise ConfigError(f"model.{key}", got=name, wanted=f"one of {', '.join(table)}")
        return table[name]

    strange = sorted(set(settings.embeddings or ()) - set(KNOWN_OF_STRUCTURES))
    if strange:
        raise ConfigError("model.embeddings", got=", ".join(strange), wanted=" or ".join(KNOWN_OF_STRUCTURES))
    if settings.reduced_products and importlib.util.find_spec("cuequivariance_torch") is None:
        raise MissingExtraError("cuequivariance-torch", f"{EXTRA}-cueq")
    from e3nn import o3

    channels, reach = settings.channels, settings.cutoff_A
    guess = _TYPICAL_DENSITY * 4.2 * reach**3
    return {
        "r_max": reach,
        "num_bessel": settings.n_radial,
        "num_polynomial_cutoff": settings.cutoff_power,
        "max_ell": settings.max_ell,
        "interaction_cls": chosen(modules.interaction_classes, "interaction"),
        "interaction_cls_first": chosen(modules.interaction_classes, "first_interaction"),
        "num_interactions": settings.layers,
        "num_elements": n_species,
        "hidden_irreps": o3.Irreps([(channels, (order, (-1) ** order)) for order in range(settings.max_L + 1)]),
        "MLP_irreps": o3.Irreps(f"{settings.readout_channels}x0e"),
        "atomic_energies": torch.zeros(n_species).numpy(),
        "avg_num_neighbors": guess if settings.avg_num_neighbors == "auto" else settings.avg_num_neighbors,
        "atomic_numbers": list(range(1, n_species + 1)),
        "correlation": settings.correlation,
        "gate": modules.gate_dict[_in_library(settings.gate)],
        "pair_repulsion": settings.pair_repulsion,
        "apply_cutoff": not settings.cutoff_on_weights,
        "use_reduced_cg": settings.reduced_products,
        "use_agnostic_product": settings.agnostic_products,
        "use_last_readout_only": settings.last_readout_only,
        "distance_transform": _in_library(settings.distance_transform),
        "edge_irreps": None if settings.edge_irreps is None else o3.Irreps(settings.edge_irreps),
        "use_edge_irreps_first": settings.edge_irreps_first,
        "radial_MLP": list(settings.radial_layers),
        "radial_type": settings.radial,
        "readout_cls": chosen(modules.readout_classes, "readout"),
        "keep_last_layer_irreps": settings.last_equivariant,
        "embedding_specs": settings.embeddings,
        "use_embedding_readout": settings.embedding_readout,
    }


def _forget_buffers(network: nn.Module) -> None:
    """Make buffers, all of them constants, no part of a network's state."""
    for module in network.modules():
        for name, tensor in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, tensor, persistent=False)


def _in_library(name: str) -> str:
    return "None" if name == "none" else name


def _made_again(
    settings: MACESettings, n_species: int, weights: dict[str, Tensor], learns: set[str], training: bool
) -> MACEBackbone:
    """A backbone that was taken apart by ``__reduce__``."""
    made = MACEBackbone(settings, n_species)
    like = next(iter(weights.values()))
    made.to(like.device, like.dtype).load_state_dict(weights)
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(name in learns)
    return made.train(training)
