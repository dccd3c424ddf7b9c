"""A sodium atom at one end of Na9Cl8+ and of Na8Cl8+, which lacks an atom at the other end: models beside PBE.

    python benchmarks/nacl_profile.py --models results/systems -o docs/nacl_profile.png
    python benchmarks/nacl_profile.py --write path.extxyz --start na9.xyz na8.xyz     # other frames

Two clusters (Ko, Finkler, Goedecker, Behler, Nat. Commun. 12, 398 (2021), DOI 10.1038/s41467-020-20427-2): taking an
atom away at one end changes the charges at the other, 20 A off, and with them where an atom there likes to sit.  A
model of the neighbourhood gives the same place in both.  ``nacl_profile.extxyz`` beside this script has both clusters
with the atom at a few places, all others as they are, and Na8Cl8+ relaxed.  With labels (``label`` with the calculator
in ``nacl_pyscf.py``; --frames) PBE is in the table and the figure too.

The minimum is that of the curve through energies and forces; relaxed energies of PBE are those of the nearest frame
and a Newton step from there with the second derivatives of the last model of --variants.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.io import write
from ase.optimize import BFGS

from spectra_app.potentials.calculator import SpectraCalculator
from spectra_app.potentials.folder import load_model
from spectra_app.training.evaluation import read_structures

FRAMES = Path(__file__).with_name("nacl_profile.extxyz")
MOVED, REMOVED = 0, 11  # indices in Na9Cl8+: at the left and at the right end
CLUSTERS = ("Na9Cl8+", "Na8Cl8+")
STEPS_A = (0.0, 0.3, -0.2)
SOFT_EV_PER_A2 = 0.05  # curvatures below are of turns and shifts of the cluster, or of its softest bends


class Profile(NamedTuple):
    """A cluster with the atom at a few places.

    Attributes:
        frames: of the path.
        steps_A: how far out the atom is, from its place in the first frame.
        direction: of the steps, [xyz].
        relaxed: the frame nearest to the minimum of the cluster.
    """

    frames: list[Atoms]
    steps_A: np.ndarray
    direction: np.ndarray
    relaxed: Atoms


class Answers(NamedTuple):
    """What a method says; one entry per cluster.

    Attributes:
        minima_A: places of the atom where the energy is lowest.
        energies_eV: of the frames of the path.
        relaxed_eV: energies of the relaxed clusters.
    """

    minima_A: list[float]
    energies_eV: list[np.ndarray]
    relaxed_eV: list[float]


def main() -> None:
    """Print the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("results") / "systems", help="output of systems/run.py")
    parser.add_argument("--budget", default="1min", help="of the trainings")
    parser.add_argument(
        "--variants", default="sr,q,uiqiu,qeq", help="comma-separated; all seeds of painn that are there"
    )
    parser.add_argument("--frames", type=Path, default=FRAMES, help="with or without labels of PBE")
    parser.add_argument("--write", type=Path, help="only write the frames to be labelled")
    parser.add_argument("--start", type=Path, nargs=2, help="for --write: Na9Cl8+ and Na8Cl8+, relaxed somehow")
    parser.add_argument("-o", "--output", type=Path, default=Path("nacl_profile.png"))
    options = parser.parse_args()
    if options.write is not None:
        whole, less = (read_structures(path)[0] for path in options.start)
        write(options.write, frames_to_label(whole, less))
        return
    models = {}
    for variant in options.variants.split(","):
        folders = sorted(options.models.glob(f"nacl-painn-{variant}-{options.budget}-*/metrics.json"))
        if not folders:
            raise SystemExit(
                f"skipped: no {variant} of {options.budget} in {options.models} (benchmarks/systems/run.py)"
            )
        models[variant] = [SpectraCalculator(load_model(path.parent)) for path in folders]
    profiles = read_profiles(options.frames)
    exact = answers_of_labels(profiles, list(models.values())[-1][0]) if is_labelled(profiles[0]) else None
    print(table(exact, {v: [answers(one, profiles) for one in several] for v, several in models.items()}))
    draw(profiles, models, options.output)


def frames_to_label(whole: Atoms, less: Atoms) -> list[Atoms]:
    """Both clusters along the path, and Na8Cl8+ relaxed.

    Args:
        whole: Na9Cl8+, relaxed.
        less: Na8Cl8+, relaxed.
    """
    taken = whole.copy()
    del taken[REMOVED]
    out = []
    for cluster in (whole, taken):
        for step in STEPS_A:
            atoms = cluster.copy()
            atoms.positions[MOVED] += step * outwards(cluster)
            out.append(atoms)
    out.append(less)
    for atoms in out:
        atoms.info, atoms.calc = {"charge": 1}, None
    return out


def outwards(atoms: Atoms) -> np.ndarray:
    """Unit vector from the two nearest Cl to the moved atom, [xyz]."""
    chlorine = np.flatnonzero(atoms.symbols == "Cl")
    vectors = atoms.positions[MOVED] - atoms.positions[chlorine]  # [atom, xyz]
    lengths = np.linalg.norm(vectors, axis=1)
    near = np.argsort(lengths)[:2]
    total = np.sum(vectors[near] / lengths[near, None], axis=0)
    return total / np.linalg.norm(total)


def read_profiles(path: Path) -> list[Profile]:
    """The labelled frames, by cluster."""
    out = []
    frames = read_structures(path)
    for size in (17, 16):
        several = [atoms for atoms in frames if len(atoms) == size]
        first = several[0]
        direction = outwards(first)
        moves = [atoms.positions - first.positions for atoms in several]
        on_path = [np.abs(np.delete(move, MOVED, axis=0)).max() < 1e-4 for move in moves]
        relaxed = [atoms for atoms, on in zip(several, on_path, strict=True) if not on]
        path_frames = [atoms for atoms, on in zip(several, on_path, strict=True) if on]
        steps = [move[MOVED] @ direction for move, on in zip(moves, on_path, strict=True) if on]
        out.append(Profile(path_frames, np.array(steps), direction, (relaxed or several)[0]))
    return out


def is_labelled(profile: Profile) -> bool:
    """Whether its frames have energies."""
    return all(atoms.calc is not None for atoms in profile.frames)


def lowest(profile: Profile, energies_eV: np.ndarray, forces_eV_per_A: list[np.ndarray]) -> float:
    """Place of the lowest energy, A, of the polynomial of fifth order through energies and slopes.

    Raises:
        SystemExit: it has no minimum between the frames.
    """
    curve = polynomial(profile, energies_eV, forces_eV_per_A)
    roots = curve.deriv().roots()
    real = roots[np.abs(roots.imag) < 1e-9].real
    inside = [x for x in real if profile.steps_A.min() <= x <= profile.steps_A.max() and curve.deriv(2)(x) > 0]
    if not inside:
        raise SystemExit("a curve has no minimum between the frames")
    return float(min(inside, key=curve))


def polynomial(
    profile: Profile, energies_eV: np.ndarray, forces_eV_per_A: list[np.ndarray]
) -> np.polynomial.Polynomial:
    """Least squares of energies less the first (eV) and slopes (eV/A) of the moved atom."""
    x, powers = profile.steps_A, np.arange(6)
    values = x[:, None] ** powers
    slopes = powers * x[:, None] ** np.maximum(powers - 1, 0)
    along = [-forces[MOVED] @ profile.direction for forces in forces_eV_per_A]
    wanted = np.concatenate([energies_eV - energies_eV[0], along])
    return np.polynomial.Polynomial(np.linalg.lstsq(np.concatenate([values, slopes]), wanted, rcond=None)[0])


def asked(calculator: SpectraCalculator, atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy and forces of a model."""
    copy = atoms.copy()
    copy.info, copy.calc = {"charge": 1}, calculator
    return float(copy.get_potential_energy()), copy.get_forces()


def answers(calculator: SpectraCalculator, profiles: list[Profile]) -> Answers:
    """What a model says."""
    out = Answers([], [], [])
    for profile in profiles:
        energies, forces = zip(*(asked(calculator, atoms) for atoms in profile.frames), strict=True)
        out.energies_eV.append(np.array(energies))
        out.minima_A.append(lowest(profile, np.array(energies), list(forces)))
        atoms = profile.relaxed.copy()
        atoms.info, atoms.calc = {"charge": 1}, calculator
        BFGS(atoms, logfile=None).run(fmax=0.01, steps=300)
        out.relaxed_eV.append(float(atoms.get_potential_energy()))
    return out


def answers_of_labels(profiles: list[Profile], calculator: SpectraCalculator) -> Answers:
    """What PBE says; its relaxed energies are E - f H^-1 f/2 with the second derivatives of a model."""
    out = Answers([], [], [])
    for profile in profiles:
        energies = np.array([atoms.get_potential_energy() for atoms in profile.frames])
        out.energies_eV.append(energies)
        out.minima_A.append(lowest(profile, energies, [atoms.get_forces() for atoms in profile.frames]))
        gain = newton_gain(profile.relaxed.get_forces(), second_derivatives(calculator, profile.relaxed))
        print(f"{profile.relaxed.get_chemical_formula()}: relaxing the labelled frame gains {1e3 * gain:.1f} meV")
        out.relaxed_eV.append(float(profile.relaxed.get_potential_energy()) - gain)
    return out


def second_derivatives(calculator: SpectraCalculator, atoms: Atoms, step_A: float = 0.01) -> np.ndarray:
    """Of the energy by central differences of forces, eV/A^2, [coordinate, coordinate]."""
    rows = []
    for place in range(3 * len(atoms)):
        pair = []
        for sign in (1.0, -1.0):
            moved = atoms.copy()
            moved.positions.flat[place] += sign * step_A
            pair.append(asked(calculator, moved)[1].ravel())
        rows.append((pair[1] - pair[0]) / (2.0 * step_A))
    matrix = np.array(rows)
    return 0.5 * (matrix + matrix.T)


def newton_gain(forces_eV_per_A: np.ndarray, matrix_eV_per_A2: np.ndarray) -> float:
    """Energy that a step to the minimum of the quadratic form gains, eV; soft and rigid motions are left out."""
    curvatures, modes = np.linalg.eigh(matrix_eV_per_A2)
    kept = curvatures > SOFT_EV_PER_A2
    along = modes.T[kept] @ forces_eV_per_A.ravel()
    return float(0.5 * np.sum(along**2 / curvatures[kept]))


def table(exact: Answers | None, found: dict[str, list[Answers]]) -> str:
    """Markdown table: PBE, and means over the seeds of each variant."""
    heads = [
        "",
        "minimum in Na9Cl8+, A",
        "in Na8Cl8+, A",
        "shift, A",
        "E(Na8Cl8+) - E(Na9Cl8+), eV",
        "relaxed, eV",
        "seeds",
    ]
    if exact is not None:
        heads.append("curves, rms error, meV")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    rows = [("PBE", [exact])] if exact is not None else []
    for name, several in [*rows, *((f"`{variant}`", models) for variant, models in found.items())]:
        numbers = np.mean([summary(one) for one in several], axis=0)
        cells = [name, *(f"{number:.3f}" for number in numbers), str(len(several)) if name != "PBE" else ""]
        if exact is not None:
            cells.append("" if name == "PBE" else f"{1e3 * mean(curve_error(one, exact) for one in several):.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(one: Answers) -> list[float]:
    """Places of the minimum and their difference, A; differences of energies: atom taken away, and both relaxed, eV."""
    first, second = one.minima_A
    taken = float(one.energies_eV[1][0] - one.energies_eV[0][0])
    return [first, second, second - first, taken, one.relaxed_eV[1] - one.relaxed_eV[0]]


def curve_error(one: Answers, exact: Answers) -> float:
    """Root mean square of the errors of energies along the path, less that of the first frame, eV."""
    pairs = zip(one.energies_eV, exact.energies_eV, strict=True)
    return float(np.sqrt(np.mean(np.concatenate([((a - a[0]) - (b - b[0]))[1:] for a, b in pairs]) ** 2)))


def draw(profiles: list[Profile], models: dict[str, list[SpectraCalculator]], path: Path) -> None:
    """Curves of the first seed of each variant, and of PBE where it is there, from their minima, which ticks mark."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9.0, 3.6), sharey=True)
    for panel, profile, name in zip(panels, profiles, CLUSTERS, strict=True):
        curves = {}
        if is_labelled(profile):
            energies = np.array([atoms.get_potential_energy() for atoms in profile.frames])
            curves["PBE"] = polynomial(profile, energies, [atoms.get_forces() for atoms in profile.frames])
        for variant, several in models.items():
            found = [asked(several[0], atoms) for atoms in profile.frames]
            curves[variant] = polynomial(profile, np.array([one[0] for one in found]), [one[1] for one in found])
        fine = np.linspace(profile.steps_A.min(), profile.steps_A.max(), 200)
        for place, (label, curve) in enumerate(curves.items()):
            heights = 1e3 * (curve(fine) - curve(fine).min())
            style = {"color": "black", "linewidth": 2.0} if label == "PBE" else {"linewidth": 1.3}
            line = panel.plot(fine, heights, label=label, **style)[0]
            panel.plot(fine[heights.argmin()], -6.0 - 3.0 * place, marker=2, color=line.get_color())
        panel.set_title(name, fontsize=10)
        panel.set_xlabel("Na at the end moved out by, A")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("energy above the minimum, meV")
    panels[1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
