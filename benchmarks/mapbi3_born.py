"""Born charges of MAPbI3 that published infrared activities imply, beside those of a model.

    git clone https://github.com/WMD-group/Phonons
    python benchmarks/mapbi3_born.py --phonons Phonons --model mapbi3 --page docs/mapbi3.md

Brivio et al., Phys. Rev. B 92, 144308 (2015), DOI 10.1103/PhysRevB.92.144308, published structures, normal modes and
infrared activities by perturbation theory (PBEsol), no Born charges.  They follow: the activity of a mode is
sum_a (sum_jb Z*_jab e_jb / sqrt(m_j))^2.  Below 200 cm^-1 the molecules move as a whole, so that lead, two numbers for
iodine (along Pb-I-Pb and across) and the two ends of the molecule, of sum zero, are four numbers for some fifty
activities.  They are fitted to the spectrum, each mode a Gaussian: frequencies of the two files differ by up to
14 cm^-1, and modes that are close to each other may have changed places.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from ase import Atoms
from ase.io import read
from pages import renew_section
from scipy.optimize import least_squares

from spectra_app import load_model
from spectra_app.born.charges import born_charges
from spectra_app.units import SPEED_OF_LIGHT_CM_PER_FS

PHASES = ("Orthorhombic", "Tetragonal")
CAGE_PER_CM = (10.0, 200.0)
NAMES = ("Pb", "I along", "I across", "NH3", "CH3")
IODINE = 2
N_ATOMS = np.array([1, 1, 1, 4, 4])  # that share a charge
START_E = np.array([4.0, -3.0, -1.0, 0.5])  # of all names but the last, which the others give
WIDTH_PER_CM = 8.0
STEP_PER_CM = 2.0
WEAK = 0.02  # of the highest point of the spectrum: weaker ones count as this


class Published(NamedTuple):
    """What is published of a phase.

    Attributes:
        atoms: relaxed structure.
        nu: [mode] wavenumbers of the eigenvectors, cm^-1.
        vectors: [mode, atom, xyz] of the mass-weighted Hessian, orthonormal.
        activity_nu: [mode] wavenumbers of the activities, cm^-1.
        activity: [mode] infrared activities, e^2/amu.
    """

    atoms: Atoms
    nu: np.ndarray
    vectors: np.ndarray
    activity_nu: np.ndarray
    activity: np.ndarray


def main() -> None:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phonons", type=Path, default=Path("Phonons"), help="clone of WMD-group/Phonons")
    parser.add_argument("--model", default="mapbi3")
    parser.add_argument("--page", type=Path, help="renew the table in this page")
    options = parser.parse_args()
    if not (options.phonons / "2015_MAPbI3").is_dir():
        raise SystemExit(f"skipped: no 2015_MAPbI3 in {options.phonons} (clone the repository, or give --phonons)")
    text = report(options.phonons / "2015_MAPbI3", options.model)
    print(text)
    if options.page:
        renew_section(options.page, "born", text)


def report(folder: Path, name: str) -> str:
    """Table of charges, e, and of the activities that they give the published modes."""
    model = load_model(name)
    lines = [
        f"| phase | from | {' | '.join(NAMES)} | CH3NH3 | activity below 200 cm^-1, e^2/amu | all |",
        "|---" * (len(NAMES) + 5) + "|",
    ]
    for phase in PHASES:
        data = published(folder, phase)
        charges = fitted(data)
        low, _ = _sums(data.nu, activities(data, as_tensors(data.atoms, charges)))
        tensors = born_charges(model, data.atoms).born_e
        of_model = _texts(means(data.atoms, tensors))
        of_data, of_tensors = _sums(data.activity_nu, data.activity), _sums(data.nu, activities(data, tensors))
        lines += [
            f"| {phase.lower()} | published | {_texts(charges)} | {' | '.join(of_data)} |",
            f"| | these charges |{' |' * (len(NAMES) + 1)} {low} | |",
            f"| | `{name}` | {of_model} | {' | '.join(of_tensors)} |",
        ]
    return "\n".join(lines)


def _texts(charges: np.ndarray) -> str:
    """Charges by ``NAMES`` and that of a molecule."""
    return " | ".join(f"{value:+.2f}" for value in (*charges, charges[3] + charges[4]))


def _sums(nu: np.ndarray, activity: np.ndarray) -> tuple[str, str]:
    """Activities of the cage and of all modes."""
    return f"{activity[nu < CAGE_PER_CM[1]].sum():.2f}", f"{activity.sum():.1f}"


def published(folder: Path, phase: str) -> Published:
    """Structure, modes and activities of a phase."""
    modes = folder / f"MAPbI3-{phase}_Phonons"
    atoms: Atoms = read(modes / "POSCAR.vasp", format="vasp")  # type: ignore[assignment]
    text = (modes / "mesh-gamma_eigenvectors.yaml").read_text(encoding="utf-8")
    bands = yaml.load(text, Loader=yaml.CSafeLoader)["phonon"][0]["band"]
    nu = np.array([band["frequency"] for band in bands]) / (1e3 * SPEED_OF_LIGHT_CM_PER_FS)  # from THz
    vectors = np.array([band["eigenvector"] for band in bands])[..., 0]
    with (folder / "SimulatedSpectra" / f"MAPbI3-{phase}_PeakTable.csv").open(encoding="utf-8") as file:
        rows = np.array([[float(row[1]), float(row[3])] for row in list(csv.reader(file))[1:]])
    return Published(atoms, nu, vectors, rows[:, 0], rows[:, 1])


def fitted(data: Published) -> np.ndarray:
    """Charges by ``NAMES``, e, whose spectrum of the cage is the published one."""
    axis = np.arange(*CAGE_PER_CM, STEP_PER_CM)
    wanted = broadened(axis, data.activity_nu, data.activity)
    size = np.sqrt(np.maximum(wanted, WEAK * wanted.max()))

    def misfit(free: np.ndarray) -> np.ndarray:
        found = activities(data, as_tensors(data.atoms, with_last(free)))
        return (broadened(axis, data.nu, found) - wanted) / size

    return with_last(least_squares(misfit, START_E).x)


def with_last(free: np.ndarray) -> np.ndarray:
    """All charges: the last so that those of CH3NH3PbI3 sum to zero."""
    lead, along, across, one_end = free
    return np.append(free, -lead - along - 2.0 * across - one_end)


def as_tensors(atoms: Atoms, charges: np.ndarray) -> np.ndarray:
    """Tensors [atom, xyz, xyz], e, of charges by ``NAMES``."""
    kinds, axes = sites(atoms)
    tensors = (charges / N_ATOMS)[kinds][:, None, None] * np.eye(3)
    return tensors + np.where(kinds == IODINE, charges[1] - charges[2], 0.0)[:, None, None] * needles(axes)


def means(atoms: Atoms, tensors: np.ndarray) -> np.ndarray:
    """Means by ``NAMES`` of tensors [atom, xyz, xyz]; of an end of a molecule the sum of its atoms."""
    kinds, axes = sites(atoms)
    thirds = np.trace(tensors, axis1=1, axis2=2) / 3.0
    along = np.einsum("iab,iab->i", tensors, needles(axes))[kinds == IODINE].mean()
    lead, iodine, nitrogen, carbon = (N_ATOMS[kind] * thirds[kinds == kind].mean() for kind in (0, IODINE, 3, 4))
    return np.array([lead, along, (3.0 * iodine - along) / 2.0, nitrogen, carbon])


def sites(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Places in ``NAMES`` [atom] (iodine: ``IODINE``) and the axis of iodine's two bonds [atom, xyz]."""
    symbols = np.array(atoms.get_chemical_symbols())
    vectors = atoms.get_all_distances(mic=True, vector=True)
    lengths = np.linalg.norm(vectors, axis=2)
    kinds, axes = np.zeros(len(atoms), int), np.zeros((len(atoms), 3))
    for i, symbol in enumerate(symbols):
        nearest = np.argsort(lengths[i])
        if symbol == "I":
            one, other = nearest[symbols[nearest] == "Pb"][:2]
            axis = vectors[i, one] / lengths[i, one] - vectors[i, other] / lengths[i, other]
            kinds[i], axes[i] = IODINE, axis / np.linalg.norm(axis)
        elif symbol != "Pb":
            heavy = next(symbols[j] for j in nearest if symbols[j] in "CN")  # itself, or what a hydrogen is bound to
            kinds[i] = NAMES.index(f"{heavy}H3")
    return kinds, axes


def needles(axes: np.ndarray) -> np.ndarray:
    """Projections onto axes [atom, xyz]: [atom, xyz, xyz]."""
    return np.einsum("ia,ib->iab", axes, axes)


def activities(data: Published, tensors: np.ndarray) -> np.ndarray:
    """Infrared activity [mode], e^2/amu, of Born charges [atom, dipole, displacement]."""
    moved = data.vectors / np.sqrt(data.atoms.get_masses())[:, None]
    return np.square(np.einsum("jab,mjb->ma", tensors, moved)).sum(1)


def broadened(axis: np.ndarray, nu: np.ndarray, activity: np.ndarray) -> np.ndarray:
    """Spectrum on an axis, cm^-1, e^2/amu per cm^-1."""
    gaussians = np.exp(-0.5 * np.square((axis - nu[:, None]) / WIDTH_PER_CM)) / (WIDTH_PER_CM * np.sqrt(2.0 * np.pi))
    return activity @ gaussians


if __name__ == "__main__":
    main()
