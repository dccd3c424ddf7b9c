"""A molecular dynamics run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from spectra_app.config.base import Settings


def _positive(value: Any) -> Any:
    """A number, several in a list, or text of them between commas; all of them positive."""
    given = value.split(",") if isinstance(value, str) else value
    several = given if isinstance(given, list | tuple) else [given]
    try:
        numbers = [float(number) for number in several]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or any(isinstance(number, bool) for number in several):
        raise ValueError("a positive number, or several between commas")
    if not all(0.0 < number < math.inf for number in numbers):
        raise ValueError("positive numbers" if len(numbers) > 1 else "a positive number")
    return tuple(numbers) if len(numbers) > 1 else numbers[0]


def _count(value: Any) -> Any:
    """A number of things, also as text, or auto."""
    if value == "auto":
        return value
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = 0
    if isinstance(value, bool | float) or count < 1:
        raise ValueError("a whole number from 1, or auto")
    return count


CountOrAuto = Annotated[int | Literal["auto"], BeforeValidator(_count)]
"""A number of things, or what is best."""

Kelvin = Annotated[float | tuple[float, ...], BeforeValidator(_positive)]
"""One temperature, or one for each replica."""


class MDSettings(Settings):
    """A molecular dynamics run."""

    ensemble: Literal["nve", "nvt", "npt"] = Field("nvt", description="ensemble of the recorded part")
    thermostat: Literal["bussi", "nose-hoover", "langevin"] = Field(
        "bussi",
        description="thermostat of nvt, npt and of equilibration; bussi and nose-hoover leave spectra alone, langevin "
        "widens every line",
    )
    timestep_fs: float = Field(0.5, gt=0, le=10, description="time step, fs")
    temperature_K: Kelvin = Field(300.0, description="temperature, K; several, between commas: one for each replica")
    pressure_GPa: float = Field(0.0, description="pressure of npt, GPa")
    cell: Literal["isotropic", "anisotropic", "full", "lateral"] = Field(
        "isotropic",
        description="what npt changes: isotropic (the volume), anisotropic (lengths of the three cell vectors), full "
        "(lengths and angles), lateral (lengths of the first two; for slabs)",
    )
    thermostat_time_fs: float = Field(500.0, gt=0, description="coupling time of the thermostat, fs")
    barostat_time_fs: float = Field(1000.0, gt=0, description="coupling time of the barostat, fs")
    compressibility_per_GPa: float = Field(
        0.46, gt=0, description="what the barostat takes the compressibility for, GPa^-1 (water; quartz: 0.027)"
    )
    equilibration: Literal["fixed", "auto"] = Field(
        "fixed",
        description="fixed: equilibration_steps; auto: at least as many, until temperature, energy and, in npt, "
        "density have settled",
    )
    equilibration_steps: int = Field(2000, ge=0, description="steps before recording, always with a thermostat")
    equilibration_max_steps: int = Field(40000, ge=1, description="the most steps of an automatic equilibration")
    steps: int = Field(20000, ge=1, description="recorded steps")
    replicas: int = Field(
        1, ge=1, description="independent copies with own velocities and random numbers; at least one per temperature"
    )
    record_stride: int = Field(1, ge=1, description="steps between recorded dipoles and polarizabilities")
    trajectory_stride: int = Field(4, ge=1, description="steps between stored positions and velocities")
    parts: Literal["none", "molecules", "atoms"] = Field(
        "none", description="also record what each molecule or atom contributes to dipole and polarizability"
    )
    skin_A: float = Field(0.5, ge=0, description="skin of the neighbour list, A")
    field_V_per_A: tuple[float, float, float] | None = Field(None, description="static external field, V/A")
    field_table: Path | None = Field(
        None, description="text table of an external field in time: fs, then x, y, z in V/A; 0 fs: recording begins"
    )
    seed: int = Field(0, description="seed of velocities and thermostat")
    engine: Literal["auto", "eager", "compiled", "graph"] = Field(
        "auto",
        description="how steps are made: eager (the reference), compiled (loops compiled once per machine, on the "
        "CPU), graph (whole steps captured, on a GPU); auto measures which is fastest and keeps it",
    )
    processes: CountOrAuto = Field(
        "auto",
        description="processes that several replicas run over, one core each; auto: as many as are faster",
    )
    device: str = Field("auto", description="torch device; auto takes a GPU where there is one")
    dtype: Literal["float32", "float64"] = Field("float32", description="floating-point type of the network")
    eps_inf: float | None = Field(
        None, ge=1, description="high-frequency dielectric constant; None takes the model card's"
    )

    @property
    def temperatures_K(self) -> tuple[float, ...]:  # noqa: N802
        """The temperature, or one for each replica."""
        return self.temperature_K if isinstance(self.temperature_K, tuple) else (self.temperature_K,)

    @property
    def n_replicas(self) -> int:
        """Replicas, at least one for each temperature."""
        return max(self.replicas, len(self.temperatures_K))
