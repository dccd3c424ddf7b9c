"""States of consecutive steps in one piece of memory on the device, read and written where a counter says.

A captured step always touches the same memory; with a counter that the step itself moves on, every step reads the state
that the last one wrote and leaves its own beside it.  The host may then take any of them: frames for the trajectory, or
the last one before a limit was passed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spectra_app.dynamics.predictor import N_KEPT
from spectra_app.dynamics.state import MDState

_EXACT = ("positions", "velocities", "forces", "energy", "reservoir", "chain")  # float64
_ROUGH = ("fields", "answers")  # in the model's dtype


class StateRing:
    """Room for a state and those of the next steps.

    Args:
        state: whose shapes all states have; ``answers`` may be fewer than are kept.
        n_steps: after it.
    """

    def __init__(self, state: MDState, n_steps: int) -> None:
        self.n_steps = n_steps
        self._names = {
            part: [name for name in names if getattr(state, name) is not None]
            for part, names in (("exact", _EXACT), ("rough", _ROUGH))
        }
        self._shapes = {name: tuple(getattr(state, name).shape) for names in self._names.values() for name in names}
        if "answers" in self._shapes:
            self._shapes["answers"] = (N_KEPT, *self._shapes["answers"][1:])
        self._rows: dict[str, Tensor] = {}
        for part, names in self._names.items():
            if names:
                like = getattr(state, names[0])
                width = sum(torch.Size(self._shapes[name]).numel() for name in names)
                self._rows[part] = like.new_zeros(n_steps + 1, width)

    def fits(self, state: MDState) -> bool:
        """Whether a state has these shapes."""
        names = {name for name in (*_EXACT, *_ROUGH) if getattr(state, name) is not None}
        return names == set(self._shapes) and all(
            name == "answers" or tuple(getattr(state, name).shape) == shape for name, shape in self._shapes.items()
        )

    def load(self, state: MDState) -> None:
        """Put a state at the beginning."""
        for part, packed in self._packed(state).items():
            self._rows[part][0].copy_(packed)

    def read(self, at: Tensor) -> dict[str, Any]:
        """What the state of a step, a number [1] on the device, consists of."""
        return self._unpacked({part: rows.index_select(0, at)[0] for part, rows in self._rows.items()})

    def write(self, at: Tensor, state: MDState) -> None:
        """Put the state of a step there."""
        for part, packed in self._packed(state).items():
            self._rows[part].index_copy_(0, at, packed[None])

    def taken(self, step: int, n_answers: int) -> dict[str, Any]:
        """As ``read``, by the host: a copy that stays as it is."""
        found = self._unpacked({part: rows[step].clone() for part, rows in self._rows.items()})
        if "answers" in found:
            found["answers"] = found["answers"][:n_answers]
        return found

    def frames(self, name: str, steps: slice) -> Tensor:
        """One quantity of several steps [step, ...]; valid until the next ones are made."""
        part = "exact" if name in _EXACT else "rough"
        start = 0
        for other in self._names[part]:
            width = torch.Size(self._shapes[other]).numel()
            if other == name:
                return self._rows[part][steps, start : start + width].unflatten(1, self._shapes[name])
            start += width
        raise KeyError(name)

    def _packed(self, state: MDState) -> dict[str, Tensor]:
        found = {}
        for part, names in self._names.items():
            pieces = []
            for name in names:
                value: Tensor = getattr(state, name)
                missing = self._shapes[name][0] - len(value)
                pieces.append(value.reshape(-1))
                if missing:
                    pieces.append(value.new_zeros(missing * value[0].numel()))
            if pieces:
                found[part] = torch.cat(pieces)
        return found

    def _unpacked(self, rows: dict[str, Tensor]) -> dict[str, Any]:
        found = {}
        for part, row in rows.items():
            names = self._names[part]
            widths = [torch.Size(self._shapes[name]).numel() for name in names]
            for name, piece in zip(names, row.split(widths), strict=True):
                found[name] = piece.view(self._shapes[name])
        return found
