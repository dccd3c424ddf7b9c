"""The potential as a whole: every derivative against finite differences, every symmetry, every variant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from spectra_app.config import ModelSettings
from spectra_app.electrostatics import VARIANTS, parse_variant
from spectra_app.electrostatics.stability import largest_polarizability
from spectra_app.errors import ModelError, StructureError
from spectra_app.potentials import Potential
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, concatenate, make_system
from spectra_app.training.optimizers import Muon
from tests.conftest import TOLERANCES
from tests.random_weights import with_known_material, with_random_weights

TRICLINIC = np.array([[6.0, 0.0, 0.0], [1.3, 5.5, 0.0], [0.7, -1.1, 5.8]])
NUMBERS = [8, 1, 1, 8, 1, 1]
STEP = 1e-4
RESPONSIVE = [v for v in VARIANTS if parse_variant(v).charges == "pair"]
FINITE = TOLERANCES["finite_difference"]


def make_potential(variant: str, **settings) -> Potential:
    """An untrained potential with outputs large enough to matter."""
    torch.manual_seed(5)
    # The atoms of ``structure`` stand further apart than bonds: what goes along bonds shall reach that far.
    small = {"channels": 8, "n_radial": 4, "cutoff_A": 3.5, "bond_weight": "gaussian"}
    chosen = {**small, "response": "one-shot", "ewald_tolerance": 1e-8, **settings}
    potential = Potential(ModelSettings(variant=variant, **chosen), ("H", "O"), eps_inf=1.8).double()
    return with_known_material(with_random_weights(potential, 1.5))


def structure(cell: np.ndarray | None = TRICLINIC, seed: int = 0) -> System:
    """Six atoms that are not too close to each other."""
    grid = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 1]]) * 0.48 + 0.05
    shake = np.random.default_rng(seed).uniform(-0.09, 0.09, size=(6, 3))
    return make_system((grid + shake) @ TRICLINIC, NUMBERS, cell)


def predict(potential: Potential, system: System, **options):
    return potential(system, build_neighbors(system, potential.cutoff), **options)


def displaced(system: System, atom: int, axis: int, step: float) -> System:
    positions = system.positions.clone()
    positions[atom, axis] += step
    return system._replace(positions=positions)


def finite_difference(function, system: System, atom: int, axis: int) -> np.ndarray:
    ahead, behind = (function(displaced(system, atom, axis, s)) for s in (STEP, -STEP))
    return (ahead - behind) / (2 * STEP)


CELLS = pytest.mark.parametrize("cell", [None, TRICLINIC], ids=["open", "periodic"])


@CELLS
@pytest.mark.parametrize("variant", VARIANTS)
def test_forces_are_the_negative_gradient(variant, cell):
    potential, system = make_potential(variant), structure(cell)
    forces = predict(potential, system).forces
    for atom, axis in ((0, 0), (1, 1), (4, 2), (3, 1)):
        slope = finite_difference(lambda s: predict(potential, s, forces=False).energy[0].item(), system, atom, axis)
        assert forces[atom, axis].item() == pytest.approx(-slope, rel=FINITE.rtol, abs=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_stress_is_the_strain_derivative_in_a_triclinic_cell(variant):
    potential, system = make_potential(variant), structure()
    stress = predict(potential, system, stress=True).stress[0]
    volume = float(system.volume[0])

    def energy(a: int, b: int, size: float) -> float:
        strain = torch.eye(3, dtype=torch.float64)
        strain[a, b] += size / 2
        strain[b, a] += size / 2
        moved = system._replace(positions=system.positions @ strain, cell=system.cell @ strain)
        return predict(potential, moved, forces=False).energy[0].item()

    for a in range(3):
        for b in range(a, 3):
            slope = (energy(a, b, STEP) - energy(a, b, -STEP)) / (2 * STEP)
            assert stress[a, b].item() == pytest.approx(slope / volume, rel=1e-5, abs=1e-8)
    assert stress.numpy() == pytest.approx(stress.numpy().T)


@CELLS
@pytest.mark.parametrize("variant", RESPONSIVE)
def test_born_charges_are_derivatives_of_the_polarization_field_index_first(variant, cell):
    potential, system = make_potential(variant), structure(cell)
    born = potential.born_charges(system, build_neighbors(system, potential.cutoff))
    scale = float(potential.scale.eps_e_of(system)[0]) ** 0.5
    for atom in (0, 4):
        for axis in range(3):
            slope = finite_difference(lambda s: predict(potential, s).dipole[0].numpy(), system, atom, axis)
            assert born[atom, :, axis].numpy() == pytest.approx(scale * slope, rel=1e-5, abs=1e-7)
    assert len({round(float(z), 6) for z in born[0].reshape(-1)}) == 9  # nine different entries: a transpose would show
    assert born.sum(0).numpy() == pytest.approx(np.zeros((3, 3)), abs=1e-12)  # acoustic sum rule of a neutral structure


@pytest.mark.parametrize("variant", ["q", "u", "uiqiu"])
def test_born_charges_of_independent_charges_in_open_boundaries(variant):
    potential, system = make_potential(variant), structure(None)
    born = potential.born_charges(system, build_neighbors(system, potential.cutoff))
    for axis in range(3):
        slope = finite_difference(lambda s: predict(potential, s).dipole[0].numpy(), system, 1, axis)
        assert born[1, :, axis].numpy() == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_periodic_born_charges_of_independent_charges_approach_the_open_ones_in_large_cells():
    # With P(k) in place of P the relative error of a distance d is k^2 d^2/6; the field of the image dipoles, of order
    # 1/V, goes with it when the cell grows.
    potential = make_potential("uiu", ewald_tolerance=1e-4)
    neutral = structure(None)
    with torch.no_grad():
        fixed = potential.latent_head.charge
        fixed.weight.zero_(), fixed.bias.zero_()
        potential.latent_head.element_charges.copy_(torch.tensor([0.3, -0.6]))
    expected = potential.born_charges(neutral, build_neighbors(neutral, potential.cutoff)).numpy()
    skew = np.array([[1.0, 0, 0], [0.2, 1.0, 0], [0.1, -0.2, 1.0]])
    errors = []
    for length in (16.0, 32.0):
        system = structure(skew * length)
        potential.scale = PhysicalScale(None)
        born = potential.born_charges(system, build_neighbors(system, potential.cutoff)).numpy()
        errors.append(np.abs(born - expected).max())
    assert errors[0] < 0.2
    assert errors[1] < errors[0] / 3


@CELLS
@pytest.mark.parametrize("variant", ["p", "puiu", "puQipiu"])
def test_energy_in_a_field_agrees_with_polarization_polarizability_and_forces(variant, cell):
    potential, system = make_potential(variant), structure(cell)
    none = predict(potential, system)
    scale = float(potential.scale.eps_e_of(system)[0])
    physical_dipole = scale**0.5 * none.dipole[0]
    physical_alpha = scale * none.polarizability[0]

    def energy(field: np.ndarray) -> float:
        return predict(potential, system, forces=False, field=torch.as_tensor(field)[None]).energy[0].item()

    size = 1e-2  # V/A; the energy is exactly quadratic in the field
    for a in range(3):
        ea = size * np.eye(3)[a]
        slope = (energy(ea) - energy(-ea)) / (2 * size)
        assert -slope == pytest.approx(physical_dipole[a].item(), rel=1e-6, abs=1e-8)
        for b in range(3):
            eb = size * np.eye(3)[b]
            second = (energy(ea + eb) - energy(ea - eb) - energy(eb - ea) + energy(-ea - eb)) / (4 * size**2)
            assert -second == pytest.approx(physical_alpha[a, b].item(), rel=1e-5, abs=1e-6)
    field = torch.tensor([[0.03, -0.02, 0.05]], dtype=torch.float64)
    gained = (predict(potential, system, field=field).forces - none.forces).numpy()
    born = potential.born_charges(system, build_neighbors(system, potential.cutoff)).numpy()
    small = 1e-3
    linear = (
        predict(potential, system, field=small * field).forces - predict(potential, system, field=-small * field).forces
    ).numpy() / (2 * small)
    if cell is None:  # eps_e is held fixed in forces; in a cell Z* carries sqrt(eps_e) as a factor as well
        assert linear == pytest.approx(np.einsum("f,afd->ad", field[0].numpy(), born), rel=1e-6, abs=1e-9)
    else:
        assert linear == pytest.approx(np.einsum("f,afd->ad", field[0].numpy(), born), rel=1e-6, abs=1e-9)
    assert np.abs(gained).max() > 1e-4


@CELLS
@pytest.mark.parametrize("variant", ["p", "puiu", "puQipiu", "uQiqiu"])
def test_symmetries(variant, cell, rotation):
    potential, system = make_potential(variant), structure(cell)
    before = predict(potential, system)
    turned = predict(potential, system._replace(positions=system.positions @ rotation.T, cell=system.cell @ rotation.T))
    assert turned.energy.item() == pytest.approx(before.energy.item(), abs=1e-9)
    assert turned.forces.numpy() == pytest.approx((before.forces @ rotation.T).numpy(), abs=1e-9)
    assert turned.polarizability[0].numpy() == pytest.approx(
        (rotation @ before.polarizability[0] @ rotation.T).numpy(), abs=1e-9
    )
    assert turned.atomic_dipoles.numpy() == pytest.approx((before.atomic_dipoles @ rotation.T).numpy(), abs=1e-9)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = predict(potential, system._replace(positions=system.positions[order], numbers=system.numbers[order]))
    assert permuted.forces.numpy() == pytest.approx(before.forces[order].numpy(), abs=1e-9)
    assert permuted.charges.numpy() == pytest.approx(before.charges[order].numpy(), abs=1e-9)
    moved = predict(potential, system._replace(positions=system.positions + torch.tensor([0.3, -7.1, 2.2]).double()))
    assert moved.energy.item() == pytest.approx(before.energy.item(), abs=1e-9)
    if parse_variant(variant).charges == "pair":
        assert turned.dipole[0].numpy() == pytest.approx((rotation @ before.dipole[0]).numpy(), abs=1e-9)
        assert moved.dipole.numpy() == pytest.approx(before.dipole.numpy(), abs=1e-9)  # neutral: no origin


def test_an_atom_in_another_image_changes_the_dipole_by_its_fixed_charge_times_a_cell_vector():
    potential, system = make_potential("puiu"), structure()
    before = predict(potential, system)
    positions = system.positions.clone()
    positions[1] += system.cell[0, 1]
    after = predict(potential, system._replace(positions=positions))
    assert after.energy.item() == pytest.approx(before.energy.item(), abs=1e-10)
    fixed = potential.latent_head.element_charges
    z_h = float(fixed[0] - (4 * fixed[0] + 2 * fixed[1]) / 6)  # shifted so that H4O2 is neutral
    jump = (after.dipole - before.dipole)[0].numpy()
    assert jump == pytest.approx(z_h * TRICLINIC[1], abs=1e-10)


def test_total_charge_is_that_of_each_structure():
    potential = make_potential("puip")
    first, second, third = structure(), structure(None, seed=1), structure(None, seed=2)
    one = torch.tensor([1.0]).double()
    batch = concatenate([first._replace(charge=one), second, third._replace(charge=one)])
    charges = predict(potential, batch).charges
    # Latent: of a cell 1/sqrt(eps_e), so that the physical charges sum to one; of an ion in open space one.
    assert charges[:6].sum().item() == pytest.approx((1.3 / 1.8) ** 0.5, abs=1e-12)
    assert charges[6:12].sum().item() == pytest.approx(0.0, abs=1e-12)
    assert charges[12:].sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("variant", ["sr", "uiqiu", "ueqiu", "puQipiu"])
def test_a_mixed_batch_equals_each_structure_alone(variant):
    potential = make_potential(variant)
    five = structure(TRICLINIC * 1.1, seed=2)
    fewer = make_system(five.positions[:5], NUMBERS[:5], TRICLINIC * 1.1)
    systems = [structure(), structure(None, seed=1), fewer]
    together = predict(potential, concatenate(systems), stress=False)
    alone = [predict(potential, system) for system in systems]
    for name in ("energy", "forces", "dipole", "polarizability", "charges"):
        joined = torch.cat([getattr(a, name) for a in alone])
        assert getattr(together, name).numpy() == pytest.approx(joined.numpy(), abs=1e-10), name


@pytest.mark.parametrize("response", ["one-shot", "self-consistent"])
def test_a_soft_element_is_smeared_wider_and_may_polarize_more(response: str) -> None:
    potential = make_potential("puQipiu", response=response, response_tolerance=1e-12, element_sigma_A={"O": 1.5})
    potential.latent_head.alpha_isotropic.bias.fill_(500.0)  # as much as there can be
    system = structure()
    result = predict(potential, system)
    bounds = torch.tensor([largest_polarizability(1.5 if z == 8 else 1.0) for z in NUMBERS], dtype=torch.float64)
    largest = torch.linalg.eigvalsh(result.atomic_polarizabilities)[:, -1]
    assert bool((largest < bounds).all())
    assert bool((largest > 0.8 * bounds).all())
    slope = finite_difference(lambda s: predict(potential, s).energy.numpy(), system, 3, 1)
    assert result.forces[3, 1].item() == pytest.approx(-slope.item(), rel=1e-5, abs=1e-6)
    born = potential.latent_born_charges(system, build_neighbors(system, potential.cutoff))
    slope = finite_difference(lambda s: predict(potential, s).dipole[0].numpy(), system, 3, 1)
    assert born[3, :, 1].numpy() == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("form", ["scalar", "tensor", "bonds", "pairs"])
def test_polarizability_options(rank, positive, form):
    potential = make_potential("puiu", rank=rank, alpha=form, alpha_positive=positive)
    alphas = predict(potential, structure()).atomic_polarizabilities
    assert alphas.numpy() == pytest.approx(alphas.transpose(1, 2).numpy(), abs=1e-14)
    anisotropy = (
        (alphas - torch.diag_embed(alphas.diagonal(dim1=1, dim2=2).mean(1, keepdim=True).expand(-1, 3))).abs().max()
    )
    assert bool(anisotropy > 1e-6) == (form != "scalar")
    if positive or form in ("bonds", "pairs"):
        assert bool((torch.linalg.eigvalsh(alphas) > 0).all())


def test_features_and_energy_are_smooth_where_a_neighbour_crosses_the_cutoff():
    potential = make_potential("puiu")
    energies = []
    for distance in np.linspace(3.49, 3.51, 81):
        system = make_system(np.array([[0.0, 0, 0], [distance, 0, 0], [0, 0.9, 0.1]]), [8, 1, 1])
        energies.append(predict(potential, system, forces=False).energy.item())
    second = np.diff(energies, n=2)
    assert np.abs(second).max() < 10 * np.median(np.abs(second)) + 1e-12


def test_neighbour_table_with_skin_changes_nothing():
    potential, system = make_potential("puQipiu"), structure()
    tight, loose = (potential(system, build_neighbors(system, potential.cutoff + skin)) for skin in (0.0, 1.2))
    assert loose.energy.item() == pytest.approx(tight.energy.item(), abs=1e-10)
    assert loose.forces.numpy() == pytest.approx(tight.forces.numpy(), abs=1e-10)


def test_float32_agrees_with_float64():
    potential, system = make_potential("puQipiu"), structure()
    exact = predict(potential, system, stress=True)
    single = predict(potential.float(), system.to(dtype=torch.float32), stress=True)
    tolerance = TOLERANCES["float32"]
    assert single.forces.numpy() == pytest.approx(exact.forces.numpy(), rel=tolerance.rtol, abs=10 * tolerance.atol)
    assert single.stress.numpy() == pytest.approx(exact.stress.numpy(), rel=tolerance.rtol, abs=tolerance.atol)
    assert single.energy.dtype == torch.float64


def test_reference_energies_keep_every_digit_in_a_float32_network():
    exact = torch.tensor([-13.587226719, -432.0512345678], dtype=torch.float64)
    potential = Potential(ModelSettings(variant="sr", channels=4), ("H", "O"), exact)
    assert torch.equal(potential.float().double().to("cpu").reference_energies, exact)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_card_knows_whether_there_is_a_polarizability(variant):
    potential, system = make_potential(variant), structure()
    assert potential.card.has_alpha == bool(predict(potential, system).polarizability.abs().max() > 0)


def test_force_loss_has_a_gradient_for_every_parameter():
    potential, system = make_potential("puQipiu"), structure()
    for parameter in potential.parameters():
        parameter.requires_grad_(True)
    neighbors = build_neighbors(system, potential.cutoff)
    moved = system._replace(positions=system.positions.clone().requires_grad_(True))
    energy = potential.evaluate(moved, neighbors, potential.k_vectors(system)).energy
    forces = torch.autograd.grad(energy.sum(), moved.positions, create_graph=True)[0]
    (forces**2).sum().backward()
    constants = {"energy_head.network.2.bias"}  # a constant energy per atom makes no force
    for name, parameter in potential.named_parameters():
        assert parameter.grad is None if name in constants else bool(parameter.grad.abs().sum() > 0), name


@pytest.mark.gpu
def test_cuda_agrees_with_cpu(device_cuda):
    potential, system = make_potential("puQipiu"), structure()
    expected = predict(potential, system)
    result = predict(potential.to(device_cuda), system.to(device_cuda))
    assert result.forces.cpu().numpy() == pytest.approx(expected.forces.numpy(), abs=1e-9)


def test_errors_name_what_is_wrong():
    potential = make_potential("puiu")
    strange = make_system(np.zeros((1, 3)), [26])
    with pytest.raises(StructureError, match=r"element Fe: got unknown to model .*wanted only H, O"):
        potential.check_species(strange.numbers)
    with pytest.raises(ModelError, match=r"Born charges: got a short-range model"):
        make_potential("sr").born_charges(structure(), build_neighbors(structure(), 3.5))
    with pytest.raises(ModelError, match="independent atomic charges"):
        predict(make_potential("u"), structure(), field=torch.zeros(1, 3, dtype=torch.float64))


def test_compiled_energy_and_forces_equal_the_plain_ones():
    # The tracer and its differentiation, without a C++ compiler (benchmarks/md_step.py times the compiled code).
    potential, system = make_potential("puiu", channels=4), structure()
    neighbors, k = build_neighbors(system, potential.cutoff), potential.k_vectors(system)

    def energy_and_forces(evaluate):
        moved = system._replace(positions=system.positions.clone().requires_grad_(True))
        energy = evaluate(moved, neighbors, k).energy.sum()
        return energy.detach(), torch.autograd.grad(energy, moved.positions)[0]

    plain = energy_and_forces(potential.evaluate)
    compiled = energy_and_forces(torch.compile(potential.evaluate, backend="aot_eager"))
    assert compiled[0].item() == pytest.approx(plain[0].item(), abs=1e-10)
    assert compiled[1].numpy() == pytest.approx(plain[1].numpy(), abs=1e-10)


def test_an_evaluation_waits_for_no_number():
    # What a captured CUDA graph needs: nothing is read back, and no number of the host is put on the device.
    potential, system = make_potential("puQipiu"), structure()
    neighbors, k = build_neighbors(system, potential.cutoff), potential.k_vectors(system)
    seen: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    def energy_and_forces():
        moved = system._replace(positions=system.positions.clone().requires_grad_(True))
        return torch.autograd.grad(potential.evaluate(moved, neighbors, k).energy.sum(), moved.positions)[0]

    energy_and_forces()  # tables are made at the first call
    with Watch():
        energy_and_forces()
    assert "aten.mm.default" in " ".join(seen)
    assert not [name for name in seen if "_local_scalar_dense" in name or "nonzero" in name]


@pytest.mark.parametrize("variant", ["q", "uiu"])
def test_atomic_charges_sum_to_the_total_charge_and_the_dipole_forgets_the_origin(variant):
    fixed, free = (make_potential(variant, total_charge=form) for form in ("fixed", "free"))
    molecule = structure(None)
    away = molecule._replace(positions=molecule.positions + 7.0)
    assert predict(fixed, molecule).charges.sum().item() == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(predict(fixed, away).dipole, predict(fixed, molecule).dipole, rtol=0, atol=1e-10)
    assert abs(predict(free, molecule).charges.sum().item()) > 1e-3
    shifted = predict(fixed, molecule).charges - predict(free, molecule).charges
    assert torch.allclose(shifted, shifted.mean())
    ion = molecule._replace(charge=torch.tensor([-1.0], dtype=torch.float64))
    assert predict(fixed, ion).charges.sum().item() == pytest.approx(-1.0, abs=1e-12)


def test_a_turned_sign_keeps_the_total_charge_of_an_ion():
    """Reported charges and Born charges sum to the ion's charge, whichever sign training has settled on."""
    potential = make_potential("puiu")
    ion = structure(None)._replace(charge=torch.tensor([1.0], dtype=torch.float64))
    for sign in (1.0, -1.0):
        potential.sign.fill_(sign)
        born = potential.born_charges(ion, build_neighbors(ion, potential.cutoff))
        assert predict(potential, ion).charges.sum().item() == pytest.approx(1.0)
        assert born.sum(0).numpy() == pytest.approx(np.eye(3), abs=1e-12)


@pytest.mark.parametrize("variant", ["p", "puiu", "puQipiu", "uiqiu"])
def test_a_training_begins_near_the_short_range_model_and_every_weight_can_learn(variant: str) -> None:
    """What sums over neighbours begins at zero or at one number: forces are small for every seed; nothing is stuck."""
    system, sizes = structure(), []
    for seed in range(4):
        torch.manual_seed(seed)
        potential = Potential(ModelSettings(variant=variant, response="self-consistent"), ("H", "O"), eps_inf=1.8)
        potential = potential.double()
        neighbors = build_neighbors(system, potential.cutoff)
        latents = potential.evaluate(system, neighbors, potential.k_vectors(system)).latents
        assert latents.moved is None or float(latents.moved.detach().abs().max()) == 0.0
        for parameter in potential.energy_head.parameters():
            parameter.data.zero_()
        sizes.append(float(predict(potential, system).forces.detach().square().mean().sqrt()))
    assert max(sizes) < 0.15  # eV/A; forces in a liquid are ten times larger
    assert max(sizes) < 2.0 * min(sizes)
    before = {name: p.detach().clone() for name, p in potential.latent_head.named_parameters()}
    optimizer = Muon(potential.latent_head, 1e-3)
    for _ in range(3):  # two factors that begin at zero and at random learn one after the other
        optimizer.zero_grad(set_to_none=True)
        potential.evaluate(system, neighbors, potential.k_vectors(system)).energy.sum().backward()
        optimizer.step()
    for name, parameter in potential.latent_head.named_parameters():
        if name != "charge.bias":  # moves all charges alike, which the fixed total takes back
            assert float((parameter.detach() - before[name]).abs().max()) > 1e-5, name
