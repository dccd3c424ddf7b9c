"""Models that another program evaluates: what a run asks of them before it begins, and what it says of them.

Ours answer every question (``potentials.Potential``); a calculator of another program may give no stress, no dipole, no
contributions of molecules, and is asked once, before anything is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

from spectra_app.dynamics.followed_dipole import DipoleRule
from spectra_app.dynamics.forces import PotentialLike
from spectra_app.structure.system import System

if TYPE_CHECKING:
    from ase import Atoms


class Use(NamedTuple):
    """What a run wants of a model, besides energies and dipoles.

    Attributes:
        forces: molecular dynamics.
        stress: a cell that fluctuates.
        field: an external field.
        parts: contributions of parts.
    """

    forces: bool = False
    stress: bool = False
    field: bool = False
    parts: bool = False


@runtime_checkable
class ForeignLike(Protocol):
    """What such a model has beyond a ``PotentialLike`` (``couplings.ase_potential.AsePotential``)."""

    def check_use(self, system: System, use: Use) -> None: ...  # noqa: D102
    def remember(self, atoms: Atoms) -> None: ...  # noqa: D102


def is_foreign(model: object) -> TypeGuard[ForeignLike]:
    """Whether another program evaluates a model: it has one engine, one process and its own threads."""
    return isinstance(model, ForeignLike)


def check_use(model: PotentialLike, system: System, use: Use) -> None:
    """Refuse a run that a model cannot make.

    Args:
        model: the potential.
        system: the structures.
        use: what is wanted.

    Raises:
        ModelError: something that the model does not give.
        ConfigError: a setting that it cannot have.
    """
    if is_foreign(model):
        model.check_use(system, use)


def remember(model: PotentialLike, atoms: Atoms) -> None:
    """Let a model of another program keep what a structure says beyond positions: charges, magnetic moments, spin."""
    if is_foreign(model):
        model.remember(atoms)


def dipole_rule(model: PotentialLike) -> DipoleRule:
    """How a model knows the dipole (``followed_dipole``)."""
    rule: DipoleRule = getattr(model.card, "dipole_rule", "function")
    return rule


def frames_at_once(model: PotentialLike) -> int:
    """Frames of a trajectory that are best evaluated together: those of a calculator one by one, each kept at once."""
    return 1 if is_foreign(model) else 8


def model_facts(model: PotentialLike) -> dict[str, Any]:
    """What a run file says of the model that made it."""
    facts = {
        "model_name": model.card.name,
        "model_hash": model.card.hash,
        "eps_inf": model.eps_inf,
        "oxidation_states": model.oxidation_states,
    }
    source = getattr(model.card, "source", None)  # of models of other programs
    return facts if source is None else facts | {"calculators": source}
