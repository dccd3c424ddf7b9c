"""What is known of the elements before any training: electronegativities and common oxidation states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spectra_app.electrostatics.multipoles import Variant
from spectra_app.errors import ConfigError, StructureError

# Pauling electronegativities (W. M. Haynes, CRC Handbook, 97th ed., 9-103) set the sign convention and a first guess of
# the element charges; elements without a value count as 2.0.
PAULING = {
    **{
        "H": 2.20,
        "Li": 0.98,
        "Be": 1.57,
        "B": 2.04,
        "C": 2.55,
        "N": 3.04,
        "O": 3.44,
        "F": 3.98,
        "Na": 0.93,
        "Mg": 1.31,
    },
    **{"Al": 1.61, "Si": 1.90, "P": 2.19, "S": 2.58, "Cl": 3.16, "K": 0.82, "Ca": 1.00, "Sc": 1.36, "Ti": 1.54},
    **{"V": 1.63, "Cr": 1.66, "Mn": 1.55, "Fe": 1.83, "Co": 1.88, "Ni": 1.91, "Cu": 1.90, "Zn": 1.65, "Ga": 1.81},
    **{"Ge": 2.01, "As": 2.18, "Se": 2.55, "Br": 2.96, "Rb": 0.82, "Sr": 0.95, "Y": 1.22, "Zr": 1.33, "Nb": 1.6},
    **{"Mo": 2.16, "Ru": 2.2, "Rh": 2.28, "Pd": 2.20, "Ag": 1.93, "Cd": 1.69, "In": 1.78, "Sn": 1.96, "Sb": 2.05},
    **{
        "Te": 2.1,
        "I": 2.66,
        "Cs": 0.79,
        "Ba": 0.89,
        "La": 1.10,
        "Ce": 1.12,
        "Hf": 1.3,
        "Ta": 1.5,
        "W": 2.36,
        "Re": 1.9,
    },
    **{"Os": 2.2, "Ir": 2.20, "Pt": 2.28, "Au": 2.54, "Hg": 2.00, "Tl": 1.62, "Pb": 2.33, "Bi": 2.02},
}

ELECTRONEGATIVE_ENOUGH = 1.5
"""Cations at and above this Pauling electronegativity begin a training with their charge handed back along their bonds
(H, Si, Al, Ti, Pb, ...); below it they are ions and begin with it (Na, K, Mg, Ca, Ba, ...)."""

COMMON_OXIDATION_STATES: dict[str, int] = {
    **dict.fromkeys(("H", "Li", "Na", "K", "Rb", "Cs"), 1),
    **dict.fromkeys(("Be", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd"), 2),
    **dict.fromkeys(("Al", "Sc", "Y", "La", "Ga"), 3),
    **dict.fromkeys(("Si", "Ti", "Zr", "Hf"), 4),
    **dict.fromkeys(("F", "Cl", "Br", "I"), -1),
    "O": -2,
}
"""The one state in which an element is found in nearly all of its compounds with others of this table
(N. N. Greenwood and A. Earnshaw, Chemistry of the Elements, 2nd ed., 1997).  Carbon, nitrogen, sulfur, lead and most
transition metals have several and are not here."""


def common_oxidation_states(species: Sequence[str]) -> dict[str, int] | None:
    """Oxidation state of every element, or None where some element has no unambiguous one.

    Args:
        species: chemical symbols.
    """
    if not set(species) <= set(COMMON_OXIDATION_STATES):
        return None
    return {symbol: COMMON_OXIDATION_STATES[symbol] for symbol in species}


def check_oxidation_states(states: Mapping[str, int], species: Sequence[str], variant: Variant) -> None:
    """Refuse oxidation states that leave out an element, or where charges do not move between neighbours.

    Raises:
        ConfigError: see above.
    """
    if variant.charges != "pair":
        raise ConfigError(
            "model.oxidation_states",
            got=f"variant {variant.name}",
            wanted="a variant with p, whose charges move between neighbours",
            todo="Set model.oxidation_states: free",
        )
    missing = [symbol for symbol in species if symbol not in states]
    if missing:
        raise ConfigError(
            "model.oxidation_states",
            got=f"none for {', '.join(missing)}",
            wanted=f"a number for each of {', '.join(species)}",
            todo="Or set model.oxidation_states: free",
        )


def check_total_charge(states: Mapping[str, int], total: float, charge: float, structure: str, model: str) -> None:
    """Refuse a structure whose total charge its oxidation states do not explain.

    Args:
        states: of every element of the model.
        total: sum over the atoms of the structure, e.
        charge: total charge that the structure says, e.
        structure: how it is called in the error.
        model: name of the model.

    Raises:
        StructureError: the two differ.
    """
    if abs(total - charge) <= 1e-6:
        return
    listed = ", ".join(f"{symbol} {state:+d}" for symbol, state in states.items())
    raise StructureError(
        f"total charge of {structure}",
        got=f"{charge:+g} e",
        wanted=f"{total:+g} e, the sum of the oxidation states of model '{model}' ({listed})",
        todo=f"Give the structure its charge (atoms.info['charge'] = {total:g}, or charge={total:g} in extended XYZ), "
        "or look for a missing or extra atom",
    )
