"""How structures for training are sampled and labelled; ``spectra-app label``."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from spectra_app.config.base import Settings
from spectra_app.config.md import Kelvin


class LabelSettings(Settings):
    """Which structures are labelled, and how; lengths in A, energies in eV."""

    rattle_A: float | None = Field(
        None, gt=0, le=1, description="copies with every coordinate moved by normal noise of this width, A"
    )
    strain_percent: float | None = Field(
        None, gt=0, le=30, description="copies with a random strain of up to this, per cent (periodic directions only)"
    )
    copies: int = Field(10, ge=1, description="copies of each structure with noise or strain")
    md: bool = Field(False, description="frames of molecular dynamics from each structure")
    sampler: str | None = Field(
        None, description="what moves the atoms there: a model or 'ase:...'; without it the calculator itself"
    )
    temperature_K: Kelvin = Field(300.0, description="of dynamics, K; several, between commas: a run at each")
    timestep_fs: float = Field(0.5, gt=0, le=10, description="of dynamics, fs")
    steps: int = Field(1000, ge=1, description="of dynamics, from each structure at each temperature")
    stride: int = Field(50, ge=1, description="steps between two frames that are kept")
    originals: bool = Field(True, description="label the structures themselves too, beside what is made of them")
    select: int | None = Field(
        None, ge=1, description="label only so many of all these, the most different (farthest-point selection)"
    )
    charge: float | None = Field(None, description="total charge, e; without it 'charge' of each frame, or 0")
    multiplicity: int | None = Field(
        None, ge=1, description="spin multiplicity 2S+1; without it 'multiplicity' or 'spin' of each frame"
    )
    processes: int = Field(1, ge=1, description="frames that are computed at a time, a process and a core for each")
    check_forces: bool = Field(
        True, description="compare a force with a difference of energies first (two calculations more)"
    )
    max_force_eV_per_A: float = Field(
        50.0, gt=0, description="frames with a larger force on an atom are left out, eV/A"
    )
    max_failed: float = Field(
        0.2, ge=0, le=1, description="stop when a larger share of all frames has failed (and three at least)"
    )
    timeout_minutes: float | None = Field(None, gt=0, description="give a frame up after this time, minutes")
    seed: int = Field(0, ge=0, description="of noise, strain and velocities")

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        if self.md and self.stride > self.steps:
            raise ValueError(f"a stride of at most the {self.steps} steps: no frame would be kept")
        if not self.originals and not (self.md or self.rattle_A or self.strain_percent):
            raise ValueError("rattle_A, strain_percent or md beside originals: false, which alone leaves no structure")
        return self

    @property
    def temperatures_K(self) -> tuple[float, ...]:  # noqa: N802
        """The temperature, or each of several."""
        return self.temperature_K if isinstance(self.temperature_K, tuple) else (self.temperature_K,)


class ActiveSettings(Settings):
    """How the frames of runs that a model knows least are picked, labelled and learned."""

    rounds: int = Field(1, ge=1, description="rounds of: pick, label, train, dynamics with the new model")
    per_round: int = Field(10, ge=1, description="frames labelled in a round, at most")
    beyond: float = Field(
        1.0,
        gt=0,
        description="pick frames with an atom whose extrapolation is above this (1: edge of the training data)",
    )
    wreck: float = Field(
        10.0, gt=0, description="leave frames out that are farther outside than this, where there are others"
    )
    alike: float = Field(
        0.5,
        ge=0,
        description="stop picking when nothing is farther than this from what is picked (1: as far as the edge is from "
        "the middle of the training data)",
    )
    held_out: float = Field(0.2, ge=0, lt=1, description="share of the new labels that are not trained on but tested")
    epochs: int = Field(50, ge=1, description="passes over old and new frames in the training of a round")
    train: bool = Field(True, description="learn the labels; otherwise they are only made")
