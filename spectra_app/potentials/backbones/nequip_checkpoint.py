"""A trained model of ``nequip`` or ``nequip-allegro`` as the beginning of ours (``potentials.checkpoints``).

What the architecture is, is read from the modules and not from the file's own description, so that a model counts that
was modified or fine-tuned.  That nothing was forgotten is not assumed but tried: our network with the weights has to
give the atomic energies of the library's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from spectra_app.config.backbones import AllegroSettings, NequIPFamilySettings, NequIPSettings
from spectra_app.errors import ConfigError, ModelError
from spectra_app.potentials.backbones import PairGeometry, build_backbone
from spectra_app.potentials.backbones.nequip_file import another_release, first_line, load_graph
from spectra_app.potentials.checkpoints import OpenedCheckpoint
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import make_system

_TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
"""Of atomic energies by our network and the library's, relative to the largest, by the dtype it was trained in."""
_EV_A = 14.399645 / 2.0  # prefactor of the library's ZBL in its units "metal"
_TYPE_ROWS = (
    "network.type_embed.embed_module.weight",
    "network.radial_chemical_embed.type_embed.center_embed.weight",
    "network.radial_chemical_embed.type_embed.neighbor_embed.weight",
)
_PAIR_ROWS = "network.radial_chemical_embed.spline.class_embed.weight"


class _Taken(NamedTuple):
    """What a trained model of the libraries is made of, with all its elements.

    Attributes:
        settings: of the backbone.
        species: chemical symbols, in the order of the model's types.
        shifts: [species], eV, float64: energies of isolated atoms.
        unit: eV, of the backbone's energies.
        state: learned weights by the backbone's names.
        version: release of the library that made it, or ``"unknown"``.
    """

    settings: NequIPFamilySettings
    species: tuple[str, ...]
    shifts: Tensor
    unit: float
    state: dict[str, Tensor]
    version: str


def open_nequip(path: Path, species: tuple[str, ...], head: str | None) -> OpenedCheckpoint:
    """See ``checkpoints.CheckpointOpener``: a NequIP model."""
    return _opened(path, species, head, NequIPSettings)


def open_allegro(path: Path, species: tuple[str, ...], head: str | None) -> OpenedCheckpoint:
    """See ``checkpoints.CheckpointOpener``: an Allegro model."""
    return _opened(path, species, head, AllegroSettings)


def _opened(
    path: Path, species: tuple[str, ...], head: str | None, wanted: type[NequIPFamilySettings]
) -> OpenedCheckpoint:
    """Model of a file for the elements of ours, as another backbone's weights.

    Raises:
        ModelError, ConfigError, MissingExtraError: see ``checkpoints.CheckpointOpener``.
    """
    if head is not None:
        raise ConfigError("training.init_head", got=head, wanted="nothing: models of nequip have one set of energies")
    graph, version = load_graph(path)
    try:
        taken = _taken_apart(path, graph, version)
    except (AttributeError, KeyError, TypeError, IndexError, RuntimeError, ValueError) as error:
        raise another_release(path, version, f"{type(error).__name__}: {first_line(error)}") from error
    if not isinstance(taken.settings, wanted):
        name = taken.settings.name
        raise ConfigError(f"checkpoint {path}", got=f"a model of {name}", wanted=f"model.backbone: {name}")
    _check_same(path, graph, taken)
    taken = _for_elements(path, taken, species)
    own = build_backbone(taken.settings, len(species)).double()
    own.load_state_dict(own.state_dict() | taken.state)  # what is ours alone stays as it was made
    words = f"{type(taken.settings).__name__.removesuffix('Settings')} model {path.name} (nequip {version})"
    return OpenedCheckpoint(taken.settings, taken.shifts, taken.unit, dict(own.state_dict()), words)


def _for_elements(path: Path, taken: _Taken, species: tuple[str, ...]) -> _Taken:
    """The same model for some of its elements, in another order.

    Raises:
        ModelError: an element that it does not know.
    """
    unknown = [symbol for symbol in species if symbol not in taken.species]
    if unknown:
        names = ", ".join(taken.species)
        raise ModelError(
            f"checkpoint {path}", got=f"data with {', '.join(unknown)}", wanted=f"only elements that it knows: {names}"
        )
    places = [taken.species.index(symbol) for symbol in species]
    rows = torch.tensor(places)
    state = dict(taken.state)
    for name in (*_TYPE_ROWS, "type_scales"):
        if name in state:
            state[name] = state[name][rows]
    if _PAIR_ROWS in state:
        state[_PAIR_ROWS] = state[_PAIR_ROWS][(rows[:, None] * len(taken.species) + rows).flatten()]
    changes: dict[str, Any] = {}
    averages, cutoffs = taken.settings.avg_num_neighbors, taken.settings.pair_cutoffs_A
    if isinstance(averages, tuple):
        changes["avg_num_neighbors"] = tuple(averages[place] for place in places)
    if cutoffs is not None:
        changes["pair_cutoffs_A"] = tuple(tuple(cutoffs[i][j] for j in places) for i in places)
    if taken.settings.zbl is not None:
        changes["zbl"] = tuple(species)
    settings = taken.settings.model_copy(update=changes)
    return taken._replace(settings=settings, species=tuple(species), shifts=taken.shifts[rows], state=state)


def _taken_apart(path: Path, graph: Any, version: str) -> _Taken:
    """Settings, weights and energies of the library's model."""
    types = tuple(graph.type_names)
    strange = [name for name in types if name not in atomic_numbers or name == "X"]
    if strange:
        raise ModelError(
            f"checkpoint {path}",
            got=f"types {', '.join(strange)}",
            wanted="chemical symbols as types",
        )
    parts = _parts(path, graph)
    settings = _allegro_settings(path, parts) if "allegro" in parts else _nequip_settings(path, parts)
    settings = settings.model_copy(update={"zbl": _repulsion(path, parts, types)})
    levels = parts["per_type_energy_scale_shift"]
    scales, shifts = (
        _per_type(getattr(levels, name), getattr(levels, f"has_{name}"), default, len(types))
        for name, default in (("scales", 1.0), ("shifts", 0.0))
    )
    # The repulsion of nuclei is in eV: then the energies of the backbone are, too.
    unit = 1.0 if settings.zbl is not None else float(scales.mean())
    state = {"type_scales": scales / unit}
    for name in parts:
        for key, parameter in parts[name].named_parameters(prefix=f"network.{name}"):
            if not name.startswith("per_type"):
                state[key] = parameter.detach().clone()
    return _Taken(settings, types, shifts, unit, state, version)


def _per_type(values: Tensor, present: bool, default: float, count: int) -> Tensor:
    """Numbers of the types [type], float64."""
    if not present:
        return torch.full((count,), default, dtype=torch.float64)
    return values.detach().double().flatten().expand(count).clone()


def _parts(path: Path, graph: Any) -> dict[str, Any]:
    """Modules of the library's sequence by name, of one of the two architectures.

    Raises:
        ModelError: it holds something else.
    """
    for module in graph.modules():
        names = [name for name, _ in module.named_children()]
        if "per_type_energy_scale_shift" in names:
            parts = {name: child for name, child in module.named_children() if name != "total_energy_sum"}
            break
    else:
        raise ModelError(f"checkpoint {path}", got="a model that gives no energies", wanted="a NequIP or Allegro model")
    known = {"type_embed", "spharm", "edge_norm", "bessel_encode", "factor", "per_atom_energy_readout"}
    if "allegro" in parts:
        known = {"edge_norm", "radial_chemical_embed", "scalar_embed_mlp", "tensor_embed", "allegro"}
        known |= {"edge_readout", "edge_eng_sum"}
    left = [name for name in parts if name not in known | {"per_type_energy_scale_shift", "pair_potential", "cutoff"}]
    other = [name for name in left if "allegro" in parts or not name.endswith("_convnet")]
    missing = sorted(known - set(parts))
    if other or missing:
        raise ModelError(
            f"checkpoint {path}",
            got=f"a model with {', '.join(other) or 'no ' + missing[0]}",
            wanted="the modules of NequIPGNNModel or AllegroModel",
        )
    return parts


def _repulsion(path: Path, parts: dict[str, Any], types: tuple[str, ...]) -> tuple[str, ...] | None:
    """Elements of the repulsion of nuclei, where there is one.

    Raises:
        ModelError: another pair potential, or one in other units than eV and A.
    """
    if "pair_potential" not in parts:
        return None
    module = parts["pair_potential"]
    if type(module).__name__ != "ZBL":
        raise ModelError(f"checkpoint {path}, pair_potential", got=type(module).__name__, wanted="ZBL or none")
    if abs(float(module._qqr2exesquare) - _EV_A) > 1e-4:
        raise ModelError(f"checkpoint {path}, pair_potential", got="ZBL in kcal/mol", wanted="a model in eV and A")
    return types


def _shared(parts: dict[str, Any], norm: Any) -> dict[str, Any]:
    """Settings that both architectures have; ``norm`` is of sums over neighbours."""
    length = parts["edge_norm"]
    count = 1.0 / norm.norm_const.detach().double().flatten() ** 2
    cutoffs = None
    if length._per_edge_type:
        table = 1.0 / length._rmax_recip.detach().double().reshape(length.num_types, -1)
        cutoffs = tuple(tuple(min(float(value), length.r_max) for value in row) for row in table)
    return {
        "cutoff_A": float(length.r_max),
        "avg_num_neighbors": float(count[0]) if len(count) == 1 else tuple(count.tolist()),
        "pair_cutoffs_A": cutoffs,
    }


def _mlp(name: str, module: Any) -> dict[str, Any]:
    """Hidden layers, their width and what stands between them, of a ``ScalarMLPFunction``."""
    hidden = list(module.dims[1:-1])
    if len(set(hidden)) > 1:
        raise ModelError(f"checkpoint, {name}", got=f"layers of widths {hidden}", wanted="one width")
    found = {f"{name}_layers": len(hidden)} | ({f"{name}_width": int(hidden[0])} if hidden else {})
    between = [type(part).__name__.lower() for part in module.mlp.children() if not list(part.parameters())]
    return found | {f"{name}_activation": between[0] if module.is_nonlinear else "none"}


def _nequip_settings(path: Path, parts: dict[str, Any]) -> NequIPSettings:
    """Of the library's NequIP.

    Raises:
        ModelError: its layers are not those that settings describe.
    """
    layers = [part for name, part in parts.items() if name.endswith("_convnet")]
    radial, convolution = parts["bessel_encode"], layers[0].conv
    l_max = int(parts["spharm"].irreps_edge_sh.lmax)
    scalars = int(layers[-1].feature_irreps_hidden[0].mul)
    channels: tuple[int, ...] = (scalars,) * (l_max + 1)
    parity = False
    if len(layers) > 1:
        hidden = layers[0].feature_irreps_hidden
        channels = tuple(next((int(mul) for mul, ir in hidden if ir.l == degree), 0) for degree in range(l_max + 1))
        parity = any(ir.p != (-1) ** ir.l for _, ir in hidden)
    network = _mlp("radial", convolution.edge_mlp)
    network.pop("radial_activation")
    settings = {
        **_shared(parts, convolution.avg_num_neighbors_norm),
        **network,
        **_mlp("readout", parts["per_atom_energy_readout"].mlp_module),
        "n_radial": int(radial.num_bessels),
        "bessel_trainable": bool(radial.trainable),
        "cutoff_power": int(radial.cutoff.p),
        "l_max": l_max,
        "parity": parity,
        "channels": channels if len(set(channels)) > 1 else channels[0],
        "layers": len(layers),
        "last_layer": "scalars",
        "type_channels": int(parts["type_embed"].embed_module.embedding_dim),
    }
    return NequIPSettings(**settings)


def _allegro_settings(path: Path, parts: dict[str, Any]) -> AllegroSettings:
    """Of the library's Allegro."""
    layers, embedding = parts["allegro"], parts["radial_chemical_embed"]
    radial: dict[str, Any] = {}
    if hasattr(embedding, "spline"):
        spline = embedding.spline
        radial = {"n_radial": int(spline.num_splines), "spline_span": int(spline.spline_span)}
        width = int(spline.num_channels)
    else:
        bessel = embedding.bessel_encode
        radial = {
            "n_radial": int(bessel.num_bessels),
            "bessel_trainable": bool(bessel.trainable),
            "cutoff_power": int(bessel.cutoff.p),
        }
        width = 2 * int(embedding.type_embed.center_embed.embedding_dim)
    settings = {
        **_shared(parts, layers.avg_num_neighbors_norm),
        **radial,
        **_mlp("embedding", parts["scalar_embed_mlp"].mlp_module),
        **_mlp("mlp", layers.latents[0]),
        **_mlp("readout", parts["edge_readout"].mlp_module),
        "l_max": int(parts["tensor_embed"].sh.irreps_out.lmax),
        "parity": any(ir.p != (-1) ** ir.l for _, ir in layers.tensor_track_allowed_irreps),
        "channels": int(layers.num_scalar_features),
        "tensor_channels": int(layers.num_tensor_features),
        "layers": int(layers.num_layers),
        "coupled_paths": bool(layers.tps[0].path_channel_coupling),
        "embedding_channels": width,
    }
    return AllegroSettings(**settings)


def _check_same(path: Path, graph: Any, taken: _Taken) -> None:
    """Refuse a model of which our network with its weights makes other energies.

    Raises:
        ModelError: weights are left over or missing, or energies differ.
    """
    from nequip.data import AtomicDataDict as Keys

    cutoff, n_species = taken.settings.cutoff_A, len(taken.species)
    backbone = build_backbone(taken.settings, n_species).double()
    ours, theirs = (
        {name: tuple(value.shape) for name, value in given if name.startswith("network.")}
        for given in (backbone.named_parameters(), taken.state.items())
    )
    odd = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if odd:
        shape = f"{theirs.get(odd[0])} instead of {ours.get(odd[0])}"
        raise another_release(path, taken.version, f"weights {odd[0].removeprefix('network.')}: {shape}")
    backbone.load_state_dict(backbone.state_dict() | taken.state)
    rng = np.random.default_rng(0)
    corners = np.stack(np.meshgrid(*[np.arange(2.0)] * 3), axis=-1).reshape(-1, 3)
    positions = 0.4 * cutoff * (corners + rng.uniform(-0.2, 0.2, corners.shape))
    kinds = torch.from_numpy(np.resize(rng.permutation(n_species), len(positions)))
    system = make_system(positions, np.array([atomic_numbers[taken.species[kind]] for kind in kinds.tolist()]), None)
    neighbors = build_neighbors(system, cutoff)
    with torch.no_grad():
        energies = backbone(system, kinds, neighbors, PairGeometry(system, neighbors, cutoff)).energies
    assert energies is not None
    centre, slot = neighbors.mask.nonzero(as_tuple=True)
    index = torch.stack([centre, neighbors.other[centre, slot]])
    data = {Keys.POSITIONS_KEY: system.positions, Keys.EDGE_INDEX_KEY: index, Keys.ATOM_TYPE_KEY: kinds}
    found = taken.unit * energies
    wanted = graph(data)[Keys.PER_ATOM_ENERGY_KEY].detach()[:, 0].double() - taken.shifts[kinds]
    tolerance = _TOLERANCE[graph.model_dtype] * max(1.0, float(wanted.abs().max()))
    if not float((found - wanted).abs().max()) <= tolerance:
        raise another_release(path, taken.version, "an architecture that settings do not describe")
