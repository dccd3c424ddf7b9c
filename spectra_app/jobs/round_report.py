"""What rounds of labelling and learning found and changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RoundReport:
    """What a round found and changed.

    Attributes:
        number: from 1.
        looked_at: frames of the runs that were evaluated.
        outside: of these, beyond the edge that was asked for.
        largest: extrapolation in any of them.
        picked: frames chosen.
        labelled: of these, with labels that can be used.
        held_out: of these, not trained on.
        new_before_meV_per_A: force error of the old model on the new labels, which it has never seen.
        new_after_meV_per_A: of the new model on those held out (which chose its epoch); None: none were.
        old_before_meV_per_A: force error of the old model on frames held out of the data it was trained on.
        old_after_meV_per_A: of the new model on the same.
        run_before: largest extrapolation and share of frames beyond 1 in the runs that were picked from.
        run_after: the same of the new model's own dynamics, beside all data up to now; None: it made none.
        model: folder of the new model; the old one where nothing was trained.
    """

    number: int
    looked_at: int
    outside: int
    largest: float
    picked: int
    labelled: int = 0
    held_out: int = 0
    new_before_meV_per_A: float | None = None
    new_after_meV_per_A: float | None = None
    old_before_meV_per_A: float | None = None
    old_after_meV_per_A: float | None = None
    run_before: tuple[float, float] | None = None
    run_after: tuple[float, float] | None = None
    model: str = ""


@dataclass(frozen=True)
class ActiveResult:
    """What the rounds made.

    Attributes:
        output: their folder.
        rounds: reports; the last one may have found nothing.
        model: the last model.
        labels: files with the new labels.
        ended: why there are no more rounds.
    """

    output: Path
    rounds: tuple[RoundReport, ...]
    model: Path
    labels: tuple[Path, ...]
    ended: str
