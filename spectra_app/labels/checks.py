"""Are labels what they should be?  Energy against force by finite difference, net force and torque."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from spectra_app.errors import DatasetError
from spectra_app.labels.calculation import Label, calculate
from spectra_app.units import BOHR_TO_ANGSTROM, HARTREE_TO_EV, RYDBERG_TO_EV

STEP_A = 0.01  # length of the displacement of all atoms together
LEAST_FORCE_EV_PER_A = 0.3  # of all atoms together: below, the noise of an energy (1e-5 eV) is no longer small
SHAKE_A = 0.05  # of a structure without forces, so that it has some
_WORTH_A_WARNING = 0.05  # relative difference; the third derivative of a bond makes 1% of it
_WRONG = 1.35  # factor between force and energy that is no noise any more; the smallest of the table is 1.89
NET_FORCE_EV_PER_A = 0.01  # per atom, rms over frames; grids of plane-wave codes leave some meV/A
NET_TORQUE_EV = 0.02  # per atom
_FACTORS = {
    HARTREE_TO_EV / BOHR_TO_ANGSTROM: "the energy is in eV and the forces are in Hartree/bohr",
    HARTREE_TO_EV: "the energy is in eV and the forces are in Hartree/A",
    RYDBERG_TO_EV / BOHR_TO_ANGSTROM: "the energy is in eV and the forces are in Ry/bohr",
    RYDBERG_TO_EV: "the energy is in eV and the forces are in Ry/A",
    1.0 / HARTREE_TO_EV: "the energy is in Hartree and the forces are in eV/A",
    1.0 / RYDBERG_TO_EV: "the energy is in Ry and the forces are in eV/A",
    1.0 / BOHR_TO_ANGSTROM: "the forces are per bohr (energy and forces in Hartree and Hartree/bohr, for example)",
    BOHR_TO_ANGSTROM: "the forces are too large by 1.89",
    23.0605: "the energy is in kcal/mol and the forces are in eV/A",
    1.0 / 23.0605: "the energy is in eV and the forces are in kcal/mol/A",
    96.4853: "the energy is in kJ/mol and the forces are in eV/A",
    1.0 / 96.4853: "the energy is in eV and the forces are in kJ/mol/A",
    -1.0: "the forces have the wrong sign (gradients)",
}


@dataclass(frozen=True)
class ForceCheck:
    """Energy differences beside forces, along the forces of one structure.

    Attributes:
        by_energy_eV_per_A: -(E(+h) - E(-h)) / 2h along the unit vector of all forces.
        by_forces_eV_per_A: length of the vector of all forces.
        origin: of the structure.
    """

    by_energy_eV_per_A: float
    by_forces_eV_per_A: float
    origin: str

    @property
    def ratio(self) -> float:
        """Change of the energy over what the forces say: 1."""
        return self.by_energy_eV_per_A / self.by_forces_eV_per_A

    @property
    def sentence(self) -> str:
        """What was found."""
        return f"energies change {self.ratio:.4f} times as the forces say ({self.origin})"

    @property
    def doubtful(self) -> bool:
        """Whether it is worth a warning."""
        return abs(self.ratio - 1.0) > _WORTH_A_WARNING

    def refuse(self) -> None:
        """Raise where energy and forces are in different units.

        Raises:
            DatasetError: names the factor, and what it looks like.
        """
        ratio = self.ratio
        if 1.0 / _WRONG < ratio < _WRONG:
            return
        size = np.log(max(abs(ratio), 1e-12))
        near = min(_FACTORS, key=lambda factor: abs(np.log(abs(factor)) - size) + 10.0 * (factor * ratio < 0))
        likely = near * ratio > 0 and abs(np.log(abs(near)) - size) < 0.1
        raise DatasetError(
            f"forces of the calculator, {self.origin}",
            got=f"energies that change {ratio:.4g} times as they say",
            wanted="1 (force = - dE/dr, eV and A)",
            todo=(f"It looks as if {_FACTORS[near]}" if likely else "Is it converged? Is an external force in it?")
            + "; --no-check-forces labels all the same",
        )


def check_forces(atoms: Atoms, origin: str, calculator: Any, seed: int = 0) -> ForceCheck:
    """A central difference of the energy along the forces of a structure; three calculations, or two of them cached.

    Args:
        atoms: the structure; one without forces is shaken first.
        origin: where it comes from.
        calculator: of ASE.
        seed: of the shaking.

    Raises:
        FailedCalculation: the calculator gives no labels here.
    """
    label = calculate(atoms, calculator)
    if np.linalg.norm(label.forces_eV_per_A) < LEAST_FORCE_EV_PER_A:
        atoms = atoms.copy()
        atoms.positions += np.random.default_rng(seed).normal(scale=SHAKE_A, size=atoms.positions.shape)
        origin = f"{origin}, shaken"
        label = calculate(atoms, calculator)
    length = float(np.linalg.norm(label.forces_eV_per_A))
    if length == 0.0:  # a single atom
        return ForceCheck(1.0, 1.0, origin)
    energies = []
    for side in (1.0, -1.0):
        moved = atoms.copy()
        moved.positions += side * STEP_A * label.forces_eV_per_A / length
        energies.append(calculate(moved, calculator).energy_eV)
    return ForceCheck(-(energies[0] - energies[1]) / (2.0 * STEP_A), length, origin)


@dataclass
class Tally:
    """What is wrong with a set, counted frame by frame.

    Attributes:
        net_force_eV_per_A: [frame], length of the sum of all forces over the number of atoms.
        net_torque_eV: [frame], the same of r x F about the centre, of open structures.
        largest_force_eV_per_A: of any atom.
        n_stress: frames with a stress.
        n_periodic: frames that could have one.
        n_deaf: charged frames of a calculator that has no parameter for a charge.
    """

    net_force_eV_per_A: list[float] = field(default_factory=list)
    net_torque_eV: list[float] = field(default_factory=list)
    largest_force_eV_per_A: float = 0.0
    n_stress: int = 0
    n_periodic: int = 0
    n_deaf: int = 0

    def add(self, atoms: Atoms, label: Label) -> None:
        """Count a frame."""
        forces, n_atoms = label.forces_eV_per_A, len(atoms)
        self.net_force_eV_per_A.append(float(np.linalg.norm(forces.sum(axis=0))) / n_atoms)
        if not atoms.pbc.any():
            arms = atoms.positions - atoms.positions.mean(axis=0)
            self.net_torque_eV.append(float(np.linalg.norm(np.cross(arms, forces).sum(axis=0))) / n_atoms)
        self.largest_force_eV_per_A = max(self.largest_force_eV_per_A, largest_force(label))
        self.n_periodic += bool(atoms.pbc.all())
        self.n_stress += label.stress_eV_per_A3 is not None
        self.n_deaf += label.deaf

    def facts(self) -> dict[str, Any]:
        """The numbers of the sidecar file."""
        return {
            "net_force_meV_per_A_per_atom": round(1e3 * _rms(self.net_force_eV_per_A), 4),
            "net_torque_meV_per_atom": round(1e3 * _rms(self.net_torque_eV), 4) if self.net_torque_eV else None,
            "largest_force_eV_per_A": round(self.largest_force_eV_per_A, 4),
            "frames_with_stress": self.n_stress,
        }

    def warnings(self) -> list[str]:
        """What a user should look at before training."""
        found = []
        net, torque = _rms(self.net_force_eV_per_A), _rms(self.net_torque_eV)
        if net > NET_FORCE_EV_PER_A:
            found.append(
                f"forces do not add up to zero: {1e3 * net:.1f} meV/A per atom (rms over frames); converge the "
                "calculation (grid, SCF), or a field or a fixed atom acts on the structures"
            )
        if torque > NET_TORQUE_EV:
            found.append(
                f"forces turn isolated structures: a torque of {1e3 * torque:.1f} meV per atom (rms over frames); "
                "converge the calculation (grid, SCF), or a field acts on them"
            )
        if self.n_periodic and 0 < self.n_stress < self.n_periodic:
            found.append(f"{self.n_stress} of {self.n_periodic} periodic frames have a stress")
        if self.n_deaf:
            found.append(
                f"{self.n_deaf} frames are charged, and the calculator has no parameter 'charge': unless it looks at "
                "the structure's info or initial charges, these labels are of neutral structures"
            )
        return found


def largest_force(label: Label) -> float:
    """Length of the largest force on an atom, eV/A."""
    return float(np.linalg.norm(label.forces_eV_per_A, axis=1).max())


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0
