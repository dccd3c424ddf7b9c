"""Labelled structures: reading, checking, reference energies, splitting, batching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, write
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from spectra_app import units
from spectra_app.config import DataKeys, TrainingSettings
from spectra_app.errors import DatasetError, SpectraAppError
from spectra_app.files import atomic_path
from spectra_app.structure.neighbors import Neighbors, build_neighbors, concatenate_neighbors
from spectra_app.structure.system import System, concatenate, from_ase

ENERGY_UNITS_EV = {
    "eV": 1.0,
    "Hartree": units.HARTREE_TO_EV,
    "Ry": units.RYDBERG_TO_EV,
    "kcal/mol": 4184.0 / units.AVOGADRO / 1.602176634e-19,
    "kJ/mol": 1000.0 / units.AVOGADRO / 1.602176634e-19,
}
LENGTH_UNITS_A = {"A": 1.0, "Bohr": units.BOHR_TO_ANGSTROM, "nm": 10.0}
STRESS_UNITS_EV_PER_A3 = {"eV/A^3": 1.0, "GPa": 1.0 / units.EV_PER_A3_TO_GPA, "kbar": 0.1 / units.EV_PER_A3_TO_GPA}


@dataclass(frozen=True)
class LabelledFrame:
    """One labelled structure, in eV and A.

    Attributes:
        atoms: the structure (no calculator); ``atoms.info["charge"]`` its total charge.
        energy: eV.
        forces: [atom, xyz], eV/A.
        stress: [xyz, xyz], eV/A^3, positive under tension (ASE), or None.
        name: file and frame number, for messages.
    """

    atoms: Atoms
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    name: str


class Sample(NamedTuple):
    """Labelled structures as tensors: one frame, or a batch.

    Attributes:
        system: the structures.
        neighbors: their table, complete to the model's cutoff.
        energy: [structure], eV, reference energies removed.
        forces: [atom, xyz], eV/A.
        stress: [structure, xyz, xyz], eV/A^3; NaN where there is no label.
    """

    system: System
    neighbors: Neighbors
    energy: Tensor
    forces: Tensor
    stress: Tensor


def read_frames(paths: Sequence[Path], keys: DataKeys = DataKeys()) -> list[LabelledFrame]:  # noqa: B008  (frozen)
    """Read labelled structures and refuse what is damaged.

    Args:
        paths: extended-XYZ files (or any ASE format that carries energies and forces).
        keys: names and units of the labels.

    Raises:
        DatasetError: no such file, no frames, missing labels, NaN, or a structure no model can treat.
    """
    frames: list[LabelledFrame] = []
    for path in paths:
        if not Path(path).is_file():
            raise DatasetError(f"data file {path}", got="no such file", wanted="an extended-XYZ file")
        try:
            for number, atoms in enumerate(iread(str(path), index=":")):
                frames.append(_frame(atoms, keys, f"{Path(path).name}, frame {number}"))
        except SpectraAppError:
            raise
        except Exception as error:  # ASE's readers raise whatever they meet
            raise DatasetError(
                f"data file {path}",
                got=f"unreadable after {len(frames)} frames ({error})",
                wanted="extended XYZ with energy and forces",
                todo="Is the file truncated?",
            ) from error
    if not frames:
        raise DatasetError(f"data {', '.join(map(str, paths))}", got="no frames", wanted="at least one")
    return frames


def find_label(atoms: Atoms, key: str, place: str) -> object | None:
    """A label by key: ASE moves the standard names into a calculator, others stay in info or arrays."""
    if place == "arrays" and key in atoms.arrays:
        return atoms.arrays[key]
    if place == "info" and key in atoms.info:
        return atoms.info[key]
    results = getattr(atoms.calc, "results", {})
    return results.get(key)


def _frame(atoms: Atoms, keys: DataKeys, name: str) -> LabelledFrame:
    """Check and convert one frame."""
    energy, forces = find_label(atoms, keys.energy, "info"), find_label(atoms, keys.forces, "arrays")
    for label, key, what in ((energy, keys.energy, "energy"), (forces, keys.forces, "forces")):
        if label is None:
            known = sorted({*atoms.info, *atoms.arrays, *getattr(atoms.calc, "results", {})} - {"numbers", "positions"})
            raise DatasetError(
                f"{name}, {what}",
                got=f"no '{key}' (there is: {', '.join(known) or 'nothing'})",
                wanted=f"a label '{key}'",
                todo=f"Name it under training.keys.{what}",
            )
    energy_unit, length = ENERGY_UNITS_EV[keys.energy_unit], LENGTH_UNITS_A[keys.length_unit]
    energy_ev = float(energy) * energy_unit  # type: ignore[arg-type]
    forces_ev = np.asarray(forces, dtype=float) * energy_unit / length
    if not np.isfinite(energy_ev):
        raise DatasetError(f"{name}, energy", got=str(energy_ev), wanted="a finite number in eV", todo="Drop the frame")
    if not np.isfinite(forces_ev).all():
        atom = int(np.argwhere(~np.isfinite(forces_ev))[0, 0])
        raise DatasetError(
            f"{name}, force on atom {atom}", got="NaN or infinity", wanted="finite numbers", todo="Drop the frame"
        )
    if forces_ev.shape != (len(atoms), 3):
        raise DatasetError(f"{name}, forces", got=f"shape {forces_ev.shape}", wanted=f"({len(atoms)}, 3)")
    plain = Atoms(atoms.numbers, atoms.get_positions() * length, cell=atoms.cell.array * length, pbc=atoms.pbc)
    plain.info["charge"] = float(atoms.info.get(keys.charge, 0.0))
    return LabelledFrame(plain, energy_ev, forces_ev, _stress(atoms, keys, name), name)


def _stress(atoms: Atoms, keys: DataKeys, name: str) -> np.ndarray | None:
    """[xyz, xyz] stress of a frame in eV/A^3, or None where it is not labelled."""
    label = find_label(atoms, keys.stress, "info")
    return None if label is None or not atoms.pbc.all() else convert_stress(label, keys, name)


def convert_stress(label: object, keys: DataKeys, name: str) -> np.ndarray:
    """[xyz, xyz] stress in eV/A^3 of a label with 9 numbers, or 6 in Voigt order xx, yy, zz, yz, xz, xy.

    Raises:
        DatasetError: another number of values, or NaN.
    """
    stress = np.asarray(label, dtype=float).reshape(-1) * STRESS_UNITS_EV_PER_A3[keys.stress_unit]
    if stress.size == 6:
        stress = stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
    if stress.size != 9 or not np.isfinite(stress).all():
        raise DatasetError(f"{name}, stress", got=f"{stress.size} numbers", wanted="6 or 9 finite numbers")
    return stress.reshape(3, 3)


def species_of(frames: Sequence[LabelledFrame]) -> tuple[str, ...]:
    """Chemical symbols in the data, by atomic number."""
    from ase.data import chemical_symbols

    numbers = sorted({int(z) for frame in frames for z in np.unique(frame.atoms.numbers)})
    return tuple(chemical_symbols[z] for z in numbers)


def fit_reference_energies(
    frames: Sequence[LabelledFrame], species: Sequence[str], residual: np.ndarray | None = None
) -> np.ndarray:
    """Energy per atom of each element by least squares on the compositions (least norm where underdetermined).

    Args:
        frames: labelled structures.
        species: chemical symbols.
        residual: [frame], eV; fitted instead of the energies.

    Returns:
        [species], eV.
    """
    counts = np.array([[frame.atoms.get_chemical_symbols().count(s) for s in species] for frame in frames], dtype=float)
    energies = np.array([frame.energy for frame in frames]) if residual is None else residual
    return np.linalg.lstsq(counts, energies, rcond=1e-8)[0]


def make_samples(
    frames: Sequence[LabelledFrame],
    cutoff: float,
    species: Sequence[str],
    reference_energies: np.ndarray,
    dtype: torch.dtype,
    device: torch.device | str,
) -> list[Sample]:
    """Tensors of every frame, neighbour tables included (built once; training never searches pairs again).

    Args:
        frames: labelled structures.
        cutoff: A, of the model.
        species: chemical symbols.
        reference_energies: [species], eV, removed from the energies in float64.
        dtype: floating-point type of the network.
        device: where the tensors live.
    """
    reference = dict(zip(species, reference_energies, strict=True))
    samples = []
    for frame in frames:
        system = from_ase(frame.atoms, dtype=torch.float64, name=frame.name)
        neighbors = build_neighbors(system, cutoff)
        energy = frame.energy - sum(reference[s] for s in frame.atoms.get_chemical_symbols())
        stress = np.full((3, 3), np.nan) if frame.stress is None else frame.stress
        samples.append(
            Sample(
                system.to(device, dtype),
                neighbors.to(device, dtype),
                torch.tensor([energy], dtype=dtype, device=device),
                torch.as_tensor(frame.forces).to(device, dtype),
                torch.as_tensor(stress).to(device, dtype)[None],
            )
        )
    return samples


def collate(samples: Sequence[Sample]) -> Sample:
    """One batch of several samples."""
    if len(samples) == 1:
        return samples[0]
    return Sample(
        concatenate([s.system for s in samples]),
        concatenate_neighbors([s.neighbors for s in samples]),
        torch.cat([s.energy for s in samples]),
        torch.cat([s.forces for s in samples]),
        torch.cat([s.stress for s in samples]),
    )


def batches(samples: Sequence[Sample], batch_size: int, order: Sequence[int] | None = None) -> Iterator[Sample]:
    """Batches of a set in the given order."""
    places = range(len(samples)) if order is None else order
    for start in range(0, len(places), batch_size):
        yield collate([samples[i] for i in places[start : start + batch_size]])


def split_frames(n_frames: int, validation: float, test: float, seed: int) -> tuple[list[int], list[int], list[int]]:
    """Indices of training, validation and test frames, drawn at random.

    Args:
        n_frames: number of frames.
        validation: fraction held out for early stopping (at least one frame).
        test: fraction held out for one evaluation at the end.
        seed: of the draw.

    Raises:
        DatasetError: nothing would be left to train on.
    """
    order = np.random.default_rng(seed).permutation(n_frames)
    n_test, n_validation = round(test * n_frames), max(1, round(validation * n_frames))
    if n_frames - n_test - n_validation < 1:
        raise DatasetError("training data", got=f"{n_frames} frames", wanted="at least 2, most of them for training")
    test_part, validation_part = order[:n_test], order[n_test : n_test + n_validation]
    rest = order[n_test + n_validation :]
    return sorted(map(int, rest)), sorted(map(int, validation_part)), sorted(map(int, test_part))


def split_data(n_frames: int, settings: TrainingSettings) -> tuple[list[int], list[int], list[int]]:
    """As ``split_frames`` for ``settings.data``: nothing of it is held out for what has files of its own.

    Raises:
        DatasetError: nothing would be left to train on.
    """
    test_fraction = 0.0 if settings.test_data else settings.test_fraction
    train, validation, test = split_frames(
        n_frames, settings.validation_fraction, test_fraction, settings.seed_of_split
    )
    return (sorted((*train, *validation)), [], test) if settings.validation_data else (train, validation, test)


def divided(
    frames: Sequence[LabelledFrame], settings: TrainingSettings
) -> tuple[list[LabelledFrame], list[LabelledFrame], list[LabelledFrame]]:
    """Frames to train on, to validate on and to test on.

    Args:
        frames: of ``settings.data``.
        settings: fractions and seed, or ``validation_data`` and ``test_data``.

    Raises:
        DatasetError: nothing would be left to train on, or validation or test data that cannot be read.
    """
    train, validation, test = ([frames[place] for place in part] for part in split_data(len(frames), settings))
    if settings.validation_data:
        validation = read_frames(settings.validation_data, settings.keys)
    if settings.test_data:
        test = read_frames(settings.test_data, settings.keys)
    return train, validation, test


def write_frames(path: Path, frames: Sequence[LabelledFrame]) -> None:
    """Write labelled structures as extended XYZ in eV and A, under the names that ``DataKeys`` has by default.

    Raises:
        DatasetError: the file cannot be written.
    """
    written = []
    for frame in frames:
        atoms = frame.atoms.copy()
        results = {"energy": frame.energy, "forces": frame.forces}
        if frame.stress is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(frame.stress)
        atoms.calc = SinglePointCalculator(atoms, **results)
        written.append(atoms)
    with atomic_path(path, DatasetError) as temporary:
        write(temporary, written, format="extxyz")
