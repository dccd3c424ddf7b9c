"""Reads the run file that ``writer`` describes: finished, growing, or left by a killed process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spectra_app.errors import TrajectoryError
from spectra_app.trajectory.layout import OF_PARTS, replica_names
from spectra_app.trajectory.parts import Centres, RecordedArray, RunParts, read_parts
from spectra_app.trajectory.writer import open_run_file

FIXED_CELL_TOLERANCE = 1e-6  # relative change of the volume; cells in XTC files are rounded to float32


@dataclass(frozen=True)
class Run:
    """A run file in memory; positions and velocities are read when first asked for.

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
        slab: periodic along the first two cell vectors, vacuum along the third.
        field_V_per_A: [frame, xyz], external field, or None.
        parts: contributions of molecules or atoms, or None.
    """

    path: Path
    step: np.ndarray
    time_fs: np.ndarray
    dipole_eA: np.ndarray
    dipole_latent_eA: np.ndarray
    polarizability_e2A2_per_eV: np.ndarray | None
    screening: np.ndarray
    energy_eV: np.ndarray
    temperature_K: np.ndarray
    conserved_eV: np.ndarray | None
    trajectory_step: np.ndarray
    trajectory_time_fs: np.ndarray
    numbers: np.ndarray
    masses_amu: np.ndarray
    cell_A: np.ndarray | None
    periodic: bool
    volume_A3: np.ndarray | float | None
    metadata: dict[str, Any]
    slab: bool = False
    field_V_per_A: np.ndarray | None = None
    parts: RunParts | None = None

    @cached_property
    def positions_A(self) -> np.ndarray:  # noqa: N802
        """[tframe, replica, atom, xyz], A, unwrapped."""
        values = self._particles("position")
        if values is None:
            raise TrajectoryError(f"run file {self.path}", got="no stored positions")
        return values

    @cached_property
    def velocities_A_per_fs(self) -> np.ndarray | None:  # noqa: N802
        """[tframe, replica, atom, xyz], A/fs; None where the file has none."""
        return self._particles("velocity")

    @property
    def centres_A(self) -> Centres:  # noqa: N802
        """Centres of mass of the parts [frame, replica, part, xyz], A, each from the nearest stored configuration.

        Raises:
            TrajectoryError: the file has no parts, or no stored positions.
        """
        if self.parts is None or not len(self.trajectory_step):
            missing = "no parts" if self.parts is None else "no stored positions"
            raise TrajectoryError(f"centres of the parts in {self.path}", got=missing)
        shape = (len(self.trajectory_step), len(self.numbers), 3)
        names = [f"particles/{name}/position/value" for name in replica_names(self.screening.shape[1])]
        positions = [RecordedArray(self.path, name, shape) for name in names]
        middle = 0.5 * (self.trajectory_step[1:] + self.trajectory_step[:-1])
        cells = None if self.cell_A is None or self.cell_A.ndim == 2 else self.cell_A
        nearest = np.searchsorted(middle, self.step)
        return Centres(positions, nearest, self.parts.atom_part, self.masses_amu, cells)

    @property
    def mean_cell_A(self) -> np.ndarray | None:  # noqa: N802
        """[vector, xyz], A, mean over the stored configurations where the cell changes; None if open."""
        return None if self.cell_A is None else self.cell_A.reshape(-1, 3, 3).mean(axis=0)

    @property
    def pbc(self) -> tuple[bool, bool, bool]:
        """Whether each cell vector is periodic."""
        return (True, True, False) if self.slab else (self.periodic,) * 3

    @property
    def complete(self) -> bool:
        """Whether the run reached its last step."""
        return bool(self.metadata["complete"])

    def _particles(self, element: str) -> np.ndarray | None:
        frames = len(self.trajectory_step)
        with open_run_file(self.path) as file:
            groups = [file["particles"][name] for name in replica_names(self.screening.shape[1])]
            if element not in groups[0]:
                return None
            return np.stack([group[element]["value"][:frames] for group in groups], axis=1)


def read_run(path: Path | str) -> Run:
    """Read a run file.

    A file that still grows gives the frames that are complete at this moment.

    Args:
        path: the file that ``Simulation`` or ``record_trajectory`` wrote.

    Raises:
        TrajectoryError: no such file, truncated, damaged, not a run file, or no frame yet.
    """
    path = Path(path)
    with open_run_file(path) as file:
        metadata = read_metadata(file)
        observables = file["observables"]
        # Datasets of a growing file may differ by the block that is just being written.
        n_frames = min(len(element[part]) for element in observables.values() for part in ("step", "time", "value"))
        if n_frames == 0:
            raise TrajectoryError(
                f"run file {path}", got="no recorded frame", todo="Wait, or continue it with --restart"
            )
        values = {name: group["value"][:n_frames] for name, group in observables.items() if name not in OF_PARTS}
        clock = observables["dipole"]
        replicas = values["screening"].shape[1]
        groups = [file["particles"][name] for name in replica_names(replicas)]
        first = groups[0]
        boundary = list(first["box"].attrs["boundary"])
        periodic, slab = boundary[2] == "periodic", boundary[0] == "periodic" and boundary[2] != "periodic"
        stored = [_length(group) for group in groups]
        n_stored = min(stored)
        step, time = (
            (first["position"][part][:n_stored] for part in ("step", "time"))
            if "position" in first
            else (np.zeros(0, dtype=np.int64), np.zeros(0))
        )
        cell, volume = _cell(groups, n_stored, metadata, values.get("volume"), periodic or slab)
        return Run(
            path=path,
            step=clock["step"][:n_frames],
            time_fs=clock["time"][:n_frames],
            dipole_eA=values["dipole"],
            dipole_latent_eA=values["dipole_latent"],
            polarizability_e2A2_per_eV=values.get("polarizability"),
            screening=values["screening"],
            energy_eV=values["energy"],
            temperature_K=values["temperature"],
            conserved_eV=values.get("conserved"),
            trajectory_step=step,
            trajectory_time_fs=time,
            numbers=first["species"][()],
            masses_amu=first["mass"][()],
            cell_A=cell,
            periodic=periodic,
            volume_A3=None if slab else volume,
            metadata=metadata,
            slab=slab,
            field_V_per_A=values.get("field"),
            parts=read_parts(path, file, n_frames, replicas),
        )


def read_metadata(file: h5py.File) -> dict[str, Any]:
    """Metadata of an open run file, with ``complete`` and ``ms_per_step`` as they are now."""
    parameters = file["parameters/spectra_app"]
    metadata: dict[str, Any] = json.loads(parameters["metadata"].asstr()[()])
    metadata["complete"] = bool(parameters["complete"][()])
    metadata["ms_per_step"] = float(parameters["ms_per_step"][()])
    return metadata


def _length(group: h5py.Group) -> int:
    """Complete stored configurations of one replica."""
    elements = [group[name] for name in ("position", "velocity") if name in group]
    if "edges" in group["box"]:
        elements.append(group["box/edges"])
    return min((len(element[part]) for element in elements for part in ("step", "time", "value")), default=0)


def _cell(
    groups: list[h5py.Group], n_stored: int, metadata: dict[str, Any], volume: np.ndarray | None, periodic: bool
) -> tuple[np.ndarray | None, np.ndarray | float | None]:
    """Cell and volume as ``Run`` describes them."""
    if not periodic:
        return None, None
    start = np.array(metadata["cell_A"], dtype=float)
    fixed = float(abs(np.linalg.det(start)))
    if volume is None:
        return start, fixed
    if "edges" not in groups[0]["box"]:
        constant = np.abs(volume - fixed).max() <= FIXED_CELL_TOLERANCE * fixed
        return start, fixed if constant else volume
    cells = np.stack([group["box/edges/value"][:n_stored] for group in groups], axis=1)
    if np.abs(cells - start).max(initial=0.0) <= FIXED_CELL_TOLERANCE * fixed ** (1.0 / 3.0):
        return start, fixed
    return cells, volume
