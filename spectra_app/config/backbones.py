"""Settings of the backbones: one class per architecture."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from spectra_app.config.base import Settings


class BackboneSettings(Settings):
    """What every backbone has."""

    name: str = Field(description="of the architecture")
    cutoff_A: float = Field(4.0, gt=0, description="cutoff of the environment, A")
    n_radial: int = Field(8, ge=2, description="radial basis functions")

    keys_beside_checkpoint: ClassVar[tuple[str, ...]] = ()
    """Keys that a file may set whatever the trained model that it begins with has."""

    def in_words(self) -> str:
        """Size of the network for a card: its own keys with their values."""
        own = [name for name in type(self).model_fields if name not in BackboneSettings.model_fields]
        return ", ".join(f"{name.replace('_', ' ')} {getattr(self, name)}" for name in own)


class PaiNNSettings(BackboneSettings):
    """``painn``: equivariant message passing with vectors and rank-2 tensors."""

    name: Literal["painn"] = "painn"
    channels: int = Field(64, ge=4, description="scalar and vector features per atom")
    layers: int = Field(2, ge=1, description="message-passing layers")
    rank: Literal[1, 2] = Field(2, description="highest rank of the features: 1 vectors, 2 also rank-2 tensors")
    products: bool = Field(True, description="vectors and tensors of an atom multiply into new tensors (rank 2)")
    soft_length: float = Field(
        0.1,
        gt=0,
        description="lengths of vectors and tensors are sqrt(l^2 + this^2): no kink where they vanish by symmetry",
    )

    def in_words(self) -> str:
        """See ``BackboneSettings``."""
        return f"{self.layers} layers, {self.channels} channels, rank {self.rank}"


class CACESettings(BackboneSettings):
    """``cace``: Cartesian atomic cluster expansion, products of sums over neighbours."""

    name: Literal["cace"] = "cace"
    channels: int = Field(64, ge=4, description="sums over neighbours per tensor, and features per atom")
    embedding: int = Field(3, ge=1, description="numbers that describe an element, as neighbour and as centre")
    max_l: int = Field(3, ge=1, le=3, description="highest order of the tensors of a direction")
    max_nu: int = Field(3, ge=1, le=3, description="highest number of factors in an invariant (body order less 1)")
    layers: int = Field(1, ge=0, description="message-passing layers; 0: an atom knows only what is inside the cutoff")

    def in_words(self) -> str:
        """See ``BackboneSettings``."""
        return f"{self.channels} channels, l to {self.max_l}, nu to {self.max_nu}, message layers {self.layers}"


Kernels = Literal["e3nn", "openequivariance", "cuequivariance"]
_KERNELS = "what makes tensor products on a GPU, each from the package of its name"


class MACESettings(BackboneSettings):
    """``mace``: the layers of mace-torch (extra ``mace``); products of many neighbours' features, messages of them.

    The later keys are there for trained models of the library: ``training.init_from`` sets them.
    """

    name: Literal["mace"] = "mace"
    channels: int = Field(32, ge=1, description="features of each rank per atom")
    max_L: int = Field(1, ge=0, le=3, description="highest rank of the features that atoms send to each other")
    max_ell: int = Field(2, ge=1, le=4, description="highest order of the spherical harmonics of pairs")
    correlation: int = Field(2, ge=1, le=4, description="neighbours that one product correlates, besides the atom")
    layers: int = Field(2, ge=1, description="message-passing layers")
    last_equivariant: bool = Field(
        False, description="features of the last layer keep their ranks; false: its sums over neighbours stand for them"
    )
    avg_num_neighbors: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto", description="number by which sums over neighbours are divided; auto: the mean of the training data"
    )
    cutoff_power: int = Field(5, ge=1, description="power of the polynomial that ends the radial functions")
    radial_layers: tuple[int, ...] = Field((64, 64, 64), description="widths of the network of distances")
    readout_channels: int = Field(16, ge=1, description="width of the last readout")
    first_interaction: str = Field("RealAgnosticResidualInteractionBlock", description="class of the first layer")
    interaction: str = Field("RealAgnosticResidualInteractionBlock", description="class of the other layers")
    readout: str = Field("NonLinearReadoutBlock", description="class of the last readout")
    gate: Literal["silu", "tanh", "abs", "none"] = Field("silu", description="function in the last readout")
    radial: Literal["bessel", "gaussian", "chebyshev"] = Field("bessel", description="functions of the distance")
    distance_transform: Literal["none", "Agnesi", "Soft"] = Field("none", description="of the distance, before them")
    cutoff_on_weights: bool = Field(False, description="the cutoff multiplies the weights, not the radial functions")
    pair_repulsion: bool = Field(False, description="with the nuclear repulsion of Ziegler, Biersack and Littmark")
    edge_irreps: str | None = Field(None, description="features that are sent, as e3nn writes them; null: all")
    edge_irreps_first: bool = Field(False, description="also in the first layer")
    agnostic_products: bool = Field(False, description="products with the same weights for all elements")
    last_readout_only: bool = Field(False, description="the energy is read from the last layer only")
    reduced_products: bool = Field(False, description="products of a reduced basis, which cuequivariance gives")
    embeddings: dict[str, dict[str, Any]] | None = Field(
        None,
        description="of total_charge and total_spin, as the library describes them; null: it knows neither",
    )
    embedding_readout: bool = Field(False, description="an energy is read from them alone")
    total_spin: int = Field(1, ge=1, description="multiplicity 2 S + 1 of every structure, where the network knows it")
    kernels: Kernels = Field("e3nn", description=_KERNELS)

    keys_beside_checkpoint: ClassVar[tuple[str, ...]] = ("kernels", "total_spin")

    def in_words(self) -> str:
        """See ``BackboneSettings``."""
        return (
            f"{self.layers} layers, {self.channels} channels, max L {self.max_L}, max l {self.max_ell}, "
            f"correlation {self.correlation}"
        )


class NequIPFamilySettings(BackboneSettings):
    """What ``nequip`` and ``allegro`` share."""

    l_max: int = Field(2, ge=1, le=6, description="highest degree of the spherical harmonics")
    parity: bool = Field(False, description="also features that change sign the other way under reflection (1e, 2o)")
    cutoff_power: int = Field(6, ge=3, description="p of the polynomial cutoff")
    bessel_trainable: bool = Field(False, description="the wave numbers of the Bessel functions are learned")
    avg_num_neighbors: Literal["auto"] | float | tuple[float, ...] = Field(
        "auto",
        description="neighbours of an atom, which sums over them are divided by the root of, or one number per element "
        "of the model; auto: the mean of the training data",
    )
    pair_cutoffs_A: tuple[tuple[float, ...], ...] | None = Field(
        None, description="cutoff of every pair of elements of the model, centre first, A; null: cutoff_A for all"
    )
    zbl: tuple[str, ...] | None = Field(
        None, description="elements of the model, whose nuclei repel each other as ZBL; null: no such term"
    )
    kernels: Kernels = Field("e3nn", description=_KERNELS)

    keys_beside_checkpoint: ClassVar[tuple[str, ...]] = ("kernels",)

    @model_validator(mode="after")
    def _fit_each_other(self) -> NequIPFamilySettings:
        if self.pair_cutoffs_A is not None:
            rows = self.pair_cutoffs_A
            if any(len(row) != len(rows) for row in rows):
                raise ValueError("pair_cutoffs_A: as many numbers in every row as there are rows")
            if not all(0.0 < value <= self.cutoff_A for row in rows for value in row):
                raise ValueError("pair_cutoffs_A: numbers above 0 and at most cutoff_A")
        return self


Activation = Literal["silu", "mish", "gelu", "none"]


class NequIPSettings(NequIPFamilySettings):
    """``nequip``: equivariant message passing in irreps, made of the layers of the library ``nequip``."""

    name: Literal["nequip"] = "nequip"
    channels: int | tuple[int, ...] = Field(32, description="features of every degree, or one number per degree 0 ...")
    layers: int = Field(2, ge=1, description="message-passing layers")
    last_layer: Literal["equivariant", "scalars"] = Field(
        "equivariant",
        description="what the last layer gives: vectors and tensors too, or scalars alone as in the library's own "
        "models (heads then read vectors of the layer before)",
    )
    type_channels: int | None = Field(None, ge=1, description="features of an element; null: as scalars of an atom")
    radial_layers: int = Field(1, ge=0, description="hidden layers of the radial network")
    radial_width: int = Field(64, ge=1, description="their width")
    readout_layers: int = Field(0, ge=0, description="hidden layers of the energy's readout")
    readout_width: int | None = Field(None, ge=1, description="their width; null: as scalars of an atom")
    readout_activation: Activation = Field("silu", description="between layers of the energy's readout")

    @property
    def channels_of_degree(self) -> tuple[int, ...]:
        """Features of degree 0 to ``l_max``."""
        given = self.channels
        return given if isinstance(given, tuple) else (given,) * (self.l_max + 1)

    @model_validator(mode="after")
    def _one_number_per_degree(self) -> NequIPSettings:
        if len(self.channels_of_degree) != self.l_max + 1 or min(self.channels_of_degree) < 1:
            raise ValueError(f"channels: a number above 0, or one for each of the degrees 0 to {self.l_max}")
        return self

    def in_words(self) -> str:
        """See ``BackboneSettings``."""
        channels = "/".join(map(str, dict.fromkeys(self.channels_of_degree)))
        return f"{self.layers} layers, {channels} channels, l_max {self.l_max}, parity {self.parity}"


class AllegroSettings(NequIPFamilySettings):
    """``allegro``: features of pairs in layers without messages, made of the modules of ``nequip-allegro``."""

    name: Literal["allegro"] = "allegro"
    channels: int = Field(64, ge=2, description="scalar features per pair")
    tensor_channels: int = Field(16, ge=1, description="tensor features per pair")
    layers: int = Field(2, ge=1, description="tensor products of a pair with its centre's surroundings")
    kernels: Literal["e3nn", "cuequivariance"] = Field("e3nn", description=_KERNELS)
    coupled_paths: bool = Field(True, description="every channel of a tensor product has weights of its own")
    spline_span: int | None = Field(
        None,
        ge=1,
        description="radial functions are n_radial splines, so many of which overlap; null: Bessel functions",
    )
    embedding_channels: int | None = Field(None, ge=2, description="first features of a pair; null: as its scalars")
    embedding_layers: int = Field(1, ge=0, description="hidden layers of the network that makes a pair's first scalars")
    embedding_width: int = Field(64, ge=1, description="their width")
    embedding_activation: Activation = Field("silu", description="between its layers")
    mlp_layers: int = Field(1, ge=0, description="hidden layers of the network after every tensor product")
    mlp_width: int = Field(64, ge=1, description="their width")
    mlp_activation: Activation = Field("silu", description="between its layers")
    readout_layers: int = Field(1, ge=0, description="hidden layers of the pair energy's readout")
    readout_width: int = Field(32, ge=1, description="their width")
    readout_activation: Activation = Field("silu", description="between its layers")

    def in_words(self) -> str:
        """See ``BackboneSettings``."""
        return (
            f"{self.layers} layers, {self.channels} scalar and {self.tensor_channels} tensor channels of pairs, "
            f"l_max {self.l_max}, parity {self.parity}"
        )


BACKBONE_SETTINGS: dict[str, type[BackboneSettings]] = {
    "painn": PaiNNSettings,
    "cace": CACESettings,
    "mace": MACESettings,
    "nequip": NequIPSettings,
    "allegro": AllegroSettings,
}
"""Value of ``model.backbone`` in a file -> the class of its keys."""
