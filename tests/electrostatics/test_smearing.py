"""Atoms of different widths: against sums written out naively, as derivatives, and against one width for all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectra_app.electrostatics import Multipoles, Smearing, mesh, prepare_interaction, prepare_k_vectors
from spectra_app.electrostatics.default_smearing import default_smearing_A
from spectra_app.electrostatics.multipoles import Electrostatics
from spectra_app.electrostatics.reciprocal import reciprocal_cutoff
from spectra_app.electrostatics.smearing import by_atom, simplified
from spectra_app.electrostatics.stability import largest_polarizability
from spectra_app.errors import ConfigError
from spectra_app.structure.system import System, concatenate, make_system
from spectra_app.units import COULOMB_CONSTANT
from tests.electrostatics.naive import open_energy, periodic_energy
from tests.electrostatics.naive_slab import slab_energy
from tests.electrostatics.test_permanent import RANKS, TRICLINIC, random_multipoles, random_system
from tests.electrostatics.test_slab import LATERAL, filled, slab

WIDTHS = (1.4, 0.9, 1.1)  # the smallest is not the first
CLASSES = [0, 2, 1, 1, 0]
N_ATOMS = len(CLASSES)


def smearing(n_atoms: int = N_ATOMS, widths: tuple[float, ...] = WIDTHS) -> Smearing:
    return Smearing(widths, torch.tensor((CLASSES * 3)[:n_atoms]))


def widths_of(sigma: Smearing) -> torch.Tensor:
    return torch.tensor([sigma.widths[c] for c in sigma.classes], dtype=torch.float64)


def interaction(system: System, sigma: float | Smearing, method: str = "auto", rank: int = 2):
    widths = sigma.widths if isinstance(sigma, Smearing) else sigma
    return prepare_interaction(
        system, prepare_k_vectors(system, reciprocal_cutoff(1e-14, widths, 2), method), sigma, rank
    )


def evaluate(system: System, multipoles: Multipoles, sigma: float | Smearing, method: str = "auto") -> Electrostatics:
    return interaction(system, sigma, method).permanent(multipoles)


def structure(kind: str) -> System:
    return slab(N_ATOMS) if kind == "slab" else random_system(N_ATOMS, TRICLINIC if kind == "periodic" else None)


KINDS = pytest.mark.parametrize("kind", ["open", "periodic", "slab"])


@pytest.mark.parametrize("keep", RANKS)
@KINDS
def test_energy_is_the_naive_sum_of_pairs_of_their_own_width(kind, keep):
    system, multipoles, sigma = structure(kind), keep(random_multipoles(N_ATOMS)), smearing()
    if kind != "periodic":
        multipoles = multipoles._replace(charges=multipoles.charges + 0.13)  # a background knows the widths too
    all_ranks, widths = filled(multipoles), widths_of(sigma)
    if kind == "open":
        expected = open_energy(system.positions, *all_ranks, widths)
    elif kind == "periodic":
        expected = periodic_energy(system.positions, system.cell[0], *all_ranks, widths, 13)
    else:
        expected = slab_energy(system.positions, LATERAL, *all_ranks, widths)
    assert evaluate(system, multipoles, sigma).energy.item() == pytest.approx(expected.item(), rel=1e-9)
    assert abs(evaluate(system, multipoles, 0.9).energy.item() / expected.item() - 1.0) > 1e-4


@KINDS
def test_potential_field_and_force_are_derivatives_of_the_energy(kind):
    system, multipoles, sigma = structure(kind), random_multipoles(N_ATOMS), smearing()
    multipoles = multipoles._replace(charges=multipoles.charges + 0.13)
    q, u = (m.clone().requires_grad_() for m in multipoles[:2])
    r = system.positions.clone().requires_grad_()
    result = evaluate(system._replace(positions=r), Multipoles(q, u, multipoles.quadrupoles), sigma)
    d_charge, d_dipole, d_position = torch.autograd.grad(result.energy.sum(), (q, u, r))
    assert result.potential.detach().numpy() == pytest.approx(d_charge.numpy(), abs=1e-9)
    assert result.field.detach().numpy() == pytest.approx(-d_dipole.numpy(), abs=1e-9)
    for atom, axis in ((0, 2), (3, 1)):
        energies = []
        for step in (1e-4, -1e-4):
            moved = system.positions.clone()
            moved[atom, axis] += step
            energies.append(evaluate(system._replace(positions=moved), multipoles, sigma).energy.item())
        assert d_position[atom, axis].item() == pytest.approx((energies[0] - energies[1]) / 2e-4, rel=1e-6, abs=1e-7)


def test_stress_is_the_derivative_with_respect_to_strain():
    system, multipoles, sigma = structure("periodic"), random_multipoles(N_ATOMS), smearing()

    def energy(strain: torch.Tensor) -> torch.Tensor:
        deformation = torch.eye(3, dtype=torch.float64) + strain
        moved = system._replace(positions=system.positions @ deformation, cell=system.cell @ deformation)
        return evaluate(moved, multipoles, sigma).energy.sum()

    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(energy(strain), strain)
    for a, b in ((0, 0), (1, 2)):
        step = torch.zeros(3, 3, dtype=torch.float64)
        step[a, b] = 1e-5
        assert slope[a, b].item() == pytest.approx((energy(step) - energy(-step)).item() / 2e-5, rel=1e-6)


@pytest.mark.parametrize("cell", [None, TRICLINIC], ids=["open", "periodic"])
def test_second_derivatives_exist_and_are_right(cell):
    system, sigma = random_system(N_ATOMS, cell), smearing()
    multipoles = random_multipoles(N_ATOMS)

    def field(positions: torch.Tensor, charges: torch.Tensor) -> torch.Tensor:
        moved = system._replace(positions=positions)
        return evaluate(moved, multipoles._replace(charges=charges), sigma).field[2]

    inputs = (system.positions.requires_grad_(), multipoles.charges.requires_grad_())
    assert torch.autograd.gradgradcheck(field, inputs, atol=1e-6)


def test_large_periodic_cell_approaches_open_boundaries():
    multipoles, sigma = random_multipoles(4), smearing(4)
    positions = torch.as_tensor(np.random.default_rng(1).uniform(size=(4, 3)) * 3.0)
    isolated = evaluate(make_system(positions, np.ones(4)), multipoles, sigma).energy.item()
    dipole = multipoles.charges @ positions + multipoles.dipoles.sum(0)
    length = 24.0
    correction = 2 * np.pi / 3 * COULOMB_CONSTANT * float(dipole @ dipole) / length**3
    system = make_system(positions, np.ones(4), np.eye(3) * length)
    k = prepare_k_vectors(system, reciprocal_cutoff(1e-10, WIDTHS, 2), "sum")
    periodic = prepare_interaction(system, k, sigma).permanent(multipoles).energy.item()
    assert periodic + correction == pytest.approx(isolated, rel=2e-3)
    other = prepare_interaction(system, k, 0.9).permanent(multipoles).energy.item()
    assert abs(other + correction - isolated) > 10 * abs(periodic + correction - isolated)


@KINDS
def test_one_width_gives_the_bits_of_a_number(kind):
    system, multipoles = structure(kind), random_multipoles(N_ATOMS)
    expected = evaluate(system, multipoles, 0.9)
    for sigma in (smearing(widths=(0.9, 0.9, 0.9)), Smearing((0.9, 1.5), torch.zeros(N_ATOMS, dtype=torch.int64))):
        assert simplified(sigma) == 0.9
        for value, wanted in zip(evaluate(system, multipoles, sigma), expected, strict=True):
            assert torch.equal(value, wanted)


def test_classes_that_do_not_occur_cost_nothing():
    sigma = Smearing((0.7, 1.4, 0.9, 1.4), torch.tensor([1, 3, 2]))
    fewer = simplified(sigma)
    assert fewer.widths == (0.9, 1.4)
    assert torch.equal(by_atom(fewer, 1, torch.zeros(1)), by_atom(sigma, 1, torch.zeros(1)))
    with pytest.raises(ConfigError, match="smearing"):
        Smearing((1.0, 0.0), torch.zeros(2))


@pytest.mark.skipif(not mesh.mesh_available(), reason="finufft, the extra 'mesh', is not installed")
def test_the_mesh_sums_classes_too():
    system, multipoles, sigma = structure("periodic"), random_multipoles(N_ATOMS), smearing()
    plain, fast = (evaluate(system, multipoles, sigma, method) for method in ("sum", "mesh"))
    for value, wanted in zip(fast, plain, strict=True):
        assert value.numpy() == pytest.approx(wanted.numpy(), rel=1e-9, abs=1e-9)
    assert not torch.equal(fast.field, plain.field)


def test_a_batch_of_slab_cell_and_molecule_equals_each_alone():
    systems = [structure("slab"), random_system(4, TRICLINIC, seed=1), random_system(3, None, seed=2)]
    multipoles = [random_multipoles(s.sizes[0], seed=n) for n, s in enumerate(systems)]
    sigmas = [smearing(s.sizes[0]) for s in systems]
    for part in (slice(0, 2), slice(0, 3), slice(1, 3)):
        joined = Multipoles(*(torch.cat(m) for m in zip(*multipoles[part], strict=True)))
        classes = Smearing(WIDTHS, torch.cat([s.classes for s in sigmas[part]]))
        together = evaluate(concatenate(systems[part]), joined, classes)
        alone = [evaluate(*case) for case in zip(systems[part], multipoles[part], sigmas[part], strict=True)]
        assert together.energy.numpy() == pytest.approx(torch.cat([a.energy for a in alone]).numpy(), rel=1e-11)
        assert together.field.numpy() == pytest.approx(torch.cat([a.field for a in alone]).numpy(), abs=1e-10)


@KINDS
def test_several_sources_at_once_are_each_alone(kind):
    system, generator = structure(kind), torch.Generator().manual_seed(1)
    charges = torch.randn(N_ATOMS, 2, generator=generator, dtype=torch.float64)
    dipoles = torch.randn(N_ATOMS, 2, 3, generator=generator, dtype=torch.float64)
    acting = interaction(system, smearing(), rank=2)
    potential, field = acting.act(charges, dipoles)
    for source in range(2):
        alone = acting.permanent(Multipoles(charges[:, source], dipoles[:, source]))
        assert potential[:, source].numpy() == pytest.approx(alone.potential.numpy(), abs=1e-9)
        assert field[:, source].numpy() == pytest.approx(alone.field.numpy(), abs=1e-9)


@pytest.mark.parametrize(
    ("symbol", "literature_A3"),
    # Tessman, Kahn, Shockley 1953, DOI 10.1103/PhysRev.92.890: ions in crystals, sodium D line
    list(
        {"F": 0.64, "K": 1.33, "Rb": 1.98, "Cl": 2.96, "Br": 4.16, "I": 6.43, "S": 5.9, "Te": 10.2, "Pb": 4.9}.items()
    ),
)
def test_recommended_widths_leave_room_for_the_ion_and_no_more(symbol, literature_A3):
    width = default_smearing_A(symbol)
    assert largest_polarizability(width) * COULOMB_CONSTANT >= 1.7 * literature_A3
    if width > 1.0:
        assert largest_polarizability(width - 0.25) * COULOMB_CONSTANT < 1.7 * literature_A3


def test_recommended_widths_of_other_elements_are_the_common_one():
    for symbol in ("H", "C", "N", "O", "F", "Na", "Si", "P", "Ti"):
        assert default_smearing_A(symbol) == 1.0
        assert default_smearing_A(symbol, 0.8) == 0.8
    assert default_smearing_A("Cl", 1.6) == 1.6
