"""Every variant in every kind of cell: open, cubic, triclinic, slab; in the limits where they must agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectra_app.electrostatics import VARIANTS, parse_variant
from spectra_app.electrostatics.reciprocal import reciprocal_cutoff
from spectra_app.potentials import Potential
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, concatenate, make_system
from spectra_app.units import COULOMB_CONSTANT
from tests.potentials.test_potential import (
    NUMBERS,
    RESPONSIVE,
    TRICLINIC,
    finite_difference,
    make_potential,
    predict,
    structure,
)

CUBIC_MADELUNG = 2.837297479480620  # of a point charge in a cubic cell with a uniform background
LATERAL = np.array([[6.0, 0.2, 0.1], [1.3, 5.5, -0.2]])
NORMAL = np.cross(*LATERAL) / np.linalg.norm(np.cross(*LATERAL))
RESPONDING = [v for v in VARIANTS if parse_variant(v).responds]
# Every variant in the one-shot form, and those that respond also in the self-consistent one.
FORMS = pytest.mark.parametrize(
    ("variant", "response"),
    [(v, "one-shot") for v in VARIANTS] + [(v, "self-consistent") for v in RESPONDING],
    ids=lambda value: str(value),
)


def potential_of(variant: str, response: str = "one-shot", **settings) -> Potential:
    """An untrained potential whose material is known to a slab."""
    return make_potential(variant, response=response, response_tolerance=1e-12, **settings)


def slab(height: float = 30.0, seed: int = 0) -> System:
    """The six atoms of ``structure`` as a slab whose normal is along no axis."""
    system = structure(None, seed)
    rotation = np.stack([LATERAL[0] / np.linalg.norm(LATERAL[0]), np.zeros(3), NORMAL])
    rotation[1] = np.cross(rotation[2], rotation[0])
    return make_system(system.positions.numpy() @ rotation, NUMBERS, np.stack([*LATERAL, height * NORMAL]), slab=True)


@FORMS
def test_energy_and_responses_of_a_slab_do_not_depend_on_the_vacuum(variant: str, response: str) -> None:
    # At 26 A the images of the slab, 4.5 A thick, are still seen by exp(-2 pi 21/5.7) = 1e-10.
    potential = potential_of(variant, response, ewald_tolerance=1e-10)
    near, far = (predict(potential, slab(height)) for height in (26.0, 41.0))
    assert near.energy.item() == pytest.approx(far.energy.item(), abs=2e-6)
    assert near.forces.numpy() == pytest.approx(far.forces.numpy(), abs=2e-6)
    assert near.polarizability.numpy() == pytest.approx(far.polarizability.numpy(), abs=2e-6)
    if variant in RESPONSIVE:
        assert near.dipole.numpy() == pytest.approx(far.dipole.numpy(), abs=2e-6)


@FORMS
def test_forces_of_a_slab_are_the_negative_gradient(variant: str, response: str) -> None:
    potential, system = potential_of(variant, response), slab()
    forces = predict(potential, system).forces
    for atom, axis in ((0, 0), (4, 2)):
        slope = finite_difference(lambda s: predict(potential, s, forces=False).energy[0].item(), system, atom, axis)
        assert forces[atom, axis].item() == pytest.approx(-slope, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("variant", RESPONSIVE)
def test_born_charges_of_a_slab_are_derivatives_and_sum_to_zero(variant: str) -> None:
    potential, system = potential_of(variant), slab()
    born = potential.born_charges(system, build_neighbors(system, potential.cutoff))
    axes = potential.scale.axes(system)[0].numpy()
    for axis in range(3):
        slope = finite_difference(lambda s: predict(potential, s).dipole[0].numpy(), system, 4, axis)
        assert born[4, :, axis].numpy() == pytest.approx(axes @ slope, rel=1e-5, abs=1e-7)
    assert born.sum(0).numpy() == pytest.approx(np.zeros((3, 3)), abs=1e-11)


@pytest.mark.parametrize("variant", ["sr", "puQipiu", "uQiqiu"])
def test_lateral_stress_of_a_slab_is_the_strain_derivative(variant: str) -> None:
    potential, system = potential_of(variant), slab()
    tension = predict(potential, system, stress=True).stress[0].numpy() * float(system.volume[0])
    first = LATERAL[0] / np.linalg.norm(LATERAL[0])
    basis = np.stack([first, np.cross(NORMAL, first)])

    def energy(a: int, b: int, size: float) -> float:
        strain = np.eye(3) + 0.5 * size * (np.outer(basis[a], basis[b]) + np.outer(basis[b], basis[a]))
        matrix = torch.as_tensor(strain)
        moved = system._replace(positions=system.positions @ matrix, cell=system.cell @ matrix)
        return predict(potential, moved, forces=False).energy[0].item()

    for a, b in ((0, 0), (1, 1), (0, 1)):
        slope = (energy(a, b, 1e-4) - energy(a, b, -1e-4)) / 2e-4
        assert basis[a] @ tension @ basis[b] == pytest.approx(slope, rel=1e-5, abs=1e-6)


@FORMS
def test_a_batch_of_open_cubic_triclinic_and_slab_equals_each_alone(variant: str, response: str) -> None:
    potential = potential_of(variant, response, ewald_tolerance=1e-5)
    five = structure(None, seed=3)
    fewer = make_system(five.positions[:5], NUMBERS[:5], np.eye(3) * 6.5)
    systems = [structure(None, seed=1), fewer, structure(TRICLINIC, seed=2), slab(22.0, seed=4)]
    together = predict(potential, concatenate(systems))
    alone = [predict(potential, system) for system in systems]
    for name in ("energy", "forces", "dipole", "polarizability", "charges", "atomic_dipoles"):
        joined = torch.cat([getattr(a, name) for a in alone])
        assert getattr(together, name).numpy() == pytest.approx(joined.numpy(), abs=1e-9), name


@FORMS
def test_a_molecule_in_a_large_cell_differs_from_open_space_as_its_images_say(variant: str, response: str) -> None:
    """U(L) - U(open) is first order in the kernel of the images, with permanent (p) and induced (i) sources.

    (p|T|p)/2 + (i|T|p), and + (i|T|i)/2 where induced sources see each other, for a cube
    T(r) = k_e [-2.837297/L + (2 pi/(3 V)) (r^2 + 3 sigma^2)] + O(L^-5): net charges of the atomic family included.
    """
    potential = potential_of(variant, response, ewald_tolerance=1e-6, sigma_A=1.3)
    molecule = structure(None)
    open_space = _differentiated(potential, molecule)
    if open_space.latents is None:
        permanent = (torch.zeros(6).double(), torch.zeros(6, 3).double())
        induced = permanent
    else:
        multipoles = open_space.latents.multipoles
        u = torch.zeros(6, 3).double() if multipoles.dipoles is None else multipoles.dipoles
        total_u = torch.zeros(6, 3).double() if open_space.dipoles is None else open_space.dipoles
        permanent = (multipoles.charges, u)
        induced = (open_space.charges - multipoles.charges, total_u - u)
    remainders = []
    for length in (18.0, 27.0):

        def images(a, b, length: float = length) -> float:
            return _image_energy(molecule.positions, a, b, length, 1.3)

        first = 0.5 * images(permanent, permanent) + images(induced, permanent)
        if response == "self-consistent":
            first += 0.5 * images(induced, induced)
        cell = make_system(molecule.positions, NUMBERS, np.eye(3) * length)
        difference = float(_differentiated(potential, cell).energy - open_space.energy)
        remainders.append((difference - first, first))
    # What is left falls as L^-5 (the cube's r^4 term); where net charge is induced, which only the atomic family does,
    # as L^-2: -kappa/2 (2.837 k_e Q/L)^2.
    order = 2 if "iq" in variant else 5
    assert abs(remainders[1][0]) <= 1.05 * (18.0 / 27.0) ** order * abs(remainders[0][0]) + 1e-9
    assert abs(remainders[1][0]) <= 0.3 * abs(remainders[1][1])
    if variant != "sr":  # a term that is wrong or missing would fall as L^-3; there is one to get wrong
        assert abs(remainders[1][1]) > 1e-5


def _differentiated(potential: Potential, system: System):
    with torch.no_grad():
        return potential.evaluate(system, build_neighbors(system, potential.cutoff), potential.k_vectors(system))


def _image_energy(positions: torch.Tensor, first, second, length: float, sigma: float) -> float:
    """(first|T|second) of the kernel of images: sources are charges [atom] and dipoles [atom, xyz]."""
    (qa, ua), (qb, ub) = first, second
    spread = 2.0 * math.pi / (3.0 * length**3)
    constant = -CUBIC_MADELUNG / length + 3.0 * spread * sigma**2
    vectors = positions[:, None] - positions[None, :]  # [i, j, xyz] = r_i - r_j
    squares = (vectors * vectors).sum(-1)
    energy = qa @ (constant + spread * squares) @ qb
    energy = energy + 2.0 * spread * (torch.einsum("ix,ijx,j->", ua, vectors, qb))
    energy = energy - 2.0 * spread * (torch.einsum("i,ijx,jx->", qa, vectors, ub) + (ua.sum(0) @ ub.sum(0)))
    return COULOMB_CONSTANT * float(energy)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_jump_while_vectors_enter_the_sum(variant: str) -> None:
    # Stretching the cell by 2% brings vectors in. What the finite sum leaves out must change smoothly: compared with a
    # sum that is converged, so that the curvature of the network cannot hide a step.
    rough, tight = potential_of(variant), potential_of(variant)
    system = structure()
    errors, numbers = [], []
    for stretch in np.linspace(1.0, 1.02, 11):
        moved = system._replace(positions=system.positions * stretch, cell=system.cell * stretch)
        energies = []
        for potential, tolerance in ((rough, 1e-3), (tight, 1e-9)):
            potential.k_cutoff = reciprocal_cutoff(tolerance, 1.0, potential.variant.highest_rank)
            energies.append(float(_differentiated(potential, moved).energy))
        k = rough.k_vectors(moved)
        numbers.append(0 if k is None else int((k.integers[0] != 0).any(-1).sum()))
        errors.append(energies[0] - energies[1])
    if variant != "sr":
        assert numbers[-1] > numbers[0]  # vectors did enter
    steps = np.abs(np.diff(errors))
    scale = np.abs(errors).max()
    assert steps.max() <= 0.35 * scale + 1e-12
    assert scale < 5e-3
