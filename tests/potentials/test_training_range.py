"""How far an environment is outside the training data: symmetries, files, and the shipped models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read
from safetensors.torch import load_file, save_file

from spectra_app import extrapolation, load_model
from spectra_app.errors import ModelError
from spectra_app.potentials.folder import read_card, save_model
from spectra_app.potentials.training_range import nearest_by_element
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import from_ase
from spectra_app.zoo import RANGE_FILE, find_model, model_names

SHIPPED = [name for name in model_names() if (find_model(name) / RANGE_FILE).is_file()]


@pytest.fixture(scope="module")
def water():
    return load_model("water", dtype="float64")


@pytest.fixture(scope="module")
def start() -> Atoms:
    return read(find_model("water") / "start.extxyz")


def stretched(atoms: Atoms, distance_A: float, oxygen: int = 3) -> tuple[Atoms, int, int]:
    """With one O-H bond of another length; and the two atoms."""
    atoms = atoms.copy()
    oxygen = int(np.flatnonzero(atoms.numbers == 8)[oxygen])
    hydrogens = np.flatnonzero(atoms.numbers == 1)
    hydrogen = int(hydrogens[atoms.get_distances(oxygen, hydrogens, mic=True).argmin()])
    atoms.set_distance(oxygen, hydrogen, distance_A, fix=0, mic=True)
    return atoms, oxygen, hydrogen


def test_every_shipped_model_knows_its_training_data_and_a_small_file_tells() -> None:
    assert model_names() == SHIPPED
    for name in SHIPPED:
        folder = find_model(name)
        report = extrapolation(load_model(folder), read(folder / "start.extxyz"))
        assert report is not None
        assert not report.outside
        assert 0.1 < report.largest < 1.0
        assert len(report.by_atom) == len(read(folder / "start.extxyz"))
        assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000


@pytest.mark.parametrize("distance_A", [1.2, 1.25, 1.3])
@pytest.mark.parametrize("oxygen", [0, 3, 40])
def test_a_stretched_bond_is_flagged_and_its_atoms_are_named(water, start, distance_A, oxygen) -> None:
    atoms, o, h = stretched(start, distance_A, oxygen)
    report = extrapolation(water, atoms)
    assert report.outside
    assert report.atom in (o, h)
    assert report.by_atom[report.atom] == report.largest
    assert {report.distance.atom, report.distance.other} == {o, h}
    assert report.distance.distance_A == pytest.approx(distance_A, abs=1e-6)
    assert report.distance.limits_A[1] < 1.15
    assert f"{distance_A:.2f} A (" in report.sentence
    assert "in training" in report.sentence


def test_an_environment_emptier_than_any_is_flagged_by_its_nearest_distances(water) -> None:
    alone = molecule("H2O")
    report = extrapolation(water, alone)
    assert report.outside
    assert report.distance.other is None
    assert "has no O within 3.5 A" in report.sentence


def test_it_is_invariant_and_follows_a_permutation(water, start, rotation) -> None:
    atoms, _, _ = stretched(start, 1.3)
    expected = np.array(extrapolation(water, atoms).by_atom)
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ rotation.numpy().T)
    turned.positions = (atoms.positions + np.array([0.3, -5.0, 11.0])) @ rotation.numpy().T
    assert np.allclose(extrapolation(water, turned).by_atom, expected, rtol=1e-8)
    order = np.random.default_rng(1).permutation(len(atoms))
    assert np.allclose(extrapolation(water, atoms[order]).by_atom, expected[order], rtol=1e-8)
    moved = extrapolation(water, atoms[order]).distance
    assert {order[moved.atom], order[moved.other]} == set(stretched(start, 1.3)[1:])


def test_engines_batches_and_precisions_agree(water, start) -> None:
    atoms, _, _ = stretched(start, 1.3)
    expected = np.array(extrapolation(water, atoms).by_atom)
    single = load_model("water")
    assert np.allclose(extrapolation(single, atoms).by_atom, expected, rtol=2e-3)
    single.engine = "compiled"
    assert np.allclose(extrapolation(single, atoms).by_atom, expected, rtol=2e-3)
    systems = [from_ase(one, dtype=torch.float64) for one in (start, atoms)]
    from spectra_app.structure.system import concatenate

    both = concatenate(systems)
    found = water(both, build_neighbors(both, water.cutoff + 0.5), forces=False).extrapolation
    assert np.allclose(found.value[len(start) :].numpy(), expected, rtol=1e-9)


def test_no_prediction_depends_on_it_and_it_comes_with_the_polarizability_only(water, start) -> None:
    bare = load_model("water", dtype="float64", training_range=False)
    assert bare.card.hash == water.card.hash
    assert bare.state_dict().keys() == water.state_dict().keys()
    system = from_ase(start, dtype=torch.float64)
    neighbors = build_neighbors(system, water.cutoff)
    with_range, without = water(system, neighbors), bare(system, neighbors)
    assert torch.equal(with_range.energy, without.energy)
    assert torch.equal(with_range.forces, without.forces)
    assert torch.equal(with_range.polarizability, without.polarizability)
    assert without.extrapolation is None
    assert extrapolation(bare, start) is None
    assert water(system, neighbors, polarizability=False).extrapolation is None
    calculator = water.calculator()
    start = start.copy()
    start.calc = calculator
    start.get_potential_energy()
    assert np.array_equal(calculator.results["extrapolation"], with_range.extrapolation.value.numpy())
    start.calc = bare.calculator()
    start.get_potential_energy()
    assert "extrapolation" not in start.calc.results


def test_the_file_returns_what_was_saved_and_refuses_other_weights(water, start, tmp_path) -> None:
    save_model(load_model("water"), tmp_path / "model")
    copy = load_model(tmp_path / "model", dtype="float64")
    assert copy.training_range.source == water.training_range.source
    assert copy.training_range.cutoff == water.training_range.cutoff
    for name, tensor in water.training_range.tensors().items():
        assert torch.equal(tensor, copy.training_range.tensors()[name])
    path = tmp_path / "model" / "weights.safetensors"
    weights = load_file(path)
    weights["energy_scale"] = weights["energy_scale"] * 1.5
    save_file(weights, path)
    with pytest.raises(ModelError, match=r"the range of other weights.*--trained-on DATA; or remove it"):
        load_model(tmp_path / "model")
    assert load_model(tmp_path / "model", training_range=False).training_range is None
    assert read_card(tmp_path / "model").name == "water"
    path.with_name(RANGE_FILE).write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"training_range.safetensors: got unreadable"):
        load_model(tmp_path / "model")
    save_model(load_model(tmp_path / "model", training_range=False), tmp_path / "model")
    assert load_model(tmp_path / "model").training_range is None


def test_nearest_distances_are_those_of_brute_force(rng) -> None:
    cell = np.array([[5.0, 0.0, 0.0], [1.3, 4.6, 0.0], [-0.7, 0.9, 5.4]])
    atoms = Atoms("O2HNa2", rng.uniform(size=(5, 3)) @ cell, cell=cell, pbc=True)
    system = from_ase(atoms, dtype=torch.float64)
    species, cutoff = torch.tensor([1, 1, 0, 2, 2]), 3.1
    neighbors = build_neighbors(system, cutoff + 0.4)
    from spectra_app.structure.neighbors import pair_vectors

    distance = pair_vectors(system, neighbors, cutoff + 0.4).norm(dim=-1)
    found, other = nearest_by_element(species, neighbors, distance, cutoff, 3)
    images = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]) @ cell
    all_pairs = np.linalg.norm(
        atoms.positions[None, :, None] + images[None, None] - atoms.positions[:, None, None], axis=-1
    )
    all_pairs[all_pairs < 1e-9] = np.inf
    for atom in range(5):
        for element in range(3):
            mine = np.flatnonzero(species.numpy() == element)
            nearest = all_pairs[atom, mine].min(axis=1)
            if nearest.min() >= cutoff:
                assert float(found[atom, element]) == cutoff
                assert int(other[atom, element]) == -1 - element
            else:
                assert float(found[atom, element]) == pytest.approx(nearest.min(), abs=1e-9)
                assert int(other[atom, element]) == mine[nearest.argmin()]
