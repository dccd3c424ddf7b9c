"""Engines: the ways in which a model is evaluated along a run, and the choice of the fastest one.

``eager`` is the reference, torch operation by operation.  ``compiled`` (CPU) has the loops of backbone, heads and
electrostatics compiled when they are first used on a machine, which takes a minute once.  Both give the same numbers to
the rounding of the dtype and ``model.ewald_tolerance``; a run keeps engine and threads that it began with, so that a
restart is exact.

More threads are not always faster: a step of few atoms is hundreds of short operations, and beside other jobs every one
of them waits for the thread that has no core.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from spectra_app.dynamics.forces import PotentialLike
from spectra_app.errors import ConfigError
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System

_SHORT = 300  # evaluations, below which compiling and measuring would take longer than they save
_MEASURED = 3  # evaluations of each way, of which the fastest counts
_LONG_S = 1.0  # of one evaluation, beyond which all threads are worth having without a measurement


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


def choose_engine(wanted: str, model: PotentialLike, system: System, n_evaluations: int) -> ChosenEngine:
    """The engine of a run; the model is left on it.

    Args:
        wanted: an engine, or ``"auto"``: the fastest at this structure, ``eager`` where few evaluations are to come.
        model: the potential.
        system: what will be evaluated, on the model's device.
        n_evaluations: how often.

    Raises:
        ConfigError: the model does not have the wanted engine on its device.
    """
    available, threads = model.engines, torch.get_num_threads()
    if wanted not in ("auto", *available):
        raise ConfigError(
            "md.engine",
            got=f"{wanted}, which model '{model.card.name}' does not have on {model.device}",
            wanted=f"auto or {', '.join(available)}",
        )
    names = available if wanted == "auto" else (wanted,)
    ways = [ChosenEngine(name, threads) for name in names]
    if n_evaluations >= _SHORT:
        if len(ways) > 1:
            ways = [min(ways, key=lambda way: _time(way, model, system))]
        if model.device.type == "cpu" and threads > 1 and (alone := _time(ways[0], model, system)) < _LONG_S:
            single = ChosenEngine(ways[0].name, 1)
            ways = [single if _time(single, model, system) < alone else ways[0]]
    ways[0].use(model)
    return ways[0]


def _time(way: ChosenEngine, model: PotentialLike, system: System) -> float:
    """Seconds of one evaluation."""
    way.use(model)
    cast = system.to(dtype=model.dtype)
    neighbors = build_neighbors(system, model.cutoff).to(dtype=model.dtype)
    times = []
    for _ in range(_MEASURED + 1):  # the first one compiles
        began = time.perf_counter()
        energy = model(cast, neighbors).energy
        energy.tolist()  # waits for a GPU
        times.append(time.perf_counter() - began)
    return min(times[1:])
