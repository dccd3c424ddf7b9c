"""Clusters to be labelled: molecules whole, at the distance that is asked for, turned without preference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read
from pydantic import ValidationError
from scipy.spatial.distance import cdist, pdist

from spectra_app.config import LabelSettings
from spectra_app.errors import ConfigError, DatasetError, StructureError
from spectra_app.jobs.labelling import label_structures
from spectra_app.labels.candidates import given_candidates
from spectra_app.labels.clusters import approach, clusters, ion
from tests.labels.teachers import Charged

WATER, METHANOL = molecule("H2O"), molecule("CH3OH")


def made(molecules: list[Atoms], **settings: object) -> list[Atoms]:
    chosen = LabelSettings(**settings)
    return [one.atoms for one in clusters(given_candidates(molecules, LabelSettings()), chosen)]


def test_molecules_are_whole_and_as_far_apart_as_was_asked_for() -> None:
    gaps = []
    for atoms in made([WATER, METHANOL], clusters=60, cluster_molecules=2, cluster_gap_A="2.5,6"):
        sizes = [3, 6] if atoms.numbers[0] == 8 and atoms.numbers[1] == 1 else [6, 3]
        if len(atoms) != 9:
            sizes = [len(atoms) // 2] * 2
        parts = np.split(np.arange(len(atoms)), np.cumsum(sizes)[:-1])
        for part in parts:
            whole = WATER if len(part) == 3 else METHANOL
            assert atoms.numbers[part].tolist() == whole.numbers.tolist()
            np.testing.assert_allclose(pdist(atoms.positions[part]), pdist(whole.positions), atol=1e-10)
        gaps.append(cdist(atoms.positions[parts[0]], atoms.positions[parts[1]]).min())
    assert 2.5 <= min(gaps) < 2.8
    assert 5.7 < max(gaps) <= 6.0
    assert abs(np.mean(gaps) - 4.25) < 0.4  # uniform: 0.13 is one standard error


def test_a_turned_molecule_is_no_mirror_image_and_has_no_preferred_axis() -> None:
    frames = made([METHANOL], clusters=300, cluster_molecules=2, cluster_gap_A=4.0)
    handed = np.linalg.det(METHANOL.positions[[0, 1, 2]] - METHANOL.positions[4])
    axes = []
    for atoms in frames:
        for first in (0, 6):
            one = atoms.positions[first : first + 6]
            assert np.linalg.det(one[[0, 1, 2]] - one[4]) == pytest.approx(handed, rel=1e-6)
            axes.append((one[1] - one[0]) / np.linalg.norm(one[1] - one[0]))
        apart = atoms.positions[6:].mean(0) - atoms.positions[:6].mean(0)
        axes.append(apart / np.linalg.norm(apart))
    np.testing.assert_allclose(np.einsum("na,nb->ab", axes, axes) / len(axes), np.eye(3) / 3.0, atol=0.05)
    np.testing.assert_allclose(np.mean(axes, axis=0), 0.0, atol=0.08)


def test_the_way_ends_where_the_first_pair_is_a_gap_apart() -> None:
    there = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    new = np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    x = np.array([1.0, 0.0, 0.0])
    assert approach(there, new, x, 3.0) == pytest.approx(4.0)  # atom 0 of the mover before atom 1 of the others
    # Beside each other by 2: a pair is 2.5 apart where it is 1.5 along the way.
    assert approach(there, new[1:], x, 2.5) == pytest.approx(2.5)
    assert approach(there, new[1:], -x, 2.5) == pytest.approx(1.5)
    assert approach(there, new[1:], x, 1.0) in (0.0, 1.0)  # never so near: stops at the nearest
    far = np.random.default_rng(0).normal(size=(2, 5, 3))
    t = approach(far[0], far[1], np.array([0.6, 0.0, 0.8]), 2.2)
    assert cdist(far[0], far[1] + t * np.array([0.6, 0.0, 0.8])).min() == pytest.approx(2.2, abs=1e-12)


def test_every_molecule_is_used_as_often_and_a_cluster_does_not_depend_on_their_number() -> None:
    given = given_candidates([molecule("H2O") for _ in range(4)], LabelSettings())
    settings = LabelSettings(clusters=8, cluster_molecules=2, seed=3)
    words = " + ".join(one.origin.partition(" of ")[2] for one in clusters(given, settings)).split(" + ")
    assert sorted(words) == sorted([f"structure {k}" for k in range(4)] * 4)
    more = clusters(given, settings.model_copy(update={"clusters": 20}))
    for one, other in zip(clusters(given, settings), more[:8], strict=True):
        np.testing.assert_array_equal(one.atoms.positions, other.atoms.positions)
    sizes = {len(atoms) // 3 for atoms in made([WATER], clusters=40, cluster_molecules="1,4")}
    assert sizes == {1, 2, 3, 4}


def test_charges_add_up_and_ions_come_in_turn() -> None:
    ammonium = Atoms(
        "NH4", np.concatenate([[[0, 0, 0]], 0.59 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])])
    )
    ammonium.info["charge"] = 1
    frames = made([ammonium], clusters=4, cluster_molecules=2, cluster_ions=("Cl-", "Mg2+"))
    assert [atoms.get_chemical_symbols()[-1] for atoms in frames] == ["Cl", "Mg"] * 2
    assert [atoms.info["charge"] for atoms in frames] == [1.0, 4.0] * 2
    some = made([WATER], clusters=4, cluster_molecules=1, cluster_ions=("F-", "none"))
    assert [(len(atoms), atoms.info.get("charge")) for atoms in some] == [(4, -1.0), (3, None)] * 2
    radical = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    radical.info["multiplicity"] = 2
    assert {atoms.info["multiplicity"] for atoms in made([radical], clusters=3)} == {3}
    assert "charge" not in made([WATER], clusters=1)[0].info
    with pytest.raises(DatasetError, match="which add up"):
        made([WATER], clusters=1, charge=1)


@pytest.mark.parametrize("word", ["Cl", "Xx+", "cl-", "Na0+", "-", "Na++"])
def test_what_is_no_ion_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="wanted an element and a charge"):
        ion(word)


def test_what_is_no_ion_is_refused_before_dynamics(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("spectra_app.jobs.label_job.LabelJob._walk", lambda *_: pytest.fail("sampled first"))
    settings = LabelSettings(clusters=4, cluster_ions=("Q-",), md=True)
    with pytest.raises(ConfigError, match="wanted an element and a charge"):
        label_structures([WATER], Charged(), tmp_path / "labels.extxyz", settings)


def test_settings_that_make_no_cluster_are_refused() -> None:
    with pytest.raises(StructureError, match="wanted a molecule without cell"):
        made([bulk("Cu")], clusters=2)
    with pytest.raises(ValidationError, match="clusters, a number of them, beside cluster_ions"):
        LabelSettings(cluster_ions=("Cl-",))
    with pytest.raises(ValidationError, match="alone it is no cluster"):
        LabelSettings(clusters=3, cluster_molecules=1)
    for wrong in ("8,2", "0", "1,2,3", "far"):
        with pytest.raises(ValidationError, match="a positive number"):
            LabelSettings(clusters=3, cluster_gap_A=wrong)
    with pytest.raises(ValidationError, match="a whole number"):
        LabelSettings(clusters=3, cluster_molecules=2.5)
    again = LabelSettings.model_validate(LabelSettings(md=True).model_dump(mode="json"))
    assert again == LabelSettings(md=True)  # a recipe that was written with every key is read again


def test_a_job_labels_clusters_of_its_frames_of_dynamics(tmp_path) -> None:
    settings = LabelSettings(md=True, steps=20, stride=5, originals=False, select=3, clusters=6)
    result = label_structures([WATER], Charged(), tmp_path / "set.extxyz", settings)
    assert (result.n_frames, result.n_candidates) == (6, 6)
    frames = read(result.path, ":")
    assert {len(atoms) for atoms in frames} == {6}
    kept = {part for atoms in frames for part in atoms.info["origin"].partition(" of ")[2].split(" + ")}
    assert len(kept) == 3  # the most different ones of four
    assert all("dynamics 300 K, frame" in one for one in kept)
    assert label_structures([WATER], Charged(), tmp_path / "set.extxyz", settings).new is False


def test_a_set_that_was_made_before_there_were_clusters_is_still_complete(tmp_path) -> None:
    label_structures([WATER], Charged(), tmp_path / "set.extxyz")
    assert "cluster" not in (tmp_path / "set.extxyz.yaml").read_text()


class Leaky(Charged):
    """Charges of atoms, of which the last one lost some to the first.

    Args:
        flowed_e: e.
    """

    def __init__(self, flowed_e: float) -> None:
        super().__init__()
        self.flowed_e = flowed_e

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """See ASE."""
        Calculator.calculate(self, atoms, properties, system_changes)
        charges = np.zeros(len(self.atoms))
        charges[[0, -1]] = [-self.flowed_e, self.parameters["charge"] + self.flowed_e]
        self.results = {"energy": 0.0, "forces": np.zeros((len(self.atoms), 3)), "charges": charges}


def test_a_frame_whose_ion_gives_its_charge_away_is_no_label(tmp_path) -> None:
    settings = LabelSettings(clusters=4, cluster_molecules=1, cluster_ions=("F-", "none"), check_forces=False)
    good = label_structures([WATER], Leaky(0.04), tmp_path / "good.extxyz", settings)
    assert (good.n_frames, good.failed) == (4, ())
    assert "ion_charge" not in good.path.read_text()
    loose = settings.model_copy(update={"max_failed": 0.6})
    bad = label_structures([WATER], Leaky(0.2), tmp_path / "bad.extxyz", loose)
    assert bad.n_frames == 2  # those without an ion, whatever their charges
    assert [reason.partition(":")[0] for _, reason in bad.failed] == ["the ion F holds -0.80 e instead of -1"] * 2
