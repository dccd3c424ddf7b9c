"""From latent to physical: one scale of the material, in bulk, across a slab and for charged cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk

from spectra_app.config import ModelSettings
from spectra_app.errors import ModelError
from spectra_app.potentials import Potential
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.structure.neighbors import Neighbors, build_neighbors
from spectra_app.structure.system import System, from_ase, make_system
from spectra_app.training.screening import measure_scale
from spectra_app.units import EPSILON_0
from tests.potentials.test_potential import TRICLINIC, make_potential, structure
from tests.random_weights import with_random_weights

SCALE = PhysicalScale(eps_inf=2.4, chi=0.5, screening=1.6)


def with_table(potential: Potential, system: System) -> tuple[System, Neighbors]:
    return system, build_neighbors(system, potential.cutoff)


def test_eps_e_is_eps_inf_over_the_models_own_screening_and_one_for_isolated_structures() -> None:
    cell, molecule = structure(), structure(None)
    assert SCALE.eps_e == pytest.approx(1.5)
    assert SCALE.eps_e_of(cell).item() == pytest.approx(1.5)
    assert SCALE.eps_e_of(molecule).item() == 1.0
    vector, tensor = torch.ones(1, 3, dtype=torch.float64), torch.full((1, 3, 3), 2.0, dtype=torch.float64)
    assert SCALE.vectors(vector, cell).numpy() == pytest.approx(np.sqrt(1.5) * np.ones((1, 3)))
    assert SCALE.tensors(tensor, cell).numpy() == pytest.approx(1.5 * tensor.numpy())
    assert torch.equal(SCALE.tensors(tensor, molecule), tensor)
    assert PhysicalScale(None).eps_e == 1.0


def test_an_unmeasured_material_is_refused_and_never_guessed_from_the_frame() -> None:
    potential, cell = make_potential("puiu"), structure()
    potential.scale = PhysicalScale(1.8)
    system, neighbors = with_table(potential, cell)
    assert torch.isfinite(potential(system, neighbors).energy).all()  # energies and forces need no scale
    with pytest.raises(ModelError, match="does not know the susceptibility of its material"):
        potential.born_charges(system, neighbors)
    molecule = with_table(potential, structure(None))
    assert torch.isfinite(potential.born_charges(*molecule)).all()


@pytest.mark.parametrize("charge", [1.0, -2.0])
@pytest.mark.parametrize("variant", ["p", "puQipiu"])
def test_born_charges_of_a_charged_cell_sum_to_its_charge(variant: str, charge: float) -> None:
    potential = make_potential(variant)  # eps_e is not one
    ion = structure()._replace(charge=torch.tensor([charge], dtype=torch.float64))
    born = potential.born_charges(*with_table(potential, ion))
    assert born.sum(0).numpy() == pytest.approx(charge * np.eye(3), abs=1e-10)


def rocksalt(cutoff_A: float = 3.0) -> Potential:
    """A potential of two elements in a cubic crystal, whose response is isotropic."""
    torch.manual_seed(3)
    settings = ModelSettings(
        variant="puiu",
        channels=8,
        n_radial=4,
        cutoff_A=cutoff_A,
        response_tolerance=1e-10,
        ewald_tolerance=1e-7,
        oxidation_states={"O": -2, "Mg": 2},
    )
    potential = Potential(settings, ("O", "Mg"), eps_inf=2.9).double()
    return with_random_weights(potential, 1.2)


def test_across_a_slab_the_response_is_that_to_the_displacement_field() -> None:
    """Deep inside a slab Z*_zz is that of the bulk over eps_inf (D = 0), and in its plane that of the bulk.

    An atom inside displaced along z makes the field -P/(eps0 eps_inf): the longitudinal Born charge.
    """
    potential = rocksalt()
    lattice = 4.2
    atoms = bulk("MgO", "rocksalt", a=lattice, cubic=True)
    system, neighbors = with_table(potential, from_ase(atoms))
    potential.scale = measure_scale(potential, [(system, neighbors)])
    assert potential.scale.chi > 0.1
    assert abs(potential.scale.eps_e - 1.0) > 0.1
    expected = potential.born_charges(system, neighbors)[atoms.numbers == 12][0].numpy()
    assert expected == pytest.approx(expected[0, 0] * np.eye(3), abs=1e-6)
    layers = atoms.repeat((1, 1, 4))
    layers.pbc = [True, True, False]
    slab = from_ase(layers)
    born = potential.born_charges(*with_table(potential, slab)).numpy()
    inside = int(np.argmin(np.abs(layers.positions[:, 2] - 1.75 * lattice) + 100.0 * (layers.numbers != 12)))
    assert born[inside, 0, 0] == pytest.approx(expected[0, 0], rel=0.02)
    assert born[inside, 2, 2] == pytest.approx(expected[0, 0] / 2.9, rel=0.02)


def test_of_a_slab_dipole_charges_and_polarizability_are_turned_by_the_same_axes() -> None:
    normal = np.cross(TRICLINIC[0], TRICLINIC[1])
    normal /= np.linalg.norm(normal)
    slab = make_system([[0.0, 0, 0]], [1], np.stack([TRICLINIC[0], TRICLINIC[1], 30.0 * normal]), slab=True)
    axes = SCALE.axes(slab)[0].numpy()
    assert axes @ normal == pytest.approx(normal / np.sqrt(1.5))
    assert axes @ TRICLINIC[0] == pytest.approx(np.sqrt(1.5) * TRICLINIC[0])
    latent = torch.arange(9, dtype=torch.float64).reshape(1, 3, 3)
    assert SCALE.tensors(latent, slab)[0].numpy() == pytest.approx(axes @ latent[0].numpy() @ axes)
    assert SCALE.born_charges(latent, slab)[0].numpy() == pytest.approx(axes @ latent[0].numpy())


def test_self_consistent_response_screens_by_one_plus_chi() -> None:
    potential, system = make_potential("puipiu", response="self-consistent"), structure()
    scale = measure_scale(potential, [with_table(potential, system)])
    alpha = potential(*with_table(potential, system)).polarizability[0]
    chi = float(alpha.trace()) / (3.0 * EPSILON_0 * abs(np.linalg.det(TRICLINIC)))
    assert (scale.chi, scale.screening) == (pytest.approx(chi), pytest.approx(1.0 + chi))
    assert measure_scale(make_potential("pu"), []) == PhysicalScale(1.8, 0.0, 1.0)
    assert not measure_scale(potential, [with_table(potential, structure(None))]).known


def modulated(cells: int, axis: int, pattern: np.ndarray, amplitude: float) -> System:
    """A row of cells along one lattice vector whose atoms follow a standing wave of the row's length."""
    shift = np.arange(cells)[:, None, None] * TRICLINIC[axis]
    wave = np.cos(2.0 * np.pi * np.arange(cells) / cells)[:, None, None] * pattern
    base = structure().positions.numpy()
    positions = (base + shift + amplitude * wave).reshape(-1, 3)
    cell = TRICLINIC.copy()
    cell[axis] *= cells
    return make_system(positions, np.tile(structure().numbers.numpy(), cells), cell)


def curvature(potential: Potential, cells: int, axis: int, pattern: np.ndarray) -> float:
    """Second derivative of the energy per cell along the wave, eV/A^2 (a cosine has the mean square 1/2)."""
    step, energies = 2e-3, []
    for amplitude in (-step, 0.0, step):
        system = modulated(cells, axis, pattern, amplitude)
        energies.append(potential(*with_table(potential, system), forces=False).energy.item())
    return 2.0 * (energies[0] - 2.0 * energies[1] + energies[2]) / step**2 / cells


@pytest.mark.parametrize(("variant", "response"), [("puipiu", "one-shot"), ("puiu", "self-consistent")])
def test_energy_of_a_long_wave_along_and_across_itself_is_what_the_screening_says(variant: str, response: str) -> None:
    """The formulas of the module against waves in rows of cells, whose directions differ and whose atoms move alike."""
    potential = make_potential(variant, response=response, response_tolerance=1e-12, ewald_tolerance=1e-6)
    system, neighbors = with_table(potential, structure())
    pattern = np.random.default_rng(4).normal(size=(6, 3))
    displaced = torch.from_numpy(pattern)
    total = torch.einsum("iab,ib->a", potential.latent_born_charges(system, neighbors), displaced).numpy()
    chi = potential(system, neighbors).polarizability[0].numpy() / (EPSILON_0 * abs(np.linalg.det(TRICLINIC)))
    if response == "one-shot":
        bare = make_potential(variant)
        bare.variant = make_potential("pu").variant
        permanent = torch.einsum("iab,ib->a", bare.latent_born_charges(system, neighbors), displaced).numpy()
    reciprocal = np.linalg.inv(TRICLINIC).T
    expected = []
    for axis in (0, 1):
        k = reciprocal[axis] / np.linalg.norm(reciprocal[axis])
        if response == "one-shot":
            share = (k @ permanent) ** 2 * (1.0 - k @ chi @ k) + 2.0 * (k @ permanent) * (k @ (total - permanent))
        else:
            share = (k @ total) ** 2 / (1.0 + k @ chi @ k)
        expected.append(share / (EPSILON_0 * abs(np.linalg.det(TRICLINIC))))
    # The wave's own dispersion falls off with the square of the number of cells: two lengths give the limit.
    short, long = (curvature(potential, n, 0, pattern) - curvature(potential, n, 1, pattern) for n in (12, 24))
    limit = (4.0 * long - short) / 3.0
    assert limit == pytest.approx(expected[0] - expected[1], rel=0.02)


def test_the_screening_of_one_shot_response_is_measured() -> None:
    potential, system = make_potential("puiu"), structure()
    scale = measure_scale(potential, [with_table(potential, system)])
    assert scale.screening != pytest.approx(1.0 + scale.chi, rel=1e-3)
    with torch.no_grad():
        for parameter in potential.latent_head.alpha_isotropic.parameters():
            parameter.zero_()
        potential.latent_head.alpha_isotropic.bias.fill_(-9.0)  # nearly no response: 1 + chi is right to first order
        for name, parameter in potential.latent_head.alpha_tensor.named_parameters():
            parameter.mul_(0.02 if "root" not in name else 1.0)
        potential.latent_head.alpha_tensor.root.bias.fill_(-1.0)
        potential.latent_head.alpha_tensor.root.weight.zero_()
    small = measure_scale(potential, [with_table(potential, system)])
    assert 0.0 < small.chi < 0.05
    assert small.screening - 1.0 < 5.0 * small.chi
