"""What the backbones made of ``nequip`` and ``nequip-allegro`` share: the library, its constants, kernels and graph.

The libraries' modules are used as they are, by their own names, which a checkpoint of theirs has too.  They take the
pairs of our table of neighbours and give features in irreps, which become Cartesian once (``irreps``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from spectra_app.config.backbones import NequIPFamilySettings
from spectra_app.errors import ConfigError, MissingExtraError, ModelError
from spectra_app.potentials.backbones.feature_scale import FeatureScale
from spectra_app.potentials.backbones.features import Backbone, Features, PairGeometry
from spectra_app.potentials.backbones.irreps import rank2_basis
from spectra_app.potentials.backbones.library_kernels import kernels_run_on, require_kernels
from spectra_app.structure.edges import Edges, edges_within
from spectra_app.structure.neighbors import Neighbors
from spectra_app.structure.system import System

EXTRA = "nequip"
OLDEST = {"nequip": (0, 19), "nequip-allegro": (0, 8), "e3nn": (0, 6)}
"""Package -> oldest release whose modules these backbones are made of."""
_TYPICAL_DENSITY = 0.08  # atoms per A^3, where nobody has counted neighbours
_DTYPE_NAMES = ("_output_dtype", "model_dtype", "out_dtype")  # attributes of the libraries' modules


def require(*packages: str) -> None:
    """Refuse an environment without the libraries, or with another release of one.

    Raises:
        MissingExtraError: a package is not installed.
        ConfigError: an older release, as e3nn 0.4.4 is, which mace-torch needs.
    """
    for package in packages:
        try:
            found = version(package)
        except PackageNotFoundError:
            raise MissingExtraError(package, EXTRA) from None
        oldest = OLDEST[package]
        if tuple(int(part) for part in found.split(".")[:2] if part.isdigit()) < oldest:
            raise ConfigError(
                f"package {package}",
                got=f"release {found}",
                wanted=f"{'.'.join(map(str, oldest))} or newer",
                todo="Make an environment for it alone (mace-torch needs another e3nn): python -m venv nequip-env; "
                f"nequip-env/bin/pip install 'spectra-app[{EXTRA}]'",
            )


require("nequip", "e3nn")

# What stands above says in one line that the library is missing; its own import would not.
import e3nn  # noqa: E402
from e3nn.o3 import Irreps  # noqa: E402
from nequip.data import AtomicDataDict as Keys  # noqa: E402
from nequip.nn.pair_potential import ZBL  # noqa: E402


@contextmanager
def building() -> Iterator[None]:
    """Modules of the library are made in float64, and of plain Python, whatever the caller's defaults are."""
    dtype, mode = torch.get_default_dtype(), e3nn.get_optimization_defaults()["jit_mode"]
    torch.set_default_dtype(torch.float64)
    e3nn.set_optimization_defaults(jit_mode="eager")
    try:
        yield
    finally:
        e3nn.set_optimization_defaults(jit_mode=mode)
        torch.set_default_dtype(dtype)


class LibraryBackbone(Backbone):
    """Base of ``NequIP`` and ``Allegro``; energies are the library's, with a scale and a shift for every element.

    The libraries' weights are of size one, where those of our networks are of size 0.1, and learn at a rate to match:
    NequIP without electrostatics, 50 s of one thread on 32 frames of water, validation 124 instead of 181 meV/A.

    Every buffer of the libraries' modules is a constant: it is kept in float64 beside the module, rounded anew at each
    change of dtype (a model cast up from float32 turns exactly), and no part of a model's weights.

    Args:
        settings: architecture.
        n_species: number of elements.
    """

    has_energies = True
    rate = 4.0
    captured = False  # nobody has tried the libraries' layers in a CUDA graph
    is_compile_graph_model = False  # what the libraries' switches of kernels ask of a model
    network: nn.ModuleDict
    rank2_basis: Tensor

    def __init__(self, settings: NequIPFamilySettings, n_species: int) -> None:
        super().__init__()
        self.settings, self.n_species, self.cutoff = settings, n_species, settings.cutoff_A
        self.type_names = [f"T{place}" for place in range(n_species)]
        self.type_scales = nn.Parameter(torch.ones(n_species))
        self.type_shifts = nn.Parameter(torch.zeros(n_species))
        self.scale = FeatureScale()
        self._constants: dict[str, Tensor] = {}
        self._fast_dtype: torch.dtype | None = None  # that kernels were made for

    def forward(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """See ``Backbone.forward``."""
        scaled: Features = self.scale(self._features(species, neighbors, geometry, False))
        return scaled

    def once(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        """See ``Backbone.once``: on a GPU with shapes that stay the same."""
        scaled: Features = self.scale(self._features(species, neighbors, geometry, species.device.type == "cuda"))
        return scaled

    def calibrate(self, samples: Sequence[tuple[System, Tensor, Neighbors]]) -> None:
        """See ``Backbone``: features become of size one."""
        with torch.no_grad():
            found = [
                self._features(species, neighbors, PairGeometry(system, neighbors, self.cutoff), False)
                for system, species, neighbors in samples
            ]
        self.scale.measure(found)

    def _features(self, species: Tensor, neighbors: Neighbors, geometry: PairGeometry, fixed: bool) -> Features:
        """Not scaled; ``fixed``: see ``edges_within``."""
        raise NotImplementedError

    def energies(self, species: Tensor, readout: Tensor) -> Tensor:
        """Atomic energies [atom, 1] of the library's readout [atom, 1]."""
        return torch.addcmul(self.type_shifts[species, None], self.type_scales[species, None], readout)

    def edges(self, neighbors: Neighbors, geometry: PairGeometry, fixed: bool) -> Edges:
        """Pairs within the cutoff."""
        return edges_within(neighbors, geometry.vectors, self.cutoff, fixed)

    def neighbors_norm(self) -> dict[str, Any]:
        """Arguments of the libraries' norm of sums over neighbours.

        Raises:
            ConfigError: not as many numbers as elements.
        """
        given = self.settings.avg_num_neighbors
        average: float | dict[str, float]
        if isinstance(given, tuple):
            self._check_count("avg_num_neighbors", len(given))
            average = dict(zip(self.type_names, given, strict=True))
        else:
            average = _TYPICAL_DENSITY * 4.2 * self.cutoff**3 if given == "auto" else float(given)
        return {"avg_num_neighbors": average, "type_names": self.type_names}

    def pair_cutoffs(self) -> dict[str, dict[str, float]] | None:
        """Cutoffs of pairs of elements by the libraries' names of types."""
        rows = self.settings.pair_cutoffs_A
        if rows is None:
            return None
        self._check_count("pair_cutoffs_A", len(rows))
        by_other = [dict(zip(self.type_names, row, strict=True)) for row in rows]
        return dict(zip(self.type_names, by_other, strict=True))

    def repulsion(self, irreps: dict[str, Any]) -> ZBL | None:
        """The repulsion of nuclei, eV, where there is one."""
        elements = self.settings.zbl
        if elements is None:
            return None
        self._check_count("zbl", len(elements))
        known = {Keys.NORM_LENGTH_KEY: irreps[Keys.NORM_LENGTH_KEY]}
        return ZBL(self.type_names, list(elements), "metal", irreps_in=known)

    def _check_count(self, key: str, count: int) -> None:
        if count != self.n_species:
            raise ConfigError(
                f"model.{key}", got=f"{count} entries", wanted=f"one for each of {self.n_species} elements"
            )

    def _finish(self) -> None:
        """To be called when all modules are made."""
        self.register_buffer("rank2_basis", rank2_basis(), persistent=False)
        self._mark_constants(persistent=False)
        self._constants = {
            name: value.clone()
            for name, value in self.named_buffers()
            if value.is_floating_point() and not name.startswith("scale.")
        }
        self.to(torch.get_default_dtype())

    def _mark_constants(self, persistent: bool) -> None:
        """Whether buffers of the library are part of a state; its switches of kernels hand them over in one."""
        for module in self.network.modules():
            for name, value in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, value, persistent=persistent)

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        super()._apply(fn, recurse)
        like = self.type_scales.detach()
        for name, value in self._constants.items():
            owner, _, key = name.rpartition(".")
            setattr(self.get_submodule(owner), key, value.to(like))
        for module in self.modules():
            for name in _DTYPE_NAMES:
                if hasattr(module, name):
                    setattr(module, name, like.dtype)
        if self._fast_dtype not in (None, like.dtype) or (self._fast_dtype is not None and like.device.type != "cuda"):
            raise ModelError(
                f"model with kernels of {self.settings.kernels}",
                got=f"a move to {like.device.type}, {like.dtype}",
                wanted=f"to stay on the GPU in {self._fast_dtype}, for which they were made",
                todo="Load the model anew",
            )
        if self.settings.kernels != "e3nn" and kernels_run_on(like.device) and self._fast_dtype is None:
            self.use_kernels()
        return self

    def use_kernels(self) -> None:
        """Tensor products of ``settings.kernels`` from now on, by the library's own switch, in the present dtype.

        Raises:
            ConfigError: their package is not installed.
        """
        kernels = self.settings.kernels
        require_kernels(kernels)
        like = self.type_scales.detach()
        self._mark_constants(persistent=True)
        self._replace_products(kernels)
        self._mark_constants(persistent=False)
        self.network.to(like)
        self._fast_dtype = like.dtype

    def _replace_products(self, kernels: str) -> None:
        """The library's own switch."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        """Settings and weights: the code that e3nn makes for a network does not travel between processes."""
        weights = {name: tensor.detach() for name, tensor in self.state_dict().items()}
        learns = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return _made_again, (type(self), self.settings, self.n_species, weights, learns, self.training)


def _made_again(
    kind: type[LibraryBackbone],
    settings: NequIPFamilySettings,
    n_species: int,
    weights: dict[str, Tensor],
    learns: set[str],
    training: bool,
) -> LibraryBackbone:
    """A backbone that was taken apart by ``__reduce__``."""
    made = kind(settings, n_species).to(weights["type_scales"])
    made.load_state_dict(weights)
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(name in learns)
    return made.train(training)


def components_of(features: Tensor, irreps: Irreps, wanted: str) -> Tensor | None:
    """Components [atom, channel, m] of one irrep ("0e", "1o", "2e") in features [atom, irreps], if there are any."""
    blocks = [
        features[:, place].unflatten(1, (count, irrep.dim))
        for place, (count, irrep) in zip(irreps.slices(), irreps, strict=True)
        if str(irrep) == wanted
    ]
    return torch.cat(blocks, dim=1) if blocks else None


def graph_of(species: Tensor, edges: Edges) -> dict[str, Tensor]:
    """Atoms and edges as the libraries take them, by the names of their ``AtomicDataDict``."""
    return {
        Keys.ATOM_TYPE_KEY: species,
        Keys.EDGE_INDEX_KEY: torch.stack([edges.receiver, edges.sender]),
        Keys.EDGE_VECTORS_KEY: edges.vectors,
    }


def activation_name(name: str) -> str | None:
    """Of a setting, as the libraries have it."""
    return None if name == "none" else name
