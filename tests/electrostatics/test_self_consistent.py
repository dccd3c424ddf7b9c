"""Self-consistent response against dense linear algebra, closed forms and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectra_app.electrostatics import Multipoles, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.multipoles import Electrostatics
from spectra_app.electrostatics.reciprocal import reciprocal_cutoff
from spectra_app.electrostatics.response import Susceptibility, one_shot
from spectra_app.electrostatics.self_consistent import self_consistent
from spectra_app.errors import ConfigError, ConvergenceError
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.structure.neighbors import build_neighbors, pair_vectors
from spectra_app.structure.system import concatenate, make_system
from spectra_app.units import COULOMB_CONSTANT
from tests.potentials.test_potential import TRICLINIC, make_potential, predict, structure

SIGMA = 0.8
CELLS = pytest.mark.parametrize("cell", [None, TRICLINIC], ids=["open", "periodic"])


def double(values) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def prepare(system):
    k = prepare_k_vectors(system, reciprocal_cutoff(1e-12, SIGMA, 1))
    return prepare_interaction(system, k, SIGMA, 1)


def random_case(cell, form: str, seed: int = 0):
    """Structure, permanent multipoles and a susceptibility of the wanted form, of moderate strength."""
    system = structure(cell, seed=seed)
    n_atoms = len(system.positions)
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    neighbors = build_neighbors(system, 3.0)
    vectors = pair_vectors(system, neighbors, 3.0)
    root = normal(n_atoms, 3, 3)
    alpha = None if "u" not in form else 0.01 * root @ root.transpose(1, 2)
    kappa = None
    if "q" in form:
        kappa = 0.03 * torch.rand(n_atoms, generator=generator, dtype=torch.float64)
    elif "p" in form:
        squared = (vectors * vectors).sum(-1)
        kappa = torch.where(neighbors.mask, 0.01 * torch.exp(-squared / 3.0), 0.0)
    charges = normal(n_atoms)
    multipoles = Multipoles(charges - charges.mean(), 0.3 * normal(n_atoms, 3))
    return system, multipoles, Susceptibility(alpha, kappa, neighbors, vectors)


def dense_solution(system, multipoles, susceptibility):
    """Energy by solving the linear equations of all potentials and fields with a dense matrix."""
    interaction = prepare(system)
    permanent = interaction.permanent(multipoles)
    n = len(system.positions)

    def columns(function):  # a linear map of [atom, 4] as a matrix
        identity = torch.eye(4 * n, dtype=torch.float64).reshape(4 * n, n, 4)
        return torch.stack([function(unit[:, 0], unit[:, 1:]) for unit in identity], dim=1)

    def respond(potential, field):
        induced = susceptibility.respond(potential[:, None], field[:, None])
        q = torch.zeros(n) if induced.charges is None else induced.charges[:, 0]
        u = torch.zeros(n, 3) if induced.dipoles is None else induced.dipoles[:, 0]
        return torch.cat([q[:, None].double(), u.double()], dim=1).reshape(-1)

    def act(charges, dipoles):
        potential, field = interaction.act(charges[:, None], dipoles[:, None])
        return torch.cat([potential[:, :1], field[:, 0]], dim=1).reshape(-1)

    chi, g = columns(respond), columns(act)
    bare = torch.cat([permanent.potential[:, None], permanent.field], dim=1).reshape(-1)
    sign = torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64).repeat(n)
    x = chi @ torch.linalg.solve(torch.eye(4 * n, dtype=torch.float64) - g @ chi, bare)
    return 0.5 * float((sign * x) @ bare)


@CELLS
@pytest.mark.parametrize("form", ["u", "q", "qu", "p", "pu"])
def test_energy_is_that_of_the_dense_linear_equations(form, cell):
    system, multipoles, susceptibility = random_case(cell, form)
    interaction = prepare(system)
    permanent = interaction.permanent(multipoles)
    _, energy, _ = self_consistent(system, interaction, susceptibility, permanent, 1e-12, False)
    assert energy.item() == pytest.approx(dense_solution(system, multipoles, susceptibility), rel=1e-10)
    _, direct = one_shot(system, susceptibility, permanent)
    assert abs(energy.item() / direct.item() - 1.0) > 1e-4  # the two differ: this case can tell them apart


def point_dipoles(distance: float, alpha: float, second: float | None = None):
    system = make_system(np.array([[0.0, 0, 0], [0, 0, distance]]), [1, 1])
    neighbors = build_neighbors(system, 1.0)
    vectors = pair_vectors(system, neighbors, 1.0)
    interaction = prepare_interaction(system, None, 0.2, 1)
    nothing = Electrostatics(torch.zeros(1), torch.zeros(2).double(), torch.zeros(2, 3).double())
    return system, interaction, Susceptibility(double([alpha, second or alpha]), None, neighbors, vectors), nothing


def test_two_point_dipoles_polarize_each_other_as_silberstein_found():
    # L. Silberstein, Phil. Mag. 33 (1917) 521: alpha_parallel = 2a/(1 - 2a/r^3), alpha_perp = 2a/(1 + a/r^3).
    distance, volume = 3.0, 1.5
    alpha = volume / COULOMB_CONSTANT
    _, _, total = self_consistent(*point_dipoles(distance, alpha), 1e-12, True)
    ratio = volume / distance**3
    for half in total:  # by atom: two equal ones share it evenly
        assert half[2, 2].item() == pytest.approx(alpha / (1 - 2 * ratio), rel=1e-10)
        assert half[0, 0].item() == pytest.approx(alpha / (1 + ratio), rel=1e-10)


def test_each_of_two_unequal_dipoles_has_its_own_share():
    # mu_1 = a_1 (F + T mu_2), mu_2 = a_2 (F + T mu_1) with T = 2/r^3 along the axis and -1/r^3 across it.
    first, second, distance = 1.5, 0.6, 3.0
    case = point_dipoles(distance, first / COULOMB_CONSTANT, second / COULOMB_CONSTANT)
    shares = self_consistent(*case, 1e-12, True)[2] * COULOMB_CONSTANT
    for axis, coupling in ((0, -1.0 / distance**3), (2, 2.0 / distance**3)):
        wanted = [a * (1.0 + coupling * b) for a, b in ((first, second), (second, first))]
        wanted = [value / (1.0 - coupling**2 * first * second) for value in wanted]
        assert shares[:, axis, axis].tolist() == pytest.approx(wanted, rel=1e-10)


def test_catastrophe_names_the_atoms():
    # Silberstein's denominator vanishes at r^3 = 2a; nearer than that, no minimum exists.
    system, _, susceptibility, _ = point_dipoles(1.3, 1.5 / COULOMB_CONSTANT)
    far = make_system(np.array([[0.0, 0, 40.0]]), [8])
    both = concatenate([far, system])
    neighbors = build_neighbors(both, 1.0)
    vectors = pair_vectors(both, neighbors, 1.0)
    alpha = torch.cat([double([0.01]), susceptibility.alpha])
    permanent = Electrostatics(torch.zeros(2), torch.zeros(3).double(), torch.zeros(3, 3).double())
    with pytest.raises(ConvergenceError, match=r"atoms 0 \(H\), 1 \(H\): got a polarization catastrophe"):
        self_consistent(
            both,
            prepare_interaction(both, None, 0.2, 1),
            Susceptibility(alpha, None, neighbors, vectors),
            permanent,
            1e-8,
            True,
        )


def test_small_response_becomes_one_shot():
    system, multipoles, susceptibility = random_case(TRICLINIC, "pu")
    interaction = prepare(system)
    permanent = interaction.permanent(multipoles)
    differences = []
    for scale in (1e-2, 1e-3):
        weak = susceptibility._replace(alpha=scale * susceptibility.alpha, kappa=scale * susceptibility.kappa)
        _, energy, _ = self_consistent(system, interaction, weak, permanent, 1e-12, False)
        direct = one_shot(system, weak, permanent)[1]
        differences.append(abs(float(energy / direct - 1.0)))
    assert differences[1] == pytest.approx(differences[0] / 10, rel=0.1)


def make_self_consistent(variant: str, **options):
    return make_potential(variant, response="self-consistent", response_tolerance=1e-12, **options)


@CELLS
@pytest.mark.parametrize("variant", ["piu", "puip", "puipiu", "uiqiu", "uQiqiu", "puQipiu"])
def test_forces_and_stress_are_derivatives_of_the_energy(variant, cell):
    potential, system = make_self_consistent(variant), structure(cell)
    result = predict(potential, system, stress=cell is not None)
    step = 1e-4
    for atom, axis in ((0, 0), (3, 2)):
        energies = []
        for sign in (1.0, -1.0):
            moved = system.positions.clone()
            moved[atom, axis] += sign * step
            energies.append(predict(potential, system._replace(positions=moved), forces=False).energy.item())
        force = -(energies[0] - energies[1]) / (2 * step)
        assert result.forces[atom, axis].item() == pytest.approx(force, rel=1e-6, abs=1e-7)
    if cell is None:
        return
    for a, b in ((0, 0), (1, 2)):
        energies = []
        for sign in (1.0, -1.0):
            strain = torch.eye(3, dtype=torch.float64)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            strained = system._replace(positions=system.positions @ strain, cell=system.cell @ strain)
            energies.append(predict(potential, strained, forces=False).energy.item())
        stress = (energies[0] - energies[1]) / (2 * step) / system.volume.item()
        assert result.stress[0, a, b].item() == pytest.approx(stress, rel=1e-5, abs=1e-9)


@CELLS
@pytest.mark.parametrize("variant", ["piu", "puipiu"])
def test_born_charges_polarizability_and_energy_in_a_field_agree(variant, cell):
    potential, system = make_self_consistent(variant), structure(cell)
    potential.scale = PhysicalScale(None)
    none = predict(potential, system)
    size = 1e-2

    def energy(field: np.ndarray) -> float:
        # The field enters the equations themselves here: a uniform field on top of that of the multipoles.
        return predict(potential, system, forces=False, field=double(field)[None]).energy[0].item()

    for a in range(3):
        ea = size * np.eye(3)[a]
        assert -(energy(ea) - energy(-ea)) / (2 * size) == pytest.approx(none.dipole[0, a].item(), rel=1e-6, abs=1e-9)
    born = potential.born_charges(system, build_neighbors(system, potential.cutoff))
    step = 1e-4
    moved = [system.positions.clone() for _ in range(2)]
    moved[0][1, 2] += step
    moved[1][1, 2] -= step
    plus, minus = (predict(potential, system._replace(positions=m), forces=False).dipole[0] for m in moved)
    assert born[1, :, 2].numpy() == pytest.approx(((plus - minus) / (2 * step)).numpy(), rel=1e-5, abs=1e-7)
    assert born.sum(0).numpy() == pytest.approx(np.zeros((3, 3)), abs=1e-9)
    alpha = none.polarizability[0]
    assert alpha.numpy() == pytest.approx(alpha.T.numpy(), abs=1e-12)


def test_polarizability_is_the_second_derivative_with_respect_to_a_field_made_by_far_charges():
    # Not by the formula for a field: two huge charges at a great distance make one.
    potential_alpha = double([0.05, 0.02, 0.04])
    positions = np.array([[0.0, 0, 0], [1.1, 0.2, 0], [-0.3, 0.9, 0.4]])
    far, size = 2000.0, 40.0

    def energy(charge: float, axis: int) -> float:
        direction = np.eye(3)[axis]
        system = make_system(np.concatenate([positions, [far * direction, -far * direction]]), np.ones(5))
        neighbors = build_neighbors(system, 0.5)
        interaction = prepare_interaction(system, None, SIGMA, 1)
        alpha = torch.cat([potential_alpha, torch.zeros(2).double()])
        susceptibility = Susceptibility(alpha, None, neighbors, pair_vectors(system, neighbors, 0.5))
        charges = double([0.0, 0, 0, -charge, charge])
        permanent = interaction.permanent(Multipoles(charges, torch.zeros(5, 3).double()))
        return self_consistent(system, interaction, susceptibility, permanent, 1e-13, False)[1].item()

    system = make_system(positions, np.ones(3))
    neighbors = build_neighbors(system, 0.5)
    susceptibility = Susceptibility(potential_alpha, None, neighbors, pair_vectors(system, neighbors, 0.5))
    interaction = prepare_interaction(system, None, SIGMA, 1)
    nothing = Electrostatics(torch.zeros(1), torch.zeros(3).double(), torch.zeros(3, 3).double())
    expected = self_consistent(system, interaction, susceptibility, nothing, 1e-13, True)[2].sum(0)
    field = 2 * COULOMB_CONSTANT * size / far**2
    for axis in range(3):
        assert -2 * energy(size, axis) / field**2 == pytest.approx(expected[axis, axis].item(), rel=1e-5)


@CELLS
def test_derivatives_of_the_force_loss_by_finite_differences(cell):
    # The second derivative that training needs passes through the implicit function twice.
    potential, system = make_self_consistent("puipiu", channels=4), structure(cell)
    neighbors, k = build_neighbors(system, potential.cutoff), potential.k_vectors(system)

    def loss(create_graph: bool = True):
        moved = system._replace(positions=system.positions.clone().requires_grad_(True))
        energy = potential.evaluate(moved, neighbors, k, responses=False).energy.sum()
        return (torch.autograd.grad(energy, moved.positions, create_graph=create_graph)[0] ** 2).sum()

    for name in (
        "latent_head.alpha_isotropic.weight",
        "latent_head.kappa_nodes.weight",
        "latent_head.dipole.gate.bias",
    ):
        parameter = potential.get_parameter(name)
        parameter.requires_grad_(True)
        gradient = torch.autograd.grad(loss(), parameter)[0]
        place = int(gradient.abs().argmax())
        step = 1e-4
        with torch.no_grad():
            flat = parameter.view(-1)
            flat[place] += step
        plus = loss(False).item()
        with torch.no_grad():
            flat[place] -= 2 * step
        minus = loss(False).item()
        with torch.no_grad():
            flat[place] += step
        parameter.requires_grad_(False)
        assert gradient.view(-1)[place].item() == pytest.approx((plus - minus) / (2 * step), rel=1e-5), name


def test_a_batch_equals_each_structure_alone():
    potential = make_self_consistent("puipiu")
    systems = [structure(), structure(None, seed=1), structure(TRICLINIC * 1.1, seed=2)]
    together = predict(potential, concatenate(systems))
    alone = [predict(potential, system) for system in systems]
    for name in ("energy", "forces", "dipole", "polarizability"):
        joined = torch.cat([getattr(a, name) for a in alone])
        assert getattr(together, name).numpy() == pytest.approx(joined.numpy(), abs=1e-9), name


def test_unbounded_polarizabilities_are_refused():
    with pytest.raises(ConfigError, match=r"self-consistent with alpha_positive: false"):
        make_potential("piu", response="self-consistent", alpha_positive=False)


def test_a_polarizability_that_nobody_reads_is_not_computed():
    potential, system = make_self_consistent("puiu"), structure(TRICLINIC)
    whole, without = (predict(potential, system, polarizability=wanted) for wanted in (True, False))
    assert not without.polarizability.any()
    torch.testing.assert_close(without.forces, whole.forces, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(without.dipole, whole.dipole, rtol=1e-9, atol=1e-12)
