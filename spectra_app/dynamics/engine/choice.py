"""The choice of an engine: the ways in which the steps of a run are made, of which the fastest counts.

``eager`` is the reference, torch operation by operation.  ``compiled`` (CPU) has the loops of backbone, heads and
electrostatics compiled when they are first used on a machine, some seconds, once.  ``graph`` (GPU) captures whole steps
(``graph``).  All give the same numbers to the rounding of the dtype and ``model.ewald_tolerance``; a run keeps engine
and threads that it began with, so that a restart is exact.

More threads are not always faster: a step of few atoms is hundreds of short operations, and beside other jobs every one
of them waits for the thread that has no core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch

from spectra_app.dynamics.forces import PotentialLike
from spectra_app.dynamics.foreign import is_foreign
from spectra_app.errors import ConfigError
from spectra_app.structure.neighbors import Neighbors, build_neighbors
from spectra_app.structure.system import System

_SHORT = 300  # evaluations, below which compiling and measuring would take longer than they save
_MEASURED = 5  # evaluations of each way, in turns, of which the fastest counts
_LONG_S = 2.0  # of one turn, beyond which one measurement of each way is enough


class ChosenEngine(NamedTuple):
    """How a run is evaluated.

    Attributes:
        name: of the engine.
        threads: of torch, on the CPU.
    """

    name: str
    threads: int

    def use(self, model: PotentialLike) -> None:
        """Evaluate a model in this way from now on; the threads are those of the whole process."""
        model.engine = self.name
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)


def choose_engine(
    wanted: str,
    model: PotentialLike,
    system: System,
    n_evaluations: int,
    refused: Mapping[str, str] | None = None,
    trial: Callable[[], float] | None = None,
) -> ChosenEngine:
    """The engine of a run; the model is left on it.

    Args:
        wanted: an engine, or ``"auto"``: the fastest at this structure, ``eager`` where few evaluations are to come.
        model: the potential.
        system: what will be evaluated, on the model's device.
        n_evaluations: how often.
        refused: engines that cannot do it, and why.
        trial: time of a step with the engine that the model is on, s, the first one after everything is made; None:
            that of an evaluation.

    Raises:
        ConfigError: the model does not have the wanted engine on its device, or it cannot make this run.
    """
    refused, threads = refused or {}, torch.get_num_threads()
    available = tuple(name for name in model.engines if name not in refused)
    if wanted in refused and wanted in model.engines:
        raise ConfigError("md.engine", got=f"{wanted} with {refused[wanted]}", wanted=f"auto or {', '.join(available)}")
    if wanted not in ("auto", *available):
        raise ConfigError(
            "md.engine",
            got=f"{wanted}, which model '{model.card.name}' does not have on {model.device}",
            wanted=f"auto or {', '.join(available)}",
        )
    names = available if wanted == "auto" else (wanted,)
    ways = [ChosenEngine(name, threads) for name in names]
    if n_evaluations >= _SHORT and not is_foreign(model):
        timed = _evaluation(model, system) if trial is None else trial
        best = _fastest(ways, model, timed) if len(ways) > 1 else ways[0]
        alone = ChosenEngine(best.name, 1)
        ways = [best if threads == 1 or model.device.type != "cpu" else _fastest([best, alone], model, timed)]
    ways[0].use(model)
    return ways[0]


def _evaluation(model: PotentialLike, system: System) -> Callable[[], float]:
    """Time of an evaluation, s, as the model is at the call."""

    def timed(cast: System, neighbors: Neighbors) -> float:
        began = time.perf_counter()
        model(cast, neighbors).energy.tolist()  # waits for a GPU
        return time.perf_counter() - began

    neighbors = build_neighbors(system, model.cutoff).to(dtype=model.dtype)
    return partial(timed, system.to(dtype=model.dtype), neighbors)


def _fastest(ways: list[ChosenEngine], model: PotentialLike, timed: Callable[[], float]) -> ChosenEngine:
    """Of several ways that take turns, so that what else the machine does hurts all alike."""
    times: list[list[float]] = [[] for _ in ways]
    for turn in range(_MEASURED + 1):
        for way, found in zip(ways, times, strict=True):
            way.use(model)
            seconds = timed()
            if turn > 0:  # the first one compiles
                found.append(seconds)
        if turn == 1 and sum(found[0] for found in times) > _LONG_S:
            break
    return min(zip(times, ways, strict=True), key=lambda pair: min(pair[0]))[1]
