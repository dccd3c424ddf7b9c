"""What every engine offers: some steps of a run at once.

The host decides: how many steps, what they record, when a table of neighbours is made anew, when to stop.  What the
steps need of the device is static in between, and they may read nothing back.  Steps that pass a limit are never
accepted: ``advance`` returns the last state before, says in ``Flags`` what the limit was, and ``rebuild`` makes room.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from spectra_app.dynamics.recorder import Rows
from spectra_app.dynamics.state import MDState


class Flags(NamedTuple):
    """Why fewer steps were made than asked for; all of them False where that is not so.

    Attributes:
        moved: an atom has left the skin of the table of neighbours.
        unconverged: self-consistent response needs more iterations than it has.
        failed: a number is not finite, or the response has no solution: the next step has to say what happened.
    """

    moved: bool = False
    unconverged: bool = False
    failed: bool = False


class Advanced(NamedTuple):
    """Steps that were made.

    Attributes:
        state: after the last accepted one; what was given where none was.
        rows: what the accepted steps have to record.
        flags: which limit stopped them.
        lost: replicas that went wrong meanwhile: near which step, and what was found, with the closest atoms.
    """

    state: MDState
    rows: Rows
    flags: Flags
    lost: Mapping[int, tuple[int, str]] = MappingProxyType({})


class StepEngine(Protocol):
    """The steps of one run; see the module.

    Attributes:
        steps_at_once: as many steps as it is best given at a time.
    """

    @property
    def steps_at_once(self) -> int: ...  # noqa: D102

    def prepare(self, state: MDState) -> MDState:
        """The state with which ``advance`` can begin; whatever is static is made for it."""

    def advance(self, state: MDState, n_steps: int) -> Advanced:
        """At most so many steps.

        Raises:
            SimulationError: atoms fly apart, or a position is not a number.
        """

    def rebuild(self, state: MDState, flags: Flags) -> MDState:
        """The same state, once there is room for the steps that ``flags`` speaks of."""
