"""Derivatives of a model at one configuration: Hessian, Born charges, and the polarizability's by positions.

Two ways that agree (tests): exact ones by automatic differentiation, a block of columns at a time on copies of the
structure in one batch, and central differences, which ask a model for nothing but forces, dipoles and polarizabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from spectra_app.dynamics.foreign import is_foreign
from spectra_app.errors import ModelError
from spectra_app.structure.neighbors import build_neighbors, concatenate_neighbors
from spectra_app.structure.system import System, concatenate, with_gradients

Array = NDArray[np.float64]
Method = Literal["exact", "differences"]

STEP_A = 0.001  # of central differences in float64: 2e-6 of a stiff bond's force constant; float32 and foreign programs
COARSE_STEP_A = 0.01  # have noise in their forces, which the step divides
TOLERANCE = 1e-9  # of self-consistent response; 1e-5 of a run would be seen in the sixth digit of a force constant
_ATOMS_AT_ONCE = 400  # of all copies in a batch: what a cache holds; memory grows with it


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Derivatives at one configuration; physical values.

    Attributes:
        energy_eV: eV.
        forces_eV_per_A: [atom, xyz], eV/A.
        hessian_eV_per_A2: [3 atom, 3 atom], eV/A^2, made symmetric; atoms outside, xyz inside.
        asymmetry: largest |H - H^T| over largest |H| before that: the error of the method.
        born_e: [atom, field, displacement], e; None where the model has none.
        polarizability_e2A2_per_eV: [xyz, xyz], e^2 A^2/eV; None where the model has none.
        raman_e2A_per_eV: [atom, displacement, xyz, xyz], d alpha/d r, e^2 A/eV; None where the model has none.
    """

    energy_eV: float
    forces_eV_per_A: Array
    hessian_eV_per_A2: Array
    asymmetry: float
    born_e: Array | None
    polarizability_e2A2_per_eV: Array | None
    raman_e2A_per_eV: Array | None


def derivatives(
    model: Any,
    system: System,
    method: Method = "exact",
    progress: Callable[[int, int], None] | None = None,
    step_A: float | None = None,
) -> Derivatives:
    """Everything that the harmonic limit needs of a model.

    Args:
        model: a ``Potential``, or for ``differences`` anything that dynamics can call.
        system: one structure, in the model's dtype and on its device.
        method: ``exact``: automatic differentiation; ``differences``: central ones, twice 3 N evaluations.
        progress: called with the columns done and their number.
        step_A: of the differences, A; None: ``STEP_A`` of a ``Potential`` in float64, else ``COARSE_STEP_A``.

    Raises:
        StructureError: an element unknown to the model.
    """
    responds = _check(model, system)
    told = progress or (lambda _, __: None)
    with _tight(model):
        if method == "exact":
            return _exact(model, system, told)
        smooth = hasattr(model, "settings") and model.dtype == torch.float64
        return _by_differences(model, system, told, step_A or (STEP_A if smooth else COARSE_STEP_A), responds)


def _check(model: Any, system: System) -> bool:
    """Refuse what a model does not know; whether it has a response: a calculator of another program may have none."""
    foreign: bool = is_foreign(model)
    try:
        model.check_system(system)
    except ModelError:
        if not foreign:
            raise
        return False
    return True


@contextmanager
def _tight(model: Any) -> Iterator[None]:
    """Self-consistent response to ``TOLERANCE`` meanwhile (of float32: what it can)."""
    settings = getattr(model, "settings", None)
    if settings is None:
        yield
        return
    finest = TOLERANCE if model.dtype == torch.float64 else 1e-6
    model.settings = settings.model_copy(update={"response_tolerance": min(finest, settings.response_tolerance)})
    engine, model.engine = model.engine, "eager"
    try:
        yield
    finally:
        model.settings, model.engine = settings, engine


def force_constants(
    model: Any, system: System, n_atoms: int, progress: Callable[[int, int], None] | None = None
) -> Array:
    """Exact second derivatives by positions of the first atoms and of all [first atom, atom, xyz, xyz], eV/A^2.

    Args:
        model: a ``Potential``.
        system: one structure, e.g. a supercell that begins with its first cell.
        n_atoms: how many are the first.
        progress: called with the columns done and their number.
    """
    model.check_system(system)
    with _tight(model):
        rows, _, _ = _rows(model, system, 3 * n_atoms, progress or (lambda _, __: None))
    return np.asarray(_host(rows).reshape(n_atoms, 3, -1, 3).transpose(0, 2, 1, 3))


def _rows(
    model: Any, system: System, n_rows: int, progress: Callable[[int, int], None]
) -> tuple[torch.Tensor, float, torch.Tensor]:
    """First rows of the Hessian [row, 3 atom], with energy, eV, and forces [atom, xyz], eV/A."""
    n = 3 * system.sizes[0]
    copies = max(1, min(n_rows, _ATOMS_AT_ONCE // system.sizes[0]))
    table = build_neighbors(system, model.cutoff)
    rows, energy, forces = [], 0.0, system.positions
    for start in range(0, n_rows, copies):
        places = torch.arange(start, min(start + copies, n_rows), device=system.positions.device)
        batch = concatenate([system] * len(places))
        tables = concatenate_neighbors([table] * len(places))
        with torch.enable_grad():
            moving, _ = with_gradients(batch, True, False)
            result = model.evaluate(moving, tables, model.k_vectors(moving), responses=False)
            (gradient,) = torch.autograd.grad(result.energy.sum(), moving.positions, create_graph=True)
            chosen = gradient.reshape(len(places), n)[torch.arange(len(places)), places]
            (row,) = torch.autograd.grad(chosen.sum(), moving.positions)
        rows.append(row.detach().reshape(len(places), n))
        energy = float(result.energy[0].detach()) + float(model.baseline(system)[0])
        forces = -gradient.detach()[: system.sizes[0]]
        progress(int(places[-1]) + 1, n_rows)
    return torch.cat(rows), energy, forces


def _exact(model: Any, system: System, progress: Callable[[int, int], None]) -> Derivatives:
    rows, energy, forces = _rows(model, system, 3 * system.sizes[0], progress)
    table = build_neighbors(system, model.cutoff)
    born = model.born_charges(system, table) if model.has_born_charges(system) else None
    alpha, raman = _exact_raman(model, system, table) if model.variant.responds else (None, None)
    return _derivatives(energy, forces, rows, born, alpha, raman)


def _exact_raman(model: Any, system: System, table: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Polarizability [xyz, xyz] and its derivatives [atom, displacement, xyz, xyz], physical."""
    n = system.sizes[0]
    with torch.enable_grad():
        moving, _ = with_gradients(system, True, False)
        result = model.evaluate(moving, table, model.k_vectors(moving), responses=True)
        alpha = model.scale.tensors(result.polarizability, system)[0]
        raman = alpha.new_zeros(n, 3, 3, 3)
        for a in range(3):
            for b in range(a, 3):
                (slope,) = torch.autograd.grad(alpha[a, b], moving.positions, retain_graph=True)
                raman[:, :, a, b] = raman[:, :, b, a] = slope
    return alpha.detach(), raman


def _by_differences(
    model: Any, system: System, progress: Callable[[int, int], None], step_A: float, responds: bool
) -> Derivatives:
    n = 3 * system.sizes[0]
    table = build_neighbors(system, model.cutoff + 4.0 * step_A)
    middle = model(system, table, forces=True, polarizability=responds)
    hessian, dipoles, alphas = [], [], []
    for place in range(n):
        ends = []
        for sign in (1.0, -1.0):
            positions = system.positions.clone().reshape(-1)
            positions[place] += sign * step_A
            moved = system._replace(positions=positions.reshape(-1, 3))
            ends.append(model(moved, table, forces=True, polarizability=responds))
        plus, minus = ends
        hessian.append(-(plus.forces - minus.forces).reshape(-1) / (2.0 * step_A))
        dipoles.append(model.scale.vectors(plus.dipole - minus.dipole, system)[0] / (2.0 * step_A))
        change = plus.polarizability - minus.polarizability
        alphas.append(model.scale.tensors(change, system)[0] / (2.0 * step_A))
        progress(place + 1, n)
    born = torch.stack(dipoles).reshape(-1, 3, 3).transpose(1, 2) if _has_dipole(model, system, responds) else None
    foreign: bool = is_foreign(model)
    if foreign and responds and born is None:
        born = model.born_charges(system, table)  # its dipole is known up to quanta, or along a path only
    alpha = model.scale.tensors(middle.polarizability, system)[0]
    raman = torch.stack(alphas).reshape(-1, 3, 3, 3)
    has_alpha = bool(torch.isfinite(alpha).all() and (alpha != 0.0).any())
    energy = float(middle.energy[0])
    return _derivatives(
        energy, middle.forces, torch.stack(hessian), born, alpha if has_alpha else None, raman if has_alpha else None
    )


def _has_dipole(model: Any, system: System, responds: bool) -> bool:
    """Whether the model's dipole is a function of the positions."""
    foreign: bool = is_foreign(model)
    return responds and model.card.dipole_rule == "function" if foreign else bool(model.has_born_charges(system))


def _derivatives(
    energy: float,
    forces: torch.Tensor,
    hessian: torch.Tensor,
    born: torch.Tensor | None,
    alpha: torch.Tensor | None,
    raman: torch.Tensor | None,
) -> Derivatives:
    """The record, on the host and in float64."""
    full, both = _host(hessian), (None if one is None else _host(one) for one in (born, alpha, raman))
    asymmetry = float(np.abs(full - full.T).max() / max(np.abs(full).max(), 1e-300))
    return Derivatives(energy, _host(forces), 0.5 * (full + full.T), asymmetry, *both)


def _host(values: torch.Tensor) -> Array:
    return np.asarray(values.detach().cpu().double().numpy())
