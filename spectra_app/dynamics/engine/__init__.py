"""Engines: the ways in which the steps of a run are made, behind one protocol (``steps``), and the choice of one."""

from __future__ import annotations

from spectra_app.dynamics.engine.choice import ChosenEngine, choose_engine
from spectra_app.dynamics.engine.eager import StepByStep
from spectra_app.dynamics.engine.graph import GraphSteps, why_not_static
from spectra_app.dynamics.engine.processes import ProcessEngine, choose_processes, is_faster
from spectra_app.dynamics.engine.steps import Advanced, Flags, StepEngine

__all__ = [
    "Advanced",
    "ChosenEngine",
    "Flags",
    "GraphSteps",
    "ProcessEngine",
    "StepByStep",
    "StepEngine",
    "choose_engine",
    "choose_processes",
    "is_faster",
    "why_not_static",
]
