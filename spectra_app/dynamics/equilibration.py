"""The equilibration of a run: how long it lasts, and whether temperature, energy and density settled in it.

Every ``SAMPLE_STEPS`` steps the temperature, the potential energy per atom and, at constant pressure, the density (of a
slab: the area per atom) of every replica are noted; means over the replicas that run are judged (``settling``).  They
have settled when

- the common origin t_0, the latest of the best origins of all of them, lies in the first third of what was run;
- after it each has at least 10 independent values and no slope of more than two standard errors;
- the temperature is that of the bath within three standard errors or 2 %.

``md.equilibration: auto`` asks every ``LOOK_STEPS`` steps, from ``equilibration_steps`` on, and begins to record with
the step after the first yes, at the latest after ``equilibration_max_steps``.  A fixed length is judged at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from spectra_app.config import MDSettings
from spectra_app.dynamics.settling import (
    ENOUGH_VALUES,
    FEWEST_SAMPLES,
    LATEST_ORIGIN,
    Rest,
    best_origin,
    judge_rest,
)
from spectra_app.dynamics.state import MDState, Particles, kinetic_energy, sum_over_atoms, temperature
from spectra_app.errors import ConfigError
from spectra_app.units import G_PER_CM3_PER_AMU_PER_A3

SAMPLE_STEPS = 10  # 5 fs: several values per vibration are no gain
LOOK_STEPS = 100
TARGET_SIGMAS, TARGET_FRACTION = 3.0, 0.02  # of the bath's temperature: 1 % is the error of a time step of 1 fs

Verdict = Literal["settled", "drifting", "undecided"]


@dataclass(frozen=True)
class SettledQuantity:
    """One quantity after the origin.

    Attributes:
        name: "temperature", "potential energy", "density" or "area per atom".
        unit: of mean and error.
        mean: over replicas and time.
        error: standard error of the mean.
        drift_per_ps: slope, unit per ps.
        drift_error_per_ps: its standard error.
        independent_values: that the mean rests on.
    """

    name: str
    unit: str
    mean: float
    error: float
    drift_per_ps: float
    drift_error_per_ps: float
    independent_values: float


@dataclass(frozen=True)
class EquilibrationReport:
    """How an equilibration ended.

    Attributes:
        steps: its length.
        timestep_fs: time step, fs.
        verdict: whether everything settled; "undecided" where it was too short to tell.
        settled_at_step: t_0; None unless settled.
        reason: what has not settled; empty where everything has.
        quantities: after t_0; empty for an equilibration of a few steps.
    """

    steps: int
    timestep_fs: float
    verdict: Verdict
    settled_at_step: int | None
    reason: str
    quantities: tuple[SettledQuantity, ...]

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> EquilibrationReport:
        """From ``asdict``, as checkpoints and run files keep it."""
        quantities = tuple(SettledQuantity(**quantity) for quantity in content["quantities"])
        return cls(**{**content, "quantities": quantities})

    @property
    def sentence(self) -> str:
        """For a person, in one line."""
        duration = f"{self.steps} steps ({self.steps * self.timestep_fs / 1000.0:.3g} ps)"
        means = ", ".join(_with_error(quantity) for quantity in self.quantities)
        if self.verdict == "settled":
            return f"equilibration: settled at step {self.settled_at_step} of {duration}: {means}"
        word = "not settled" if self.verdict == "drifting" else "too short to tell whether it settled"
        return f"equilibration: {word} after {duration}: {self.reason}" + (f"; {means}" if means else "")


class Equilibration:
    """Watches the equilibration of one run, and ends it.

    Args:
        settings: how long it may last.
        particles: the replicas.

    Raises:
        ConfigError: a longest length below the shortest.

    Attributes:
        steps: before recording begins; of ``auto`` the most there can be until it is decided.
        report: how it ended; None before, and where there was none.
    """

    def __init__(self, settings: MDSettings, particles: Particles) -> None:
        self._settings, self._particles = settings, particles
        self._automatic = settings.equilibration == "auto"
        if self._automatic and settings.equilibration_max_steps < settings.equilibration_steps:
            raise ConfigError(
                "md.equilibration_max_steps",
                got=settings.equilibration_max_steps,
                wanted=f"at least md.equilibration_steps, {settings.equilibration_steps}",
            )
        self.steps = settings.equilibration_max_steps if self._automatic else settings.equilibration_steps
        self.report: EquilibrationReport | None = None
        self._samples: list[Tensor] = []  # [quantity, replica] on the device
        self._watched = 0
        self._mass = sum_over_atoms(particles.masses, particles)[:, 0]  # [replica]
        self._atoms = torch.tensor(particles.sizes, dtype=torch.float64, device=self._mass.device)

    def watch(self, state: MDState) -> None:
        """Note a state of the equilibration; nothing is read back but when it is judged.

        Called after every step, or at least after every one of ``next_sample``.

        Args:
            state: after a step.
        """
        if self.report is not None or state.step > self.steps or state.step <= self._watched:
            return
        self._watched = state.step  # an engine may give one state twice
        if state.step % SAMPLE_STEPS == 0:
            self._samples.append(self._quantities(state))
        if state.step == self.steps:
            self.report = self._judge(state)
        elif self._automatic and state.step >= self._settings.equilibration_steps and state.step % LOOK_STEPS == 0:
            report = self._judge(state)
            if report.verdict == "settled":
                # The next step is the last one: it is evaluated as one that is recorded.
                self.steps = state.step + 1
                self.report = replace(report, steps=self.steps)
        if self.report is not None:
            self._samples = []

    def next_sample(self, step: int) -> int:
        """The step after which ``watch`` wants to be called next, or the end of the equilibration."""
        return min(step - step % SAMPLE_STEPS + SAMPLE_STEPS, self.steps)

    def carry(self) -> dict[str, Any]:
        """What a restart needs: plain tensors and numbers."""
        return {
            "steps": self.steps,
            "watched": self._watched,
            "samples": torch.stack(self._samples).cpu() if self._samples else None,
            "report": None if self.report is None else asdict(self.report),
        }

    def restore(self, carry: dict[str, Any] | None) -> None:
        """Continue from ``carry``; None: a checkpoint of an earlier version, which noted nothing."""
        if carry is None:
            return
        self.steps, self._watched = carry["steps"], carry["watched"]
        samples = carry["samples"]
        self._samples = [] if samples is None else list(samples.to(self._mass.device).unbind())
        self.report = None if carry["report"] is None else EquilibrationReport.from_dict(carry["report"])

    @property
    def _names(self) -> tuple[tuple[str, str], ...]:
        always = (("temperature", "K"), ("potential energy", "eV/atom"))
        if self._settings.ensemble != "npt":
            return always
        slab = self._particles.system.slab is not None
        return (*always, ("area per atom", "A^2") if slab else ("density", "g/cm^3"))

    def _quantities(self, state: MDState) -> Tensor:
        """[quantity, replica], in the order of ``_names``."""
        kelvin = temperature(kinetic_energy(state.velocities, self._particles), self._particles)
        found = [kelvin, state.energy / self._atoms]
        if self._settings.ensemble == "npt" and self._particles.system.slab is not None:
            found.append(torch.linalg.cross(state.cell[:, 0], state.cell[:, 1]).norm(dim=1) / self._atoms)
        elif self._settings.ensemble == "npt":
            found.append(self._mass / torch.linalg.det(state.cell).abs() * G_PER_CM3_PER_AMU_PER_A3)
        return torch.stack(found)

    def _judge(self, state: MDState) -> EquilibrationReport:
        """What the samples show; one host synchronisation.

        Args:
            state: the last one, which knows the replicas at rest.
        """
        step, timestep = state.step, self._settings.timestep_fs
        if len(self._samples) < FEWEST_SAMPLES:
            reason = f"fewer than {FEWEST_SAMPLES * SAMPLE_STEPS} steps"
            return EquilibrationReport(step, timestep, "undecided", None, reason, ())
        values = torch.stack(self._samples).cpu().numpy()  # [sample, quantity, replica]
        running = np.ones(values.shape[2], dtype=bool) if state.resting is None else ~state.resting.cpu().numpy()
        series = values[:, :, running].mean(axis=2).T  # [quantity, sample]
        origin = max(best_origin(row) for row in series)
        rests = [judge_rest(row[origin:]) for row in series]
        per_ps = 1000.0 / (SAMPLE_STEPS * timestep)
        quantities = tuple(
            SettledQuantity(
                name, unit, rest.mean, rest.error, rest.line.slope * per_ps, rest.line.error * per_ps, rest.n_effective
            )
            for (name, unit), rest in zip(self._names, rests, strict=True)
        )
        verdict, reason = self._verdict(rests, quantities, origin / series.shape[1], running)
        # Samples stand at steps SAMPLE_STEPS, 2 SAMPLE_STEPS, ...
        at = (origin + 1) * SAMPLE_STEPS if verdict == "settled" else None
        return EquilibrationReport(step, timestep, verdict, at, reason, quantities)

    def _verdict(
        self, rests: Sequence[Rest], quantities: Sequence[SettledQuantity], begins: float, running: np.ndarray
    ) -> tuple[Verdict, str]:
        """The verdict, and why it is not better."""
        for rest, quantity in zip(rests, quantities, strict=True):
            if rest.drifts:
                return "drifting", f"{quantity.name} still drifting by {_drift(quantity)}"
        targets = np.broadcast_to(np.array(self._settings.temperatures_K), running.shape)
        target, kelvin = float(targets[running].mean()), quantities[0]
        off = abs(kelvin.mean - target)
        if off > max(TARGET_SIGMAS * kelvin.error, TARGET_FRACTION * target):
            return "drifting", f"temperature {kelvin.mean:.1f} +- {kelvin.error:.1f} K is not {target:g} K"
        for rest, quantity in zip(rests, quantities, strict=True):
            if rest.n_effective < ENOUGH_VALUES:
                values = f"{quantity.independent_values:.0f} independent values, {ENOUGH_VALUES:.0f} wanted"
                return "undecided", f"{quantity.name} has {values}"
            if not rest.steady:
                return "undecided", f"{quantity.name} may still drift by {_drift(quantity)}"
        if begins > LATEST_ORIGIN:
            return "undecided", f"it changed during the first {100.0 * begins:.0f} %"
        return "settled", ""


def _with_error(quantity: SettledQuantity) -> str:
    """Such as ``298.2 +- 1.1 K``, the error with two digits."""
    digits = max(0, 1 - int(np.floor(np.log10(quantity.error)))) if quantity.error > 0.0 else 4
    label = "" if quantity.name == "temperature" else f"{quantity.name} "
    return f"{label}{quantity.mean:.{digits}f} +- {quantity.error:.{digits}f} {quantity.unit}"


def _drift(quantity: SettledQuantity) -> str:
    """Such as ``-1.3 +- 0.2 meV/atom/ps``."""
    factor, unit = (1000.0, "meV/atom") if quantity.unit == "eV/atom" else (1.0, quantity.unit)
    return f"{factor * quantity.drift_per_ps:.2g} +- {factor * quantity.drift_error_per_ps:.1g} {unit}/ps"
