"""Normal modes of springs by hand: frequencies, rigid motions, isotopes, degenerate sets, imaginary modes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spectra_app.errors import StructureError
from spectra_app.harmonic.modes import normal_modes, rigid_motions, wavenumbers
from tests.harmonic.springs import LINEAR, TRIANGLE, hessian


def test_one_spring_has_the_frequency_of_its_reduced_mass() -> None:
    k, masses, bond = 40.0, np.array([1.008, 15.999]), LINEAR[:2]
    modes = normal_modes(hessian(bond, [(0, 1)], k), masses, bond, "molecule")
    reduced = masses.prod() / masses.sum()
    # 1 eV/A^2 is 16.0218 N/m; nu = sqrt(k/mu)/(2 pi c)
    wanted = math.sqrt(k * 16.02176634 / (reduced * 1.66053906892e-27)) / (2.0 * math.pi * 2.99792458e10)
    assert len(modes.frequencies_per_cm) == 1
    assert modes.frequencies_per_cm[0] == pytest.approx(wanted, rel=1e-8)
    heavy = np.array([2.014, 15.999])
    deuterated = normal_modes(hessian(bond, [(0, 1)], k), heavy, bond, "molecule")
    ratio = math.sqrt(reduced / (heavy.prod() / heavy.sum()))
    assert deuterated.frequencies_per_cm[0] == pytest.approx(wanted * ratio, rel=1e-8)


@pytest.mark.parametrize(
    ("places", "rigid"),
    [(np.zeros((1, 3)), 3), (LINEAR[:2], 5), (LINEAR, 5), (TRIANGLE, 6)],
    ids=["atom", "two atoms", "linear", "bent"],
)
def test_atoms_and_linear_molecules_have_fewer_rotations(places: np.ndarray, rigid: int) -> None:
    turned = places @ Rotation.from_rotvec([0.3, -1.1, 0.4]).as_matrix() + 3.0
    masses = np.arange(1.0, len(places) + 1)
    assert rigid_motions(masses, turned, rotations=True).shape[1] == rigid
    pairs = [(i, j) for i in range(len(places)) for j in range(i)]
    modes = normal_modes(hessian(turned, pairs, 30.0), masses, turned, "molecule")
    assert len(modes.frequencies_per_cm) == 3 * len(places) - rigid
    assert np.abs(modes.rigid_per_cm).max() < 1e-3
    vectors = modes.eigenvectors.reshape(len(modes.frequencies_per_cm), 3 * len(places))
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(vectors)), atol=1e-10)
    momentum = np.einsum("i,mix->mx", masses, modes.displacements)
    np.testing.assert_allclose(momentum, 0.0, atol=1e-10)
    turning = np.einsum(
        "i,mix->mx", masses, np.cross(turned[None] - masses @ turned / masses.sum(), modes.displacements)
    )
    np.testing.assert_allclose(turning, 0.0, atol=1e-8)


def test_a_crystal_keeps_its_librations_and_a_slab_too() -> None:
    for kind in ("crystal", "slab"):
        modes = normal_modes(hessian(TRIANGLE, [(0, 1), (1, 2), (0, 2)], 30.0), np.ones(3), TRIANGLE, kind)
        assert len(modes.frequencies_per_cm) == 6


def test_degenerate_modes_lie_along_the_axes_on_every_machine() -> None:
    masses = np.ones(3)
    modes = normal_modes(hessian(TRIANGLE, [(0, 1), (1, 2), (0, 2)], 30.0), masses, TRIANGLE, "molecule")
    assert [len(group) for group in modes.groups()] == [2, 1]
    rng = np.random.default_rng(0)
    noise = 1e-9 * rng.normal(size=(9, 9))
    again = normal_modes(
        hessian(TRIANGLE, [(0, 1), (1, 2), (0, 2)], 30.0) + noise + noise.T, masses, TRIANGLE, "molecule"
    )
    np.testing.assert_allclose(again.eigenvectors, modes.eigenvectors, atol=1e-6)


def test_imaginary_modes_are_kept_and_named() -> None:
    push = -hessian(LINEAR, [(0, 1), (1, 2)], 30.0)
    modes = normal_modes(push, np.ones(3), LINEAR, "molecule")
    assert list(modes.imaginary) == [0, 1]
    assert modes.frequencies_per_cm[0] < -100.0
    assert wavenumbers(np.array([-4.0]))[0] == -wavenumbers(np.array([4.0]))[0]


def test_reduced_mass_of_a_bond_is_that_of_its_atoms() -> None:
    masses = np.array([1.008, 15.999])
    modes = normal_modes(hessian(LINEAR[:2], [(0, 1)], 30.0), masses, LINEAR[:2], "molecule")
    # of displacements normalized over both atoms: (x1^2 + x2^2) with m1 x1 = m2 x2
    share = np.array([masses[1], masses[0]]) / masses.sum()
    assert modes.reduced_masses_amu[0] == pytest.approx((masses * share**2).sum() / (share**2).sum())


def test_masses_must_be_positive() -> None:
    with pytest.raises(StructureError, match=r"masses: got 0 amu, wanted positive"):
        normal_modes(np.eye(6), np.array([0.0, 1.0]), LINEAR[:2], "molecule")
