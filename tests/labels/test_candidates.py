"""Structures that may be labelled: read whole, refused where they cannot be, copied with strain and noise."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.io import write

from spectra_app.config import LabelSettings
from spectra_app.errors import StructureError
from spectra_app.labels.candidates import copies, given_candidates, read_candidates


def test_all_frames_of_a_file_or_some_with_their_numbers(tmp_path):
    path = tmp_path / "a.xyz"
    frames = [Atoms("H2", [[0, 0, 0], [0, 0, 0.7 + 0.01 * k]]) for k in range(5)]
    frames[3].info["charge"] = 1
    write(path, frames)
    found = read_candidates([path], LabelSettings())
    assert [one.origin for one in found] == [f"a.xyz, frame {k}" for k in range(5)]
    assert [one.atoms.info.get("charge") for one in found] == [None, None, None, 1.0, None]
    some = read_candidates([tmp_path / "a.xyz@1:4:2"], LabelSettings(charge=-1, multiplicity=2))
    assert [one.origin for one in some] == ["a.xyz, frame 1", "a.xyz, frame 3"]
    np.testing.assert_allclose(some[1].atoms.positions, frames[3].positions, atol=1e-8)
    assert [one.atoms.info for one in some] == [{"charge": -1.0, "multiplicity": 2}] * 2


def test_what_cannot_be_treated_is_one_clear_line(tmp_path):
    good = "2\n\nH 0 0 0\nH 0 0 0.7\n"
    (tmp_path / "cut.xyz").write_text(good + good + "2\n\nH 0 0 0\nH 0")
    with pytest.raises(StructureError, match=r"unreadable after 2 frames.*take the frames before: '.*cut\.xyz@:2'"):
        read_candidates([tmp_path / "cut.xyz"], LabelSettings())
    assert len(read_candidates([tmp_path / "cut.xyz@:2"], LabelSettings())) == 2
    with pytest.raises(StructureError, match="frames 'some', wanted a number"):
        read_candidates([tmp_path / "cut.xyz@some"], LabelSettings())
    with pytest.raises(StructureError, match="no such file"):
        read_candidates([tmp_path / "nowhere.xyz"], LabelSettings())
    (tmp_path / "nan.xyz").write_text("1\n\nH nan 0 0\n")
    with pytest.raises(StructureError, match=r"nan\.xyz, frame 0: got positions or a cell that are not finite"):
        read_candidates([tmp_path / "nan.xyz"], LabelSettings())
    (tmp_path / "near.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.3\n")
    with pytest.raises(StructureError, match=r"atoms 0 and 1: got 0\.30 A apart"):
        read_candidates([tmp_path / "near.xyz"], LabelSettings())
    with pytest.raises(StructureError, match="without cell vector"):
        given_candidates([Atoms("H", pbc=True)], LabelSettings())
    with pytest.raises(StructureError, match="got str, wanted Atoms"):
        given_candidates([molecule("H2"), "H2"], LabelSettings())


def test_noise_has_its_width_and_strain_its_size():
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    start = given_candidates([crystal], LabelSettings())
    shaken = copies(start, LabelSettings(rattle_A=0.05, copies=40))
    moved = np.concatenate([one.atoms.positions - crystal.positions for one in shaken])
    assert len(shaken) == 40
    assert abs(moved.std() / 0.05 - 1.0) < 0.08  # 960 numbers: 2.3% is one standard error
    strained = copies(start, LabelSettings(strain_percent=4.0, copies=60))
    inverse = np.linalg.inv(crystal.cell.array)
    strains = np.array([inverse @ one.atoms.cell.array - np.eye(3) for one in strained])
    np.testing.assert_allclose(strains, strains.transpose(0, 2, 1), atol=1e-12)
    upper = strains[:, *np.triu_indices(3)]
    assert np.abs(upper).max() <= 0.04
    np.testing.assert_allclose(upper.std(axis=0), 0.04 / np.sqrt(3.0), rtol=0.25)  # uniform, each component
    fractions = [one.atoms.get_scaled_positions(wrap=False) for one in strained]
    np.testing.assert_allclose(
        fractions, np.broadcast_to(crystal.get_scaled_positions(), np.shape(fractions)), atol=1e-12
    )


def test_copies_do_not_depend_on_what_else_is_sampled():
    a, b = bulk("Cu", cubic=True), bulk("Al", cubic=True)
    settings = LabelSettings(rattle_A=0.1, strain_percent=2.0, copies=3, seed=5)
    alone, both = (copies(given_candidates(some, settings), settings) for some in ([a], [a, b]))
    for one, other in zip(alone, both[:3], strict=True):
        np.testing.assert_array_equal(one.atoms.positions, other.atoms.positions)
    assert not np.allclose(both[0].atoms.positions, both[1].atoms.positions)
    more = settings.model_copy(update={"seed": 6})
    assert not np.allclose(copies(given_candidates([a], more), more)[0].atoms.positions, alone[0].atoms.positions)


def test_a_slab_is_strained_in_its_plane_and_a_molecule_not_at_all():
    slab = fcc111("Cu", (2, 2, 2), vacuum=8.0)
    assert slab.pbc.tolist() == [True, True, False]
    settings = LabelSettings(strain_percent=5.0, copies=4)
    made = copies(given_candidates([slab, molecule("H2O")], settings), settings)
    assert len(made) == 4  # of the slab only
    for one in made:
        np.testing.assert_allclose(one.atoms.cell.array[:, 2], slab.cell.array[:, 2], atol=1e-12)
        np.testing.assert_allclose(one.atoms.positions[:, 2], slab.positions[:, 2], atol=1e-12)
        assert np.abs(one.atoms.cell.array - slab.cell.array).max() > 1e-3
    with pytest.raises(StructureError, match="open structures only"):
        copies(given_candidates([molecule("H2O")], settings), settings)
    wild = LabelSettings(rattle_A=0.9, copies=20)
    with pytest.raises(StructureError, match=r"rattle 0\.9 A, copy \d, atoms"):
        copies(given_candidates([molecule("CH4")], wild), wild)
