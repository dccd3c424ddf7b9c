"""Random numbers of a block of steps, drawn by the host before the steps are made, in the order in which they ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from spectra_app.dynamics.ensembles import Stepper
from spectra_app.dynamics.forces import Evaluated, ForceFunction
from spectra_app.dynamics.state import MDState
from spectra_app.dynamics.streams import Drawn, Streams


class StepNoise:
    """Numbers for the steps of a block, where a step finds its own by its place; bit for bit those of other engines.

    Args:
        stepper: the step function of an ensemble with some forces.
        state: any of the run.
        n_steps: of a block.
    """

    def __init__(self, stepper: Callable[[ForceFunction], Stepper], state: MDState, n_steps: int) -> None:
        device = state.positions.device
        drawn = Drawn(device)
        still: Any = SimpleNamespace(forces=state.forces, energy=state.energy, stress=None)

        def evaluate(*_: Any, **__: Any) -> Evaluated:
            return Evaluated(still, state.reference_positions, state.reference_cell)

        stepper(evaluate)(state._replace(streams=cast(Streams, drawn)))  # asks for what a step asks for
        self._asked = drawn.asked
        nobody = (torch.Generator(device=device),) * len(state.streams)
        self._numbers = [torch.stack([function(nobody, counts)] * n_steps) for function, counts in drawn.asked]

    def draw(self, streams: Streams, place: int) -> None:
        """The numbers of the step in a place of the block."""
        for (function, counts), numbers in zip(self._asked, self._numbers, strict=True):
            numbers[place].copy_(function(streams, counts))

    def at(self, place: Tensor) -> Drawn:
        """What the step in a place [1], on the device, asks for."""
        return Drawn([numbers.index_select(0, place)[0] for numbers in self._numbers])


def skip(noises: Sequence[StepNoise], streams: Streams) -> None:
    """Draw the numbers of consecutive steps once more, for nothing: streams then stand behind them."""
    for noise in noises:
        noise.draw(streams, 0)
