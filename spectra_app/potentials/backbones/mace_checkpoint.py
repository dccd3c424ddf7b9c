"""Trained models of mace-torch as the beginning of ours (``potentials.checkpoints``).

Taken over are the weights of the layers for the elements at hand, the energies of single atoms, scale and shift.  That
nothing was forgotten is not assumed but tried: both models must give the same energies and forces for a few atoms.
"""

from __future__ import annotations

import importlib
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor, nn

from spectra_app.config import MACESettings
from spectra_app.errors import ConfigError, ModelError
from spectra_app.potentials.backbones.features import PairGeometry
from spectra_app.potentials.backbones.mace import KNOWN_OF_STRUCTURES, MACEBackbone
from spectra_app.potentials.backbones.mace_library import (
    in_precision,
    mace_modules,
    quiet,
    version_of,
)
from spectra_app.potentials.checkpoints import OpenedCheckpoint
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import make_system

_CLASSES = ("ScaleShiftMACE", "MACE")  # whose energy is that of the layers, of elements and a nuclear repulsion
_FORMS = {
    "BesselBasis": "bessel",
    "GaussianBasis": "gaussian",
    "ChebychevBasis": "chebyshev",
    "AgnesiTransform": "Agnesi",
    "SoftTransform": "Soft",
}
_SPACING_A = 1.6  # of the atoms that both models are tried on
_TOLERANCE = 2e-5  # of energies and forces, relative: constants of a model in float32 are rounded to 1e-7 each


def open_mace(path: Path, species: tuple[str, ...], head: str | None) -> OpenedCheckpoint:
    """See ``checkpoints.CheckpointOpener``: a ``.model`` file of ``mace_run_train``, which is a pickle."""
    whole = _loaded(path)
    number = _head_number(whole, head, path)
    theirs = whole if len(_heads(whole)) == 1 else _of_one_head(whole, number)
    places = _places_of(theirs, species, path)
    settings = _settings_of(theirs, path)
    ours = MACEBackbone(settings, len(species)).double()
    if not _same_products(theirs, ours.network):
        settings = settings.model_copy(update={"reduced_products": True})
        ours = MACEBackbone(settings, len(species)).double()
    _copy_weights(theirs, ours.network, places, path)
    scaling = getattr(theirs, "scale_shift", None)
    scale, shift = (1.0, 0.0) if scaling is None else (float(scaling.scale.max()), float(scaling.shift.max()))
    if settings.embedding_readout:  # the library does not scale this one
        ours.network.embedding_readout.linear.weight.data /= scale
    atomic = torch.atleast_2d(theirs.atomic_energies_fn.atomic_energies)[0].double()
    opened = OpenedCheckpoint(
        settings,
        atomic[places] + shift,
        scale,
        {name: tensor.clone() for name, tensor in ours.state_dict().items()},
        f"{type(theirs).__name__} of {path.name}",
    )
    _compare(whole, number, ours, opened, species, path)
    return opened


def _loaded(path: Path) -> Any:
    """The model in a file, in float64, without gradients.

    Raises:
        ModelError: no pickle of an energy model of MACE.
    """
    mace_modules()
    try:
        with quiet():
            found = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle raises whatever the classes in it raise
        first = (str(error).splitlines() or [""])[0][:200]
        made = f"mace-torch {version_of('mace-torch')} here cannot load it ({type(error).__name__}: {first})"
        raise ModelError(
            f"checkpoint {path}",
            got=made,
            wanted="a .model file that mace_run_train of this version, or one before, has written",
            todo="Install the version of mace-torch that made it",
        ) from error
    name = type(found).__name__
    if isinstance(found, torch.jit.ScriptModule):
        name = "TorchScript (a _compiled.model or a file for LAMMPS)"
    elif isinstance(found, dict):
        name = "a dictionary (a checkpoint of an unfinished training, or weights alone)"
    elif name not in _CLASSES:
        name = f"{name}, whose energy (if it has one) is not that of its layers alone"
    if not (isinstance(found, nn.Module) and name in _CLASSES):
        raise ModelError(
            f"checkpoint {path}",
            got=name,
            wanted=f"the .model file of a {' or '.join(_CLASSES)}",
            todo="As it is, such a model runs with -m 'ase:mace.calculators:MACECalculator(...)'",
        )
    _refuse_others(found, path)
    return _in_order_of_e3nn(found.double(), path).requires_grad_(False).eval()


def _in_order_of_e3nn(model: Any, path: Path) -> Any:
    """The model, or where its weights are in the order of cuequivariance what the library makes of it for e3nn.

    Raises:
        ModelError: the library cannot.
    """
    if not getattr(getattr(model.interactions[0], "cueq_config", None), "enabled", False):
        return model
    try:
        with in_precision(), quiet():
            return importlib.import_module("mace.cli.convert_cueq_e3nn").run(model, return_model=True).double()
    except Exception as error:  # of whatever its conversion does not know
        raise ModelError(
            f"checkpoint {path}",
            got=f"weights in the order of cuequivariance, which mace-torch {version_of('mace-torch')} cannot turn back "
            f"({type(error).__name__}: {error})",
            wanted="those of e3nn",
            todo="Train with --only_cueq=False",
        ) from error


def _refuse_others(model: Any, path: Path) -> None:
    """Refuse models whose energy depends on what structures here do not have.

    Raises:
        ModelError: see above.
    """
    strange = set(getattr(model, "embedding_specs", None) or {}) - set(KNOWN_OF_STRUCTURES)
    if strange:
        raise ModelError(
            f"checkpoint {path}",
            got=f"a model that wants {', '.join(sorted(strange))} of every structure",
            wanted="one whose energy depends on elements, positions, total charge and spin",
            todo="As it is, it runs with -m 'ase:mace.calculators:MACECalculator(...)'",
        )
    if getattr(model, "use_so3", False):
        raise ModelError(f"checkpoint {path}", got="use_so3", wanted="features with a parity")


def _heads(model: Any) -> list[str]:
    return [str(name) for name in getattr(model, "heads", None) or ["Default"]]


def _head_number(model: Any, head: str | None, path: Path) -> int:
    """Which of a model's heads is meant.

    Raises:
        ConfigError: several heads and none is named, or no such head.
    """
    heads = _heads(model)
    if head is None and len(heads) > 1:
        raise ConfigError(
            "training.init_head",
            got=f"nothing, and {path} has the heads {', '.join(heads)}",
            wanted="one of them",
            todo=f"Add init_head: {heads[-1]}, or the one whose level of theory your data have",
        )
    if head is not None and head not in heads:
        raise ConfigError("training.init_head", got=head, wanted=f"one of {', '.join(heads)}, the heads of {path}")
    return 0 if head is None else heads.index(head)


def _of_one_head(model: Any, number: int) -> Any:
    """The model with one of its heads."""
    from mace.tools.scripts_utils import remove_pt_head

    with in_precision(), quiet():
        return remove_pt_head(model, model.heads[number]).double().requires_grad_(False).eval()


def _places_of(model: Any, species: tuple[str, ...], path: Path) -> list[int]:
    """Where our elements stand in a model's list."""
    known = [int(z) for z in model.atomic_numbers]
    strange = [symbol for symbol in species if atomic_numbers[symbol] not in known]
    if strange:
        names = ", ".join(chemical_symbols[z] for z in known)
        raise ModelError(
            f"checkpoint {path}", got=f"data with {', '.join(strange)}", wanted=f"only elements that it knows: {names}"
        )
    return [known.index(atomic_numbers[symbol]) for symbol in species]


def _settings_of(model: Any, path: Path) -> MACESettings:
    """Architecture of a model of the library."""
    first, last = model.interactions[0], model.interactions[-1]
    hidden, final = model.products[0].linear.irreps_out, model.products[-1].linear.irreps_out
    embedding, readout = model.radial_embedding, model.readouts[-1]
    layers = len(model.interactions)
    orders = {part.correlation for one in model.products for part in one.symmetric_contractions.contractions}
    if len(orders) > 1:
        raise ModelError(f"checkpoint {path}", got=f"correlations {orders}", wanted="one for all layers")
    transform = type(getattr(embedding, "distance_transform", None)).__name__
    edges = getattr(model, "edge_irreps", None)
    radial = getattr(first.conv_tp_weights, "hs", None) or first.radial_MLP
    channels = hidden.count("0e")
    wanted = [(channels, (order, (-1) ** order)) for order in range(len(hidden))]
    if [(mul, (irrep.l, irrep.p)) for mul, irrep in hidden] != wanted:
        raise ModelError(f"checkpoint {path}", got=f"features {hidden}", wanted="as many of each of 0e, 1o, 2e ...")
    gates = {id(function): name for name, function in mace_modules().gate_dict.items()}
    acts = [act.f if hasattr(act, "f") else act for act in getattr(getattr(readout, "non_linearity", None), "acts", [])]
    return MACESettings(
        cutoff_A=float(model.r_max),
        n_radial=embedding.out_dim,
        channels=channels,
        max_L=hidden.lmax if layers > 1 else 0,
        max_ell=model.spherical_harmonics.irreps_out.lmax,
        correlation=orders.pop(),
        layers=layers,
        last_equivariant=layers > 1 and str(final) == str(hidden) and hidden.lmax > 0,
        avg_num_neighbors=float(last.avg_num_neighbors),
        cutoff_power=int(embedding.cutoff_fn.p),
        radial_layers=tuple(radial[1:-1] if hasattr(first.conv_tp_weights, "hs") else radial),
        readout_channels=readout.hidden_irreps.count("0e") if hasattr(readout, "hidden_irreps") else 16,
        first_interaction=type(first).__name__,
        interaction=type(last).__name__,
        readout=type(readout).__name__ if layers > 1 else "NonLinearReadoutBlock",
        gate=gates[id(acts[0])].lower() if acts else "silu",
        radial=_FORMS[type(embedding.bessel_fn).__name__],
        distance_transform=_FORMS.get(transform, "none"),
        cutoff_on_weights=not getattr(model, "apply_cutoff", True),
        pair_repulsion=hasattr(model, "pair_repulsion_fn"),
        edge_irreps=None if edges is None else str(edges),
        edge_irreps_first=bool(getattr(model, "use_edge_irreps_first", False)),
        agnostic_products=bool(getattr(model.products[0], "use_agnostic_product", False)),
        last_readout_only=len(model.readouts) == 1 and layers > 1,
        embeddings=getattr(model, "embedding_specs", None),
        embedding_readout=hasattr(model, "embedding_readout"),
    )


def _same_products(theirs: Any, ours: Any) -> bool:
    """Whether both multiply features in the same basis; with cuequivariance the library takes a reduced one."""
    pairs = zip(theirs.products, ours.products, strict=True)
    bases = [[dict(one.symmetric_contractions.named_buffers()) for one in pair] for pair in pairs]
    return all(
        tensor.shape == ours[name].shape and torch.allclose(tensor, ours[name], atol=1e-5)
        for theirs, ours in bases
        for name, tensor in theirs.items()
        if "U_matrix" in name and name in ours
    )


def _copy_weights(theirs: Any, ours: nn.Module, places: list[int], path: Path) -> None:
    """Put the weights of a model into another one of the same architecture and fewer elements.

    Args:
        theirs: model of the library.
        ours: network, changed in place.
        places: of our elements in their list.
        path: for the message.

    Raises:
        ModelError: weights that do not fit.
    """
    n_theirs, rows = len(theirs.atomic_numbers), torch.tensor(places)
    of_elements = _element_weights(theirs)
    given = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            value, shapes = given.get(name), of_elements.get(name)
            if value is not None and shapes is not None:
                sizes = [math.prod(shape) for shape in shapes]
                parts = [part.reshape(shape) for part, shape in zip(value.split(sizes), shapes, strict=True)]
                flat = torch.cat([part.index_select(-2, rows).reshape(-1) for part in parts])
                value = flat * math.sqrt(len(places) / n_theirs)  # the library divides by the root of the number
            elif value is not None and value.dim() == 3 and len(value) == n_theirs > 1:
                value = value[rows]
            if value is None or value.shape != parameter.shape:
                found = "nothing" if value is None else f"shape {tuple(value.shape)}"
                raise ModelError(
                    f"checkpoint {path}, weights {name}",
                    got=found,
                    wanted=f"shape {tuple(parameter.shape)}, as mace-torch {version_of('mace-torch')} makes them here",
                    todo="Install the version of mace-torch (and cuequivariance, if it was there) that made it",
                )
            parameter.copy_(value)


def _element_weights(model: Any) -> dict[str, list[tuple[int, ...]]]:
    """Flat weights with a row for each element: name -> shapes [..., element, channel] of their parts."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for prefix, module in model.named_modules():
        rank = 3 if prefix.endswith("skip_tp") else 2
        if prefix.endswith(("node_embedding.linear", "skip_tp", "source_embedding", "target_embedding")):
            shapes = [tuple(one.path_shape) for one in module.instructions]
            if all(len(shape) == rank and shape[-2] == len(model.atomic_numbers) for shape in shapes):
                found[f"{prefix}.weight"] = shapes
    return found


def _compare(
    theirs: Any, head: int, ours: MACEBackbone, opened: OpenedCheckpoint, species: tuple[str, ...], path: Path
) -> None:
    """Energies and forces of a few atoms by both.

    Raises:
        ModelError: they differ.
    """
    kinds = torch.arange(max(6, len(species) + 2)).remainder(len(species))
    numbers = [atomic_numbers[species[int(kind)]] for kind in kinds]
    places = np.array(list(itertools.product(range(math.ceil(len(kinds) ** (1 / 3))), repeat=3)))[: len(kinds)]
    shaken = _SPACING_A * places + np.random.default_rng(1).normal(scale=0.2, size=places.shape)
    system = make_system(shaken, np.array(numbers), None, charge=1.0)
    neighbors = build_neighbors(system, ours.cutoff)
    moving = system._replace(positions=system.positions.requires_grad_(True))
    with torch.enable_grad():
        features = ours(moving, kinds, neighbors, PairGeometry(moving, neighbors, ours.cutoff))
        assert features.energies is not None
        energy = opened.energy_scale * features.energies.sum()
        (slope,) = torch.autograd.grad(energy, moving.positions)
    total = float(energy.detach()) + float(opened.reference_energies[kinds].sum())
    expected, forces = _as_the_library(theirs, head, system.positions.detach(), neighbors, kinds, species)
    size = max(1.0, float(forces.abs().max()))
    worst = float((slope + forces).abs().max())
    if worst > _TOLERANCE * size or abs(total - expected) > _TOLERANCE * max(1.0, abs(expected), size):
        raise ModelError(
            f"checkpoint {path}",
            got=f"other energies here ({total:.6f} for {expected:.6f} eV of {len(kinds)} atoms)",
            wanted="a model whose parts are known",
            todo="Please report it with the version of mace-torch that made the file",
        )


def _as_the_library(
    model: Any, head: int, positions: Tensor, neighbors: Any, kinds: Tensor, species: tuple[str, ...]
) -> tuple[float, Tensor]:
    """Energy, eV, and forces [atom, xyz], eV/A, by the model's own ``forward``."""
    known = [int(z) for z in model.atomic_numbers]
    places = torch.tensor([known.index(atomic_numbers[symbol]) for symbol in species])[kinds]
    receiver, slot = neighbors.mask.nonzero(as_tuple=True)
    sender = neighbors.other[receiver, slot]
    data = {
        "positions": positions.clone(),
        "node_attrs": torch.nn.functional.one_hot(places, len(known)).double(),
        "edge_index": torch.stack([sender, receiver]),
        "shifts": torch.zeros(len(sender), 3, dtype=torch.float64),
        "unit_shifts": torch.zeros(len(sender), 3, dtype=torch.float64),
        "cell": torch.zeros(3, 3, dtype=torch.float64),
        "batch": torch.zeros(len(positions), dtype=torch.int64),
        "ptr": torch.tensor([0, len(positions)]),
        "head": torch.tensor([head]),
        "total_charge": torch.ones(1, dtype=torch.float64),
        "total_spin": torch.ones(1, dtype=torch.float64),
    }
    with torch.enable_grad(), quiet():
        found = model(data, compute_force=True)
    return float(found["energy"].detach().sum()), found["forces"].detach()
