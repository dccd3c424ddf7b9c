"""Allegro: features of pairs, without messages, made of the modules of the library ``nequip-allegro``.

Musaelian et al., Nat. Commun. 14, 579, 2023 (doi 10.1038/s41467-023-36329-y).
Scalars of a pair are ``Features.pairs``, energies are sums of pair energies, and an atom's scalars are sums over its
pairs.  An atom's vectors and tensors are sums of the tensor track, which enters the last tensor product, each pair
weighted by a function of its scalars: both vanish at the cutoff with value and slope.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spectra_app.config.backbones import AllegroSettings
from spectra_app.errors import MissingExtraError
from spectra_app.potentials.backbones.features import Features, PairGeometry
from spectra_app.potentials.backbones.irreps import cartesian_rank2, cartesian_vectors
from spectra_app.potentials.backbones.nequip_library import (
    EXTRA,
    LibraryBackbone,
    activation_name,
    building,
    graph_of,
    require,
)
from spectra_app.structure.edges import Edges
from spectra_app.structure.neighbors import Neighbors

try:
    from allegro.nn import (
        Allegro_Module,
        EdgewiseReduce,
        TwoBodyBesselScalarEmbed,
        TwoBodySphericalHarmonicTensorEmbed,
        TwoBodySplineScalarEmbed,
    )
    from allegro.nn._strided import Contracter
    from e3nn.o3 import Irreps
    from nequip.data import AtomicDataDict as Keys
    from nequip.nn import ScalarMLP
    from nequip.nn.embedding import EdgeLengthNormalizer
except ImportError as error:
    raise MissingExtraError(f"nequip-allegro ({error})", EXTRA) from None

_READOUT = "edge_eng_sum"  # after which atomic energies are there


class AtomsFirst(Contracter):  # type: ignore[misc]
    """The library's tensor product of pairs with the surroundings of their centre, contracted with those first.

    out_zuk = sum_ij x_zui y_auj c_uijk, a the centre of pair z.  The library multiplies x and y for every pair; here
    sum_j y_auj c_uijk is made once per atom.  5000 pairs of 192 atoms, 16 channels, l to 2, one thread: 6 instead of
    122 ms, its second derivative 32 instead of 549 ms.
    """

    def _contract_conv(self, x1: Tensor, x2: Tensor, idxs: Tensor) -> Tensor:
        coupling = torch.einsum(self._weight_w3j_einstr, self.weights, self.w3j)
        of_atoms = torch.einsum("auj,uijk->auik" if self.path_channel_coupling else "auj,ijk->auik", x2, coupling)
        product: Tensor = (x1.unsqueeze(-1) * of_atoms.index_select(0, idxs)).sum(2)
        return product


class Allegro(LibraryBackbone):
    """Allegro backbone; see the module.

    Args:
        settings: architecture.
        n_species: number of elements.
    """

    def __init__(self, settings: AllegroSettings, n_species: int) -> None:
        require("nequip-allegro")
        super().__init__(settings, n_species)
        with building():
            modules = self._embeddings(settings)
            modules |= self._layers(settings, modules["tensor_embed"].irreps_out)
            repulsion = self.repulsion(modules["edge_norm"].irreps_out)
            if repulsion is not None:
                modules["pair_potential"] = repulsion
        for product in modules["allegro"].tps:
            if not product.w3j_is_ij_diagonal:
                product.__class__ = AtomsFirst  # the same weights, constants and result
        self.network = nn.ModuleDict(modules)
        track = Irreps(modules["allegro"].tps[-1].irreps_in1)
        self._places = {str(irrep): place for place, (_, irrep) in zip(track.slices(), track, strict=True)}
        self.n_pairs = settings.channels * (settings.layers + 1)
        self.n_scalars, self.n_vectors = settings.channels, settings.tensor_channels
        self.n_rank2 = settings.tensor_channels if "2e" in self._places else 0
        self.embedding = nn.Embedding(n_species, settings.channels)
        self.of_pairs = nn.Linear(self.n_pairs, settings.channels, bias=False)
        self.pair_weights = nn.Linear(self.n_pairs, self.n_vectors + self.n_rank2, bias=False)
        self._finish()

    def _embeddings(self, settings: AllegroSettings) -> dict[str, Any]:
        """Scalars and tensors of two bodies, by the library's names."""
        length = EdgeLengthNormalizer(
            r_max=settings.cutoff_A, type_names=self.type_names, per_edge_type_cutoff=self.pair_cutoffs()
        )
        both = {
            "type_names": self.type_names,
            "module_output_dim": settings.embedding_channels or settings.channels,
            "scalar_embed_field": Keys.EDGE_EMBEDDING_KEY,
            "irreps_in": length.irreps_out,
        }
        if settings.spline_span is None:
            radial = TwoBodyBesselScalarEmbed(
                num_bessels=settings.n_radial,
                bessel_trainable=settings.bessel_trainable,
                polynomial_cutoff_p=settings.cutoff_power,
                **both,
            )
        else:
            radial = TwoBodySplineScalarEmbed(num_splines=settings.n_radial, spline_span=settings.spline_span, **both)
        scalars = ScalarMLP(
            output_dim=settings.channels,
            hidden_layers_depth=settings.embedding_layers,
            hidden_layers_width=settings.embedding_width,
            nonlinearity=activation_name(settings.embedding_activation),
            field=Keys.EDGE_EMBEDDING_KEY,
            irreps_in=radial.irreps_out,
        )
        tensors = TwoBodySphericalHarmonicTensorEmbed(
            irreps_edge_sh=Irreps.spherical_harmonics(settings.l_max),
            num_tensor_features=settings.tensor_channels,
            scalar_embedding_in_field=Keys.EDGE_EMBEDDING_KEY,
            tensor_basis_out_field=Keys.EDGE_ATTRS_KEY,
            tensor_embedding_out_field=Keys.EDGE_FEATURES_KEY,
            irreps_in=scalars.irreps_out,
        )
        return {
            "edge_norm": length,
            "radial_chemical_embed": radial,
            "scalar_embed_mlp": scalars,
            "tensor_embed": tensors,
        }

    def _layers(self, settings: AllegroSettings, irreps: dict[str, Any]) -> dict[str, Any]:
        """Allegro's layers, and the energy that is read of them."""
        signs = (1, -1) if settings.parity else (0,)
        degrees = range(settings.l_max + 1)
        allowed = Irreps([(1, (degree, sign or (-1) ** degree)) for degree in degrees for sign in signs])
        layers = Allegro_Module(
            num_layers=settings.layers,
            num_scalar_features=settings.channels,
            num_tensor_features=settings.tensor_channels,
            tensor_track_allowed_irreps=allowed,
            latent_kwargs={
                "hidden_layers_depth": settings.mlp_layers,
                "hidden_layers_width": settings.mlp_width,
                "nonlinearity": activation_name(settings.mlp_activation),
                "bias": False,
                "forward_weight_init": True,
            },
            tp_path_channel_coupling=settings.coupled_paths,
            irreps_in=irreps,
            **self.neighbors_norm(),
        )
        readout = ScalarMLP(
            output_dim=1,
            hidden_layers_depth=settings.readout_layers,
            hidden_layers_width=settings.readout_width,
            nonlinearity=activation_name(settings.readout_activation),
            field=Keys.EDGE_FEATURES_KEY,
            out_field=Keys.EDGE_ENERGY_KEY,
            irreps_in=layers.irreps_out,
        )
        sums = EdgewiseReduce(
            field=Keys.EDGE_ENERGY_KEY,
            out_field=Keys.PER_ATOM_ENERGY_KEY,
            irreps_in=readout.irreps_out,
            **self.neighbors_norm(),
        )
        return {"allegro": layers, "edge_readout": readout, "edge_eng_sum": sums}

    def _replace_products(self, kernels: str) -> None:
        Contracter.enable_CuEquivarianceContracter(self)

    def _features(self, species: Tensor, neighbors: Neighbors, geometry: PairGeometry, fixed: bool) -> Features:
        edges = self.edges(neighbors, geometry, fixed)
        data = graph_of(species, edges)
        tracks: list[Tensor] = []  # what enters the last tensor product: the library keeps it to itself
        layers: Any = self.network["allegro"]
        handle = layers.tps[-1].register_forward_pre_hook(lambda module, inputs: tracks.append(inputs[0]))
        try:
            for name, module in self.network.items():
                data = module(data)
                if name == _READOUT:
                    data[Keys.PER_ATOM_ENERGY_KEY] = self.energies(species, data[Keys.PER_ATOM_ENERGY_KEY])
        finally:
            handle.remove()
        pairs, norm = data[Keys.EDGE_FEATURES_KEY], data[Keys.FEATURE_NORM_FACTOR_KEY]
        sums = norm * _sum_over_pairs(self.of_pairs(pairs), edges, len(species))
        track = self._turning(tracks[0], pairs).flatten(1)
        turning = (norm * _sum_over_pairs(track, edges, len(species))).unflatten(1, (self.n_vectors, -1))
        return Features(
            self.embedding(species) + sums,
            cartesian_vectors(turning[..., :3]),
            cartesian_rank2(turning[..., 3:], self.rank2_basis) if self.n_rank2 else None,
            _in_slots(pairs, edges, neighbors.other.shape),
            data[Keys.PER_ATOM_ENERGY_KEY][:, 0],
        )

    def _turning(self, track: Tensor, pairs: Tensor) -> Tensor:
        """Components of 1o, then 2e, of every pair [edge, channel, m], weighted by a function of its scalars."""
        weights = 1.0 + self.pair_weights(pairs)
        parts = [track[..., self._places["1o"]] * weights[:, : self.n_vectors, None]]
        if self.n_rank2:
            parts.append(track[..., self._places["2e"]] * weights[:, self.n_vectors :, None])
        return torch.cat(parts, dim=2)


def _sum_over_pairs(of_pairs: Tensor, edges: Edges, n_atoms: int) -> Tensor:
    """Sums [atom, channel] of values [edge, channel] at the atom that receives."""
    return of_pairs.new_zeros(n_atoms, of_pairs.shape[1]).index_add(0, edges.receiver, of_pairs)


def _in_slots(pairs: Tensor, edges: Edges, table: torch.Size) -> Tensor:
    """Features [edge, channel] in the slots [atom, slot, channel] of the table; zero where no edge stands."""
    if edges.slots is None:
        return pairs.reshape(*table, -1)
    whole = pairs.new_zeros(table.numel(), pairs.shape[1]).index_copy(0, edges.slots, pairs)
    return whole.reshape(*table, -1)
