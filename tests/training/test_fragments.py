"""Fragments: what is bonded, and which data prove every fragment neutral."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from spectra_app.training.dataset import Frame
from spectra_app.training.fragments import all_fragments_neutral, fragments


def frame(atoms: Atoms, charge: float = 0.0) -> Frame:
    atoms.info["charge"] = charge
    return Frame(atoms, 0.0, np.zeros((len(atoms), 3)), None, "here")


def beside(*parts: Atoms) -> Atoms:
    """Molecules 3.5 A apart in one open structure."""
    together = Atoms()
    for n, part in enumerate(parts):
        moved = part.copy()
        moved.positions += [3.5 * n - moved.positions[:, 0].mean(), 0, 0]
        together += moved
    return together


def test_fragments_of_two_waters_and_across_a_cell_face():
    assert len(set(fragments(frame(beside(molecule("H2O"), molecule("H2O")))))) == 2
    water = molecule("H2O")
    water.set_cell([8, 8, 8])
    water.pbc = True
    water.positions -= water.positions[0]  # the oxygen in the corner, the hydrogens wrapped to the other side
    water.wrap()
    assert np.ptp(water.positions, axis=0).max() > 6
    assert len(set(fragments(frame(water)))) == 1


@pytest.mark.parametrize(
    ("atoms", "charge", "neutral"),
    [
        (molecule("CH3CH2OH"), 0.0, True),
        (beside(molecule("H2O"), molecule("H2O")), 0.0, True),
        (bulk("NaCl", "rocksalt", a=5.64, cubic=True), 0.0, True),
        (beside(molecule("H2O"), molecule("CH3OH")), 0.0, False),  # neutral too, but composition does not prove it
        (beside(molecule("H2O"), Atoms("Cl"), molecule("H2O"), Atoms("Na")), 0.0, False),
        (molecule("CH3"), 1.0, False),
    ],
)
def test_composition_proves_neutrality(atoms, charge, neutral):
    assert all_fragments_neutral([frame(atoms, charge)]) is neutral


def test_a_shared_proton_does_not_hide_that_all_is_water():
    dimer = Atoms("OHHOHH", [[0, 0, 0], [0.6, 0.75, 0], [1.2, 0, 0], [2.4, 0, 0], [2.9, 0.8, 0], [2.9, -0.8, 0]])
    both = dimer + Atoms("OHH", [[9, 0, 0], [9.6, 0.75, 0], [9.6, -0.75, 0]])
    assert len(set(fragments(frame(both)))) == 2
    assert all_fragments_neutral([frame(both)])
