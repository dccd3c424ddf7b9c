"""Charge equilibration against the constrained minimum by dense linear algebra, and what it means physically."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectra_app.electrostatics.multipoles import Multipoles
from spectra_app.electrostatics.response import direct_polarizability_by_atom, one_shot
from spectra_app.electrostatics.self_consistent import relax, self_consistent
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import concatenate, make_system
from tests.electrostatics.test_self_consistent import CELLS, prepare, random_case
from tests.potentials.test_potential import TRICLINIC, finite_difference, make_potential, predict, structure


def pooled_case(cell, form: str):
    system, multipoles, susceptibility = random_case(cell, form)
    return system, multipoles, susceptibility._replace(pool=system)


def constrained_minimum(system, multipoles, susceptibility, potential=None) -> tuple[float, np.ndarray]:
    """Least energy above the permanent one over dq of sum zero and du, and that (dq, du): one dense matrix.

    Built from the energy itself, U_elec[m + x] + sum dq^2/(2 kappa) + sum du.alpha^-1.du/2 + sum dq ``potential``.
    """
    interaction, n = prepare(system), len(system.positions)
    has_dipoles = susceptibility.alpha is not None
    size = 4 * n if has_dipoles else n

    def energy(x: torch.Tensor) -> torch.Tensor:
        dq, du = x[:n], x[n:].reshape(n, 3) if has_dipoles else torch.zeros(n, 3, dtype=torch.float64)
        total = Multipoles(multipoles.charges + dq, multipoles.dipoles + du)
        value = interaction.energy(total)[0] + (dq * dq / susceptibility.kappa).sum() / 2
        if has_dipoles:
            value = value + torch.einsum("ia,iab,ib->", du, torch.linalg.inv(susceptibility.alpha), du) / 2
        return value if potential is None else value + (dq * potential).sum()

    zero = torch.zeros(size, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(energy, zero)
    curvature = torch.autograd.functional.hessian(energy, zero)
    charged = torch.zeros(size, dtype=torch.float64)
    charged[:n] = 1.0
    bordered = torch.zeros(size + 1, size + 1, dtype=torch.float64)
    bordered[:size, :size], bordered[size, :size], bordered[:size, size] = curvature, charged, charged
    x = torch.linalg.solve(bordered, torch.cat([-slope, zero[:1]]))[:size]
    return float(energy(x) - energy(zero)), x.numpy()


@CELLS
@pytest.mark.parametrize("form", ["q", "qu"])
def test_self_consistent_charges_are_the_minimum_at_fixed_total_charge(form, cell):
    system, multipoles, susceptibility = pooled_case(cell, form)
    interaction = prepare(system)
    expected, x = constrained_minimum(system, multipoles, susceptibility)
    permanent = interaction.permanent(multipoles)
    induced, energy, _ = self_consistent(system, interaction, susceptibility, permanent, 1e-12, False)
    assert energy.item() == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(induced.charges[:, 0].numpy(), x[:6], atol=1e-9)
    if form == "qu":
        np.testing.assert_allclose(induced.dipoles[:, 0].reshape(-1).numpy(), x[6:], atol=1e-9)
    relaxed = relax(system, interaction, susceptibility, multipoles, 1e-12, uniform_fields=True)
    assert (relaxed.energy - permanent.energy).item() == pytest.approx(expected, rel=1e-9)
    assert induced.charges.sum().item() == pytest.approx(0.0, abs=1e-13)
    single = susceptibility._replace(pool=None)
    _, alone, _ = self_consistent(system, interaction, single, permanent, 1e-12, False)
    assert energy.item() - alone.item() > 1e-3  # what is conserved costs: this case can tell the two apart


def test_one_shot_charges_share_a_chemical_potential():
    # dq_i/kappa_i + Phi_i is one number for all atoms of a structure, and another one for those of another.
    first, second = pooled_case(None, "q"), random_case(TRICLINIC, "q", seed=3)
    system = concatenate([first[0], second[0]])
    kappa = torch.cat([first[2].kappa, second[2].kappa])
    neighbors = build_neighbors(system, 3.0)
    susceptibility = first[2]._replace(kappa=kappa, neighbors=neighbors, pool=system)
    charges = torch.cat([first[1].charges, second[1].charges])
    permanent = prepare(system).permanent(Multipoles(charges))
    induced, energy = one_shot(system, susceptibility, permanent)
    levels = (induced.charges[:, 0] / kappa + permanent.potential).numpy()
    np.testing.assert_allclose(levels, np.repeat([levels[0], levels[6]], 6), rtol=1e-12)
    assert abs(levels[0] - levels[6]) > 1e-2
    assert induced.charges[:6].sum().item() == pytest.approx(0.0, abs=1e-14)
    expected = -0.5 * (kappa * (permanent.potential - torch.as_tensor(levels)) ** 2)
    assert energy.numpy() == pytest.approx(expected.reshape(2, 6).sum(1).numpy(), rel=1e-12)


@pytest.mark.parametrize("response", ["one-shot", "self-consistent"])
@pytest.mark.parametrize("form", ["q", "qu"])
def test_an_open_structure_answers_a_uniform_field_with_all_of_its_charge(form, response):
    system, _, susceptibility = pooled_case(None, form)
    none = Multipoles(torch.zeros(6, dtype=torch.float64), torch.zeros(6, 3, dtype=torch.float64))
    interaction = prepare(system)
    if response == "one-shot":
        alpha = direct_polarizability_by_atom(susceptibility).sum(0)
        kappa, r = susceptibility.kappa.numpy(), system.positions.numpy()
        away = r - (kappa @ r) / kappa.sum()  # sum kappa (r - R)(r - R)^T, R the centre of kappa
        expected = np.einsum("i,ia,ib->ab", kappa, away, away)
        if form == "qu":
            expected = expected + susceptibility.alpha.sum(0).numpy()
        np.testing.assert_allclose(alpha.numpy(), expected, atol=1e-13)
        return
    _, _, by_atom = self_consistent(system, interaction, susceptibility, interaction.permanent(none), 1e-12, True)
    moved = system._replace(positions=system.positions + torch.tensor([9.0, -7.0, 5.0], dtype=torch.float64))
    elsewhere = relax(moved, prepare(moved), susceptibility._replace(pool=moved), none, 1e-12, uniform_fields=True)
    np.testing.assert_allclose(elsewhere.polarizability_by_atom.sum(0).numpy(), by_atom.sum(0).numpy(), atol=1e-9)
    if form == "q":
        for axis in range(3):
            potential = -system.positions[:, axis]
            _, dq = constrained_minimum(system, none, susceptibility, potential)
            np.testing.assert_allclose(by_atom.sum(0)[:, axis].numpy(), dq @ system.positions.numpy(), atol=1e-9)


@pytest.mark.parametrize("response", ["one-shot", "self-consistent"])
@pytest.mark.parametrize("variant", ["qeq", "ueqiu", "uQeqiu"])
def test_charges_of_the_potential_sum_to_the_total_charge_of_each_structure(variant, response):
    potential = make_potential(variant, response=response)
    one = torch.tensor([1.0]).double()
    smaller = make_system(structure(None, seed=2).positions[:5], [8, 1, 1, 8, 1])
    batch = concatenate([structure()._replace(charge=one), structure(None, seed=1), smaller._replace(charge=one)])
    sums = [float(part.sum()) for part in predict(potential, batch).charges.split(batch.sizes)]
    assert sums == pytest.approx([(1.3 / 1.8) ** 0.5, 0.0, 1.0], abs=1e-12)


def test_a_charge_goes_where_it_costs_least_and_costs_what_the_formula_says():
    # Two atoms a mile apart: an electron more is shared as kappa says, and costs 1/(2 (kappa_1 + kappa_2)).
    potential = make_potential("qeq", response="self-consistent")
    far = make_system(np.array([[0.0, 0, 0], [1e6, 0, 0]]), [8, 1])
    head = potential.latent_head
    with torch.no_grad():  # no charges of its own
        head.element_charges.zero_(), head.charge.weight.zero_(), head.charge.bias.zero_()
    neutral, charged = (
        potential.evaluate(s, build_neighbors(s, 3.5), None)
        for s in (far, far._replace(charge=torch.tensor([-1.0]).double()))
    )
    kappa = charged.latents.kappa.detach()
    np.testing.assert_allclose(charged.charges.detach().numpy(), -(kappa / kappa.sum()).numpy(), atol=1e-6)
    cost = float((charged.energy - neutral.energy).detach()[0])
    assert cost == pytest.approx(float(0.5 / kappa.sum()), rel=1e-5)
    assert abs(float(kappa[0] / kappa[1]) - 1.0) > 0.01


@pytest.mark.parametrize(("variant", "sees"), [("qeq", True), ("ueqiu", True), ("puip", False)])
def test_a_dopant_far_away_charges_an_atom_only_by_equilibration(variant, sees):
    """A molecule in the field-free distance of another: its charge follows what the other one is made of."""
    potential = make_potential(variant, response="self-consistent", total_charge="free" if not sees else "fixed")
    if not sees:  # charges of elements that need no shift: what is left is charge moved between neighbours
        with torch.no_grad():
            potential.latent_head.element_charges.zero_()
    near = structure(None, seed=2)
    charges = []
    for numbers in ([8, 1, 1, 8, 1, 1], [8, 8, 1, 8, 1, 1]):
        there = structure(None, seed=3).positions + 1e5
        both = make_system(torch.cat([near.positions, there]), [*near.numbers.tolist(), *numbers])
        charges.append(predict(potential, both).charges[:6].sum().item())
    assert (abs(charges[1] - charges[0]) > 1e-3) == sees


@pytest.mark.parametrize("variant", ["qeq", "ueqiu"])
def test_born_charges_of_an_open_structure_hold_the_charge_that_flows(variant):
    potential, system = make_potential(variant, response="self-consistent", response_tolerance=1e-12), structure(None)
    born = potential.born_charges(system, build_neighbors(system, potential.cutoff))
    for axis in range(3):
        slope = finite_difference(lambda s: predict(potential, s).dipole[0].numpy(), system, 1, axis)
        assert born[1, :, axis].numpy() == pytest.approx(slope, rel=1e-5, abs=1e-7)
    assert born.sum(0).numpy() == pytest.approx(np.zeros((3, 3)), abs=1e-10)


def test_loops_and_eager_agree():
    potential, system = make_potential("ueqiu", response="self-consistent", response_tolerance=1e-11), structure()
    eager = predict(potential, system, stress=True)
    potential.engine = "compiled"
    loops = predict(potential, system, stress=True)
    for name in ("energy", "forces", "stress", "charges", "polarizability"):
        np.testing.assert_allclose(getattr(loops, name).numpy(), getattr(eager, name).numpy(), atol=2e-6, err_msg=name)
