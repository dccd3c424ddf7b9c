"""A model named in words, and what has to be known of the results of calculators of other programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from spectra_app.config.base import Settings


class CalculatorSettings(Settings):
    """What the results of an ASE calculator mean, where it does not say so itself."""

    dipole_unit: Literal["auto", "eA", "D", "au"] = Field(
        "auto", description="unit of its dipoles; auto: e A, as ASE has it, but D where a known package says so"
    )
    polarizability_unit: Literal["e2A2/eV", "A3", "au", "epm2/V"] = Field(
        "e2A2/eV", description="unit of its polarizabilities (e2A2/eV is e A^2/V)"
    )
    periodic_dipole: Literal["auto", "cell", "born"] = Field(
        "auto",
        description="what it knows of the dipole of a periodic cell: cell: its dipole is that of the cell, up to e "
        "times lattice vectors; born: its Born charges are used; auto: what it states itself",
    )


@dataclass(frozen=True)
class ModelChoice:
    """A model as the user names it.

    Attributes:
        name: in the zoo, a folder, or ``'ase:module:factory(arguments)'``.
        response: a second model that gives dipoles, polarizabilities and Born charges; None: the first gives them.
        trust: load pickled checkpoints, which may run code.
        own: the names are the user's own words, not those of a file that may be a stranger's.
        calculator: what the results of calculators mean.
    """

    name: str
    response: str | None = None
    trust: bool = False
    own: bool = True
    calculator: CalculatorSettings = field(default_factory=CalculatorSettings)

    def __str__(self) -> str:
        return self.name if self.response is None else f"{self.name}, response {self.response}"
