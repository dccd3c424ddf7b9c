"""Opens trajectories of other programs: what ASE reads, what MDAnalysis reads, H5MD, LAMMPS dump, XDATCAR, CP2K.

Everything is read frame by frame and converted to A and fs here.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import h5py
import numpy as np
from ase import Atoms, units

from spectra_app.errors import SpectraAppError, TrajectoryError
from spectra_app.readers.trajectories.cp2k_xyz import cp2k_numbers, is_cp2k_xyz, read_cp2k_xyz
from spectra_app.readers.trajectories.frames import (
    TIME_TOLERANCE,
    Frame,
    Trajectory,
    make_trajectory,
    readable,
    settle_slabs,
)
from spectra_app.readers.trajectories.text_formats import (
    lammps_dump_particles,
    read_lammps_dump,
    read_xdatcar,
    xdatcar_numbers,
)
from spectra_app.readers.trajectories.topology import read_topology
from spectra_app.readers.trajectories.virtual_sites import (
    FileParticles,
    describe_sites,
    find_virtual_sites,
    make_particles,
    without_sites,
)
from spectra_app.runs.opening import open_h5

# Suffix -> format of MDAnalysis, for the formats that store times.
MDANALYSIS_FORMATS = {".xtc": "XTC", ".trr": "TRR", ".dcd": "DCD", ".nc": "NCDF", ".ncdf": "NCDF", ".netcdf": "NCDF"}
H5MD_SUFFIXES = (".h5", ".h5md", ".hdf5")
LAMMPS_SUFFIXES = (".lammpstrj", ".lammpsdump", ".dump")
LENGTHS = {"Angstrom": 1.0, "A": 1.0, "nm": 10.0, "pm": 0.01}
TIMES = {"fs": 1.0, "ps": 1e3, "ns": 1e6}
PS_TO_FS = 1e3


def open_trajectory(
    path: Path | str,
    topology: Path | str | None = None,
    timestep_fs: float | None = None,
    species: Sequence[str] | None = None,
    lammps_units: str | None = None,
) -> Trajectory:
    """Open a trajectory for reading.

    Args:
        path: extxyz and all else that ASE reads, XTC, TRR, DCD, NetCDF (these need ``topology``), H5MD (also a run
            file), LAMMPS dump, XDATCAR, CP2K's PROJECT-pos-1.xyz (with the .cell and -vel- files beside it).
        topology: any file with the elements in the same order: a structure that ASE reads, or a topology of MDAnalysis.
        timestep_fs: time between frames, fs; needed where the file has no times, wins where it has.
        species: chemical symbols of LAMMPS types 1, 2, ...
        lammps_units: unit style of a LAMMPS dump, ``metal`` or ``real``; None takes the file's own.  Needed where it
            has velocities and does not say it.

    Raises:
        TrajectoryError: no such file, unreadable, elements or time step missing, velocities of unknown unit or of one
            that the positions contradict.
        StructureError: the first frame cannot be treated.
    """
    path = Path(path)
    if not path.is_file():
        raise TrajectoryError(f"trajectory {path}", got="no such file")
    try:
        return _open(path, None if topology is None else Path(topology), timestep_fs, species, lammps_units)
    except SpectraAppError:
        raise
    except Exception as error:  # libraries raise anything for a file that is not what its name says
        raise TrajectoryError(
            f"trajectory {path}", got=f"{type(error).__name__}: {error}", wanted="a readable trajectory"
        ) from None


def _open(
    path: Path,
    topology: Path | None,
    timestep_fs: float | None,
    species: Sequence[str] | None,
    lammps_units: str | None,
) -> Trajectory:
    suffix = path.suffix.lower()
    is_dump = suffix in LAMMPS_SUFFIXES or (suffix not in MDANALYSIS_FORMATS and _first_line(path).startswith("ITEM:"))
    if lammps_units is not None and not is_dump:
        raise TrajectoryError(
            f"unit style {lammps_units} for {path}",
            got="a file that is no LAMMPS dump",
            wanted="--lammps-units with dumps only: other formats say their units",
        )
    if suffix in MDANALYSIS_FORMATS:
        if topology is None:
            raise TrajectoryError(
                f"trajectory {path}",
                got="coordinates without elements",
                wanted="a topology with the elements",
                todo="Give it with --topology",
            )
        particles = read_topology(topology)
        reader = _mdanalysis_reader(path, len(particles.numbers))
        step = _mean_step_fs(reader) if timestep_fs is None else timestep_fs
        return _atoms_of(path, particles, lambda: _mdanalysis_frames(reader), step, len(reader))
    if suffix in H5MD_SUFFIXES:
        particles, n_frames = _h5md_particles(path, topology)
        trajectory = _atoms_of(path, particles, lambda: _h5md_frames(path, n_frames), timestep_fs, n_frames)
        return replace(trajectory, integrator=_integrator(path))
    if is_dump:
        particles = read_topology(topology) if topology is not None else lammps_dump_particles(path, species)
        return _atoms_of(path, particles, lambda: read_lammps_dump(path, lammps_units), timestep_fs)
    if path.name.upper().startswith("XDATCAR"):
        return _atoms_of(path, make_particles(xdatcar_numbers(path)), lambda: read_xdatcar(path), timestep_fs)
    if is_cp2k_xyz(path):
        return _atoms_of(path, make_particles(cp2k_numbers(path)), lambda: read_cp2k_xyz(path, topology), timestep_fs)
    first = next(iter(ase.io.iread(path, index=":")))
    particles = make_particles(first.numbers, first.get_masses(), first.get_chemical_symbols(), first.has("masses"))
    return _atoms_of(path, particles, lambda: _ase_frames(path), timestep_fs)


def _atoms_of(
    path: Path,
    particles: FileParticles,
    read: Callable[[], Iterator[Frame]],
    timestep_fs: float | None,
    n_frames: int | None = None,
) -> Trajectory:
    """The trajectory of the atoms among some particles; virtual sites are left out."""
    first = next(settle_slabs(readable(read(), path, len(particles.numbers))), None)
    site = np.zeros(len(particles.numbers), dtype=bool)
    if first is not None:
        site = find_virtual_sites(particles, first, path)
    if not site.any():
        return make_trajectory(path, particles.numbers, particles.masses_amu, read, timestep_fs, n_frames)
    atoms = ~site
    trajectory = make_trajectory(
        path, particles.numbers[atoms], particles.masses_amu[atoms], without_sites(read, atoms), timestep_fs, n_frames
    )
    return replace(trajectory, left_out=describe_sites(site, particles.names))


def _ase_frames(path: Path) -> Iterator[Frame]:
    numbers: np.ndarray | None = None
    for atoms in ase.io.iread(path, index=":"):
        numbers = atoms.numbers if numbers is None else numbers
        if not np.array_equal(atoms.numbers, numbers):
            raise TrajectoryError(
                f"trajectory {path}", got="atoms that change", wanted="the same atoms in the same order"
            )
        yield _ase_frame(atoms)


def _ase_frame(atoms: Atoms) -> Frame:
    """A frame of ASE; ``info["time_fs"]`` is its time (ASE has no standard key, so no other is believed).

    Velocities: ASE's momenta, or the column ``vel`` of extended XYZ in A/fs, as GPUMD's ``dump_exyz`` writes it.
    """
    velocities = atoms.get_velocities() * units.fs if atoms.has("momenta") else None
    if velocities is None and "vel" in atoms.arrays:
        velocities = np.asarray(atoms.arrays["vel"], dtype=np.float64)
    return Frame(
        positions_A=atoms.get_positions(),
        cell_A=atoms.cell.array.copy() if atoms.pbc.any() else None,
        velocities_A_per_fs=velocities,
        time_fs=float(atoms.info["time_fs"]) if "time_fs" in atoms.info else None,
        pbc=_periodicity(atoms.pbc),
    )


def _periodicity(pbc: np.ndarray) -> tuple[bool, bool, bool]:
    """Periodic along each cell vector; along all where the structure is open and has no cell."""
    along = [bool(value) for value in pbc]
    return (along[0], along[1], along[2]) if any(along) else (True, True, True)


def _mdanalysis_reader(path: Path, n_atoms: int) -> Any:
    from MDAnalysis.coordinates.core import get_reader_for

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # missing unit cells and times are checked by us
        return get_reader_for(str(path), format=MDANALYSIS_FORMATS[path.suffix.lower()])(str(path), n_atoms=n_atoms)


def _mean_step_fs(reader: Any) -> float | None:
    """Mean time between frames, fs; None where there are no times, or the first two say something else.

    Times are single-precision picoseconds: after 100 ps a difference of two is wrong by up to 0.008 fs.
    """
    if len(reader) < 3:
        return None
    try:
        times = []
        for index in (0, 1, len(reader) - 1):
            moment = reader[index]
            times.append(float(moment.time) if "time" in moment.data or "dt" in moment.data else np.nan)
    except Exception:  # a damaged file: the frame is named when it is read
        return None
    mean = (times[2] - times[0]) / (len(reader) - 1)
    slack = TIME_TOLERANCE * mean + 4.0 * np.finfo(np.float32).eps * abs(times[2])
    return mean * PS_TO_FS if abs(times[1] - times[0] - mean) <= slack else None


def _mdanalysis_frames(reader: Any) -> Iterator[Frame]:
    """Frames of a reader of MDAnalysis (A, ps); its cell is oriented as GROMACS, AMBER and LAMMPS orient theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for moment in reader:
            dimensions = moment.dimensions
            velocities = moment.velocities.astype(np.float64) / PS_TO_FS if moment.has_velocities else None
            yield Frame(
                positions_A=moment.positions.astype(np.float64),
                cell_A=None if dimensions is None or not dimensions[:3].all() else _cell(moment),
                velocities_A_per_fs=velocities,
                time_fs=float(moment.time) * PS_TO_FS if "time" in moment.data or "dt" in moment.data else None,
            )


def _cell(moment: Any) -> np.ndarray:
    return np.asarray(moment.triclinic_dimensions, dtype=np.float64)


def _h5md_particles(path: Path, topology: Path | None) -> tuple[FileParticles, int]:
    """FileParticles and number of frames of an H5MD file with one group of particles."""
    with open_h5(path) as file:
        names = list(file["particles"])
        if len(names) != 1:
            raise TrajectoryError(
                f"trajectory {path}", got=f"particle groups {', '.join(names)}", wanted="one group (one replica)"
            )
        group = file["particles"][names[0]]
        n_frames = min(len(group["position"][part]) for part in ("time", "value"))
        if topology is not None:
            return read_topology(topology), n_frames
        if "species" not in group or not np.issubdtype(group["species"].dtype, np.integer):
            raise TrajectoryError(f"trajectory {path}", got="no atomic numbers in 'species'", todo="Give a --topology")
        numbers = group["species"][()]
        masses = group["mass"][()] if "mass" in group else None
        return make_particles(numbers, masses, given=masses is not None), n_frames


def _integrator(path: Path) -> dict[str, Any] | None:
    """How a run file was integrated; None where it does not say it, or is of another program."""
    with open_h5(path) as file:
        if "parameters/spectra_app/metadata" not in file:
            return None
        found = json.loads(file["parameters/spectra_app/metadata"].asstr()[()]).get("integrator")
    return found if isinstance(found, dict) else None


def _h5md_frames(path: Path, n_frames: int) -> Iterator[Frame]:
    with open_h5(path) as file:
        group = next(iter(file["particles"].values()))
        position = group["position"]
        length, tick = _unit(position["value"], LENGTHS, path), _unit(position["time"], TIMES, path)
        velocity = group["velocity"]["value"] if "velocity" in group else None
        speed = 1.0
        boundary = np.array([str(word) == "periodic" for word in group["box"].attrs.get("boundary", ["periodic"] * 3)])
        if velocity is not None:
            over, under = velocity.attrs["unit"].removesuffix("-1").split()
            speed = LENGTHS[over] / TIMES[under]
        edges = group["box"].get("edges")
        for index in range(n_frames):
            cell = None
            if edges is not None:
                cell = np.asarray(edges["value"][index] if isinstance(edges, h5py.Group) else edges[()]) * length
                cell = np.diag(cell) if cell.ndim == 1 else cell
            yield Frame(
                positions_A=position["value"][index].astype(np.float64) * length,
                cell_A=cell,
                velocities_A_per_fs=None if velocity is None else velocity[index].astype(np.float64) * speed,
                time_fs=float(position["time"][index]) * tick,
                pbc=_periodicity(boundary),
            )


def _unit(dataset: h5py.Dataset, table: dict[str, float], path: Path) -> float:
    """Factor to A or fs.

    Raises:
        TrajectoryError: the file does not say the unit, or one we do not know.
    """
    unit = dataset.attrs.get("unit")
    if unit not in table:
        raise TrajectoryError(
            f"unit of {dataset.name} in {path}", got=unit or "none", wanted=f"one of {', '.join(table)}"
        )
    return table[unit]


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        return file.readline(200).decode("utf-8", errors="replace")
