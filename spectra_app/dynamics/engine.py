"""Engines: the ways in which a model is evaluated along a run, and the choice of the fastest one.

``eager`` is the reference, torch operation by operation.  ``compiled`` (CPU) has the backbone's loops compiled when
they are first used on a machine, which takes some seconds once.  Both give the same numbers to the rounding of the
dtype; a run keeps the one it began with, so that a restart is exact.
"""

from __future__ import annotations

import time

from spectra_app.dynamics.forces import PotentialLike
from spectra_app.errors import ConfigError
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System

_SHORT = 300  # evaluations, below which compiling would take longer than it saves
_MEASURED = 3  # evaluations of each engine, of which the fastest counts


def choose_engine(wanted: str, model: PotentialLike, system: System, n_evaluations: int) -> str:
    """The engine of a run; the model is left on it.

    Args:
        wanted: an engine, or ``"auto"``: the fastest at this structure, ``eager`` where few evaluations are to come.
        model: the potential.
        system: what will be evaluated, on the model's device.
        n_evaluations: how often.

    Returns:
        its name.

    Raises:
        ConfigError: the model does not have the wanted engine on its device.
    """
    available = model.engines
    if wanted not in ("auto", *available):
        raise ConfigError(
            "md.engine",
            got=f"{wanted}, which model '{model.card.name}' does not have on {model.device}",
            wanted=f"auto or {', '.join(available)}",
        )
    if wanted == "auto" and (len(available) == 1 or n_evaluations < _SHORT):
        wanted = available[0]
    if wanted == "auto":
        wanted = min(available, key=lambda engine: _time(engine, model, system))
    model.engine = wanted
    return wanted


def _time(engine: str, model: PotentialLike, system: System) -> float:
    """Seconds of one evaluation."""
    model.engine = engine
    cast = system.to(dtype=model.dtype)
    neighbors = build_neighbors(system, model.cutoff).to(dtype=model.dtype)
    times = []
    for _ in range(_MEASURED + 1):  # the first one compiles
        began = time.perf_counter()
        energy = model(cast, neighbors).energy
        energy.tolist()  # waits for a GPU
        times.append(time.perf_counter() - began)
    return min(times[1:])
