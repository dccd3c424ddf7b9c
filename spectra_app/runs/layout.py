"""The run file: HDF5 in the H5MD layout (DOI 10.1016/j.cpc.2014.01.018).

    h5md                             version, creator
    particles/<all | replica_k>/     one group per replica
        box/edges/{step,time,value}  [frame, vector, xyz] A
        position, velocity/{...}     [frame, atom, xyz] A, A fs-1; unwrapped
        species, mass                [atom]
    observables/<name>/{step,time,value}   [frame, replica, ...]; the field, the same for all, [frame, xyz]
        dipole_parts, polarizability_parts [frame, replica, part, ...], float32, where asked for
    parameters/spectra_app/          metadata (JSON), complete, ms_per_step
        equilibration                JSON, whether everything settled before recording began, and in words; empty before
        born/                        step [sample], value [sample, atom, field, displacement] e: Born charges of a few
                                     configurations of the first replica, at the end of a run of md
        ended/                       last_step [replica] of the record of those that went wrong, -1 where it is empty,
                                     the largest integer where all is well; reason [replica].  NaN follows in the series
        parts/                       attribute level; atom_part [atom], kinds [part], molecules [part] (if there are)

Which observables there are, their axes and units stand in one table, ``dynamics/observables.py``.  Contributions of the
parts are physical, continuous in time, and add up to dipole and polarizability.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import h5py
import numpy as np

if TYPE_CHECKING:  # the table brings torch
    from spectra_app.dynamics.observables import Observable

RUNS_ON = np.iinfo(np.int64).max  # last step of a replica that has not ended
REASON_BYTES = 400  # of a text that can be written while others read
CHUNK_BYTES = 256_000  # HDF5 chunk of a growing dataset
EQUILIBRATION_BYTES = 4096  # of the report on the equilibration, for which room is kept from the start
RANGE_KEY = "extrapolation"  # of the metadata: the range of the training data that extrapolation is told from

Level = Literal["molecules", "atoms"]


@dataclass(frozen=True)
class Parts:
    """Parts of a structure whose contributions are recorded.

    Attributes:
        level: what a part is.
        atom_part: [atom] part an atom belongs to, every part having one at least.
        kinds: [part] formula of the molecule, or element.
        molecules: [part] number of its molecule; None in a network.
    """

    level: Level
    atom_part: np.ndarray
    kinds: tuple[str, ...]
    molecules: np.ndarray | None


@dataclass(frozen=True)
class RunHeader:
    """What a run file holds besides its frames.

    Attributes:
        numbers: [atom of one replica], atomic numbers.
        masses_amu: [atom of one replica], amu.
        periodic: whether there is a cell (periodic in three directions, or a slab).
        n_replicas: independent copies.
        timestep_fs: time between consecutive steps, fs.
        observables: rows of the table that are recorded; the first one owns steps and times.
        positions: whether configurations are stored.
        velocities: whether velocities are stored with them.
        metadata: configuration, versions, model, seed, eps_inf: everything that JSON can hold.
        slab: the third cell vector holds vacuum and is not periodic.
        parts: whose contributions are recorded; None: nobody's.
    """

    numbers: np.ndarray
    masses_amu: np.ndarray
    periodic: bool
    n_replicas: int
    timestep_fs: float
    observables: tuple[Observable, ...]
    positions: bool
    velocities: bool
    metadata: dict[str, Any]
    slab: bool = False
    parts: Parts | None = None


class EndedReplica(NamedTuple):
    """A replica that went wrong before the end of its run.

    Attributes:
        replica: its number.
        last_step: of its record, since recording began; -1 where it is empty.
        reason: what was found.
    """

    replica: int
    last_step: int
    reason: str


def write_born_charges(path: Path, step: np.ndarray, born_e: np.ndarray) -> None:
    """Add Born charges of a few configurations to a finished run file, in place of older ones.

    Args:
        path: the run file; nobody has it open.
        step: [sample], steps since recording began.
        born_e: [sample, atom, field, displacement], e, physical, of the first replica.
    """
    with h5py.File(path, "r+", libver="latest") as file:
        parameters = file["parameters/spectra_app"]
        if "born" in parameters:
            del parameters["born"]
        group = parameters.create_group("born")
        group.create_dataset("step", data=np.asarray(step, dtype=np.int64))
        group.create_dataset("value", data=np.asarray(born_e, dtype=np.float64)).attrs["unit"] = "e"


def replica_names(n_replicas: int) -> list[str]:
    """Names of the groups under particles/."""
    return ["all"] if n_replicas == 1 else [f"replica_{k}" for k in range(n_replicas)]


def create_run_file(path: Path, header: RunHeader) -> h5py.File:
    """A new run file with every dataset that will ever be written, open for a single writer."""
    file = h5py.File(path, "w", libver="latest", locking=True)
    h5md = file.create_group("h5md")
    h5md.attrs["version"] = np.array([1, 1])
    h5md.create_group("author").attrs["name"] = "N/A"
    creator = h5md.create_group("creator")
    creator.attrs["name"] = "spectra-app"
    creator.attrs["version"] = str(header.metadata.get("versions", {}).get("spectra_app", ""))
    n_atoms, replicas = len(header.numbers), header.n_replicas
    clock: h5py.Group | None = None
    for name in replica_names(replicas):
        group = file.create_group(f"particles/{name}")
        box = group.create_group("box")
        box.attrs["dimension"] = 3
        lateral = "periodic" if header.periodic else "none"
        box.attrs["boundary"] = [lateral, lateral, "none" if header.slab else lateral]
        group.create_dataset("species", data=header.numbers.astype(np.int64))
        mass = group.create_dataset("mass", data=header.masses_amu.astype(np.float64))
        mass.attrs["unit"] = "amu"
        if header.positions:
            clock = _element(group, "position", (n_atoms, 3), "Angstrom", np.float64, clock)
            if header.velocities:
                _element(group, "velocity", (n_atoms, 3), "Angstrom fs-1", np.float32, clock)
            if header.periodic:
                _element(box, "edges", (3, 3), "Angstrom", np.float64, clock)
    clock = None
    observables = file.create_group("observables")
    for row in header.observables:
        n_parts = (len(header.parts.kinds),) if header.parts is not None and row.of_parts else ()
        shape = row.axes if row.shared else (replicas, *n_parts, *row.axes)
        element = _element(observables, row.name, shape, row.unit, np.float32 if n_parts else np.float64, clock)
        clock = clock or element
    parameters = file.create_group("parameters/spectra_app")
    parameters["metadata"] = json.dumps(header.metadata)
    parameters.create_dataset("complete", data=np.uint8(0))
    parameters.create_dataset("equilibration", data=np.bytes_(b""), dtype=f"S{EQUILIBRATION_BYTES}")
    parameters.create_dataset("ms_per_step", data=float("nan")).attrs["unit"] = "ms"
    ended = parameters.create_group("ended")
    ended.create_dataset("last_step", data=np.full(replicas, RUNS_ON, dtype=np.int64))
    ended.create_dataset("reason", data=np.zeros(replicas, dtype=f"S{REASON_BYTES}"))
    if header.parts is not None:
        _write_parts(parameters, header.parts)
    file.swmr_mode = True
    return file


def _element(
    parent: h5py.Group, name: str, axes: tuple[int, ...], unit: str, dtype: Any, clock: h5py.Group | None
) -> h5py.Group:
    """A time-dependent H5MD element; step and time are hard links to those of ``clock`` where given."""
    group = parent.create_group(name)
    row = max(1, int(np.prod(axes))) * np.dtype(dtype).itemsize
    frames = int(min(max(CHUNK_BYTES // row, 1), 1024))
    value = group.create_dataset("value", shape=(0, *axes), maxshape=(None, *axes), chunks=(frames, *axes), dtype=dtype)
    value.attrs["unit"] = unit
    if clock is None:
        group.create_dataset("step", shape=(0,), maxshape=(None,), chunks=(1024,), dtype=np.int64)
        group.create_dataset("time", shape=(0,), maxshape=(None,), chunks=(1024,), dtype=np.float64)
        group["time"].attrs["unit"] = "fs"
    else:
        group["step"], group["time"] = clock["step"], clock["time"]
    return group


def _write_parts(parameters: h5py.Group, parts: Parts) -> None:
    """Store what the parts are."""
    group = parameters.create_group("parts")
    group.attrs["level"] = parts.level
    group["atom_part"] = parts.atom_part.astype(np.int64)
    group["kinds"] = list(parts.kinds)
    if parts.molecules is not None:
        group["molecules"] = parts.molecules.astype(np.int64)
