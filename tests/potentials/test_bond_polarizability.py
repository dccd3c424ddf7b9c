"""Polarizabilities from bonds: what they see, how they turn, where they begin."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from spectra_app.potentials.backbones.features import PairGeometry, RadialBasis
from spectra_app.potentials.heads.bond_polarizability import BondPolarizability
from spectra_app.potentials.heads.bonds import bond_ratios, bond_weights, flow_weights
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import make_system
from tests.potentials.test_potential import finite_difference, make_potential, predict, structure

RADII = torch.tensor([0.31, 0.66], dtype=torch.float64)  # H, O
WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


def alpha_of(
    model: BondPolarizability, positions: np.ndarray, species: list[int], cutoff: float = 4.0, form: str = "switched"
):
    system = make_system(positions, [1 if kind == 0 else 8 for kind in species])
    neighbors = build_neighbors(system, cutoff)
    pair = PairGeometry(system, neighbors, cutoff)
    radial = pair.radial(RadialBasis(cutoff, 6).double())
    kinds = torch.tensor(species)
    weights = bond_weights(form, bond_ratios(pair.distance, kinds, RADII, neighbors), radial.envelope)
    roots = model(kinds, neighbors, pair.direction, radial, weights).detach()
    return (roots @ roots).numpy()


def random_numbers(contacts: bool) -> BondPolarizability:
    torch.manual_seed(0)
    made = BondPolarizability(2, 6, contacts).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.fixture
def model() -> BondPolarizability:
    return random_numbers(contacts=False)


@pytest.mark.parametrize("contacts", [False, True])
def test_begins_as_one_number(contacts):
    made = BondPolarizability(2, 6, contacts).double()
    assert alpha_of(made, WATER, [1, 0, 0]) == pytest.approx(np.tile(np.eye(3), (3, 1, 1)))


@pytest.mark.parametrize("contacts", [False, True])
@pytest.mark.parametrize("form", ["gaussian", "switched"])
def test_of_two_atoms_by_hand(form, contacts):
    r, cutoff, model = 1.3, 4.0, random_numbers(contacts)
    found = alpha_of(model, np.array([[0.0, 0, 0], [0, 0, r]]), [1, 0], form=form)
    radial = RadialBasis(cutoff, 6).double()
    system = make_system(np.array([[0.0, 0, 0], [0, 0, r]]), [8, 1])
    basis, envelope = PairGeometry(system, build_neighbors(system, cutoff), cutoff).radial(radial)
    ratio = r / 0.97
    bond = math.exp(1.0 - ratio**2) if form == "gaussian" else 1.0 / (1.0 + math.exp((ratio - 1.4) / 0.06))
    weight = bond * float(envelope[0, 0])
    tables = (model.isotropic.detach(), model.anisotropic.detach())
    f, g = (weight * float((table[2 * 1 + 0] * basis[0, 0]).sum()) for table in tables)
    if contacts:  # what is no bond
        rest = float(envelope[0, 0]) - weight
        more = rest * (model.contacts.detach()[:, 2 * 1 + 0] * basis[0, 0]).sum(-1)
        f, g = f + float(more[0]), g + float(more[1])
    number = 1.0 + float(model.elements.detach()[1]) + f
    along, across = number + 2.0 / 3.0 * g, number - g / 3.0
    assert found[0] == pytest.approx(np.diag([across, across, along]) ** 2, abs=1e-12)


def test_turns_with_the_molecule_and_stays_positive(model):
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    still, turned = alpha_of(model, WATER, [1, 0, 0]), alpha_of(model, WATER @ turn.T, [1, 0, 0])
    assert turned == pytest.approx(turn @ still @ turn.T, abs=1e-12)
    assert np.linalg.eigvalsh(still).min() >= 0.0
    assert np.ptp(np.linalg.eigvalsh(still)) > 1e-2


def test_a_bond_is_one_and_a_hydrogen_bond_is_none():
    for r, low, high in ((0.97, 0.99, 1.0), (1.2, 0.93, 0.95), (1.8, 0.0, 0.001)):
        system = make_system(np.array([[0.0, 0, 0], [0, 0, r]]), [8, 1])
        neighbors = build_neighbors(system, 7.9)
        pair = PairGeometry(system, neighbors, 7.9)
        ratio = bond_ratios(pair.distance, torch.tensor([1, 0]), RADII, neighbors)
        weights = bond_weights("switched", ratio, pair.radial(RadialBasis(7.9, 4).double()).envelope)
        assert low <= float(weights.max()) <= high


def test_flow_falls_off_as_orbitals_overlap():
    r, ratio, envelope = (torch.tensor([x], dtype=torch.float64) for x in (1.8, 1.8 / 0.97, 0.7))
    assert float(flow_weights("overlap", ratio, r, envelope)) == pytest.approx(0.7 * math.exp(-0.83 / 0.5))
    assert float(flow_weights("switched", ratio, r, envelope)) == float(bond_weights("switched", ratio, envelope))
    assert float(bond_weights("overlap", ratio, envelope)) == float(bond_weights("switched", ratio, envelope))


@pytest.mark.parametrize("contacts", [False, True])
def test_sees_bonds_and_hardly_anything_else_unless_contacts_count(contacts):
    model = random_numbers(contacts)
    alone = alpha_of(model, WATER, [1, 0, 0])
    stretched, beside = WATER.copy(), np.concatenate([WATER, WATER + np.array([0.0, 0.0, 3.0])])
    stretched[1, 0] += 0.05
    by_stretch = np.abs(alpha_of(model, stretched, [1, 0, 0]) - alone).max()
    by_neighbor = np.abs(alpha_of(model, beside, [1, 0, 0] * 2)[:3] - alone).max()
    assert (by_neighbor < 0.05 * by_stretch) == (not contacts)


def test_a_potential_with_it_has_forces_that_are_the_gradient():
    potential, system = make_potential("puiu", alpha="bonds", response="self-consistent"), structure()
    forces = predict(potential, system).forces
    for atom, axis in ((0, 0), (3, 2)):
        slope = finite_difference(lambda s: predict(potential, s, forces=False).energy[0].item(), system, atom, axis)
        assert forces[atom, axis].item() == pytest.approx(-slope, rel=1e-5, abs=1e-6)
    scaled = make_potential("puiu", alpha="bonds", response="self-consistent")
    scaled.latent_head.alpha_bonds.elements.add_(0.3)
    assert predict(scaled, system).polarizability.numpy() != pytest.approx(predict(potential, system).polarizability)
