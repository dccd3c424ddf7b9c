"""What every atom adds to dipole and polarizability: it adds up, and each share belongs where it is said to belong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectra_app.electrostatics import VARIANTS, parse_variant
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import concatenate, make_system, sum_by_structure
from tests.conftest import TOLERANCES
from tests.potentials.test_potential import CELLS, TRICLINIC, make_potential, predict, structure

CASES = [(variant, "one-shot") for variant in VARIANTS]
CASES += [(v, "self-consistent") for v in VARIANTS if parse_variant(v).responds]


def check_sums(system, found, tolerance):
    for total, by_atom in ((found.dipole, found.dipole_by_atom), (found.polarizability, found.polarizability_by_atom)):
        assert by_atom.shape == (len(system.positions), *total.shape[1:])
        np.testing.assert_allclose(
            sum_by_structure(by_atom, system).numpy(), total.numpy(), rtol=tolerance.rtol, atol=tolerance.atol
        )


@CELLS
@pytest.mark.parametrize(("variant", "response"), CASES)
def test_contributions_add_up_in_every_variant(variant, response, cell):
    potential = make_potential(variant, response=response)
    system = concatenate([structure(cell, seed=0), structure(cell, seed=1)])
    found = predict(potential, system)
    check_sums(system, found, TOLERANCES["float64"])
    shares = found.polarizability_by_atom
    np.testing.assert_allclose(shares.numpy(), shares.transpose(1, 2).numpy(), atol=1e-14)
    assert (found.dipole.abs().max() > 1e-3) == (variant != "sr")
    flows = parse_variant(variant).equilibrates and cell is None  # in a cell a uniform field moves no charge through it
    assert (found.polarizability.abs().max() > 1e-4) == (potential.card.has_alpha or flows)


def test_contributions_add_up_in_single_precision_and_with_the_sign_turned():
    potential, system = make_potential("puiu", response="self-consistent").float(), structure().to(dtype=torch.float32)
    before = potential(system, build_neighbors(system.to(dtype=torch.float64), 3.5).to(dtype=torch.float32))
    check_sums(system, before, TOLERANCES["float32"])
    potential.sign.mul_(-1.0)  # as for a network that has learned the opposite sign, on a neutral structure
    after = potential(system, build_neighbors(system.to(dtype=torch.float64), 3.5).to(dtype=torch.float32))
    np.testing.assert_allclose(after.dipole_by_atom.numpy(), -before.dipole_by_atom.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(after.polarizability_by_atom.numpy(), before.polarizability_by_atom.numpy())


@pytest.mark.parametrize("variant", ["pu", "puip"])
def test_shares_are_the_sums_over_pairs_written_out(variant):
    potential, system = make_potential(variant), structure()
    neighbors = build_neighbors(system, potential.cutoff)
    result = potential.evaluate(system, neighbors, potential.k_vectors(system))
    latents, found = result.latents, predict(potential, system)
    expected, alpha = np.zeros((6, 3)), np.zeros((6, 3, 3))
    for i in range(6):
        expected[i] += latents.fixed_charges[i].item() * system.positions[i].numpy()
        expected[i] += latents.multipoles.dipoles[i].numpy()
        for slot in range(neighbors.other.shape[1]):
            if not neighbors.mask[i, slot]:
                continue
            j = int(neighbors.other[i, slot])
            image = system.positions[j].numpy() + neighbors.shift[i, slot].numpy() @ TRICLINIC
            r_ij = system.positions[i].numpy() - image
            expected[i] += 0.5 * latents.moved[i, slot].item() * r_ij
            if latents.kappa is not None:
                alpha[i] += 0.5 * latents.kappa[i, slot].item() * np.outer(r_ij, r_ij)
    if variant == "pu":  # induced charges are not in the latents
        np.testing.assert_allclose(found.dipole_by_atom.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(found.polarizability_by_atom.numpy(), alpha, atol=1e-12)


@pytest.mark.parametrize("variant", ["pu", "puiu"])
def test_a_molecule_far_from_another_has_the_share_it_has_alone(variant):
    potential, near = make_potential(variant), structure(None, seed=2)
    other = structure(None, seed=3)
    far = make_system(torch.cat([near.positions, other.positions + 400.0]), torch.cat([near.numbers, other.numbers]))
    alone, both = predict(potential, near), predict(potential, far)
    # Ten thousand times the molecule's size away, the field of the other one still induces 1e-7 e A.
    np.testing.assert_allclose(both.dipole_by_atom[:6].sum(0), alone.dipole[0], atol=1e-6)
    np.testing.assert_allclose(both.polarizability_by_atom[:6].sum(0), alone.polarizability[0], atol=1e-12)


@CELLS
@pytest.mark.parametrize("variant", ["q", "pu", "puQipiu"])
def test_what_the_fixed_charges_do_not_carry_knows_no_images(variant, cell):
    potential, system = make_potential(variant), structure(cell)
    images = torch.tensor([[0, 0, 0], [2, 0, 0], [0, -1, 3], [0, 0, 0], [1, 1, 1], [0, 2, 0]], dtype=torch.float64)
    moved = system._replace(positions=system.positions + images @ system.cell[0])
    rests = []
    for case in (system, moved):
        found = predict(potential, case)
        rests.append(found.dipole_by_atom - found.fixed_charges[:, None] * case.positions)
    np.testing.assert_allclose(rests[1].numpy(), rests[0].numpy(), atol=1e-10)
    assert found.fixed_charges.abs().max() > 1e-3
