"""Steps one after the other, the table of neighbours looked after inside each: engines ``eager`` and ``compiled``."""

from __future__ import annotations

from collections.abc import Callable

from spectra_app.dynamics.engine.steps import Advanced, Flags
from spectra_app.dynamics.forces import PredictionLike
from spectra_app.dynamics.recorder import Rows
from spectra_app.dynamics.state import MDState


class StepByStep:
    """The reference; see ``StepEngine``.

    Args:
        step: from one state to the next.
        rows: what a state has to record, with the model's prediction there.
    """

    steps_at_once = 1

    def __init__(
        self,
        step: Callable[[MDState], tuple[MDState, PredictionLike]],
        rows: Callable[[MDState, PredictionLike], Rows],
    ) -> None:
        self._step, self._rows = step, rows

    def prepare(self, state: MDState) -> MDState:
        """See ``StepEngine``: nothing is static."""
        return state

    def advance(self, state: MDState, n_steps: int) -> Advanced:
        """See ``StepEngine``."""
        rows: list[Rows] = []
        for _ in range(n_steps):
            state, prediction = self._step(state)
            rows.append(self._rows(state, prediction))
        return Advanced(state, rows[0] if n_steps == 1 else Rows.joined(rows), Flags())

    def rebuild(self, state: MDState, flags: Flags) -> MDState:
        """See ``StepEngine``: every step makes its own room."""
        return state
