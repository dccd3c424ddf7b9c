"""Waves of displacements: longitudinal and transverse of the same amplitudes, molecules whole."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read
from scipy.spatial.distance import pdist

from spectra_app.config import LabelSettings
from spectra_app.errors import StructureError
from spectra_app.jobs.labelling import label_structures
from spectra_app.labels.candidates import given_candidates
from spectra_app.labels.waves import waves

SALT = bulk("NaCl", "rocksalt", 5.64, cubic=True).repeat((1, 1, 4))


def made(atoms: Atoms, **settings: object) -> list[Atoms]:
    chosen = LabelSettings(**settings)
    return [one.atoms for one in waves(given_candidates([atoms], chosen), chosen)]


def test_a_pair_moves_by_the_same_along_the_cell_and_across_it() -> None:
    along, across = (one.positions - SALT.positions for one in made(SALT, waves=2, wave_amplitude_A=0.3))
    np.testing.assert_allclose(along[:, :2], 0.0, atol=1e-12)
    np.testing.assert_allclose(across[:, 2], 0.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(across, axis=1), np.abs(along[:, 2]), atol=1e-12)
    assert 0.0 < np.abs(along).max() <= 0.3


def test_every_element_makes_one_wave_of_the_length_of_the_cell() -> None:
    moved = made(SALT, waves=1)[0]
    height = 2.0 * np.pi * SALT.positions[:, 2] / SALT.cell[2, 2]
    amplitudes = []
    for element in ("Na", "Cl"):
        of = SALT.symbols == element
        u = (moved.positions - SALT.positions)[of, 2]
        basis = np.column_stack([np.cos(height[of]), np.sin(height[of])])
        fit, residual, _, _ = np.linalg.lstsq(basis, u, rcond=None)
        assert residual[0] < 1e-20
        amplitudes.append(np.linalg.norm(fit))
    assert amplitudes[0] != pytest.approx(amplitudes[1])


def test_a_molecule_moves_as_a_whole_also_across_the_boundary() -> None:
    water = molecule("H2O")
    ice = Atoms(pbc=True, cell=[6.0, 6.0, 24.0])
    for height in (0.1, 8.0, 16.0):
        one = water.copy()
        one.positions += [3.0, 3.0, height]
        ice += one
    ice.wrap()
    for moved in made(ice, waves=4):
        for first in (0, 3, 6):
            u = moved.positions[first : first + 3] - ice.positions[first : first + 3]
            np.testing.assert_allclose(u, u[[0, 0, 0]], atol=1e-12)
    assert pdist(moved.positions[3:6]) == pytest.approx(pdist(water.positions))


def test_a_slab_has_waves_in_its_plane() -> None:
    slab = SALT.copy()
    slab.pbc = (True, True, False)
    for moved in made(slab, waves=1):
        np.testing.assert_allclose((moved.positions - slab.positions)[:, 2], 0.0, atol=1e-12)
    with pytest.raises(StructureError, match="got open structures only"):
        made(molecule("H2O"), waves=2)


def test_other_pairs_are_other_waves_and_a_seed_makes_them_again() -> None:
    four = made(SALT, waves=4, seed=5)
    assert np.abs(four[0].positions - four[2].positions).max() > 1e-3
    again = made(SALT, waves=4, seed=5)
    for one, other in zip(four, again, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)


def test_waves_are_labelled_beside_what_was_sampled(tmp_path):
    copper = bulk("Cu", cubic=True).repeat((1, 1, 3))
    settings = LabelSettings(waves=2, wave_amplitude_A=0.1, check_forces=False)
    result = label_structures([copper], EMT(), tmp_path / "set.extxyz", settings)
    assert (result.n_frames, result.n_candidates) == (3, 3)
    origins = [atoms.info["origin"] for atoms in read(result.path, ":")]
    assert origins[1:] == [
        "structure 0; longitudinal wave of 10.8 A, pair 0",
        "structure 0; transverse wave of 10.8 A, pair 0",
    ]
    alone = settings.model_copy(update={"originals": False})
    assert label_structures([copper], EMT(), tmp_path / "waves.extxyz", alone).n_frames == 2
