"""Labels of MAPbI3 by CP2K: PBE-D3(BJ), 2x2x2 k-points; ``docs/mapbi3.md`` says how to use it and what was checked.

PYTHONPATH=workflows/mapbi3_labels spectra-app label FRAMES --calculator 'ase:cp2k_mapbi3:calculator()' -o labels.extxyz
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase.calculators.calculator import all_changes
from ase.calculators.cp2k import CP2K
from ase.units import Rydberg

CUTOFF_RY = 450.0  # of the grid; against 600 Ry forces change by 5 meV/A, at 320 Ry by 19


class OrderlessCP2K(CP2K):  # type: ignore[misc]
    """ASE's CP2K that begins every structure anew: its label does not depend on the structures before.

    With k-points the wave functions of the structure before save nothing, and a grid kept from another cell has
    another cutoff.
    """

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = tuple(all_changes)) -> None:
        """As ASE's, with grid and density of this structure alone."""
        self._release_force_env()
        super().calculate(atoms, properties, list(system_changes))


def calculator(command: str = "cp2k.psmp -s", kpoints: str = "2 2 2") -> CP2K:
    """The level of theory of the shipped model's labels: half of it are ASE's arguments, half stands in ``pbe_d3.inp``.

    Args:
        command: that starts the shell of CP2K.
        kpoints: along the three cell vectors; as they are for cells near 8.8 x 12.6 x 8.8 A.
    """
    template = Path(__file__).with_name("pbe_d3.inp").read_text(encoding="utf-8")
    template = template.replace("MONKHORST-PACK 2 2 2", f"MONKHORST-PACK {kpoints}")
    return OrderlessCP2K(
        command=command,
        inp=template,
        xc="PBE",
        cutoff=CUTOFF_RY * Rydberg,
        basis_set="DZVP-MOLOPT-SR-GTH",
        basis_set_file="BASIS_MOLOPT",
        pseudo_potential="GTH-PBE",
        potential_file="GTH_POTENTIALS",
        max_scf=60,
        print_level="LOW",
    )
