"""Recommended width of every element's charge cloud: wide where the atom is so soft that the bound would cut into it.

``stability`` keeps the polarizability of an atom below 3.38 A^3 (sigma/A)^3.  An element is given the smallest width,
in steps of a quarter of an Angstrom (few widths are few sums), at which that bound is

- at least 1.7 times the electronic polarizability of its ion in crystals, the largest value where a range is given:
  Tessman, Kahn, Shockley, Phys. Rev. 92, 890 (1953), DOI 10.1103/PhysRev.92.890 (sodium D line);
- or, for cations with a lone pair and the like that are not in that table, at least 1.4 times that of the neutral atom,
  which holds more electrons than its cations: Schwerdtfeger, Nagle, Mol. Phys. 117, 1200 (2019), DOI
  10.1080/00268976.2018.1535143.

All others keep the common width.  The static values of Shannon, J. Appl. Phys. 73, 348 (1993), DOI 10.1063/1.353856,
hold the displacement of the ions too, which is no response of the electrons, and were not used.  Oxide ions reach 3.2
A^3 next to the largest cations in the first table: such a material, or an elemental semiconductor, needs its own width.
"""

from __future__ import annotations

import math

from spectra_app.electrostatics.stability import largest_polarizability
from spectra_app.units import COULOMB_CONSTANT

_STEP_A = 0.25
_ATOMIC_UNIT_A3 = 0.529177210544**3

# A^3.
_IONS = {
    "S": 5.9, "Cl": 2.96, "Se": 7.5, "Br": 4.16, "Ag": 2.4, "Te": 10.2, "I": 6.43, "Cs": 3.34, "Ba": 2.5, "Pb": 4.9,
}  # fmt: skip
_NEUTRAL_ATOMS_AU = {"As": 30.0, "Sn": 53.0, "Sb": 43.0, "Tl": 50.0, "Bi": 48.0}
_WANTED_A3 = {symbol: 1.7 * alpha for symbol, alpha in _IONS.items()} | {
    symbol: 1.4 * alpha * _ATOMIC_UNIT_A3 for symbol, alpha in _NEUTRAL_ATOMS_AU.items()
}


def default_smearing_A(symbol: str, base: float = 1.0) -> float:  # noqa: N802 -- A is the unit
    """Recommended width of an element's charge cloud, A; never below the common one.

    Args:
        symbol: of the element.
        base: A, the common width, which elements that are not soft keep.
    """
    wanted = _WANTED_A3.get(symbol, 0.0) / COULOMB_CONSTANT
    if largest_polarizability(base) >= wanted:
        return base
    smallest = (wanted / largest_polarizability(1.0)) ** (1.0 / 3.0)
    return _STEP_A * math.ceil(smallest / _STEP_A)
