"""What a recorded step says of extrapolation (docs/theory.md, "Extrapolation"): columns of the table of observables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spectra_app.dynamics.forces import ExtrapolationLike, PotentialLike
from spectra_app.dynamics.instant import Instant


def _outside(instant: Instant) -> ExtrapolationLike:
    assert instant.prediction.extrapolation is not None
    return instant.prediction.extrapolation


def extrapolation(instant: Instant) -> Tensor:
    """Largest value of any atom [structure]; 1 is the edge of the training data."""
    return instant.by_structure(_outside(instant).value).amax(dim=1)


def extrapolation_atom(instant: Instant) -> Tensor:
    """The atom that has it [structure]."""
    return instant.by_structure(_outside(instant).value).argmax(dim=1)


def extrapolation_distance(instant: Instant) -> Tensor:
    """The nearest distance that is farthest outside those of the training data [structure, 3]: atom, other atom, A.

    Instead of the other atom stands -1 - element where there is none of an element within the cutoff.
    """
    found = _outside(instant)
    beyond = instant.by_structure(found.beyond)
    atom = beyond.argmax(dim=1, keepdim=True)
    other = instant.by_structure(found.other).gather(1, atom)
    other = torch.where(other < 0, other, other % beyond.shape[1])
    distance = instant.by_structure(found.distance).gather(1, atom)
    return torch.cat([atom, other, distance], dim=1)  # in the dtype of the distance: exact up to 16 million atoms


def range_facts(model: PotentialLike) -> dict[str, Any] | None:
    """What a run file remembers of the range of the training data; None where the model does not know it."""
    known = model.training_range
    if known is None:
        return None
    return {
        "digest": known.digest,
        "trained_on": known.source,
        "cutoff_A": known.cutoff,
        "species": list(model.card.species),
        "nearest_A": known.limits(model.card.species),
    }
