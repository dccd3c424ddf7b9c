"""Reading labelled structures, refusing damaged ones, recognising units, splitting and batching."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import DataKeys, TrainingSettings
from spectra_app.errors import DatasetError
from spectra_app.training.dataset import (
    LabelledFrame,
    batches,
    convert_stress,
    divided,
    fit_reference_energies,
    make_samples,
    read_frames,
    species_of,
    split_frames,
)
from spectra_app.training.dataset import write_frames as write_labelled
from spectra_app.training.sanity import check_units, energy_force_slope, nearest_distance_ratio
from spectra_app.units import BOHR_TO_ANGSTROM, HARTREE_TO_EV
from tests.training.data import water_like_frames, write_frames


def test_labels_survive_the_file_and_units_are_converted(tmp_path):
    frames = water_like_frames(3)
    plain = read_frames([write_frames(tmp_path / "a.xyz", frames)])
    atomic = {
        "energy": 1 / HARTREE_TO_EV,
        "forces": BOHR_TO_ANGSTROM / HARTREE_TO_EV,
        "positions": 1 / BOHR_TO_ANGSTROM,
    }
    keys = DataKeys(energy_unit="Hartree", length_unit="Bohr")
    converted = read_frames([write_frames(tmp_path / "b.xyz", frames, **atomic)], keys)
    for one, other, source in zip(plain, converted, frames, strict=True):
        assert one.energy == pytest.approx(source.info["energy"], rel=1e-12)
        assert other.energy == pytest.approx(one.energy, rel=1e-9)
        assert other.forces == pytest.approx(one.forces, abs=1e-5)
        assert other.atoms.positions == pytest.approx(one.atoms.positions, abs=1e-6)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda a: a.info.update(energy=float("nan")), r"b\.xyz, frame 1, energy: got nan, wanted a finite number"),
        (lambda a: a.arrays["forces"].__setitem__((2, 0), np.nan), r"b\.xyz, frame 1, force on atom 2: got NaN"),
        (lambda a: a.arrays.pop("forces"), r"b\.xyz, frame 1, forces: got no 'forces'"),
        (lambda a: a.info.pop("energy"), r"b\.xyz, frame 1, energy: got no 'energy'"),
    ],
)
def test_damaged_labels_are_named(tmp_path, damage, message):
    from ase.io import write

    frames = water_like_frames(3)
    damage(frames[1])
    write(tmp_path / "b.xyz", frames, format="extxyz")
    with pytest.raises(DatasetError, match=message):
        read_frames([tmp_path / "b.xyz"])


def test_missing_empty_and_truncated_files_are_named(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        read_frames([tmp_path / "none.xyz"])
    whole = write_frames(tmp_path / "c.xyz", water_like_frames(2)).read_text()
    (tmp_path / "cut.xyz").write_text(whole[: len(whole) - 200])
    with pytest.raises(DatasetError, match=r"unreadable after 1 frames .*truncated"):
        read_frames([tmp_path / "cut.xyz"])


def test_consistent_units_pass():
    check_units(_frames(20))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"energy": 1 / HARTREE_TO_EV}, r"0\.03\d* times those of the forces.*energies in Hartree"),
        ({"forces": 1 / HARTREE_TO_EV}, r"2\d\.?\d* times those of the forces.*27\.2"),
        ({"forces": BOHR_TO_ANGSTROM}, r"1\.[789]\d* times those of the forces.*per bohr"),
        ({"forces": 1 / BOHR_TO_ANGSTROM}, r"0\.5\d* times those of the forces.*1\.89"),
        ({"positions": 1 / BOHR_TO_ANGSTROM}, r"nearest neighbours at 1\.[789]\d* times.*bohr read as A"),
        ({"positions": BOHR_TO_ANGSTROM}, r"nearest neighbours at 0\.5\d* times the sum"),
        ({"energy": 23.0605}, r"kcal/mol"),
    ],
)
def test_a_unit_off_by_a_known_factor_is_recognised(tmp_path, changes, message):
    path = write_frames(tmp_path / "d.xyz", water_like_frames(20), **changes)
    with pytest.raises(DatasetError, match=message):
        check_units(read_frames([path]))


def test_the_slope_is_silent_where_it_knows_nothing():
    assert energy_force_slope(_frames(3)) == (1.0, 0.0)
    assert nearest_distance_ratio(_frames(2)) == pytest.approx(1.0, abs=0.15)


def _frames(n: int):
    from spectra_app.training.dataset import LabelledFrame

    return [LabelledFrame(a, a.info["energy"], a.arrays["forces"], None, "made") for a in water_like_frames(n)]


def test_reference_energies_follow_the_composition():
    from spectra_app.training.dataset import LabelledFrame

    mixed = [*water_like_frames(4, 1), *water_like_frames(4, 3)]
    frames = [
        LabelledFrame(a, -7.0 * (a.numbers == 8).sum() - 2.0 * (a.numbers == 1).sum(), a.arrays["forces"], None, "")
        for a in mixed
    ]
    fitted = fit_reference_energies(frames, species_of(frames))
    assert species_of(frames) == ("H", "O")
    # H2O alone cannot tell H from O: the least-norm solution still gives every molecule its energy.
    assert 2 * fitted[0] + fitted[1] == pytest.approx(-11.0)


def test_split_is_disjoint_complete_and_seeded():
    parts = split_frames(100, 0.1, 0.2, seed=4)
    assert [len(p) for p in parts] == [70, 10, 20]
    assert sorted(i for part in parts for i in part) == list(range(100))
    assert parts == split_frames(100, 0.1, 0.2, seed=4)
    assert parts != split_frames(100, 0.1, 0.2, seed=5)
    with pytest.raises(DatasetError, match="at least 2"):
        split_frames(1, 0.1, 0.0, seed=0)


def test_frames_held_out_stay_the_same_with_a_seed_of_their_own(tmp_path):
    frames = _frames(20)

    def held_out(**seeds: int) -> list[int]:
        settings = TrainingSettings(data=(tmp_path / "none.xyz",), test_fraction=0.3, **seeds)
        return [next(i for i, frame in enumerate(frames) if frame is one) for one in divided(frames, settings)[2]]

    assert held_out(seed=1) == held_out(seed=2, split_seed=1)
    assert held_out(seed=1) != held_out(seed=2)
    assert held_out(seed=1) != held_out(seed=1, split_seed=0)


def test_batches_hold_every_sample_once():
    frames = _frames(5)
    samples = make_samples(frames, 3.0, ("H", "O"), np.zeros(2), torch.float64, "cpu")
    seen = list(batches(samples, 2, [4, 0, 3, 1, 2]))
    assert [b.system.n_structures for b in seen] == [2, 2, 1]
    assert seen[0].energy.numpy() == pytest.approx([frames[4].energy, frames[0].energy])


def test_stress_of_six_and_nine_numbers():
    keys = DataKeys(stress_unit="GPa")
    full = convert_stress([1, 6, 5, 6, 2, 4, 5, 4, 3], keys, "x")
    assert convert_stress([1, 2, 3, 4, 5, 6], keys, "x") == pytest.approx(full)
    assert full[0, 0] == pytest.approx(0.0062415, rel=1e-5)  # 1 GPa in eV/A^3
    with pytest.raises(DatasetError, match="got 5 numbers"):
        convert_stress([1, 2, 3, 4, 5], keys, "x")


def test_validation_data_are_validated_on_and_all_others_trained_on(tmp_path):
    frames = water_like_frames(12)
    data, held = (write_frames(tmp_path / name, some) for name, some in (("a.xyz", frames[:9]), ("b.xyz", frames[9:])))
    known = read_frames([data])
    settings = TrainingSettings(data=(data,), validation_data=(held,), validation_fraction=0.3)
    train, validation, test = divided(known, settings)
    assert [frame.name for frame in train] == [frame.name for frame in known]
    assert [frame.energy for frame in validation] == [frame.energy for frame in read_frames([held])]
    assert test == []
    plain = divided(known, settings.model_copy(update={"validation_data": ()}))
    assert [len(part) for part in plain] == [6, 3, 0]


def test_test_data_are_tested_on_and_nothing_else(tmp_path):
    frames = water_like_frames(12)
    data, held = (write_frames(tmp_path / name, some) for name, some in (("a.xyz", frames[:9]), ("b.xyz", frames[9:])))
    settings = TrainingSettings(data=(data,), test_data=(held,), validation_fraction=0.3, test_fraction=0.4)
    train, validation, test = divided(read_frames([data]), settings)
    assert (len(train), len(validation)) == (6, 3)
    assert [frame.energy for frame in test] == [frame.energy for frame in read_frames([held])]


def test_written_frames_are_read_again(tmp_path):
    crystal = Atoms("NaCl", [[0.0, 0, 0], [2.8, 0.1, 0]], cell=[5.6, 5.7, 5.8], pbc=True)
    crystal.info["charge"] = 1.0
    stress = np.array([[1.0, 0.2, 0.3], [0.2, 2.0, 0.4], [0.3, 0.4, 3.0]])
    frame = LabelledFrame(crystal, -3.25, np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]), stress, "x")
    write_labelled(tmp_path / "x.xyz", [frame])
    (again,) = read_frames([tmp_path / "x.xyz"])
    assert again.energy == -3.25
    np.testing.assert_allclose(again.forces, frame.forces)
    np.testing.assert_allclose(again.stress, stress)
    assert again.atoms.info["charge"] == 1.0
