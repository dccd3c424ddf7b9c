"""Errors of a model on labelled structures: what it was trained on, and responses it never saw."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import iread

from spectra_app.config import DataKeys
from spectra_app.electrostatics.multipoles import parse_variant
from spectra_app.errors import DatasetError
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.prediction import Prediction
from spectra_app.structure.neighbors import Neighbors, build_neighbors
from spectra_app.structure.system import System, from_ase
from spectra_app.training.dataset import (
    ENERGY_UNITS_EV,
    LENGTH_UNITS_A,
    convert_stress,
    find_label,
)
from spectra_app.training.evidence import MOST_STEPS, ChargeEvidence, measure_evidence
from spectra_app.units import EV_PER_A3_TO_GPA

Watch = Callable[[Atoms, Prediction], None]
_ONE_IN = 5  # structures is tested on
_DIAGONAL = np.eye(3, dtype=bool).reshape(-1)


class _Pairs:
    """Predicted and true values of one quantity, collected structure by structure."""

    def __init__(self) -> None:
        self.predicted: list[np.ndarray] = []
        self.true: list[np.ndarray] = []

    def add(self, predicted: np.ndarray, true: np.ndarray) -> None:
        self.predicted.append(np.asarray(predicted, dtype=float).reshape(len(np.atleast_1d(predicted)), -1))
        self.true.append(np.asarray(true, dtype=float).reshape(self.predicted[-1].shape))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate(self.predicted), np.concatenate(self.true)


def rmse(predicted: np.ndarray, true: np.ndarray) -> float:
    """Root mean square difference, in the unit of the arguments."""
    return float(np.sqrt(np.mean((predicted - true) ** 2)))


def r_squared(predicted: np.ndarray, true: np.ndarray) -> float:
    """Coefficient of determination 1 - sum (x - y)^2 / sum (y - mean y)^2 over all components together."""
    spread = float(((true - true.mean()) ** 2).sum())
    return float("nan") if spread == 0 else 1.0 - float(((predicted - true) ** 2).sum()) / spread


def pearson(predicted: np.ndarray, true: np.ndarray) -> float:
    """Correlation coefficient over all components together; NaN where either side does not vary."""
    x, y = predicted.reshape(-1) - predicted.mean(), true.reshape(-1) - true.mean()
    scatter = float(np.sqrt((x @ x) * (y @ y)))
    return float("nan") if scatter == 0 else float(x @ y) / scatter


def slope(predicted: np.ndarray, true: np.ndarray) -> float:
    """Share of the deviations from the mean that a prediction has, by least squares; NaN where the labels do not vary.

    A correlation does not see that a model's fluctuations, and with them its Raman intensities (slope squared), are
    too small.
    """
    x, y = predicted.reshape(-1) - predicted.mean(), true.reshape(-1) - true.mean()
    return float("nan") if float(y @ y) == 0 else float(x @ y) / float(y @ y)


def evaluate_file(
    model: Potential,
    path: Path | str,
    keys: DataKeys = DataKeys(),  # noqa: B008
    watch: Watch | None = None,
) -> dict[str, float | int]:
    """Errors on every label a file carries; the metrics of ``spectra-app evaluate``.

    Labels: energy, forces, stress (names and units from ``keys``); dipole [e A] of open structures, born_charges
    [e, 9 per atom, field first], polarizability [e^2 A^2/eV, 9 numbers].  Energy errors are taken after one constant
    shift per composition.  Responses are physical: scaled with eps_e (docs/theory.md, "Physical scale").

    Args:
        model: the potential.
        path: any ASE format with labels.
        keys: names and units.
        watch: called with every structure and what the model predicts of it.

    Returns:
        name with unit -> value; only the quantities that the file and the model both have.

    Raises:
        DatasetError: no such file, no frames, or no label at all.
    """
    return evaluate_structures(model, read_structures(path), keys, str(path), watch)


def read_structures(path: Path | str) -> list[Atoms]:
    """All structures of a file in any format of ASE.

    Raises:
        DatasetError: no such file, or one that cannot be read.
    """
    if not Path(path).is_file():
        raise DatasetError(f"data file {path}", got="no such file", wanted="an extended-XYZ file")
    try:
        return list(iread(str(path), index=":"))
    except Exception as error:  # ASE's readers raise whatever they meet
        raise DatasetError(f"data file {path}", got=f"unreadable ({error})", wanted="extended XYZ") from error


def evaluate_structures(
    model: Potential,
    structures: list[Atoms],
    keys: DataKeys = DataKeys(),  # noqa: B008
    source: str = "structures",
    watch: Watch | None = None,
) -> dict[str, float | int]:
    """As ``evaluate_file`` for structures in memory."""
    if not structures:
        raise DatasetError(f"data {source}", got="no frames", wanted="at least one")
    collected: dict[str, _Pairs] = defaultdict(_Pairs)
    compositions: list[tuple[str, int]] = []
    for number, atoms in enumerate(structures):
        prediction = _evaluate_one(model, atoms, keys, f"{source}, frame {number}", collected, compositions)
        if watch is not None:
            watch(atoms, prediction)
    if not collected:
        raise DatasetError(
            f"data {source}", got="no labels", wanted="energy, forces, stress, dipole, born_charges or polarizability"
        )
    metrics: dict[str, float | int] = {
        "n_structures": len(structures),
        "n_atoms": int(sum(len(atoms) for atoms in structures)),
    }
    if "electrostatic_forces" in collected:
        forces, without = collected["electrostatic_forces"].arrays()
        metrics["electrostatic_forces_meV_per_A"] = 1e3 * rmse(forces, without)
    if "energy" in collected:
        metrics["energy_rmse_meV_per_atom"] = _energy_error(collected["energy"], compositions)
    if "forces" in collected:
        metrics["forces_rmse_meV_per_A"] = 1e3 * rmse(*collected["forces"].arrays())
    if "stress" in collected:
        metrics["stress_rmse_GPa"] = EV_PER_A3_TO_GPA * rmse(*collected["stress"].arrays())
    if "dipole" in collected:
        metrics["dipole_rmse_eA"] = rmse(*collected["dipole"].arrays())
        metrics["dipole_r2"] = r_squared(*collected["dipole"].arrays())
    if "born" in collected:
        metrics["born_rmse_e"] = rmse(*collected["born"].arrays())
        metrics["born_r2"] = r_squared(*collected["born"].arrays())
    if "polarizability" in collected:
        predicted, true = collected["polarizability"].arrays()
        metrics["polarizability_rmse_e2A2_per_eV"] = rmse(predicted, true)
        for part, chosen in (("", slice(None)), ("_diagonal", _DIAGONAL), ("_offdiagonal", ~_DIAGONAL)):
            metrics[f"polarizability_pearson{part}"] = pearson(predicted[:, chosen], true[:, chosen])
        metrics["polarizability_slope_diagonal"] = slope(predicted[:, _DIAGONAL], true[:, _DIAGONAL])
        metrics["polarizability_slope_offdiagonal"] = slope(predicted[:, ~_DIAGONAL], true[:, ~_DIAGONAL])
    return metrics


def _evaluate_one(
    model: Potential,
    atoms: Atoms,
    keys: DataKeys,
    name: str,
    collected: dict[str, _Pairs],
    compositions: list[tuple[str, int]],
) -> Prediction:
    """Predict one structure and collect every quantity that is labelled."""
    energy_unit, length = ENERGY_UNITS_EV[keys.energy_unit], LENGTH_UNITS_A[keys.length_unit]
    plain = Atoms(atoms.numbers, atoms.positions * length, cell=atoms.cell.array * length, pbc=atoms.pbc)
    charge = float(atoms.info.get(keys.charge, 0.0))
    system = from_ase(plain, charge=charge, dtype=model.dtype, device=model.device, name=name)
    model.check_system(system, name)
    neighbors = build_neighbors(system, model.cutoff)
    stress = find_label(atoms, keys.stress, "info") if atoms.pbc.all() else None
    prediction = model(system, neighbors, forces=True, stress=stress is not None)
    energy, forces = find_label(atoms, keys.energy, "info"), find_label(atoms, keys.forces, "arrays")
    if energy is not None:
        collected["energy"].add(prediction.energy.cpu().numpy(), np.array([float(energy) * energy_unit]))  # type: ignore[arg-type]
        compositions.append((atoms.get_chemical_formula(mode="hill"), len(atoms)))
    if forces is not None:
        assert prediction.forces is not None
        collected["forces"].add(prediction.forces.cpu().numpy(), np.asarray(forces) * energy_unit / length)
    if stress is not None:
        assert prediction.stress is not None
        collected["stress"].add(prediction.stress.cpu().numpy(), convert_stress(stress, keys, name)[None])
    if not model.variant.electrostatic:
        return prediction
    if forces is not None:
        without = without_electrostatics(model)(system, neighbors, polarizability=False)
        assert prediction.forces is not None
        assert without.forces is not None
        collected["electrostatic_forces"].add(prediction.forces.cpu().numpy(), without.forces.cpu().numpy())
    dipole = find_label(atoms, "dipole", "info")
    if dipole is not None and not atoms.pbc.any():
        physical = model.scale.vectors(prediction.dipole, system)
        collected["dipole"].add(physical.cpu().numpy(), np.asarray(dipole)[None])
    born = find_label(atoms, "born_charges", "arrays")
    if born is not None:
        collected["born"].add(model.born_charges(system, neighbors).cpu().numpy(), np.asarray(born))
    alpha = find_label(atoms, "polarizability", "info")
    if alpha is not None and model.card.has_alpha:
        physical = model.scale.tensors(prediction.polarizability, system)
        collected["polarizability"].add(physical.cpu().numpy(), np.asarray(alpha)[None])
    return prediction


def without_electrostatics(model: Potential) -> Potential:
    """The same weights (shared, not copied) with the electrostatics left out."""
    other = copy.copy(model)
    other.variant, other.engine = parse_variant("sr"), "eager"
    return other


def check_charges(
    model: Potential,
    structures: Sequence[Atoms],
    keys: DataKeys = DataKeys(),  # noqa: B008
    n_steps: int = MOST_STEPS,
    progress: Callable[[int], None] | None = None,
) -> ChargeEvidence | None:
    """Whether the forces of labelled structures need a model's charges: one in five is tested on, the others learned.

    Args:
        model: the potential.
        structures: with forces.
        keys: names and units.
        n_steps: of learning.
        progress: told after every step how many are done.

    Returns:
        None of a model without electrostatics, or of too few structures with forces.
    """
    length, labels = LENGTH_UNITS_A[keys.length_unit], []
    known: list[tuple[System, Neighbors]] = []
    held_out: list[tuple[System, Neighbors]] = []
    for atoms in structures:
        forces = find_label(atoms, keys.forces, "arrays")
        if forces is None:
            continue
        plain = Atoms(atoms.numbers, atoms.positions * length, cell=atoms.cell.array * length, pbc=atoms.pbc)
        charge = float(atoms.info.get(keys.charge, 0.0))
        system = from_ase(plain, charge=charge, dtype=model.dtype, device=model.device)
        structure = system, build_neighbors(system, model.cutoff).to(dtype=model.dtype)
        if (len(known) + len(held_out)) % _ONE_IN:
            known.append(structure)
            continue
        held_out.append(structure)
        unit = ENERGY_UNITS_EV[keys.energy_unit] / length
        labels.append(torch.as_tensor(np.asarray(forces, dtype=float) * unit, device=model.device))
    return measure_evidence(model, known, held_out, labels, n_steps, progress=progress)


def _energy_error(pairs: _Pairs, compositions: list[tuple[str, int]]) -> float:
    """RMSE per atom [meV] after one constant shift per composition."""
    predicted, true = (values[:, 0] for values in pairs.arrays())
    difference = predicted - true
    sizes = np.array([size for _, size in compositions], dtype=float)
    names = np.array([formula for formula, _ in compositions])
    for formula in np.unique(names):
        difference[names == formula] -= difference[names == formula].mean()
    return 1e3 * float(np.sqrt(np.mean((difference / sizes) ** 2)))
