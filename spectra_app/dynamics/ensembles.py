"""Ensembles: which step function a run takes, with its constants bound, and which settings do not fit together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spectra_app.config import MDSettings
from spectra_app.dynamics.barostat import velocity_verlet_npt
from spectra_app.dynamics.fields import ExternalField
from spectra_app.dynamics.flexible_cell import velocity_verlet_flexible
from spectra_app.dynamics.forces import ForceFunction, PredictionLike
from spectra_app.dynamics.integrators import langevin_baoab, velocity_verlet
from spectra_app.dynamics.nose_hoover import nose_hoover
from spectra_app.dynamics.state import MDState, Particles
from spectra_app.dynamics.thermostats import bussi_rescaling
from spectra_app.errors import ConfigError
from spectra_app.structure.system import System

Stepper = Callable[[MDState], tuple[MDState, PredictionLike]]
"""One step: a state -> the next one and the model's prediction there; reads nothing back to the host by itself."""


def make_stepper(settings: MDSettings, particles: Particles, evaluate: ForceFunction, thermostat: bool) -> Stepper:
    """The step function of an ensemble.

    Args:
        settings: ensemble, thermostat, barostat.
        particles: masses.
        evaluate: the model.
        thermostat: of the ensemble, or of equilibration; without one only the recorded part of ``nve`` runs.
    """
    h, kelvin, tau = settings.timestep_fs, bath_temperature(settings, particles), settings.thermostat_time_fs
    if settings.ensemble == "npt":
        rescaling: dict[str, Any] = {
            "particles": particles,
            "evaluate": evaluate,
            "timestep_fs": h,
            "temperature_K": kelvin,
            "pressure_GPa": settings.pressure_GPa,
            "relaxation_time_fs": settings.barostat_time_fs,
            "compressibility_per_GPa": settings.compressibility_per_GPa,
        }
        drive: Stepper
        if settings.cell == "isotropic":
            drive = partial(velocity_verlet_npt, **rescaling)
        else:
            drive = partial(velocity_verlet_flexible, **rescaling, shape=settings.cell)
    elif thermostat and settings.thermostat == "langevin":
        return partial(
            langevin_baoab,
            particles=particles,
            evaluate=evaluate,
            timestep_fs=h,
            temperature_K=kelvin,
            friction_time_fs=tau,
        )
    else:
        drive = partial(velocity_verlet, particles=particles, evaluate=evaluate, timestep_fs=h)
    if not thermostat:
        return drive
    if settings.thermostat == "nose-hoover":

        def with_chain(state: MDState) -> tuple[MDState, PredictionLike]:
            state, prediction = drive(nose_hoover(state, particles, 0.5 * h, kelvin, tau))
            return nose_hoover(state, particles, 0.5 * h, kelvin, tau), prediction

        return with_chain

    def with_bussi(state: MDState) -> tuple[MDState, PredictionLike]:
        state, prediction = drive(state)
        return bussi_rescaling(state, particles, h, kelvin, tau), prediction

    return with_bussi


def bath_temperature(settings: MDSettings, particles: Particles) -> float | Tensor:
    """One temperature, or [replica] where they differ, K.

    Raises:
        ConfigError: neither one nor as many as replicas.
    """
    given = settings.temperatures_K
    if len(given) not in (1, particles.n_replicas):
        raise ConfigError(
            "md.temperature_K",
            got=f"{len(given)} temperatures",
            wanted=f"one, or one for each of the {particles.n_replicas} replicas",
        )
    if len(set(given)) == 1:
        return given[0]
    return torch.tensor(given, dtype=torch.float64, device=particles.masses.device)


def check_ensemble(settings: MDSettings, particles: Particles, field: ExternalField | None) -> None:
    """Refuse what does not fit together.

    Args:
        settings: ensemble and thermostat.
        particles: the start structure.
        field: external field, or None.

    Raises:
        ConfigError: constant pressure without a cell, or with langevin as its thermostat; a slab whose vacuum would
            change; a cell that changes its shape in a field; a field on a charged structure.
    """
    system = particles.system
    if settings.ensemble == "npt":
        _check_npt(settings, system, field)
    if field is not None and bool((system.charge.abs() > 1e-9).any()):
        raise ConfigError(
            "external field",
            got=f"a structure of charge {float(system.charge[0]):g} e, which it would accelerate for ever",
            wanted="a neutral structure",
        )


def _check_npt(settings: MDSettings, system: System, field: ExternalField | None) -> None:
    """The part of ``check_ensemble`` on constant pressure."""
    if not bool(system.periodic.all()):
        raise ConfigError("md.ensemble", got="npt for an open structure", wanted="nve or nvt")
    if settings.thermostat == "langevin":
        raise ConfigError("md.thermostat with md.ensemble npt", got=settings.thermostat, wanted="bussi or nose-hoover")
    if system.slab is not None and settings.cell != "lateral":
        raise ConfigError(
            "md.ensemble",
            got="npt for a slab, whose vacuum would collapse",
            wanted="nve, nvt, or npt with md.cell lateral",
        )
    if system.slab is not None and settings.pressure_GPa != 0.0:
        raise ConfigError(
            "md.pressure_GPa of a slab",
            got=f"{settings.pressure_GPa:g}",
            wanted="0: what its vacuum takes up is no volume",
        )
    if field is not None and settings.cell != "isotropic":
        raise ConfigError(
            "md.cell in an external field",
            got=settings.cell,
            wanted="isotropic",
            todo="A field would turn and shear the cell: take its mean shape from a run without field, then nvt",
        )
