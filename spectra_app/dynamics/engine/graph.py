"""Engine ``graph``: whole steps with static shapes that read nothing back, captured as CUDA graphs.

A step of some hundred atoms is a thousand small kernels; launched one by one they take many times as long as they run.
Captured once and replayed, integrator, thermostat, model, response and the recorded row take the time of the kernels.
There are up to four graphs: with and without thermostat, with and without a recorded row.

What a step needs to know is static: room for neighbours, a number of iterations, random numbers that were drawn before.
Every step writes by how much it passed a limit; the host looks at these once in a block of steps, takes those before
the first that did, makes room and goes on from there.  Which steps pass a limit depends on the trajectory alone, not on
how it was cut into blocks, so that a restart repeats it bit for bit.

Without CUDA the same steps run uncaptured: that is how they are tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor

from spectra_app.config import MDSettings
from spectra_app.dynamics.engine.capture import Captured
from spectra_app.dynamics.engine.eager import StepByStep
from spectra_app.dynamics.engine.ring import StateRing
from spectra_app.dynamics.engine.static_forces import Room, StaticForces
from spectra_app.dynamics.engine.step_noise import StepNoise, skip
from spectra_app.dynamics.engine.steps import Advanced, Flags
from spectra_app.dynamics.ensembles import Stepper, make_stepper
from spectra_app.dynamics.failures import hold
from spectra_app.dynamics.forces import MAX_MOVE_A, PotentialLike
from spectra_app.dynamics.groups import GROUP_ATOMS
from spectra_app.dynamics.predictor import N_KEPT
from spectra_app.dynamics.recorder import Rows
from spectra_app.dynamics.split_recorder import AnyRecorder
from spectra_app.dynamics.state import MDState, Particles
from spectra_app.dynamics.streams import Streams
from spectra_app.structure.loops import only_torch
from spectra_app.structure.system import System

MOST_STEPS = 16  # in a block: states of so many are kept, 0.4 kB per atom each
_FEWEST_STEPS = 4
_ENSEMBLES = ("nve", "nvt")
_THERMOSTATS = ("bussi", "langevin", "nose-hoover")


def why_not_static(system: System, settings: MDSettings, field: bool, parts: bool) -> str | None:
    """What of a run this engine cannot make, in words; None: it can make all.

    Args:
        system: the replicas.
        settings: ensemble and thermostat.
        field: whether there is an external field.
        parts: whether contributions of parts are recorded.
    """
    if settings.ensemble not in _ENSEMBLES:
        return f"a changing cell (md.ensemble {settings.ensemble})"
    if settings.thermostat not in _THERMOSTATS:
        return f"md.thermostat {settings.thermostat}"
    if field:
        return "an external field"
    if parts:
        return "contributions of parts (md.parts)"
    return "a slab" if system.slab is not None else None


class Kind(NamedTuple):
    """Of a step: whether the thermostat acts, and whether it records a row."""

    thermostat: bool
    recorded: bool


class GraphSteps:
    """Steps in blocks; see the module and ``StepEngine``.

    Args:
        model: the potential.
        particles: the replicas.
        settings: of the run, of those that can be static.
        recorder: tells what is recorded and how a row is made.
        is_recorded: whether a step, counted from the very start, is recorded.
        equilibration: gives the steps before recording begins, as far as is known.
        eager: makes the steps that have no static shape: those before a predictor has its history, the last one of the
            equilibration, and those that have to say what went wrong.
        group_atoms: most atoms that are evaluated together.

    Attributes:
        steps_at_once: see ``StepEngine``.
        forces: tables and their room.
        n_rebuilds: tables that were made.
        n_static: steps that were made with static shapes.
    """

    steps_at_once = MOST_STEPS

    def __init__(
        self,
        model: PotentialLike,
        particles: Particles,
        settings: MDSettings,
        recorder: AnyRecorder,
        is_recorded: Callable[[int], bool],
        equilibration: Callable[[], int],
        eager: StepByStep,
        group_atoms: int = GROUP_ATOMS,
    ) -> None:
        self._particles, self._settings, self._recorder = particles, settings, recorder
        self._is_recorded, self._equilibration, self._eager = is_recorded, equilibration, eager
        self._iterates = bool(getattr(model, "iterates", False))
        system, h = particles.system, settings.timestep_fs
        self.forces = StaticForces(model, system, settings.skin_A, h, h * settings.record_stride, group_atoms)
        device, limit = system.positions.device, 0.5 * settings.skin_A
        self._limits = (limit * limit, (limit + MAX_MOVE_A) ** 2)  # A^2
        self._at = torch.zeros(1, dtype=torch.int64, device=device)
        # [step, (largest move squared, excess of the fields, of the answers)]
        self._passed = torch.zeros(MOST_STEPS, 3, dtype=torch.float64, device=device)
        row = (MOST_STEPS, particles.n_replicas, recorder.n_columns)
        self._columns = torch.zeros(row, dtype=torch.float64, device=device)
        self._reference = torch.zeros_like(system.positions)
        self._filled: Tensor | None = None  # reference positions of the state whose tables these are
        self._ring: StateRing | None = None
        self._noise: dict[bool, StepNoise] = {}
        self._steps: dict[Kind, Captured] = {}
        self._eager_once, self._unconverged = False, (False, False)
        self._since, self._between = 0, MOST_STEPS  # steps since the last table, and usually between two
        self.n_rebuilds = self.n_static = 0

    def prepare(self, state: MDState) -> MDState:
        """See ``StepEngine``."""
        self._steps = {}  # they hold what is the same in all states: which replicas rest
        return self._fill(state)

    def advance(self, state: MDState, n_steps: int) -> Advanced:
        """See ``StepEngine``."""
        wanted = min(n_steps, MOST_STEPS, max(_FEWEST_STEPS, self._between - self._since))
        n_steps = 0 if self._eager_once else self._static_steps(state, wanted)
        if n_steps == 0:
            self._eager_once = False
            return self._eager.advance(state, 1)
        if state.reference_positions is not self._filled:
            state = self._fill(state)
        if self._ring is None or not self._ring.fits(state):
            self._ring, self._steps = StateRing(state, MOST_STEPS), {}
        kinds = [self._kind(state.step + place) for place in range(n_steps)]
        before = [stream.get_state() for stream in state.streams]
        for place, kind in enumerate(kinds):
            self._noise_of(kind, state).draw(state.streams, place)
        self._ring.load(state)
        for kind in kinds:
            if kind not in self._steps:
                self._steps[kind] = Captured(self._step_of(kind, state), self._at)
        self._at.zero_()
        for kind in kinds:
            self._steps[kind]()
        good, flags = self._look(self._passed[:n_steps].tolist())  # the one thing that is read back
        if good < n_steps:
            for stream, drawn in zip(state.streams, before, strict=True):
                stream.set_state(drawn)
            skip([self._noise_of(kind, state) for kind in kinds[:good]], state.streams)
        self._since, self.n_static = self._since + good, self.n_static + good
        return Advanced(self._state_after(state, good), self._rows(state, good), flags)

    def rebuild(self, state: MDState, flags: Flags) -> MDState:
        """See ``StepEngine``."""
        if flags.failed or (flags.moved and state.reference_positions is state.positions):
            self._eager_once = True  # which says what is wrong, or makes tables in the middle of its step
        elif flags.moved:
            state = self._fill(state._replace(reference_positions=state.positions, reference_cell=state.cell))
        elif flags.unconverged:
            room = Room(*state.room)
            answers = room.answers + int(self._unconverged[1])
            fields = max(room.fields + int(self._unconverged[0]), answers)
            self.forces.room = room._replace(fields=fields, answers=answers)
            self._steps = {}
            state = state._replace(room=tuple(self.forces.room))
        return state

    def _static_steps(self, state: MDState, most: int) -> int:
        """How many of the next steps have static shapes: a function of the state alone."""
        has_fields = not self._iterates or (state.fields is not None and len(state.fields) == N_KEPT)
        has_answers = not self._iterates or (state.answers is not None and len(state.answers) == N_KEPT)
        for place in range(most if has_fields else 0):
            step = state.step + place + 1
            if step == self._equilibration() or (self._is_recorded(step) and not has_answers):
                return place
        return most if has_fields else 0

    def _kind(self, step: int) -> Kind:
        """Of the step that follows ``step``."""
        settings = self._settings
        thermostat = step < self._equilibration() or settings.ensemble != "nve"
        return Kind(thermostat, self._is_recorded(step + 1))

    def _noise_of(self, kind: Kind, state: MDState) -> StepNoise:
        if kind.thermostat not in self._noise:
            stepper = partial(make_stepper, self._settings, self._particles, thermostat=kind.thermostat)
            self._noise[kind.thermostat] = StepNoise(lambda evaluate: stepper(evaluate=evaluate), state, MOST_STEPS)
        return self._noise[kind.thermostat]

    def _fill(self, state: MDState) -> MDState:
        """Tables of the state's reference positions."""
        before, given = self.forces.room, Room(*state.room) if state.room else None
        room = self.forces.fill(state.reference_positions, given)
        if room != before:
            self._steps = {}
        self._reference.copy_(state.reference_positions)
        self._filled = state.reference_positions
        if self._since:
            self._between = max(_FEWEST_STEPS, round(0.5 * (self._between + self._since)))
        self._since, self.n_rebuilds = 0, self.n_rebuilds + 1
        return state._replace(room=tuple(room))

    def _step_of(self, kind: Kind, like: MDState) -> Callable[[], None]:
        """A step of a kind; what it needs of the host is made now, and not while it is captured."""
        excess: list[Tensor] = []
        evaluate = self.forces.evaluator(kind.recorded, excess.append)
        stepper = make_stepper(self._settings, self._particles, evaluate, kind.thermostat)
        return partial(self._step, kind, like, stepper, self._noise_of(kind, like), excess)

    def _step(self, kind: Kind, like: MDState, stepper: Stepper, noise: StepNoise, excess: list[Tensor]) -> None:
        """One step on the device: from the place of the counter to the next one."""
        assert self._ring is not None
        excess.clear()
        drawn = cast(Streams, noise.at(self._at))
        with only_torch():
            state = like._replace(**self._ring.read(self._at), streams=drawn)
            moved, prediction = stepper(state)
            moved = hold(state, moved, self._particles)
            far = moved.positions - self._reference
            passed = (far * far).sum(1).amax().expand(1)
            over = excess[0].double() if excess else passed.new_zeros(2)
            self._passed.index_copy_(0, self._at, torch.cat([passed, over])[None])
            if kind.recorded:
                self._columns.index_copy_(0, self._at, self._recorder.columns(moved, prediction)[None])
            self._at.add_(1)
            self._ring.write(self._at, moved)

    def _look(self, passed: list[list[float]]) -> tuple[int, Flags]:
        """How many steps passed no limit, and which one the next did."""
        moved, nowhere = self._limits
        for good, (far, fields, answers) in enumerate(passed):
            if far <= moved and fields <= 1.0 and answers <= 1.0:
                continue
            failed = not (far <= nowhere and math.isfinite(fields) and math.isfinite(answers))
            self._unconverged = (fields > 1.0, answers > 1.0)
            return good, Flags(far > moved, fields > 1.0 or answers > 1.0, failed)
        return len(passed), Flags()

    def _state_after(self, state: MDState, n_steps: int) -> MDState:
        """The state after some steps of the block; no later block changes it."""
        if n_steps == 0:
            return state
        assert self._ring is not None
        n_answers = 0 if state.answers is None else len(state.answers)
        return state._replace(**self._ring.taken(n_steps, n_answers), step=state.step + n_steps)

    def _rows(self, state: MDState, n_steps: int) -> Rows:
        """What the first steps of the block have to record; valid until the next block."""
        assert self._ring is not None
        begin = state.step + 1 - self._equilibration()
        steps = [step for step in range(begin, begin + n_steps) if self._recorder.is_row(step)]
        frames = [step for step in range(begin, begin + n_steps) if self._recorder.is_frame(step)]
        rows = Rows()
        if steps:
            rows = rows._replace(steps=steps, columns=self._columns[_places(steps, begin)])
        if frames:
            places = _places(frames, begin - 1)
            rows = rows._replace(
                frames=frames,
                positions=self._ring.frames("positions", places),
                velocities=self._ring.frames("velocities", places),
                cells=state.cell.expand(len(frames), -1, -1, -1),
            )
        return rows


def _places(steps: list[int], begin: int) -> slice:
    """Where equidistant steps stand behind ``begin``."""
    stride = steps[1] - steps[0] if len(steps) > 1 else 1
    return slice(steps[0] - begin, steps[-1] - begin + 1, stride)
