"""Measures what a model's latent quantities are on given structures; see ``interpretation``."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spectra_app.electrostatics.multipoles import parse_variant
from spectra_app.electrostatics.smearing import Smearing
from spectra_app.electrostatics.stability import kept_kappa, largest_polarizability
from spectra_app.errors import DatasetError, ModelError
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.prediction import Response
from spectra_app.structure.neighbors import Neighbors, build_neighbors
from spectra_app.structure.system import System, from_ase, with_gradients
from spectra_app.training.evaluation import read_structures
from spectra_app.training.interpretation import (
    AtomQuantities,
    ElementInterpretation,
    Interpretation,
    LongRangeShare,
    Spread,
    find_warnings,
    sign_sentence,
)
from spectra_app.training.screening import measure_scale, susceptibility, without_response
from spectra_app.training.sign import MOST_SAMPLES, charge_order
from spectra_app.units import COULOMB_CONSTANT


def interpret(model: Potential, structures: Sequence[tuple[System, Neighbors]], source: str = "") -> Interpretation:
    """Report of a model's latent quantities on single structures (the first few are taken).

    Args:
        model: the potential.
        structures: single structures in the model's dtype and on its device, with tables complete to its cutoff.
        source: the frames in words.

    Raises:
        ModelError: a short-range model.
        DatasetError: no structures.
    """
    if not model.variant.electrostatic:
        raise ModelError(
            f"interpretation of model '{model.card.name}'",
            got="a short-range model (variant sr)",
            wanted="latent charges",
        )
    if not structures:
        raise DatasetError("interpretation", got="no structures", wanted="at least one")
    if not model.scale.known:
        model = copy.copy(model)
        model.scale = measure_scale(model, structures)
    frames = [_observe(model, system, neighbors) for system, neighbors in structures[:MOST_SAMPLES]]
    atoms = {name: np.concatenate([f.atoms[name] for f in frames]) for name in frames[0].atoms}
    of_element = {symbol: atoms["species"] == index for index, symbol in enumerate(model.species)}
    elements = tuple(
        _element(symbol, atoms, here, _bound(model, symbol)) for symbol, here in of_element.items() if here.any()
    )
    orders = [charge_order(_born_means(model, f.atoms)) for f in frames]
    means = {element.symbol: element.born_e.mean for element in elements}
    order, charged = charge_order(means), any(float(s.charge.abs().max()) > 0 for s, _ in structures[:MOST_SAMPLES])
    per_frame = {name: np.array([f.scalars[name] for f in frames]) for name in frames[0].scalars}
    in_cells = np.array([bool(system.periodic.any()) for system, _ in structures[:MOST_SAMPLES]])
    report = Interpretation(
        source=source,
        n_frames=len(frames),
        variant=model.variant.name,
        response=model.settings.response,
        elements=elements,
        periodic=bool(in_cells.any()),
        eps_inf=model.eps_inf,
        screening=model.scale.screening if in_cells.any() else 1.0,
        eps_e=_spread(per_frame["eps_e"]),
        chi=_spread(per_frame["chi"][in_cells] if in_cells.any() else per_frame["chi"]),
        excess_charge_e=_spread(per_frame["excess_charge"]),
        sum_rule_e=float(per_frame["sum_rule"].max()),
        long_range=LongRangeShare(
            _spread(1e3 * per_frame["permanent_energy"]),
            _spread(1e3 * per_frame["response_energy"]),
            *(
                1e3 * _rms(atoms[name])
                for name in ("forces", "long_range_forces", "permanent_forces", "response_forces")
            ),
        ),
        sign_known=charged or order is not None,
        sign=sign_sentence(means, [order, *orders], charged),
        warnings=(),
    )
    return dataclasses.replace(report, warnings=find_warnings(report))


def interpret_file(model: Potential, path: Path | str) -> Interpretation:
    """As ``interpret`` on structures spread evenly over a file.

    Args:
        model: the potential.
        path: any format of ASE; ``charge`` in a comment line is the total charge, e.

    Raises:
        DatasetError: no such file, or one that cannot be read.
        StructureError: an element that the model does not know.
    """
    frames = read_structures(path)
    chosen = frames[:: max(1, -(-len(frames) // MOST_SAMPLES))]
    structures = []
    for number, atoms in enumerate(chosen):
        system = from_ase(atoms, dtype=model.dtype, device=model.device, name=f"{path}, structure {number}")
        model.check_system(system, f"{path}, structure {number}")
        structures.append((system, build_neighbors(system, model.cutoff)))
    several = f"{len(chosen)} structures of {Path(path).name}"
    return interpret(model, structures, several if len(chosen) > 1 else Path(path).name)


@dataclass(frozen=True)
class _Frame:
    """One structure: arrays per atom, and numbers of the structure."""

    atoms: dict[str, np.ndarray]
    scalars: dict[str, float]


def _observe(model: Potential, system: System, neighbors: Neighbors) -> _Frame:
    """Evaluate one structure; every array in latent units, the Born charges physical."""
    whole, forces = _evaluate(model, system, neighbors)
    permanent, permanent_forces = _evaluate(_with_parts(model, response=False), system, neighbors)
    short, short_forces = _evaluate(_with_parts(model, long_range=False), system, neighbors)
    latents, n_atoms = whole.latents, len(system.positions)
    assert latents is not None
    eps_e = float(model.scale.eps_e_of(system)[0])
    latent_born = model.latent_born_charges(system, neighbors)
    charge = float(system.charge[0] * model.scale.charge_units(system)[0])
    excess = float(model.sign) * float(whole.charges.detach().sum()) - charge
    unscreened = latent_born.sum(0) - charge * torch.eye(3).to(latent_born)
    atoms = {
        "species": model.species_index[system.numbers],
        "eps_e": torch.full((n_atoms,), eps_e),
        "charge_e": model.sign * latents.multipoles.charges,
        "born": model.scale.born_charges(latent_born, system).diagonal(dim1=1, dim2=2).mean(1),
        "forces": forces,
        "long_range_forces": forces - short_forces,
        "permanent_forces": permanent_forces - short_forces,
        "response_forces": forces - permanent_forces,
        **_optional(model, whole, system, neighbors),
    }
    scalars = {
        "eps_e": eps_e,
        "chi": susceptibility(system, whole.polarizability.detach()),
        "excess_charge": excess,
        "sum_rule": float(unscreened.abs().max()),
        "permanent_energy": float(permanent.energy[0] - short.energy[0]) / n_atoms,
        "response_energy": float(whole.energy[0] - permanent.energy[0]) / n_atoms,
    }
    return _Frame({name: value.detach().cpu().double().numpy() for name, value in atoms.items()}, scalars)


def _optional(model: Potential, result: Response, system: System, neighbors: Neighbors) -> dict[str, Tensor]:
    """What only some variants have, per atom."""
    latents, variant = result.latents, model.variant
    assert latents is not None
    found: dict[str, Tensor] = {}
    permanent = latents.multipoles.dipoles
    if permanent is not None:
        found["dipole_eA"] = permanent.norm(dim=1)
    if latents.alpha is not None:
        tensor = latents.alpha if latents.alpha.dim() == 3 else latents.alpha[:, None, None] * _identity(latents.alpha)
        isotropic = tensor.diagonal(dim1=1, dim2=2).mean(1)
        beta = tensor - isotropic[:, None, None] * _identity(tensor)
        found["alpha_e2A2_per_eV"], found["alpha_A3"] = isotropic, COULOMB_CONSTANT * isotropic
        found["alpha_anisotropy_e2A2_per_eV"] = torch.sqrt(1.5 * (beta * beta).sum((1, 2)))
        found["lowest_alpha"] = torch.linalg.eigvalsh(tensor)[:, 0]
    if latents.kappa is not None:
        found["kappa_e2_per_eV"] = latents.kappa if latents.kappa.dim() == 1 else latents.kappa.sum(1)
        if model.settings.bounded_response:
            classes = Smearing(model.widths, model.species_index[system.numbers])
            found["kept_kappa"] = kept_kappa(latents.kappa.double(), classes, neighbors)
    if variant.induced_charges:
        found["induced_charge_e"] = model.sign * (result.charges - latents.multipoles.charges)
    if variant.induced_dipoles and result.dipoles is not None:
        found["induced_dipole_eA"] = (result.dipoles if permanent is None else result.dipoles - permanent).norm(dim=1)
    return found


def _with_parts(model: Potential, *, long_range: bool = True, response: bool = True) -> Potential:
    """The same weights (shared, not copied) with a part of the energy left out."""
    other = copy.copy(model) if response else without_response(model)
    if not long_range:
        other.variant = parse_variant("sr")
    return other


def _evaluate(model: Potential, system: System, neighbors: Neighbors) -> tuple[Response, Tensor]:
    """Energies with latents, and forces [atom, xyz], eV/A."""
    with torch.enable_grad():
        moving, _ = with_gradients(system, True, False)
        result = model.evaluate(moving, neighbors, model.k_vectors(system))
        (gradient,) = torch.autograd.grad(result.energy.sum(), moving.positions)
    return result._replace(energy=result.energy.detach().double()), -gradient


def _bound(model: Potential, symbol: str) -> float | None:
    """Largest alpha that an atom of an element can have, e^2 A^2/eV; None without bound."""
    bounded = model.settings.bounded_response and model.variant.induced_dipoles and model.latent_head.alpha_positive
    return largest_polarizability(model.widths[model.species.index(symbol)]) if bounded else None


def _element(symbol: str, atoms: dict[str, np.ndarray], here: np.ndarray, bound: float | None) -> ElementInterpretation:
    values = {name: array[here] for name, array in atoms.items()}
    root = np.sqrt(values["eps_e"])
    lowest = values.get("lowest_alpha", np.zeros(1))
    return ElementInterpretation(
        symbol=symbol,
        n_atoms=int(here.sum()),
        latent=_quantities(values, np.ones_like(root)),
        physical=_quantities(values, root),
        born_e=_spread(values["born"]),
        negative_alpha=float((lowest < 0).mean()),
        alpha_bound=bound,
        kept_kappa=float(values["kept_kappa"].mean()) if "kept_kappa" in values else None,
    )


def _quantities(values: dict[str, np.ndarray], root: np.ndarray) -> AtomQuantities:
    """Statistics of the latent values times ``root`` (moments) or its square (responses)."""
    names = [field.name for field in dataclasses.fields(AtomQuantities) if field.name in values]
    scale = {name: root**2 if name.startswith(("alpha", "kappa")) else root for name in names}
    return AtomQuantities(**{name: _spread(values[name] * scale[name]) for name in names})


def _born_means(model: Potential, atoms: dict[str, np.ndarray]) -> dict[str, float]:
    """Isotropic mean Born charge of every element of one frame, e."""
    of_element = {symbol: atoms["species"] == index for index, symbol in enumerate(model.species)}
    return {symbol: float(atoms["born"][here].mean()) for symbol, here in of_element.items() if here.any()}


def _identity(like: Tensor) -> Tensor:
    return torch.eye(3, dtype=like.dtype, device=like.device)


def _spread(values: np.ndarray) -> Spread:
    return Spread(float(values.mean()), float(values.std()))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values * values)))
