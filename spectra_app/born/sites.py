"""Born charges by crystallographic site: the tensor that the site allows, nominal and anomalous part, agreement.

Atoms of one orbit of the space group have the same tensor in their own frames; the tensor of a site is that of its
first atom after averaging over the group.  An anomalous charge is what the dynamical charge has beyond the nominal one,
the oxidation state: it flows when the atom moves (Ghosez, Michenaud, Gonze, Phys. Rev. B 58, 6224, 1998).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from spectra_app.born.symmetry import CrystalSymmetry, average_over_symmetry
from spectra_app.born.tensors import Array, IntArray, regression_slope

STRONGLY_ANOMALOUS = 0.2
"""Share of the nominal charge from which on the anomalous part is marked."""


@dataclass(frozen=True)
class Site:
    """Born charges of one crystallographic site.

    Attributes:
        symbol: chemical symbol.
        wyckoff: multiplicity in the conventional cell and Wyckoff letter, e.g. "6c".
        site_symmetry: symbol of the site's point group, e.g. ".2.".
        atoms: places of its atoms in the structure.
        tensor_e: [field, displacement], e, of the first of them, averaged over the space group.
        isotropic_e: e, a third of its trace.
        eigenvalues_e: e, of the symmetric part, rising.
        asymmetry_e: e, largest difference of a component between the atoms' own tensors and the average.
        nominal_e: oxidation state, e; None where it is not known.
        rmse_e: against the reference, over all components of the site's atoms, e; None without one.
        slope: of ours over the reference's; None without one, NaN where the reference does not vary.
        worst_atom: where the largest deviation is; None without a reference.
    """

    symbol: str
    wyckoff: str
    site_symmetry: str
    atoms: tuple[int, ...]
    tensor_e: tuple[tuple[float, float, float], ...]
    isotropic_e: float
    eigenvalues_e: tuple[float, float, float]
    asymmetry_e: float
    nominal_e: float | None
    rmse_e: float | None
    slope: float | None
    worst_atom: int | None

    @property
    def anomalous_e(self) -> float | None:
        """e; isotropic charge beyond the nominal one."""
        return None if self.nominal_e is None else self.isotropic_e - self.nominal_e

    @property
    def strongly_anomalous(self) -> bool:
        """Whether an eigenvalue differs from the nominal charge by more than a fifth of it."""
        if self.nominal_e is None or self.nominal_e == 0.0:
            return False
        return max(abs(value / self.nominal_e - 1.0) for value in self.eigenvalues_e) > STRONGLY_ANOMALOUS


def born_by_site(
    born_e: Array,
    numbers: IntArray,
    symmetry: CrystalSymmetry,
    nominal_e: Mapping[str, float] | None = None,
    reference_e: Array | None = None,
) -> tuple[Site, ...]:
    """Sites of a crystal in the order of their first atoms.

    Args:
        born_e: [atom, field, displacement], e.
        numbers: [atom], atomic numbers.
        symmetry: from ``find_symmetry``.
        nominal_e: oxidation states by element.
        reference_e: [atom, field, displacement], e.
    """
    averaged = average_over_symmetry(born_e, symmetry)
    sites = []
    site_of = np.asarray(symmetry.site_of)
    for first in dict.fromkeys(symmetry.site_of):
        atoms = np.flatnonzero(site_of == first)
        tensor = averaged[first]
        rmse = slope = worst = None
        if reference_e is not None:
            gap = born_e[atoms] - reference_e[atoms]
            rmse = float(np.sqrt(np.mean(gap**2)))
            slope = regression_slope(born_e[atoms], reference_e[atoms])
            worst = int(atoms[np.abs(gap).max(axis=(1, 2)).argmax()])
        symbol = chemical_symbols[int(numbers[first])]
        lowest, middle, highest = np.linalg.eigvalsh(0.5 * (tensor + tensor.T)).tolist()
        sites.append(
            Site(
                symbol=symbol,
                wyckoff=symmetry.wyckoff[int(first)],
                site_symmetry=symmetry.site_symmetry[int(first)],
                atoms=tuple(int(atom) for atom in atoms),
                tensor_e=tuple(tuple(row) for row in tensor.tolist()),
                isotropic_e=float(np.trace(tensor)) / 3.0,
                eigenvalues_e=(lowest, middle, highest),
                asymmetry_e=float(np.abs(born_e[atoms] - averaged[atoms]).max()),
                nominal_e=None if nominal_e is None else nominal_e.get(symbol),
                rmse_e=rmse,
                slope=slope,
                worst_atom=worst,
            )
        )
    return tuple(sites)
