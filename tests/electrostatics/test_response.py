"""Response and polarization worked out by hand, and against what they must follow from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectra_app.electrostatics.multipoles import Electrostatics
from spectra_app.electrostatics.polarization import atomic_moments, pair_moments
from spectra_app.electrostatics.response import (
    Susceptibility,
    direct_polarizability_by_atom,
    one_shot,
)
from spectra_app.structure.neighbors import Neighbors, build_neighbors, pair_vectors
from spectra_app.structure.system import System, make_system, sum_by_structure
from tests.potentials.test_potential import RESPONSIVE, make_potential, predict, structure


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def two_atoms() -> tuple[System, Neighbors, torch.Tensor]:
    system = make_system(np.array([[0.0, 0, 0], [0, 0, 2.0]]), [1, 1])
    neighbors = build_neighbors(system, 3.0)
    return system, neighbors, pair_vectors(system, neighbors, 3.0)


def pair_values(neighbors: Neighbors, first: float, second: float) -> torch.Tensor:
    """[atom, slot] with the value of (0, 1) and of (1, 0)."""
    values = torch.zeros(neighbors.mask.shape, dtype=torch.float64)
    values[0][neighbors.mask[0]], values[1][neighbors.mask[1]] = first, second
    return values


def respond(potential, field=None, alpha=None, kappa=None, pairs=None):
    """Energy and induced quantities of one-shot response to given potential and field."""
    system, neighbors, vectors = pairs or two_atoms()
    potential = tensor(potential)
    field = torch.zeros(len(potential), 3, dtype=torch.float64) if field is None else field
    susceptibility = Susceptibility(alpha, kappa, neighbors, vectors)
    permanent = Electrostatics(torch.zeros(1), potential, field)
    alpha = sum_by_structure(direct_polarizability_by_atom(susceptibility), system)
    return (*one_shot(system, susceptibility, permanent), alpha[0])


def test_induced_charge_flows_against_the_potential_and_lowers_the_energy():
    induced, energy, _ = respond([3.0, 0.0], kappa=tensor([0.5, 0.2]))
    assert induced.charges[:, 0].tolist() == [-1.5, 0.0]
    assert energy.tolist() == [-0.5 * 0.5 * 9.0]


def test_induced_pair_charge_flows_to_the_lower_potential_and_lowers_the_energy():
    system, neighbors, vectors = two_atoms()
    kappa = pair_values(neighbors, 0.2, 0.2)
    induced, energy, alpha = respond([1.0, -2.0], kappa=kappa)
    # Positive charge leaves atom 0 at +1 V for atom 1 at -2 V: dp_01 = -0.2 (1 + 2); the energy is -(1/2) 0.2 3^2.
    assert induced.charges[:, 0].tolist() == pytest.approx([-0.6, 0.6])
    assert energy.item() == pytest.approx(-0.9)
    # Atom 1, 2 A above, has gained 0.6 e.
    dipole = sum_by_structure(pair_moments(induced.moved[..., 0], vectors), system)
    assert dipole[0].tolist() == pytest.approx([0, 0, 1.2])
    assert alpha.numpy() == pytest.approx(np.diag([0, 0, 0.2 * 4.0]))


def test_induced_dipole_minimises_its_energy_in_the_field():
    alpha = tensor([[[2.0, 0.3, 0], [0.3, 1.5, 0.1], [0, 0.1, 1.0]], [[0.0] * 3] * 3])
    field = tensor([[0.4, -0.2, 0.7], [0, 0, 0]])
    induced, energy, of_system = respond([0.0, 0.0], field, alpha=alpha)

    def total(dipole: torch.Tensor) -> float:  # energy in the field plus the work of polarizing
        return float(-field[0] @ dipole + 0.5 * dipole @ torch.linalg.solve(alpha[0], dipole))

    dipole = induced.dipoles[0, 0]
    assert energy.item() == pytest.approx(total(dipole), rel=1e-12)
    for step in torch.eye(3, dtype=torch.float64) * 1e-3:
        assert total(dipole + step) > energy.item()
        assert total(dipole - step) > energy.item()
    assert of_system.numpy() == pytest.approx(alpha[0].numpy())
    scalar, scalar_energy, of_system = respond([0.0, 0.0], field, alpha=tensor([2.0, 0.0]))
    assert scalar.dipoles[0, 0].tolist() == pytest.approx((2.0 * field[0]).tolist())
    assert scalar_energy.item() == pytest.approx(-float(field[0] @ field[0]))
    assert of_system.numpy() == pytest.approx(2.0 * np.eye(3))


def test_polarization_by_hand():
    system, _, _ = two_atoms()
    moments = atomic_moments(system, tensor([-0.4, 0.4]), tensor([[0.1, 0, 0], [0, 0.2, 0]]))
    dipole = sum_by_structure(moments, system)
    assert dipole[0].tolist() == pytest.approx([0.1, 0.2, 0.8])


@pytest.mark.parametrize("variant", RESPONSIVE)
def test_pair_polarization_of_a_molecule_is_that_of_its_charges(variant):
    # In open boundaries every charge has one place: P = sum q_i r_i + sum u_i, whatever pairs it was moved between.
    system = structure(None)
    result = predict(make_potential(variant), system)
    expected = (result.charges[:, None] * system.positions + result.atomic_dipoles).sum(0)
    assert result.dipole[0].numpy() == pytest.approx(expected.numpy(), abs=1e-12)


@pytest.mark.parametrize("variant", ["piu", "pip", "puipiu", "uiqiu"])
def test_response_lowers_the_energy(variant):
    # The same weights without response: the energy must not be lower.
    potential, system = make_potential(variant), structure()
    result = potential.evaluate(system, build_neighbors(system, potential.cutoff), potential.k_vectors(system))
    with_response = float(result.energy.sum())
    permanent = make_potential(variant)
    permanent.variant = type(potential.variant)(
        **{**vars(potential.variant), "induced_charges": False, "induced_dipoles": False}
    )
    without = permanent.evaluate(system, build_neighbors(system, permanent.cutoff), permanent.k_vectors(system))
    assert with_response < float(without.energy.sum()) - 1e-9


@pytest.mark.parametrize("form", ["pairs and tensors", "pairs and scalars", "pairs", "atoms and tensors"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_compiled_answer_is_that_of_respond(form: str, dtype: torch.dtype) -> None:
    system = structure()
    neighbors, n_atoms = build_neighbors(system, 3.0).to(dtype=dtype), len(system.positions)
    generator = torch.Generator().manual_seed(2)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    root = random(n_atoms, 3, 3)
    alpha = None if form == "pairs" else random(n_atoms) if "scalars" in form else root @ root.transpose(1, 2)
    kappa = random(n_atoms) if "atoms" in form else random(*neighbors.mask.shape) * neighbors.mask
    vectors = pair_vectors(system, build_neighbors(system, 3.0), 3.0).to(dtype)
    susceptibility = Susceptibility(alpha, kappa, neighbors, vectors)
    potential, field = random(n_atoms, 4), random(n_atoms, 4, 3)
    expected, found = susceptibility.respond(potential, field), susceptibility.answer(potential, field)
    assert found.moved is None
    for one, other in ((found.charges, expected.charges), (found.dipoles, expected.dipoles)):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.numpy() == pytest.approx(
                other.numpy(), abs=30 * torch.finfo(dtype).eps * float(other.abs().max())
            )
