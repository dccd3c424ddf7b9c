"""One call from a structure and a model to the Born charge report (the only place here that touches a model)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from spectra_app.born.report import BornReport, build_born_report
from spectra_app.born.symmetry import find_symmetry

if TYPE_CHECKING:
    from ase import Atoms

    from spectra_app.potentials import Potential


def born_charges(
    atoms: Atoms,
    model: Potential | str,
    *,
    reference: ArrayLike | None = None,
    symmetrize: bool = False,
    tolerance_A: float = 1e-3,
) -> BornReport:
    """Born effective charges of a structure and everything derived from them.

    Args:
        atoms: the structure, periodic in three directions or in none; ``atoms.info["charge"]`` is its total charge, e.
        model: a potential, or the name or folder of one.
        reference: [atom, field, displacement] or [atom, 9], e; labels to compare with.
        symmetrize: also average over the space group (needs the extra ``phonopy``).
        tolerance_A: A; tolerance of the space group.

    Raises:
        StructureError: the structure cannot be treated, or has no space group when one is asked for.
        ModelError: no such model, or it does not know an element.
        DatasetError: the reference does not fit the structure.
        MissingExtraError: spglib is needed and not installed.
    """
    # here: torch takes seconds to import, and the rest of this package works on arrays alone
    from spectra_app.neighbors import build_neighbors
    from spectra_app.potentials.checkpoint import load_model
    from spectra_app.system import from_ase

    potential = load_model(model, dtype="float64") if isinstance(model, str) else model
    system = from_ase(atoms, device=potential.device, dtype=potential.dtype)
    potential.check_species(system.numbers)
    tensors = potential.born_charges(system, build_neighbors(system, potential.cutoff)).detach().cpu().double().numpy()
    periodic = bool(atoms.pbc.all())
    cell = atoms.cell.array
    symmetry = find_symmetry(atoms.positions, atoms.numbers, cell, tolerance_A) if symmetrize and periodic else None
    return build_born_report(
        tensors,
        atoms.numbers,
        atoms.positions,
        cell if periodic else None,
        float(system.charge.sum()),
        reference=reference,
        symmetry=symmetry,
        eps_inf=potential.eps_inf if periodic else None,
        source=f"model '{potential.card.name}'",
    )
