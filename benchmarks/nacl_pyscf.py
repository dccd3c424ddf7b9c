"""PBE of the Na9Cl8+ and Na8Cl8+ clusters by PySCF, as the labels of ``benchmarks/systems/nacl.yaml`` were made.

A calculator for ``label`` (docs/labels.md); from this folder, with PySCF installed:

    spectra-app label path.extxyz --calculator 'ase:nacl_pyscf:ClusterPBE()' -o labelled.extxyz

Restricted, with an odd number of electrons unrestricted with 0.2 eV of Fermi smearing, whose free energy is the energy.
Cl: s and p of def2-TZVP and one d shell; Na: def2-SVP without its most diffuse s shell, which is linearly dependent
on those of the neighbours.  Density fitting, grids of level 1; the mean of the forces is taken out.  Run as a script it
makes some of those labels again and prints the differences.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.io import iread
from ase.units import Bohr, Hartree

SMEARING_EV = 0.2
CHLORINE_D = 0.5  # exponent, 1/bohr^2


def basis_of(element: str) -> list[Any]:
    """Shells of an element as PySCF has them."""
    from pyscf import gto

    shells = gto.basis.load("def2-tzvp" if element == "Cl" else "def2-svp", element)
    if element == "Cl":
        return [*(shell for shell in shells if shell[0] < 2), [2, [CHLORINE_D, 1.0]]]
    return [shell for shell in shells if shell[0] > 0] + [shell for shell in shells if shell[0] == 0][:3]


class ClusterPBE(Calculator):
    """Energy and forces of a cluster; its total charge is ``charge`` of the frame, otherwise 1 e.

    Args:
        grid: level of the grids of PySCF.
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 (as the base class has it)

    def __init__(self, grid: int = 1) -> None:
        super().__init__()
        self.grid = grid
        self._guess: np.ndarray | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """See ``ase``; the density before is the first guess where the atoms are the same.

        Raises:
            RuntimeError: the density does not converge.
        """
        from pyscf import dft, gto
        from pyscf.scf.addons import smearing_

        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        cluster = self.atoms
        charge = int(cluster.info.get("charge", 1))
        spin = (int(cluster.numbers.sum()) - charge) % 2
        molecule = gto.M(
            atom=list(zip(cluster.symbols, cluster.positions, strict=True)),
            basis={element: basis_of(element) for element in set(cluster.symbols)},
            charge=charge,
            spin=spin,
            verbose=0,
        )
        field = (dft.UKS if spin else dft.RKS)(molecule, xc="pbe").density_fit(auxbasis="def2-universal-jfit")
        field.grids.level = self.grid
        field.conv_tol = 1e-7
        if spin:
            smearing_(field, sigma=SMEARING_EV / Hartree, method="fermi")
        same = "numbers" not in system_changes and self._guess is not None
        field.kernel(dm0=self._guess if same else None)
        if not field.converged:
            raise RuntimeError("the density does not converge")
        self._guess = field.make_rdm1()
        forces = -field.nuc_grad_method().kernel() * Hartree / Bohr  # [atom, xyz]
        energy = (field.e_free if spin else field.e_tot) * Hartree
        self.results = {"energy": energy, "free_energy": energy, "forces": forces - forces.mean(axis=0)}


def main() -> None:
    """Labels of a few frames again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="nacl_clusters/train.extxyz of the reference data")
    parser.add_argument("--frames", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    calculator = ClusterPBE()
    frames: list[Atoms] = list(iread(options.labels))
    for number in options.frames:
        atoms = frames[number]
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = calculator
        change = 1e3 * (atoms.get_potential_energy() - energy)
        error = 1e3 * np.sqrt(np.mean((atoms.get_forces() - forces) ** 2))
        print(f"frame {number}, {atoms.symbols}: energy {change:+.1f} meV, forces {error:.1f} meV/A", flush=True)


if __name__ == "__main__":
    main()
