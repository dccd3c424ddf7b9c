"""What a process that computes is given, and what it tells: picklable, and the same in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ase import Atoms

from spectra_app.labels.calculation import FailedCalculation, Label, calculate
from spectra_app.labels.checks import ForceCheck, check_forces
from spectra_app.labels.walks import Walk


class Work(Protocol):
    """A piece of work for one calculator."""

    def run(self, calculator: Any) -> Iterator[Any]:
        """What comes out, one after the other.

        Raises:
            FailedCalculation: why nothing more comes.
        """
        ...


@dataclass(frozen=True)
class LabelWork:
    """Label one structure."""

    atoms: Atoms

    def run(self, calculator: Any) -> Iterator[Label]:
        """The label."""
        yield calculate(self.atoms, calculator)


@dataclass(frozen=True)
class WalkWork:
    """Frames of dynamics."""

    walk: Walk

    def run(self, calculator: Any) -> Iterator[Atoms]:
        """The frames."""
        yield from self.walk.run(calculator)


@dataclass(frozen=True)
class CheckWork:
    """Compare the forces of a structure with energies."""

    atoms: Atoms
    origin: str
    seed: int = 0

    def run(self, calculator: Any) -> Iterator[ForceCheck]:
        """The comparison."""
        yield check_forces(self.atoms, self.origin, calculator, self.seed)


class Event(NamedTuple):
    """What is told of a piece of work.

    Attributes:
        number: of the work.
        kind: ``begun`` (the calculator is there), ``result`` (there may be more), ``done``, ``failed``, or ``unable``:
            there is no calculator at all.
        content: the result, or the reason in words; of ``unable`` also the name of the error's class, before it.
        seconds: since the work began.
    """

    number: int
    kind: str
    content: Any = None
    seconds: float = 0.0


def perform(number: int, work: Work, calculator: Any) -> Iterator[Event]:
    """Do a piece of work; whatever goes wrong is an event."""
    began = time.monotonic()
    try:
        for result in work.run(calculator):
            yield Event(number, "result", result, time.monotonic() - began)
    except FailedCalculation as error:
        yield Event(number, "failed", str(error), time.monotonic() - began)
        return
    yield Event(number, "done", None, time.monotonic() - began)
