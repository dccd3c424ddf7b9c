"""Our potential in TorchSim (https://torchsim.github.io/torch-sim): batched dynamics and optimizers, on one device.

TorchSim wraps positions into the cell at every step; dipoles here are those of positions that are followed in time, and
do not jump.  Its states are float64 whatever the dtype of the network, as in our own dynamics.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spectra_app.couplings.evaluator import Evaluator
from spectra_app.couplings.recording import CoupledRun, Integrator, RunRecorder, check_output
from spectra_app.dynamics.forces import PotentialLike, PredictionLike
from spectra_app.errors import ConfigError, MissingExtraError
from spectra_app.structure.distances import check_distances
from spectra_app.structure.system import System, check_structure
from spectra_app.units import FORCE_TO_ACCELERATION

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.trajectory import TrajectoryReporter
except ImportError:
    raise MissingExtraError("torch-sim-atomistic", "torchsim") from None

_FAR = 0.4  # of the cell between two calls: the image is ambiguous, and the structure rather another one
_CHEAPER_ALWAYS = 10  # stride up to which polarizabilities of every step (10% each) cost less than a second call


class _Seen(NamedTuple):
    """One call: positions as TorchSim has them, the system with positions followed in time, what the model gave."""

    positions: Tensor
    system: System
    prediction: PredictionLike
    with_alpha: bool


class TorchSimModel(ModelInterface):  # type: ignore[misc]
    """A model for ``torch_sim.integrate``, ``optimize`` and ``static``.

    Outputs, TorchSim's units (eV, A, e): energy [system], forces [atom, xyz], stress [system, xyz, xyz] (zero for open
    structures), dipole [system, xyz] (e A, physical, continuous along a run) and, where asked for, polarizability
    [system, xyz, xyz] (e^2 A^2/eV, physical).

    Args:
        model: from ``load_model``.
        stress: compute stresses.
        polarizability: compute polarizabilities in every call; a ``TorchSimRecorder`` sees to it itself.
        interval_fs: time step of dynamics, fs, where each call follows the last one in time: self-consistent response
            then begins with what the last steps foretell.
        charge_e: total charge of every system, e.
        skin_A: extra range of the neighbour list, A.
        engine: see ``dynamics.engine.choose_engine``.
    """

    def __init__(
        self,
        model: PotentialLike,
        *,
        stress: bool = True,
        polarizability: bool = False,
        interval_fs: float | None = None,
        charge_e: float = 0.0,
        skin_A: float = 0.5,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        self.__dict__["potential"] = model  # no submodule: TorchSim shall not cast the network to float64
        self._device, self._dtype = model.device, torch.float64
        self._compute_forces, self._compute_stress = True, stress
        self._memory_scales_with = "n_atoms_x_density"
        self.polarizability, self._charge_e = polarizability, charge_e
        self._evaluate = Evaluator(model, skin_A, engine, interval_fs=interval_fs)
        self._last: _Seen | None = None

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Energy, forces, stress and the responses of all systems of a state.

        Args:
            state: ``torch_sim.SimState``, or a dictionary of its fields.

        Raises:
            ConfigError: a state that is periodic along some directions only.
            StructureError: see ``Evaluator``; lengths that are not in A.
        """
        seen = self.see(state, self.polarizability)
        prediction, system, scale = seen.prediction, seen.system, self.potential.scale
        assert prediction.forces is not None
        found = {
            "energy": prediction.energy,
            "forces": prediction.forces,
            "dipole": scale.vectors(prediction.dipole.to(system.cell), system),
        }
        if self._compute_stress:
            stress = prediction.stress
            found["stress"] = torch.zeros_like(system.cell) if stress is None else stress
        if seen.with_alpha:
            found["polarizability"] = scale.tensors(prediction.polarizability.to(system.cell), system)
        return {name: value.to(self._dtype) for name, value in found.items()}

    def see(self, state: Any, polarizability: bool) -> _Seen:
        """The model at a state; not evaluated anew where the last call had these positions.

        Args:
            state: of TorchSim.
            polarizability: is needed.
        """
        last, system = self._last, self._system(state)
        if last is not None and torch.equal(last.positions, system.positions) and last.with_alpha >= polarizability:
            return last
        followed = self._followed(system)
        stress = self._compute_stress and bool(system.periodic.all())
        prediction = self._evaluate(followed, stress=stress, polarizability=polarizability)
        self._last = _Seen(system.positions.clone(), followed, prediction, polarizability)
        return self._last

    def _system(self, state: Any) -> System:
        get: Callable[[str], Any] = state.get if isinstance(state, dict) else lambda name: getattr(state, name, None)
        positions, numbers = get("positions").detach().double(), get("atomic_numbers").long()
        batch = get("system_idx")
        batch = torch.zeros_like(numbers) if batch is None else batch.long()
        cell = get("cell").detach().double().reshape(-1, 3, 3).mT  # TorchSim's cell vectors are columns
        pbc = get("pbc")
        along = torch.as_tensor(True if pbc is None else pbc).reshape(-1)
        if bool(along.any()) != bool(along.all()):
            got = f"pbc = {along.tolist()}"
            raise ConfigError("TorchSim state", got=got, wanted="all three directions periodic, or none")
        periodic = bool(along.all())
        n_systems = len(cell)
        sizes = tuple(int(n) for n in torch.bincount(batch, minlength=n_systems).tolist())
        return System(
            positions=positions,
            numbers=numbers,
            cell=cell if periodic else torch.zeros_like(cell),
            periodic=torch.full((n_systems,), periodic, device=cell.device),
            batch=batch,
            charge=torch.full((n_systems,), self._charge_e, dtype=torch.float64, device=cell.device),
            sizes=sizes,
        )

    def _followed(self, system: System) -> System:
        """The system with every atom at the image next to where it was in the last call."""
        last = self._last
        if last is None or last.system.sizes != system.sizes or not torch.equal(last.system.numbers, system.numbers):
            self._check(system)
            return system
        if not bool(system.periodic.all()):
            return system
        inverse = torch.linalg.inv(torch.stack([last.system.cell, system.cell]))
        before = (last.system.positions[:, None, :] @ inverse[0][system.batch])[:, 0]
        moved = (system.positions[:, None, :] @ inverse[1][system.batch])[:, 0] - before
        images = moved.round()
        if bool(((moved - images).abs() > _FAR).any()):
            return system
        return system._replace(positions=system.positions - (images[:, None, :] @ system.cell[system.batch])[:, 0])

    def _check(self, system: System) -> None:
        """Refuse structures that cannot be treated."""
        start = 0
        for k, size in enumerate(system.sizes):
            positions = system.positions[start : start + size].cpu().numpy()
            numbers = system.numbers[start : start + size].cpu().numpy()
            cell = system.cell[k].cpu().numpy()
            periodic = bool(system.periodic[k])
            check_structure(positions, cell, np.full(3, periodic), f"system {k}")
            check_distances(positions, numbers, cell if periodic else None, f"system {k}", stretched=False)
            start += size


class TorchSimRecorder(TrajectoryReporter):  # type: ignore[misc]
    """A reporter for ``torch_sim.integrate`` that writes our run file: all systems as replicas.

    Args:
        output: run file.
        model: the wrapper that integrates.
        timestep_fs: time step, fs (TorchSim's own argument is in ps).
        record_stride: steps between recorded frames.
        record_from: first step that may be recorded.
        integrator: ``velocity-verlet`` for NVE and Nose-Hoover, ``langevin-baoab`` for ``nvt_langevin``; spectra are
            freed of its effect on frequencies.  None leaves it in.
        temperature_K: target of the thermostat, K.
        positions: also store positions and velocities.
        overwrite: replace an existing file.

    Raises:
        TrajectoryError: the file exists.
    """

    def __init__(
        self,
        output: Path | str,
        model: TorchSimModel,
        *,
        timestep_fs: float,
        record_stride: int = 1,
        record_from: int = 0,
        integrator: Integrator | None = None,
        temperature_K: float | None = None,
        positions: bool = True,
        overwrite: bool = False,
    ) -> None:
        check_output(output, overwrite)
        super().__init__(None, state_frequency=0)
        self._output, self._wrapper, self._overwrite = Path(output), model, overwrite
        self._given = {
            "timestep_fs": timestep_fs,
            "record_stride": record_stride,
            "integrator": integrator,
            "temperature_K": temperature_K,
            "positions": positions,
        }
        self._from = record_from
        if record_stride <= _CHEAPER_ALWAYS:
            model.polarizability = True
        self._recorder: RunRecorder | None = None

    @property
    def n_frames(self) -> int:
        """Frames recorded so far."""
        return 0 if self._recorder is None else self._recorder.n_frames

    @property
    def mode(self) -> str:
        """That of TorchSim's own files: a run begins anew."""
        return "w"

    def report(self, state: Any, step: int, model: Any = None, **_: Any) -> list[dict[str, Tensor]]:
        """Record a state where it is due; called by TorchSim after every step.

        Args:
            state: of molecular dynamics.
            step: of the run.
            model: unused, the wrapper is known.

        Raises:
            ConfigError: systems of different atoms, or a state without velocities.
        """
        if step < self._from or (self._recorder is not None and not self._recorder.is_due(step)):
            return [{} for _ in range(len(state.cell))]
        seen = self._wrapper.see(state, True)
        velocities = getattr(state, "velocities", None)
        if velocities is None:
            raise ConfigError("TorchSimRecorder", got="a state without velocities", wanted="molecular dynamics")
        if self._recorder is None:
            self._recorder = self._open(state, seen.system)
        moving = velocities.detach().double().cpu().numpy() * FORCE_TO_ACCELERATION**0.5
        self._recorder.add(step, seen.system, seen.prediction, moving)
        return [{} for _ in range(len(state.cell))]

    def finish(self) -> None:
        """Write the rest; called by TorchSim at the end of a run."""
        recorder = getattr(self, "_recorder", None)
        if recorder is not None:
            recorder.finish()

    def close(self) -> None:
        """As ``finish``."""
        self.finish()

    def _open(self, state: Any, system: System) -> RunRecorder:
        numbers = system.numbers.reshape(system.n_structures, -1) if len(set(system.sizes)) == 1 else None
        if numbers is None or not bool((numbers == numbers[0]).all()):
            raise ConfigError(
                "TorchSimRecorder",
                got="systems of different atoms",
                wanted="replicas of one structure",
                todo="Run each composition by itself",
            )
        n = system.sizes[0]
        run = CoupledRun(
            program="torchsim",
            numbers=numbers[0].cpu().numpy(),
            masses_amu=state.masses[:n].detach().double().cpu().numpy(),
            n_replicas=system.n_structures,
            cell_A=system.cell[0].cpu().numpy() if bool(system.periodic[0]) else None,
            **self._given,  # type: ignore[arg-type]
        )
        return RunRecorder(self._output, self._wrapper.potential, run, self._overwrite)


def property_calculators(model: TorchSimModel) -> dict[str, Callable[[Any, Any], Tensor]]:
    """Dipole and polarizability for ``torch_sim.TrajectoryReporter(prop_calculators={10: ...})``.

    TorchSim asks for one system at a time; the last call of the wrapper, where it was of these positions and had
    polarizabilities (``TorchSimModel(polarizability=True)``), is not repeated.

    Args:
        model: the wrapper that integrates.
    """
    alone = TorchSimModel(model.potential, stress=False, polarizability=True, engine=model.potential.engine)

    def find(state: Any, name: str) -> Tensor:
        last = model._last
        scale = model.potential.scale
        if last is not None and last.with_alpha:
            for k, part in enumerate(torch.split(last.positions, list(last.system.sizes))):
                if torch.equal(part, state.positions):
                    dipole = scale.vectors(last.prediction.dipole.to(last.system.cell), last.system)[k]
                    alpha = scale.tensors(last.prediction.polarizability.to(last.system.cell), last.system)[k]
                    return dipole if name == "dipole" else alpha
        return alone(state)[name][0]

    def dipole(state: Any, _: Any = None) -> Tensor:
        return find(state, "dipole")

    def polarizability(state: Any, _: Any = None) -> Tensor:
        return find(state, "polarizability")

    return {"dipole": dipole, "polarizability": polarizability}
