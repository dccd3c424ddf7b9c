"""ASE's molecular dynamics with our calculator, into a run file.

Everything of ASE runs with ``atoms.calc = model.calculator()``; a recorder attached to a dynamics keeps the dipoles and
polarizabilities that the calculator has at hand anyway.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import units

from spectra_app.couplings.recording import CoupledRun, Integrator, RunRecorder, check_output
from spectra_app.errors import ConfigError
from spectra_app.structure.system import from_ase

_INTEGRATORS: dict[str, Integrator] = {
    "VelocityVerlet": "velocity-verlet",
    "NoseHooverChainNVT": "velocity-verlet",
    "Bussi": "velocity-verlet",
    "LangevinBAOAB": "langevin-baoab",
}
"""Dynamics of ASE whose effect on frequencies is known exactly."""


class AseRecorder:
    """Records the frames of a dynamics of ASE: ``with AseRecorder(dynamics, "run.h5"): dynamics.run(1000)``.

    Args:
        dynamics: of ``ase.md``, whose atoms have our calculator.
        output: run file.
        interval: steps between recorded frames.
        temperature_K: target of the thermostat, K; None leaves it to the velocities.
        positions: also store positions and velocities.
        overwrite: replace an existing file.

    Raises:
        ConfigError: another calculator, one with a field, or an optimizer.
        TrajectoryError: the file exists.
    """

    def __init__(
        self,
        dynamics: Any,
        output: Path | str,
        interval: int = 1,
        temperature_K: float | None = None,
        positions: bool = True,
        overwrite: bool = False,
    ) -> None:
        check_output(output, overwrite)
        from spectra_app.potentials.calculator import SpectraCalculator

        atoms = dynamics.atoms
        if not isinstance(getattr(atoms, "calc", None), SpectraCalculator):
            raise ConfigError(
                "AseRecorder",
                got=f"calculator {type(getattr(atoms, 'calc', None)).__name__}",
                wanted="atoms with a calculator of ours",
                todo="Say atoms.calc = model.calculator() before the dynamics is made",
            )
        if atoms.calc.has_field:
            raise ConfigError("AseRecorder", got="an external field", wanted="none", todo="Use spectra-app md --field")
        if not hasattr(dynamics, "dt"):
            raise ConfigError(
                "AseRecorder", got=type(dynamics).__name__, wanted="a dynamics of ase.md with a time step"
            )
        self._dynamics, self._atoms, self._output, self._overwrite = dynamics, atoms, Path(output), overwrite
        self._interval, self._temperature_K, self._positions = interval, temperature_K, positions
        self._recorder: RunRecorder | None = None
        self._last_step: int | None = None
        dynamics.attach(self, interval=interval)

    @property
    def n_frames(self) -> int:
        """Frames recorded so far."""
        return 0 if self._recorder is None else self._recorder.n_frames

    def __call__(self) -> None:
        """Record the present step; called by ASE."""
        step = int(self._dynamics.nsteps)
        if step == self._last_step:
            return  # asked for once more
        atoms, calc = self._atoms, self._atoms.calc
        atoms.get_forces()  # nothing where they are known
        system = from_ase(atoms, device=calc.model.device)
        if self._recorder is None:
            cell = None if not bool(system.periodic[0]) else system.cell[0].cpu().numpy()
            run = CoupledRun(
                program="ase",
                numbers=atoms.numbers.copy(),
                masses_amu=atoms.get_masses(),
                timestep_fs=float(self._dynamics.dt / units.fs),
                record_stride=self._interval,
                cell_A=cell,
                slab=system.slab is not None,
                positions=self._positions,
                temperature_K=self._temperature_K,
                integrator=_INTEGRATORS.get(type(self._dynamics).__name__),
                configuration={"dynamics": type(self._dynamics).__name__},
            )
            self._recorder = RunRecorder(self._output, calc.model, run, self._overwrite)
        velocities = np.asarray(atoms.get_velocities()) * units.fs
        self._recorder.add(step, system, calc.prediction, velocities)
        self._last_step = step

    def finish(self) -> None:
        """Write the rest and mark the run as complete."""
        if self._recorder is not None:
            self._recorder.finish()

    def __enter__(self) -> AseRecorder:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._recorder is not None:
            if kind is None:
                self._recorder.finish()
            self._recorder.close()
