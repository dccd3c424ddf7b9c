"""What self-consistent response begins its iterations with: an extrapolation of the solutions of the last steps.

The predictor of Kolafa's always stable predictor-corrector (J. Comput. Chem. 25, 335 (2004), DOI 10.1002/jcc.10385,
eq. 8), of n solutions y at equal intervals,

    y(t) ~ sum_{j=1}^{n} B_j y(t - j h),      B_j = (-1)^{j+1} j C(2n, n - j)/C(2n - 2, n - 1),

which answers noise of the solutions with little noise, and keeps the reversibility of time to a high order.  The
iterations still go on to the model's tolerance, so that a prediction costs or saves time and nothing else.
"""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import torch
from torch import Tensor

N_KEPT = 4
_LONGEST_FS = 2.0  # interval beyond which the last solution alone predicts better than an extrapolation


def predictor_weights(n: int) -> list[float]:
    """B_1 ... B_n, newest first: [1], [2, -1], [2.5, -2, 0.5], [2.8, -2.8, 1.2, -0.2], ..."""
    return [(-1) ** (j + 1) * j * comb(2 * n, n - j) / comb(2 * n - 2, n - 1) for j in range(1, n + 1)]


def predict(history: Tensor, interval_fs: float) -> Tensor:
    """The next solution.

    Args:
        history: [kept, ...], newest first.
        interval_fs: between the solutions, and to the next one, fs.

    Returns:
        [...].
    """
    n = len(history) if interval_fs <= _LONGEST_FS else 1
    weights = predictor_weights(n)
    guess = weights[0] * history[0]
    for weight, solution in zip(weights[1:], history[1:], strict=False):
        guess = guess + weight * solution
    return guess


class History(NamedTuple):
    """Solutions of self-consistent response (``potentials.Prediction.solution``), newest first.

    Attributes:
        fields: [kept, atom, 1, 4], of the last steps; None before the first.
        answers: [kept, atom, 3, 4], the answers to uniform fields at the last recorded steps; None before the first.
    """

    fields: Tensor | None = None
    answers: Tensor | None = None

    def guess(self, recorded: bool, timestep_fs: float, record_fs: float) -> Tensor | None:
        """What the next step's solution will be [atom, source, 4]; None where that is unknown.

        Args:
            recorded: answers to uniform fields will be wanted, too.
            timestep_fs: between steps, fs.
            record_fs: between recorded steps, fs.
        """
        if self.fields is None:
            return None
        guess = predict(self.fields, timestep_fs)
        if recorded and self.answers is not None:
            guess = torch.cat([guess, predict(self.answers, record_fs)], dim=1)
        return guess

    def after(self, solution: Tensor | None) -> History:
        """The history of the next step, from this one's solution [atom, source, 4]."""
        if solution is None:
            return NO_HISTORY
        answers = _remember(self.answers, solution[:, 1:]) if solution.shape[1] > 1 else self.answers
        return History(_remember(self.fields, solution[:, :1]), answers)


NO_HISTORY = History()


def _remember(history: Tensor | None, solution: Tensor) -> Tensor:
    """The history with a new solution [...] in front, at most ``N_KEPT``: [kept, ...]."""
    return solution[None] if history is None else torch.cat([solution[None], history[: N_KEPT - 1]])
