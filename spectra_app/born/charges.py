"""Born charges of a structure from a model: the one-line call behind ``spectra-app born``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spectra_app.born.report import BornReport, build_born_report
from spectra_app.born.symmetry import find_symmetry

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.dynamics.forces import PotentialLike


def born_charges(
    model: PotentialLike,
    structure: Atoms,
    *,
    reference: np.ndarray | None = None,
    symmetrize: bool = False,
    tolerance_A: float = 1e-3,
) -> BornReport:
    """Physical Born charges Z*_ab = dP_a/dr_b of every atom, and all that is derived from them.

    Args:
        model: from ``load_model``.
        structure: the structure; ``structure.info["charge"]`` is its total charge, e.
        reference: [atom, field, displacement] (or [atom, 9]), e; charges to compare with.
        symmetrize: also average over the space group of a periodic structure.
        tolerance_A: A; how far an atom may be from its symmetric place.

    Raises:
        StructureError: an element unknown to the model, overlapping atoms, lengths that are not in A, no symmetry
            found.
        MissingExtraError: ``symmetrize`` without spglib.
    """
    from spectra_app.dynamics.foreign import remember
    from spectra_app.structure.distances import check_distances
    from spectra_app.structure.neighbors import (
        build_neighbors,  # here: torch is not needed for the rest of this package
    )
    from spectra_app.structure.system import from_ase

    remember(model, structure)
    system = from_ase(structure, device=model.device, dtype=model.dtype)
    model.check_system(system)
    cell = system.cell[0].cpu().double().numpy() if bool(system.periodic[0]) else None
    check_distances(structure.positions, structure.numbers, cell, "structure")
    charges = model.born_charges(system, build_neighbors(system, model.cutoff))
    periodic = bool(structure.pbc.all())
    symmetry = None
    if symmetrize and periodic:
        symmetry = find_symmetry(structure.positions, structure.numbers, structure.cell.array, tolerance_A)
    return build_born_report(
        charges.detach().cpu().double().numpy(),
        structure.numbers,
        structure.positions,
        structure.cell.array if periodic else None,
        float(structure.info.get("charge", 0.0)),
        reference=None if reference is None else np.asarray(reference, dtype=float).reshape(-1, 3, 3),
        symmetry=symmetry,
        eps_inf=model.eps_inf if periodic else None,
        source=f"model '{model.card.name}'",
        nominal_e=model.oxidation_states,
    )
