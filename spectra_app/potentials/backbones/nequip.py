"""NequIP: equivariant message passing in irreps, made of the layers of the library ``nequip``.

Batzner et al., Nat. Commun. 13, 2453, 2022 (doi 10.1038/s41467-022-29939-5).

The library's own models end with a layer of scalars, of which the energy is read.  ``last_layer: equivariant`` gives
that layer vectors and tensors too, with the whole environment in them; ``scalars`` is the library's model, and vectors
and tensors are those of the layer before.  The energy is the library's readout.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from spectra_app.config.backbones import NequIPSettings
from spectra_app.errors import MissingExtraError
from spectra_app.potentials.backbones.features import Features, PairGeometry
from spectra_app.potentials.backbones.irreps import cartesian_rank2, cartesian_vectors
from spectra_app.potentials.backbones.nequip_library import (
    EXTRA,
    LibraryBackbone,
    activation_name,
    building,
    components_of,
    graph_of,
)
from spectra_app.structure.neighbors import Neighbors

try:
    from e3nn.o3 import Irreps
    from nequip.data import AtomicDataDict as Keys
    from nequip.nn import ApplyFactor, ConvNetLayer, ScalarMLP
    from nequip.nn._tp_scatter_base import TensorProductScatter
    from nequip.nn.embedding import (
        BesselEdgeLengthEncoding,
        EdgeLengthNormalizer,
        NodeTypeEmbed,
        PolynomialCutoff,
        SphericalHarmonicEdgeAttrs,
    )
except ImportError as error:
    raise MissingExtraError(f"nequip ({error})", EXTRA) from None

_READOUT = "per_atom_energy_readout"


class NequIP(LibraryBackbone):
    """NequIP backbone; see the module.

    Args:
        settings: architecture.
        n_species: number of elements.
    """

    def __init__(self, settings: NequIPSettings, n_species: int) -> None:
        super().__init__(settings, n_species)
        with building():
            modules = self._embeddings(settings)
            irreps = list(modules.values())[-1].irreps_out
            hidden = _hidden_irreps(settings)
            scalars = Irreps([(settings.channels_of_degree[0], (0, 1))])
            for layer in range(settings.layers):
                last = layer == settings.layers - 1
                module = self._layer(
                    settings, irreps, scalars if last and _ends_in_scalars(settings) else hidden, layer
                )
                modules[f"layer{layer}_convnet"] = module
                irreps = module.irreps_out
            self._layer_irreps = [
                Irreps(modules[f"layer{layer}_convnet"].irreps_out[Keys.NODE_FEATURES_KEY])
                for layer in range(settings.layers)
            ]
            self.n_scalars = self._layer_irreps[-1].count("0e")
            modules[_READOUT] = ScalarMLP(
                output_dim=1,
                hidden_layers_depth=settings.readout_layers,
                hidden_layers_width=settings.readout_width or self.n_scalars,
                nonlinearity=activation_name(settings.readout_activation),
                field=Keys.NODE_FEATURES_KEY,
                out_field=Keys.PER_ATOM_ENERGY_KEY,
                irreps_in={Keys.NODE_FEATURES_KEY: Irreps([(self.n_scalars, (0, 1))])},
            )
            repulsion = self.repulsion(modules["edge_norm"].irreps_out)
            if repulsion is not None:
                modules["pair_potential"] = repulsion
        turning = max(0, settings.layers - (2 if _ends_in_scalars(settings) else 1))
        self._turning_name, self._turning_irreps = f"layer{turning}_convnet", self._layer_irreps[turning]
        self.n_vectors, self.n_rank2 = (self._turning_irreps.count(kind) for kind in ("1o", "2e"))
        self.network = nn.ModuleDict(modules)
        self._finish()

    def _embeddings(self, settings: NequIPSettings) -> dict[str, Any]:
        """What comes before the layers, by the library's names."""
        channels = settings.type_channels or settings.channels_of_degree[0]
        types = NodeTypeEmbed(type_names=self.type_names, num_features=channels)
        harmonics = SphericalHarmonicEdgeAttrs(
            irreps_edge_sh=Irreps.spherical_harmonics(settings.l_max), irreps_in=types.irreps_out
        )
        length = EdgeLengthNormalizer(
            r_max=settings.cutoff_A,
            type_names=self.type_names,
            per_edge_type_cutoff=self.pair_cutoffs(),
            irreps_in=harmonics.irreps_out,
        )
        radial = BesselEdgeLengthEncoding(
            cutoff=PolynomialCutoff(settings.cutoff_power),
            num_bessels=settings.n_radial,
            trainable=settings.bessel_trainable,
            irreps_in=length.irreps_out,
        )
        factor = ApplyFactor(Keys.EDGE_EMBEDDING_KEY, 2.0 * math.pi / settings.cutoff_A**2, irreps_in=radial.irreps_out)
        return {
            "type_embed": types,
            "spharm": harmonics,
            "edge_norm": length,
            "bessel_encode": radial,
            "factor": factor,
        }

    def _layer(self, settings: NequIPSettings, irreps: dict[str, Any], hidden: Irreps, layer: int) -> ConvNetLayer:
        convolution = {
            "radial_mlp_depth": settings.radial_layers,
            "radial_mlp_width": settings.radial_width,
            "use_sc": layer > 0,
            "is_first_layer": layer == 0,
            **self.neighbors_norm(),
        }
        return ConvNetLayer(irreps_in=irreps, feature_irreps_hidden=hidden, convolution_kwargs=convolution)

    def _replace_products(self, kernels: str) -> None:
        if kernels == "openequivariance":
            TensorProductScatter.enable_OpenEquivariance(self)
        else:
            TensorProductScatter.enable_CuEquivariance(self)

    def _features(self, species: Tensor, neighbors: Neighbors, geometry: PairGeometry, fixed: bool) -> Features:
        data = graph_of(species, self.edges(neighbors, geometry, fixed))
        turning: Tensor | None = None
        scalars: Tensor | None = None
        for name, module in self.network.items():
            if name == _READOUT:
                found = components_of(data[Keys.NODE_FEATURES_KEY], self._layer_irreps[-1], "0e")
                assert found is not None
                data[Keys.NODE_FEATURES_KEY] = scalars = found[..., 0]
            data = module(data)
            if name == self._turning_name:
                turning = data[Keys.NODE_FEATURES_KEY]
            elif name == _READOUT:
                data[Keys.PER_ATOM_ENERGY_KEY] = self.energies(species, data[Keys.PER_ATOM_ENERGY_KEY])
        assert turning is not None
        assert scalars is not None
        vectors, tensors = (components_of(turning, self._turning_irreps, kind) for kind in ("1o", "2e"))
        return Features(
            scalars,
            None if vectors is None else cartesian_vectors(vectors),
            None if tensors is None else cartesian_rank2(tensors, self.rank2_basis),
            energies=data[Keys.PER_ATOM_ENERGY_KEY][:, 0],
        )


def _ends_in_scalars(settings: NequIPSettings) -> bool:
    return settings.last_layer == "scalars"


def _hidden_irreps(settings: NequIPSettings) -> Irreps:
    """Features of a layer: every degree in the parity of the harmonics, and in the other one with ``parity``."""
    blocks = []
    for degree, channels in enumerate(settings.channels_of_degree):
        own = 1 if degree % 2 == 0 else -1
        blocks += [(channels, (degree, sign)) for sign in ((1, -1) if settings.parity else (own,))]
    return Irreps(blocks)
