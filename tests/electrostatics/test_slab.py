"""Slabs: the corrected three-dimensional sum against the exact kernel of two-dimensional periodicity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectra_app.electrostatics import Multipoles, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.multipoles import Electrostatics
from spectra_app.electrostatics.reciprocal import reciprocal_cutoff
from spectra_app.structure.system import System, concatenate, make_system, slab_cell
from spectra_app.units import COULOMB_CONSTANT, EPSILON_0
from tests.electrostatics.naive_slab import patch_energy, slab_energy
from tests.electrostatics.test_permanent import RANKS, random_multipoles

SIGMA = 0.9
LATERAL = torch.tensor([[5.0, 0.4, 0.0], [1.3, 4.6, 0.3]], dtype=torch.float64)  # neither orthogonal nor along axes
NORMAL = torch.linalg.cross(LATERAL[0], LATERAL[1])
NORMAL = NORMAL / NORMAL.norm()


def slab(n_atoms: int = 5, height: float = 24.0, seed: int = 0, corrected: bool = True) -> System:
    """Atoms anywhere in a layer 4 A thick."""
    random = np.random.default_rng(seed).uniform(size=(n_atoms, 3))
    layer = torch.stack([*LATERAL, 4.0 * NORMAL])
    cell = torch.stack([*LATERAL, height * NORMAL])
    return make_system(torch.as_tensor(random) @ layer, np.ones(n_atoms), cell, slab=corrected)


def evaluate(system: System, multipoles: Multipoles, tolerance: float = 1e-14) -> Electrostatics:
    k = prepare_k_vectors(system, reciprocal_cutoff(tolerance, SIGMA, 2))
    return prepare_interaction(system, k, SIGMA).permanent(multipoles)


def filled(multipoles: Multipoles) -> Multipoles:
    """Zeros where a rank is missing."""
    n = len(multipoles.charges)
    u = torch.zeros(n, 3).double() if multipoles.dipoles is None else multipoles.dipoles
    quad = torch.zeros(n, 3, 3).double() if multipoles.quadrupoles is None else multipoles.quadrupoles
    return Multipoles(multipoles.charges, u, quad)


def test_the_exact_kernel_is_the_limit_of_a_patch() -> None:
    system, q = slab(), random_multipoles(5).charges
    nothing = filled(Multipoles(q))
    exact = slab_energy(system.positions, LATERAL, *nothing, SIGMA).item()
    # Beyond the radius the cells interact as dipoles: pi k_e (p_normal^2 - p_lateral^2/2)/(A R).
    p = q @ system.positions
    along = float(p @ NORMAL)
    area = float(torch.linalg.cross(LATERAL[0], LATERAL[1]).norm())
    for radius in (60.0, 120.0):
        tail = math.pi * COULOMB_CONSTANT * (1.5 * along**2 - 0.5 * float(p @ p)) / (area * radius)
        patch = patch_energy(system.positions, LATERAL, q, SIGMA, radius).item()
        assert abs(tail) > 0.01
        assert patch + tail == pytest.approx(exact, abs=0.01 * abs(tail))


@pytest.mark.parametrize("keep", RANKS)
def test_energy_is_that_of_two_dimensional_periodicity(keep) -> None:
    system, multipoles = slab(), keep(random_multipoles(5))
    exact = slab_energy(system.positions, LATERAL, *filled(multipoles), SIGMA).item()
    assert evaluate(system, multipoles).energy.item() == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("keep", RANKS)
def test_net_latent_charge_has_the_energy_of_the_kernel_too(keep) -> None:
    # The atomic family does not sum to zero: the constant that its uniform background leaves must not depend on L.
    system, multipoles = slab(), keep(random_multipoles(5))
    multipoles = multipoles._replace(charges=multipoles.charges + 0.13)
    exact = slab_energy(system.positions, LATERAL, *filled(multipoles), SIGMA).item()
    assert evaluate(system, multipoles).energy.item() == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("keep", RANKS)
def test_vacuum_does_not_matter_with_the_correction_and_does_without(keep) -> None:
    multipoles = keep(random_multipoles(5))
    near, far = (evaluate(slab(height=height), multipoles) for height in (20.0, 40.0))
    assert near.energy.item() == pytest.approx(far.energy.item(), rel=1e-7)
    assert near.potential.numpy() == pytest.approx(far.potential.numpy(), abs=1e-6)
    assert near.field.numpy() == pytest.approx(far.field.numpy(), abs=1e-6)
    plain = [evaluate(slab(height=height, corrected=False), multipoles).energy.item() for height in (20.0, 40.0)]
    assert abs(plain[0] - plain[1]) > 1e-3


def test_the_vacuum_of_the_border_suffices() -> None:
    # A wide cell, whose lateral waves reach far: images of the slab are seen by exp(-2 pi 1.5) of what they were.
    lateral = 3.0 * LATERAL.numpy()
    random = np.random.default_rng(1).uniform(size=(5, 3)) @ np.stack([*lateral, 4.0 * NORMAL.numpy()])
    cell = slab_cell(random, np.stack([*lateral, np.zeros(3)]), np.array([True, True, False]))
    multipoles = random_multipoles(5)
    system = make_system(random, np.ones(5), cell, slab=True)
    energy = evaluate(system, multipoles, 1e-10).energy.item()
    doubled = system._replace(cell=system.cell * torch.tensor([1.0, 1.0, 2.0]).double()[:, None])
    assert np.linalg.norm(cell[2]) < 29.0
    assert energy == pytest.approx(evaluate(doubled, multipoles, 1e-10).energy.item(), abs=2e-4)


def test_two_charged_planes_attract_like_a_capacitor() -> None:
    # Planes of +q and -q per area A, farther apart than the lattice is wide: U grows by q^2/(2 eps0 A) times d.
    area = float(torch.linalg.cross(LATERAL[0], LATERAL[1]).norm())
    q = torch.tensor([0.7, -0.7], dtype=torch.float64)
    cell = torch.stack([*LATERAL, 60.0 * NORMAL])
    energies = []
    for distance in (10.0, 14.0):
        positions = torch.stack([torch.zeros(3).double(), distance * NORMAL])
        energies.append(evaluate(make_system(positions, [1, 1], cell, slab=True), Multipoles(q)).energy.item())
    assert (energies[1] - energies[0]) / 4.0 == pytest.approx(0.49 / (2.0 * EPSILON_0 * area), rel=1e-6)


def test_a_layer_of_dipoles_steps_the_potential_by_p_over_eps0_a() -> None:
    # The potential far above minus that far below a layer of dipoles u along the normal is u/(eps0 A).
    area = float(torch.linalg.cross(LATERAL[0], LATERAL[1]).norm())
    positions = torch.stack([-12.0 * NORMAL, torch.zeros(3).double(), 12.0 * NORMAL])
    dipoles = torch.zeros(3, 3).double()
    dipoles[1] = 0.4 * NORMAL
    system = make_system(positions, [1, 1, 1], torch.stack([*LATERAL, 60.0 * NORMAL]), slab=True)
    result = evaluate(system, Multipoles(torch.zeros(3).double(), dipoles))
    step = (result.potential[2] - result.potential[0]).item()
    assert step == pytest.approx(0.4 / (EPSILON_0 * area), rel=1e-6)
    assert result.field[2].numpy() == pytest.approx(np.zeros(3), abs=2e-6)  # no field outside


@pytest.mark.parametrize("keep", RANKS)
def test_without_dipole_the_plain_sum_is_right_already(keep) -> None:
    # Two copies of a slab related by inversion: no net dipole.
    half, multipoles = slab(3, seed=2), keep(random_multipoles(3))
    positions = torch.cat([half.positions, -half.positions])
    both = Multipoles(
        torch.cat([multipoles.charges] * 2),
        None if multipoles.dipoles is None else torch.cat([multipoles.dipoles, -multipoles.dipoles]),
        None if multipoles.quadrupoles is None else torch.cat([multipoles.quadrupoles] * 2),
    )
    cell = torch.stack([*LATERAL, 40.0 * NORMAL])
    corrected, plain = (evaluate(make_system(positions, np.ones(6), cell, slab=on), both) for on in (True, False))
    assert corrected.energy.item() == pytest.approx(plain.energy.item(), rel=1e-10)
    assert corrected.field.numpy() == pytest.approx(plain.field.numpy(), abs=1e-10)


@pytest.mark.parametrize("keep", RANKS)
def test_potential_field_and_force_are_derivatives_of_the_energy(keep) -> None:
    system, multipoles = slab(), keep(random_multipoles(5))
    charges = multipoles.charges.clone().requires_grad_()
    dipoles = filled(multipoles).dipoles.clone().requires_grad_()
    positions = system.positions.clone().requires_grad_()
    moved = system._replace(positions=positions)
    result = evaluate(moved, multipoles._replace(charges=charges, dipoles=dipoles))
    d_charge, d_dipole, gradient = torch.autograd.grad(result.energy.sum(), (charges, dipoles, positions))
    assert result.potential.detach().numpy() == pytest.approx(d_charge.numpy(), abs=1e-9)
    assert result.field.detach().numpy() == pytest.approx(-d_dipole.numpy(), abs=1e-9)
    for atom, axis in ((0, 2), (3, 1)):
        energies = []
        for step in (1e-4, -1e-4):
            shifted = system.positions.clone()
            shifted[atom, axis] += step
            energies.append(evaluate(system._replace(positions=shifted), multipoles).energy.item())
        assert gradient[atom, axis].item() == pytest.approx((energies[0] - energies[1]) / 2e-4, rel=1e-6, abs=1e-7)


def test_several_sources_at_once_are_each_alone() -> None:
    system, generator = slab(), torch.Generator().manual_seed(1)
    charges = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    dipoles = torch.randn(5, 2, 3, generator=generator, dtype=torch.float64)
    k = prepare_k_vectors(system, reciprocal_cutoff(1e-12, SIGMA, 1))
    interaction = prepare_interaction(system, k, SIGMA)
    potential, field = interaction.act(charges, dipoles)
    for source in range(2):
        alone = interaction.permanent(Multipoles(charges[:, source], dipoles[:, source]))
        assert potential[:, source].numpy() == pytest.approx(alone.potential.numpy(), abs=1e-9)
        assert field[:, source].numpy() == pytest.approx(alone.field.numpy(), abs=1e-9)


def test_a_batch_of_slab_cell_and_molecule_equals_each_alone() -> None:
    cell = torch.stack([*LATERAL, 9.0 * NORMAL])
    systems = [slab(5), make_system(slab(4, seed=3).positions, np.ones(4), cell), slab(3, 30.0, seed=4)]
    systems.append(make_system(slab(4, seed=5).positions, np.ones(4)))
    for batch in (systems[:3], systems, [systems[0], systems[3]]):
        multipoles = [random_multipoles(s.sizes[0], seed=n) for n, s in enumerate(batch)]
        together = evaluate(concatenate(batch), Multipoles(*(torch.cat(m) for m in zip(*multipoles, strict=True))))
        alone = [evaluate(s, m) for s, m in zip(batch, multipoles, strict=True)]
        assert together.energy.numpy() == pytest.approx(torch.cat([a.energy for a in alone]).numpy(), rel=1e-11)
        assert together.field.numpy() == pytest.approx(torch.cat([a.field for a in alone]).numpy(), abs=1e-10)


def test_one_far_charge_pair_is_a_molecule_on_a_wide_slab() -> None:
    # A wide, thin slab with one pair of charges is nearly a molecule in open space; the rest is that of its images.
    positions = np.array([[0.0, 0, 0], [0.3, 0.2, 1.1]])
    q = Multipoles(torch.tensor([0.5, -0.5], dtype=torch.float64))
    isolated = evaluate(make_system(positions, [1, 1]), q).energy.item()
    errors = []
    for width in (12.0, 24.0):
        cell = np.diag([width, width, 1.6 * width])
        energy = evaluate(make_system(positions, [1, 1], cell, slab=True), q, 1e-8).energy.item()
        # Sum over a square lattice of n^-3: 9.0336 (Topping 1927); dipoles side by side repel along the normal.
        p = 0.5 * positions[1]
        tail = 0.5 * COULOMB_CONSTANT * 9.0336 * (p[2] ** 2 - 0.5 * (p[0] ** 2 + p[1] ** 2)) / width**3
        errors.append(abs(energy - isolated - tail))
        assert errors[-1] < 0.1 * abs(tail)
    assert errors[1] < errors[0] / 8
    assert math.isfinite(isolated)
