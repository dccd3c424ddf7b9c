"""Reads the run file that ``layout`` describes: finished, growing, or left by a killed process; of any length."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spectra_app.arrays import BLOCK_BYTES, Boundary, Frames, RecordedArray
from spectra_app.errors import TrajectoryError
from spectra_app.runs.layout import RUNS_ON, EndedReplica, replica_names
from spectra_app.runs.opening import METADATA, RunFile, open_run_file
from spectra_app.runs.part_series import Centres, RunParts, read_parts

FIXED_CELL_TOLERANCE = 1e-6  # relative change of the volume; cells in XTC files are rounded to float32


@dataclass(frozen=True, eq=False)
class Run:
    """A run file: what it says of itself is in memory, what it recorded is read when asked for, in blocks.

    The recorded series look like arrays (``arrays.FrameArray``): slices of them are arrays, arithmetic and NumPy's
    functions read them whole.

    Attributes:
        path: the file.
        step: [frame], steps since recording began.
        time_fs: [frame], fs.
        dipole_eA: [frame, replica, xyz], physical cell dipole, continuous in time.
        dipole_latent_eA: [frame, replica, xyz].
        polarizability_e2A2_per_eV: [frame, replica, xyz, xyz], physical, or None.
        screening: [frame, replica].
        energy_eV: [frame, replica], potential energy.
        temperature_K: [frame, replica]; NaN where a decorated trajectory has no velocities.
        conserved_eV: [frame, replica], or None.
        trajectory_step: [tframe], steps of the stored configurations.
        trajectory_time_fs: [tframe], fs.
        numbers: [atom of one replica], atomic numbers.
        masses_amu: [atom of one replica], amu.
        cell_A: [vector, xyz] where the cell is fixed, [tframe, replica, vector, xyz] where not, None if open.
        periodic: three-dimensional periodicity; False for a slab, which has a cell all the same.
        volume_A3: one number where the cell is fixed, [frame, replica] where not, None if open or a slab.
        metadata: configuration, versions, model_name, model_hash, seed, eps_inf, temperature_K (target), timestep_fs,
            record_stride, trajectory_stride, complete, ms_per_step, ...
        stored_positions_A: [tframe, replica, atom, xyz], A, unwrapped, or None where none were stored.
        velocities_A_per_fs: [tframe, replica, atom, xyz], A/fs, or None.
        slab: periodic along the first two cell vectors, vacuum along the third.
        field_V_per_A: [frame, xyz], external field, or None.
        parts: contributions of molecules or atoms, or None.
        born_e: [sample, atom, field, displacement], e, Born charges of a few configurations of the first replica, or
            None.
        replicas: numbers of the replicas that the series show: those that ran on to the end (so far), or the one asked
            for.
        ended: replicas that went wrong before.
        observables: by name, everything recorded at each step, those above too, [frame, replica, ...]; the table
            ``dynamics/observables.py`` says what they are.
        joined: the runs that this one was made of (``joining.join_runs``); of unequal length, one replica of a series
            is read at a time.
    """

    path: Path
    step: Frames
    time_fs: Frames
    dipole_eA: Frames
    dipole_latent_eA: Frames
    polarizability_e2A2_per_eV: Frames | None
    screening: Frames
    energy_eV: Frames
    temperature_K: Frames
    conserved_eV: Frames | None
    trajectory_step: Frames
    trajectory_time_fs: Frames
    numbers: np.ndarray
    masses_amu: np.ndarray
    cell_A: Frames | None
    periodic: bool
    volume_A3: Frames | float | None
    metadata: dict[str, Any]
    stored_positions_A: Frames | None
    velocities_A_per_fs: Frames | None
    slab: bool = False
    field_V_per_A: Frames | None = None
    parts: RunParts | None = None
    born_e: np.ndarray | None = None
    observables: Mapping[str, Frames] = field(default_factory=dict)
    joined: tuple[Run, ...] = ()
    replicas: tuple[int, ...] = (0,)
    ended: tuple[EndedReplica, ...] = ()

    @property
    def positions_A(self) -> Frames:  # noqa: N802
        """[tframe, replica, atom, xyz], A, unwrapped.

        Raises:
            TrajectoryError: none were stored.
        """
        if self.stored_positions_A is None:
            raise TrajectoryError(f"run file {self.path}", got="no stored positions")
        return self.stored_positions_A

    @property
    def centres_A(self) -> Centres:  # noqa: N802
        """Centres of mass of the parts [frame, replica, part, xyz], A, each from the nearest stored configuration.

        Raises:
            TrajectoryError: the file has no parts, or no stored positions.
        """
        if self.parts is None or not len(self.trajectory_step):
            missing = "no parts" if self.parts is None else "no stored positions"
            raise TrajectoryError(f"centres of the parts in {self.path}", got=missing)
        middle = 0.5 * (self.trajectory_step[1:] + self.trajectory_step[:-1])
        cells = None if self.cell_A is None or self.cell_A.ndim == 2 else self.cell_A
        nearest = np.searchsorted(middle, np.asarray(self.step))
        return Centres(self.positions_A, nearest, self.parts.atom_part, self.masses_amu, cells)

    def observable(self, name: str) -> Frames:
        """A recorded observable by its name, [frame, replica, ...].

        Raises:
            TrajectoryError: the file does not hold it.
        """
        if name not in self.observables:
            there = ", ".join(sorted(self.observables))
            raise TrajectoryError(
                f"observable {name} of {self.path}", got="none of this name", wanted=f"one of {there}"
            )
        return self.observables[name]

    @property
    def mean_cell_A(self) -> np.ndarray | None:  # noqa: N802
        """[vector, xyz], A, mean over the stored configurations where the cell changes; None if open."""
        return None if self.cell_A is None else np.asarray(self.cell_A).reshape(-1, 3, 3).mean(axis=0)

    @property
    def pbc(self) -> tuple[bool, bool, bool]:
        """Whether each cell vector is periodic."""
        return (True, True, False) if self.slab else (self.periodic,) * 3

    @property
    def duration_ps(self) -> float:
        """Time from the first recorded frame to the last, ps; of joined runs that of the longest."""
        return float(self.time_fs[-1] - self.time_fs[0]) / 1000.0

    @property
    def complete(self) -> bool:
        """Whether the run reached its last step."""
        return bool(self.metadata["complete"])

    @property
    def boundary(self) -> Boundary:
        """Boundary conditions."""
        return "slab" if self.slab else "periodic" if self.periodic else "open"

    @property
    def n_replicas(self) -> int:
        """Independent copies that the series show."""
        return self.screening.shape[1]

    @property
    def integration_timestep_fs(self) -> float | None:
        """Time step of the velocity Verlet integrator that made the run, fs; None of a trajectory of another code."""
        return float(self.metadata["timestep_fs"]) if self.metadata.get("created_by") == "md" else None

    @property
    def eps_inf(self) -> float | None:
        """High-frequency dielectric constant that the model of the run has."""
        value = self.metadata.get("eps_inf")
        return None if value is None else float(value)


def read_run(path: Path | str, replica: int | None = None) -> Run:
    """Open a run file.

    A file that still grows gives the frames that are complete at this moment.  Replicas that went wrong and stopped are
    left out while others ran on; where none did, all are shown up to where the first one stopped.

    Args:
        path: the file that ``Simulation`` or ``record_trajectory`` wrote.
        replica: show this one alone, as far as its record goes; None: see above.

    Raises:
        TrajectoryError: no such file, truncated, damaged, not a run file, no frame yet, or no such replica.
    """
    path = Path(path)
    with open_run_file(path) as file:
        opening = _Opening(file, RunFile(path, file[METADATA].asstr()[()]), replica)
        return opening.run()


class _Opening:
    """A run file on its way to a ``Run``.

    Args:
        file: the open file.
        source: the same.
        replica: the one to be shown; None: those that ran on.
    """

    def __init__(self, file: h5py.File, source: RunFile, replica: int | None) -> None:
        self._file, self._source, self._metadata = file, source, read_metadata(file)
        observables = file["observables"]
        # Datasets of a growing file may differ by the block that is just being written.
        self._n_frames = min(
            len(element[part]) for element in observables.values() for part in ("step", "time", "value")
        )
        self._all_replicas = len(file["particles"])
        self._ended = read_ended(file)
        steps = observables["dipole/step"][: self._n_frames]
        self._replicas, last_step = self._shown(replica, int(steps[-1]) if len(steps) else -1)
        self._n_frames = int(np.searchsorted(steps, last_step, side="right"))
        if self._n_frames == 0:
            raise TrajectoryError(
                f"run file {source.path}", got="no recorded frame", todo="Wait, or continue it with --restart"
            )
        names = replica_names(self._all_replicas)
        self._groups = [f"particles/{names[k]}" for k in self._replicas]
        self._n_stored = min(_length(file[name]) for name in self._groups)
        if self._ended and "position" in file[self._groups[0]]:
            stored = file[f"{self._groups[0]}/position/step"][: self._n_stored]
            self._n_stored = int(np.searchsorted(stored, last_step, side="right"))
        boundary = list(file[self._groups[0]]["box"].attrs["boundary"])
        self._boundary: Boundary = (
            "periodic" if boundary[2] == "periodic" else "slab" if boundary[0] == "periodic" else "open"
        )
        # Contributions of many parts are read piece by piece.
        self._observables = {
            name: self._series(f"observables/{name}/value", in_blocks=not name.endswith("_parts"))
            for name in observables
        }

    def run(self) -> Run:
        """What the file holds."""
        first, observable, particles = self._file[self._groups[0]], self._observables.get, self._particles
        cell, volume = self._cell()
        return Run(
            path=self._source.path,
            step=self._series("observables/dipole/step"),
            time_fs=self._series("observables/dipole/time"),
            dipole_eA=self._observables["dipole"],
            dipole_latent_eA=self._observables["dipole_latent"],
            polarizability_e2A2_per_eV=observable("polarizability"),
            screening=self._observables["screening"],
            energy_eV=self._observables["energy"],
            temperature_K=self._observables["temperature"],
            conserved_eV=observable("conserved"),
            trajectory_step=self._clock("step", np.int64),
            trajectory_time_fs=self._clock("time", np.float64),
            numbers=first["species"][()],
            masses_amu=first["mass"][()],
            cell_A=cell,
            periodic=self._boundary == "periodic",
            volume_A3=None if self._boundary == "slab" else volume,
            metadata=self._metadata,
            stored_positions_A=particles("position"),
            velocities_A_per_fs=particles("velocity"),
            slab=self._boundary == "slab",
            field_V_per_A=observable("field"),
            born_e=self._born_charges(),
            observables=self._observables,
            parts=read_parts(
                self._source, self._file, self._n_frames, len(self._groups), self._boundary, self._selection
            ),
            replicas=self._replicas,
            ended=self._ended,
        )

    @property
    def _selection(self) -> tuple[int, ...] | None:
        """Replicas to be picked out of a series; None: all of them."""
        return None if len(self._replicas) == self._all_replicas else self._replicas

    def _shown(self, replica: int | None, last_step: int) -> tuple[tuple[int, ...], int]:
        """Which replicas the series show, and the last step that all of them have recorded."""
        last = dict.fromkeys(range(self._all_replicas), last_step)
        last |= {one.replica: one.last_step for one in self._ended}
        if replica is not None:
            if replica not in last:
                raise TrajectoryError(
                    f"replica {replica} of {self._source.path}", got="none", wanted=f"0 to {self._all_replicas - 1}"
                )
            return (replica,), last[replica]
        whole = tuple(last.keys() - {one.replica for one in self._ended})
        shown = whole or tuple(k for k, step in last.items() if step >= 0) or tuple(last)
        return shown, min(last[k] for k in shown)

    def _born_charges(self) -> np.ndarray | None:
        """[sample, atom, field, displacement], e; None in a file without them."""
        parameters = self._file["parameters/spectra_app"]
        return parameters["born/value"][()] if "born" in parameters else None

    def _series(self, name: str, in_blocks: bool = True) -> RecordedArray:
        dataset, chosen = self._file[name], None
        tail = dataset.shape[1:]
        if self._selection is not None and tail and name != "observables/field/value":  # which all replicas share
            chosen, tail = self._selection, (len(self._selection), *tail[1:])
        options: dict[str, Any] = {"in_blocks": in_blocks, "boundary": self._boundary, "replicas": chosen}
        return RecordedArray(self._source.open, name, (self._n_frames, *tail), dataset.dtype, **options)

    def _clock(self, part: str, dtype: type) -> Frames:
        """Steps or times of the stored configurations."""
        name = f"{self._groups[0]}/position/{part}"
        if name not in self._file:
            return np.zeros(0, dtype=dtype)
        return RecordedArray(self._source.open, name, (self._n_stored,), np.dtype(dtype), boundary=self._boundary)

    def _particles(self, element: str) -> RecordedArray | None:
        """Positions, velocities or cells [tframe, replica, ...]; None where there are none."""
        names = [f"{group}/{element}/value" for group in self._groups]
        if names[0] not in self._file:
            return None
        dataset = self._file[names[0]]
        shape = (self._n_stored, len(names), *dataset.shape[1:])
        return RecordedArray(self._source.open, names, shape, dataset.dtype, in_blocks=False, boundary=self._boundary)

    def _cell(self) -> tuple[Frames | None, Frames | float | None]:
        """Cell and volume as ``Run`` describes them."""
        if self._boundary == "open":
            return None, None
        start = np.array(self._metadata["cell_A"], dtype=float)
        fixed = float(abs(np.linalg.det(start)))
        volume, cells = self._observables.get("volume"), self._particles("box/edges")
        if volume is None:
            return start, fixed
        if cells is None:
            return start, fixed if _deviation(volume, fixed) <= FIXED_CELL_TOLERANCE * fixed else volume
        if _deviation(cells, start) <= FIXED_CELL_TOLERANCE * fixed ** (1.0 / 3.0):
            return start, fixed
        return cells, volume


def _deviation(values: RecordedArray, constant: np.ndarray | float) -> float:
    """Largest absolute deviation of frames from a constant, a block at a time."""
    step = max(1, BLOCK_BYTES * len(values) // max(1, 8 * values.size))
    pieces = (np.abs(values[start : start + step] - constant) for start in range(0, len(values), step))
    return max((float(piece.max(initial=0.0)) for piece in pieces), default=0.0)


def read_metadata(file: h5py.File) -> dict[str, Any]:
    """Metadata of an open run file, with ``complete``, ``ms_per_step`` and ``equilibration`` as they are now."""
    parameters = file["parameters/spectra_app"]
    metadata: dict[str, Any] = json.loads(parameters["metadata"].asstr()[()])
    metadata["complete"] = bool(parameters["complete"][()])
    metadata["ms_per_step"] = float(parameters["ms_per_step"][()])
    noted = bytes(parameters["equilibration"][()]) if "equilibration" in parameters else b""
    metadata["equilibration"] = json.loads(noted) if noted else None
    return metadata


def read_ended(file: h5py.File) -> tuple[EndedReplica, ...]:
    """Replicas of an open run file that went wrong; none in files of earlier versions."""
    parameters = file["parameters/spectra_app"]
    if "ended" not in parameters:
        return ()
    last, reasons = parameters["ended/last_step"][()].tolist(), parameters["ended/reason"][()].tolist()
    return tuple(
        EndedReplica(k, step, reason.decode("utf-8", "replace"))
        for k, (step, reason) in enumerate(zip(last, reasons, strict=True))
        if step != RUNS_ON
    )


def _length(group: h5py.Group) -> int:
    """Complete stored configurations of one replica."""
    elements = [group[name] for name in ("position", "velocity") if name in group]
    if "edges" in group["box"]:
        elements.append(group["box/edges"])
    return min((len(element[part]) for element in elements for part in ("step", "time", "value")), default=0)
