"""What is said of a model made of calculators: its name, its hash, where it comes from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from spectra_app.config import CalculatorSettings
from spectra_app.dynamics.followed_dipole import DipoleRule
from spectra_app.potentials.potential import Potential


@dataclass(frozen=True)
class CalculatorCard:
    """What a user must know of it, in the place of a ``ModelCard``.

    Attributes:
        name: as the user named it.
        hash: short hash of what results depend on.
        variant: what was imported, with its version.
        source: for the run file: specification, module, version and files of each calculator.
        has_alpha: there is a polarizability.
        dipole_rule: how the dipole is known (``dynamics.followed_dipole``).
        species: of a model of ours among the two.
        errors: nothing is known.
        data: nothing is known.
    """

    name: str
    hash: str
    variant: str = "calculator"
    source: dict[str, Any] = field(default_factory=dict)
    has_alpha: bool = False
    dipole_rule: DipoleRule = "function"
    species: tuple[str, ...] = ()
    errors: dict[str, float] = field(default_factory=dict)
    data: str = ""


def card_of(calculator: Any, response: Any, settings: CalculatorSettings) -> CalculatorCard:
    """A card of objects, whose hash is that of their classes and parameters."""
    parts = [part for part in (calculator, response) if part is not None]
    names = [part.card.name if isinstance(part, Potential) else type(part).__name__ for part in parts]
    known = [part.card.hash if isinstance(part, Potential) else _parameters(part) for part in parts]
    digest = hashlib.sha256("\0".join([*names, *known, settings.model_dump_json()]).encode()).hexdigest()[:12]
    source = {
        key: {"class": f"{type(part).__module__}.{type(part).__qualname__}"}
        for key, part in zip(("energy", "response"), parts, strict=False)
    }
    return CalculatorCard(", response ".join(names), digest, source=source)


def _parameters(calculator: Any) -> str:
    kept = getattr(calculator, "parameters", {})
    return repr(sorted((str(key), str(value)) for key, value in dict(kept).items()))
