"""How structures for training are sampled and labelled; ``spectra-app label``."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from spectra_app.config.base import Settings
from spectra_app.config.md import Kelvin


def _span(value: Any) -> Any:
    """One positive number, or the two ends of a span, also as text between commas."""
    given = value.split(",") if isinstance(value, str) else value
    ends = list(given) if isinstance(given, list | tuple) else [given]
    try:
        numbers = [float(end) for end in ends]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2) or not all(0.0 < number < 1e3 for number in numbers) or numbers[0] > numbers[-1]:
        raise ValueError("a positive number, or the smallest and the largest one between a comma")
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _counts(value: Any) -> Any:
    """As ``_span``, of whole numbers."""
    span = _span(value)
    ends = span if isinstance(span, tuple) else (span,)
    if any(end != int(end) for end in ends):
        raise ValueError("a whole number, or the smallest and the largest one between a comma")
    return int(span) if not isinstance(span, tuple) else tuple(int(end) for end in span)


Span = Annotated[float | tuple[float, float], BeforeValidator(_span)]
"""A number, or the two that it lies between."""

Counts = Annotated[int | tuple[int, int], BeforeValidator(_counts)]
"""A number of things, or the least and the largest one."""

CLUSTER_KEYS = ("cluster_molecules", "cluster_gap_A", "cluster_ions")  # of LabelSettings, beside ``clusters``


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
    clusters: int | None = Field(
        None,
        ge=1,
        description="label so many clusters of what was kept instead: molecules turned at random, at distances at "
        "which only electrostatics acts",
    )
    cluster_molecules: Counts = Field(2, description="molecules of a cluster; 1,4: between one and four")
    cluster_gap_A: Span = Field(
        (2.0, 8.0),
        description="distance of the nearest atoms of two molecules, A; 3,8: anywhere between; mostly beyond the "
        "model's cutoff_A",
    )
    cluster_ions: tuple[str, ...] = Field(
        (), description="an ion more in each cluster, several in turn: Cl-, Na+, Mg2+; none: without"
    )
    waves: int | None = Field(
        None,
        ge=1,
        description="so many copies of what was kept, beside it, with waves of displacements along the cell (pairs: "
        "longitudinal, transverse), which say how large Born charges are",
    )
    wave_amplitude_A: float = Field(
        0.2, gt=0, le=1, description="largest amplitude of a wave, A; each element and kind of molecule has its own"
    )
    select: int | None = Field(
        None, ge=1, description="keep only so many of all these, the most different (farthest-point selection)"
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
        if not self.originals and not (self.md or self.rattle_A or self.strain_percent or self.waves):
            raise ValueError("rattle_A, strain_percent, waves or md beside originals: false: alone it leaves nothing")
        given = [name for name in CLUSTER_KEYS if getattr(self, name) != type(self).model_fields[name].default]
        if self.clusters is None and given:
            raise ValueError(f"clusters, a number of them, beside {given[0]}")
        if self.clusters is not None and self.cluster_sizes[1] == 1 and not self.cluster_ions:
            raise ValueError("cluster_molecules of two at least, or cluster_ions beside one: alone it is no cluster")
        return self

    @property
    def cluster_sizes(self) -> tuple[int, int]:
        """The least and the largest number of molecules of a cluster."""
        both = self.cluster_molecules
        return both if isinstance(both, tuple) else (both, both)

    @property
    def cluster_gaps_A(self) -> tuple[float, float]:  # noqa: N802
        """The least and the largest distance of the nearest atoms of two molecules, A."""
        both = self.cluster_gap_A
        return both if isinstance(both, tuple) else (both, both)

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
