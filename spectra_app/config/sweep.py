"""A sweep over systems, temperatures and replicas: what ``workflows/Snakefile`` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from spectra_app.config.base import Settings
from spectra_app.config.harmonic import HarmonicSettings
from spectra_app.config.md import MDSettings
from spectra_app.config.recipe import harmonic_beside
from spectra_app.config.spectra import SpectraSettings

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
"""Of a folder."""


class SweepSystem(Settings):
    """One system of a sweep: a structure (a composition, a concentration) with a model."""

    model: str = Field("water", description="name in the zoo or folder of a model")
    structure: Path | None = Field(None, description="start structure (any ASE format); None takes the model's own")
    repeat: tuple[int, int, int] = Field((1, 1, 1), description="repetitions of the start structure")
    md: MDSettings = Field(MDSettings(), description="what is other for this system than in 'md' of the sweep")


class SweepSettings(Settings):
    """The file that ``workflows/Snakefile`` reads: every system at every temperature in several runs."""

    systems: dict[Name, SweepSystem] = Field(min_length=1, description="systems by name, which is that of a folder")
    temperatures_K: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1, description="temperatures, K")
    runs: int = Field(
        4, ge=1, description="independent runs of each system at each temperature, with seeds md.seed, md.seed + 1, ..."
    )
    output: Path = Field(Path("results/sweep"), description="folder of all results")
    md: MDSettings = MDSettings()
    spectra: SpectraSettings = SpectraSettings()
    harmonic: HarmonicSettings = HarmonicSettings()
    tasks: tuple[Literal["harmonic", "ir", "raman", "vdos", "dielectric"], ...] = Field(
        ("ir", "raman", "vdos"),
        description="spectra of the runs of a system at a temperature, merged; harmonic: normal modes of each system",
    )
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="wall time of a run, min, before it saves itself; None: a little below the job's runtime",
    )

    @model_validator(mode="after")
    def _one_place_for_temperatures(self) -> Self:
        for section in (self.md, *(system.md for system in self.systems.values())):
            if "temperature_K" in section.model_fields_set:
                raise ValueError("temperatures in temperatures_K only, none under md")
        if len({f"{kelvin:g}" for kelvin in self.temperatures_K}) < len(self.temperatures_K):
            raise ValueError("every temperature once")
        return self

    def md_options(self, system: str, run: int) -> list[str]:
        """Options of ``spectra-app md`` for a run of a system, but for the temperature.

        Args:
            system: its name.
            run: counted from 0.
        """
        chosen = self.systems[system]
        keys = _given(self.md) | _given(chosen.md)
        keys["seed"] = keys.get("seed", 0) + run
        return ["--repeat", *map(str, chosen.repeat), *_words(keys)]

    @property
    def spectra_tasks(self) -> tuple[str, ...]:
        """Tasks that are spectra of runs."""
        return tuple(task for task in self.tasks if task != "harmonic")

    def harmonic_options(self) -> list[str]:
        """Options of ``spectra-app harmonic``: what ``harmonic`` leaves unsaid and ``spectra`` says holds for both."""
        return _words(_given(harmonic_beside(self.harmonic, self.spectra, self.md)))

    def spectra_options(self) -> list[str]:
        """Options of ``spectra-app ir`` and its like."""
        return _words(_given(self.spectra))


def _given(settings: Settings) -> dict[str, Any]:
    """What a section of the file says, as plain values."""
    return settings.model_dump(mode="json", exclude_unset=True)


def _words(keys: dict[str, Any]) -> list[str]:
    """``-s key=value`` for every key; JSON is YAML."""
    return [word for key, value in keys.items() for word in ("-s", f"{key}={json.dumps(value)}")]
