"""A molecule whose charges were learned from energies and forces beside the calculator that gave these.

    spectra-app run molecule
    python benchmarks/molecule_gfn2.py [--results results/molecule] [--page docs/molecule.md]

Dipoles (of the calculator) and Born charges (differences of them) at frames of the calculator's own dynamics; harmonic
infrared bands of both, each at its own minimum, matched by the overlap of their eigenvectors; the infrared spectrum of
the recipe's dynamics with the dipoles of both along the same paths.  None of the calculator's dipoles was learned from.
Needs tblite; one core, some minutes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.io import iread
from pages import renew_section

from spectra_app import (
    AsePotential,
    born_charges,
    harmonic_limit,
    infrared_spectrum,
    label_structures,
    load_model,
    read_run,
)
from spectra_app.config import LabelSettings, RunFileSettings, load_settings
from spectra_app.couplings.calculators import calculator_from
from spectra_app.harmonic.limit import HarmonicLimit
from spectra_app.jobs.structures import read_structure
from spectra_app.potentials.potential import Potential
from spectra_app.runs import Run
from spectra_app.training.evaluation import evaluate_structures

TEACHER = 'ase:tblite.ase:TBLite(method="GFN2-xTB", accuracy=0.01, verbosity=0)'
STRONGEST = 5
BANDS_PER_CM = ((100.0, 700.0), (700.0, 1180.0), (1180.0, 1330.0), (1330.0, 1600.0), (2600.0, 3250.0), (3250.0, 3900.0))


def main() -> None:
    """Print the tables, or write them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/molecule"), help="folder of the recipe's results")
    parser.add_argument("--model", help="another model than the folder's")
    parser.add_argument("--calculator", default=TEACHER)
    parser.add_argument("--frames", type=int, default=60, help="of dynamics for dipoles and Born charges")
    parser.add_argument(
        "--replicas", type=int, default=2, help="of the recipe's run, for the infrared spectrum; 0: none"
    )
    parser.add_argument("--page", type=Path, help="renew the tables in this page")
    options = parser.parse_args()
    settings = load_settings(RunFileSettings, options.results / "configuration.yaml")
    assert settings.structure is not None
    structure = read_structure(settings.structure)
    model = load_model(options.model or settings.model, dtype="float64")
    assert isinstance(model, Potential)
    calculator = calculator_from(options.calculator)
    teacher = AsePotential(calculator)
    parts = [
        responses(model, teacher, labelled_frames(structure, options.calculator, options.frames)),
        harmonic_bands(harmonic_limit(model, structure), harmonic_limit(teacher, structure)),
    ]
    run_file = options.results / "run.h5"
    if options.replicas and run_file.is_file():
        parts.append(dynamics_bands(read_run(run_file), calculator, options.replicas))
    text = "\n\n".join(parts)
    print(text)
    if options.page:
        renew_section(options.page, "molecule", text)


def labelled_frames(structure: Atoms, calculator: str, count: int) -> list[Atoms]:
    """Frames of the calculator's dynamics at 300 K that no training has seen, with energy, forces and dipole."""
    settings = LabelSettings(md=True, originals=False, steps=40 * count, stride=40, seed=2024)
    with tempfile.TemporaryDirectory() as folder:
        found = label_structures([structure], calculator, Path(folder) / "frames.extxyz", settings)
        return list(iread(found.path))


def responses(model: Potential, teacher: AsePotential, frames: list[Atoms]) -> str:
    """Errors of forces, dipoles and Born charges, in a sentence."""
    for atoms in frames:
        plain = Atoms(atoms.numbers, atoms.positions)
        atoms.arrays["born_charges"] = born_charges(teacher, plain).born_e.reshape(-1, 9)
    found = evaluate_structures(model, frames)
    return (
        f"At {len(frames)} frames of other dynamics at 300 K: forces {found['forces_rmse_meV_per_A']:.1f} meV/A; "
        f"dipole R2 {found['dipole_r2']:.4f} ({found['dipole_rmse_eA']:.4f} e A); "
        f"Born charges R2 {found['born_r2']:.4f} ({found['born_rmse_e']:.3f} e)."
    )


def harmonic_bands(own: HarmonicLimit, other: HarmonicLimit) -> str:
    """Table of all modes of the calculator with the model's beside them, and what the strongest ones are off by."""
    assert own.infrared is not None
    assert other.infrared is not None
    partner = partners(own, other)
    ours, theirs = own.infrared.intensities_km_per_mol[partner], other.infrared.intensities_km_per_mol
    shift = own.modes.frequencies_per_cm[partner] - other.modes.frequencies_per_cm
    ranks = {int(mode): rank for rank, mode in enumerate(np.argsort(-theirs), start=1)}
    own_ranks = {int(mode): rank for rank, mode in enumerate(np.argsort(-ours), start=1)}
    lines = [
        "| rank | model, cm^-1 | GFN2-xTB, cm^-1 | model, km/mol | GFN2-xTB, km/mol | ratio | rank, model |",
        "|---|---|---|---|---|---|---|",
    ]
    for mode, nu in enumerate(other.modes.frequencies_per_cm):
        cells = [f"{nu + shift[mode]:.1f}", f"{nu:.1f}", f"{ours[mode]:.1f}", f"{theirs[mode]:.1f}"]
        ratio = f"{ours[mode] / max(theirs[mode], 1e-12):.2f}"
        lines.append("| " + " | ".join([str(ranks[mode]), *cells, ratio, str(own_ranks[mode])]) + " |")
    strong = [mode for mode, rank in ranks.items() if rank <= STRONGEST]
    same = all(own_ranks[mode] == ranks[mode] for mode in strong)
    off = np.abs(ours[strong] / theirs[strong] - 1.0).max()
    order = "in the same order" if same else "in another order"
    lines += [
        "",
        f"The strongest {STRONGEST} bands are {order}: frequencies within "
        f"{np.abs(shift[strong]).max():.1f} cm^-1, intensities within {100.0 * off:.0f}%. All modes: mean absolute "
        f"difference {np.abs(shift).mean():.1f} cm^-1, largest {np.abs(shift).max():.1f}; sum of the intensities "
        f"{ours.sum() / theirs.sum():.3f} of GFN2-xTB's.",
    ]
    return "\n".join(lines)


def partners(own: HarmonicLimit, other: HarmonicLimit) -> np.ndarray:
    """The model's mode for each mode of the calculator [mode]: every one once, by the overlap of eigenvectors."""
    from scipy.optimize import linear_sum_assignment

    theirs, ours = (limit.modes.eigenvectors.reshape(len(limit.modes.eigenvectors), -1) for limit in (other, own))
    return np.asarray(linear_sum_assignment(-((aligned(own, other, theirs) @ ours.T) ** 2))[1])


def aligned(own: HarmonicLimit, other: HarmonicLimit, vectors: np.ndarray) -> np.ndarray:
    """Vectors [mode, 3 atom] of the calculator's minimum, turned as the model's minimum lies."""
    from scipy.spatial.transform import Rotation

    a, b = (limit.atoms.positions - limit.atoms.get_center_of_mass() for limit in (own, other))
    turn = Rotation.align_vectors(a, b)[0].as_matrix()
    return (vectors.reshape(len(vectors), -1, 3) @ turn.T).reshape(len(vectors), -1)


def dynamics_bands(run: Run, calculator: BaseCalculator, replicas: int) -> str:
    """Integrals of the infrared spectrum of a run with the dipoles of both at the same configurations."""
    replicas = min(replicas, len(run.replicas))
    steps = np.searchsorted(np.asarray(run.step), np.asarray(run.trajectory_step))
    positions = np.asarray(run.positions_A[:, :replicas])
    ours = np.asarray(run.dipole_eA[:, :replicas])[steps]
    theirs = np.stack([dipoles(calculator, run.numbers, positions[:, k]) for k in range(replicas)], axis=1)
    given: dict[str, Any] = {
        "timestep_fs": float(run.trajectory_time_fs[1] - run.trajectory_time_fs[0]),
        "temperature_K": float(run.metadata["temperature_K"]),
        "bands_per_cm": BANDS_PER_CM,
        "integration_timestep_fs": run.integration_timestep_fs,
        "checks": "warn",
    }
    one, other = infrared_spectrum(ours, **given), infrared_spectrum(theirs, **given)
    lines = [
        "| band, cm^-1 | dipoles of the model, km/mol | of GFN2-xTB, km/mol | ratio |",
        "|---|---|---|---|",
    ]
    for ours_in, theirs_in, (low, high) in zip(one.bands, other.bands, BANDS_PER_CM, strict=True):
        ratio = ours_in.value / theirs_in.value
        lines.append(f"| {low:.0f} to {high:.0f} | {ours_in.value:.1f} | {theirs_in.value:.1f} | {ratio:.2f} |")
    curves = np.stack([spectrum.columns()[spectrum.main].values for spectrum in (one, other)])
    lines += [
        "",
        f"{replicas} replicas of {run.duration_ps:.0f} ps at {given['temperature_K']:.0f} K; correlation of the two "
        f"spectra {float(np.asarray(np.corrcoef(curves))[0, 1]):.4f}; R2 of the dipoles along the paths "
        f"{1.0 - ((ours - theirs) ** 2).sum() / ((theirs - theirs.mean()) ** 2).sum():.4f}.",
    ]
    return "\n".join(lines)


def dipoles(calculator: BaseCalculator, numbers: np.ndarray, positions_A: np.ndarray) -> np.ndarray:
    """Dipoles [frame, xyz], e A, of the calculator at positions [frame, atom, xyz]."""
    found = np.empty((len(positions_A), 3))
    for place, here in enumerate(positions_A):
        atoms = Atoms(numbers, here)
        atoms.calc = calculator
        found[place] = atoms.get_dipole_moment()
    return found


if __name__ == "__main__":
    main()
