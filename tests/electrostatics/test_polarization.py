"""Born charges from atomic charges by P(k): the finite-size error by hand, its order, and a form that has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import ModelSettings
from spectra_app.electrostatics.polarization import (
    atomic_born_charges,
    atomic_moments,
    gradient_of_vector,
    pair_moments,
)
from spectra_app.potentials import Potential
from spectra_app.potentials.backbones import PairGeometry
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, from_ase, make_system, sum_by_structure
from tests.random_weights import with_random_weights

TRICLINIC = np.array([[6.0, 0.0, 0.0], [1.3, 5.5, 0.0], [0.7, -1.1, 5.8]])
SLOPE, LENGTH = 0.3, 9.0  # e/A, A


@pytest.mark.parametrize("distance", [0.7, 2.0, 4.0])
def test_two_atoms_by_hand(distance):
    """Charges +-c d on atoms d apart along x: exact Z_xx = 2 c d; with P(k) one d becomes sin(k d)/k."""
    system = make_system([[1.0 + distance, 2.0, 0.5], [1.0, 2.0, 0.5]], [8, 8], np.eye(3) * LENGTH)
    system = system._replace(positions=system.positions.requires_grad_(True))
    charge = SLOPE * (system.positions[0, 0] - system.positions[1, 0])
    born = atomic_born_charges(system, torch.stack([charge, -charge]), None)
    k = 2.0 * math.pi / LENGTH
    assert born[0, 0, 0].item() == pytest.approx(SLOPE * (distance + math.sin(k * distance) / k), rel=1e-12)
    assert born[1, 0, 0].item() == pytest.approx(-born[0, 0, 0].item())
    # Across the axis the atoms stand at the same height, and only the charge itself moves.
    assert born[0, 1, 1].item() == pytest.approx(SLOPE * distance)
    assert born[0, 0, 1].item() == pytest.approx(0.0, abs=1e-12)


def random_model(variant: str) -> Potential:
    torch.manual_seed(4)
    settings = ModelSettings(variant=variant, channels=6, layers=1, n_radial=4, cutoff_A=3.0, ewald_tolerance=1e-2)
    return with_random_weights(Potential(settings, ("H", "O"), eps_inf=1.8).double(), 2.0)


def six_atoms() -> Atoms:
    grid = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 1]]) * 0.48 + 0.05
    shake = np.random.default_rng(3).uniform(-0.09, 0.09, size=(6, 3))
    return Atoms([8, 1, 1, 8, 1, 1], positions=(grid + shake) @ TRICLINIC, cell=TRICLINIC, pbc=True)


def both_forms(model: Potential, system: System) -> tuple[np.ndarray, np.ndarray]:
    """Part of the permanent pair charges in Z* of the first six atoms, from the pairs' own vectors and from P(k)."""
    neighbors = build_neighbors(system, model.cutoff)
    system = system._replace(positions=system.positions.requires_grad_(True))
    species = model.species_index[system.numbers]
    pair = PairGeometry(system, neighbors, model.cutoff)
    features = model.backbone(system, species, neighbors, pair)
    unit = model.scale.charge_units(system)
    latents = model.latent_head(system, species, neighbors, pair, features, unit, 1.0)
    moments = atomic_moments(system, latents.fixed_charges, None) + pair_moments(latents.moved, pair.vectors)
    total = sum_by_structure(moments, system)
    by_pairs = gradient_of_vector(total, system.positions)
    by_k = atomic_born_charges(system, latents.multipoles.charges, None)
    return by_pairs[:6].numpy(), by_k[:6].detach().numpy()


def test_the_periodic_form_converges_to_the_pair_form_as_the_square_of_the_inverse_length():
    model, atoms = random_model("p"), six_atoms()
    errors, exact = {}, {}
    for repeat in (1, 2, 4):
        exact[repeat], periodic = both_forms(model, from_ase(atoms.repeat(repeat)))
        errors[repeat] = np.sqrt(np.mean((periodic - exact[repeat]) ** 2))
        assert exact[repeat] == pytest.approx(exact[1], abs=1e-12)  # no cell size in the pair form
    assert errors[1] > 0.01 * np.sqrt(np.mean(exact[1] ** 2))
    assert errors[2] / errors[4] == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("variant", ["pu", "puipiu"])
def test_whole_born_charges_do_not_know_the_size_of_the_cell(variant):
    """All images move together or one of them does: the same Z*, response to the moving field included."""
    model, atoms = random_model(variant), six_atoms()
    born = []
    for repeat in (1, 2):
        system = from_ase(atoms.repeat(repeat))
        born.append(model.latent_born_charges(system, build_neighbors(system, model.cutoff))[:6].numpy())
    assert born[1] == pytest.approx(born[0], abs=1e-11)
    assert np.abs(born[0].sum(axis=0)).max() < 1e-12
