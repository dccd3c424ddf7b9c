"""Clusters and layers in cells that are mostly vacuum: the numbers of the plain sum, at the price of their atoms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectra_app.electrostatics import Multipoles, Smearing, prepare_interaction, prepare_k_vectors, vacuum
from spectra_app.electrostatics import interaction as chooser
from spectra_app.electrostatics.interaction import near_pairs
from spectra_app.electrostatics.lattice import KVectors
from spectra_app.electrostatics.reciprocal import reciprocal_cutoff
from spectra_app.electrostatics.response import Susceptibility
from spectra_app.electrostatics.self_consistent import self_consistent
from spectra_app.electrostatics.slab import SlabInteraction
from spectra_app.electrostatics.vacuum import Way, choose_ways
from spectra_app.structure.neighbors import build_neighbors, pair_vectors
from spectra_app.structure.system import System, concatenate, make_system
from spectra_app.units import COULOMB_CONSTANT, EPSILON_0
from tests.electrostatics.test_permanent import random_multipoles

SIGMA, N_ATOMS = 0.9, 6
MIXED = Smearing((1.3, 0.9), torch.tensor([0, 1, 1, 0, 1, 1]))
WIDE = np.array([[17.0, 0.0, 0.0], [3.0, 18.0, 0.0], [-2.0, 3.5, 16.0]])  # vacuum on all sides
TALL = np.array([[5.0, 0.4, 0.0], [1.3, 4.6, 0.3], [2.0, -3.0, 70.0]])  # and along one tilted vector


def structure(kind: str, seed: int = 0) -> System:
    """Six atoms anywhere within 4 A, or in a layer 4 A thick; broken over the faces of the cell, images apart."""
    rng = np.random.default_rng(seed)
    cell = {"cluster": WIDE, "layer": TALL, "wide slab": WIDE, "slab": TALL, "turned layer": TALL[[2, 0, 1]]}[kind]
    cell = cell.copy()
    slab = kind in ("slab", "wide slab")
    normal = np.cross(cell[0], cell[1])
    normal /= np.linalg.norm(normal)
    if slab:
        cell[2] = normal * (cell[2] @ normal)
    fractional = rng.uniform(size=(N_ATOMS, 3))
    images = rng.integers(-2, 3, size=(N_ATOMS, 3))
    if kind in ("cluster", "wide slab"):
        positions = 4.0 * fractional - 1.0
        if slab:
            images[:, 2] = 0
    else:
        tall = 0 if kind == "turned layer" else 2
        fractional[:, tall] *= 4.0 / 70.0
        positions = (fractional - 0.03) @ cell
        if slab:
            images[:, 2] = 0
    return make_system(positions + images @ cell, np.ones(N_ATOMS), cell, slab=slab)


KINDS = {
    "cluster": "cluster",
    "wide slab": "cluster",
    "layer": "layer",
    "turned layer": "layer",
    "slab": "slab",
}
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _small_cases_too(monkeypatch) -> None:
    monkeypatch.setattr(vacuum, "_MORE_STEPS", 1000.0)


def everything(system: System, sigma: float | Smearing, method: str, tolerance: float) -> dict[str, torch.Tensor]:
    """Energy, potential, field, forces, stress, and second derivatives."""
    q, u, quad = (m.requires_grad_() for m in random_multipoles(N_ATOMS))
    positions = system.positions.clone().requires_grad_()
    strain = torch.zeros(3, 3, dtype=torch.float64).requires_grad_()
    deformation = torch.eye(3, dtype=torch.float64) + 0.5 * (strain + strain.T)
    k = prepare_k_vectors(system, reciprocal_cutoff(tolerance, SIGMA, 2), method)
    moved = system._replace(positions=positions @ deformation, cell=system.cell @ deformation)
    result = prepare_interaction(moved, k, sigma).permanent(Multipoles(q + 0.1, u, quad))  # charged as well
    energy = result.energy.sum() - 0.1 * (result.field**2).sum() - 0.01 * (result.potential**2).sum()
    gradients = torch.autograd.grad(energy, (positions, strain, q, u, quad), create_graph=True)
    double = torch.autograd.grad((gradients[0] ** 2).sum() + (gradients[1] ** 2).sum(), (positions, q, u, quad))
    names = ["force", "stress", "d charge", "d dipole", "d quadrupole"]
    found = {"energy": result.energy, "potential": result.potential, "field": result.field}
    found |= dict(zip(names, gradients, strict=True))
    found |= dict(zip(["dd position", "dd charge", "dd dipole", "dd quadrupole"], double, strict=True))
    # The isotropic part of a quadrupole makes no potential in open space: only derivatives by the rest have a meaning.
    for name in ("d quadrupole", "dd quadrupole"):
        symmetric = 0.5 * (found[name] + found[name].transpose(1, 2))
        mean = symmetric.diagonal(dim1=1, dim2=2).mean(1)
        found[name] = symmetric - mean[:, None, None] * torch.eye(3, dtype=torch.float64)
    return {name: value.detach() for name, value in found.items()}


def way_of(system: System, sigma: float | Smearing = SIGMA, tolerance: float = 1e-10) -> Way:
    k = prepare_k_vectors(system, reciprocal_cutoff(tolerance, SIGMA, 2))
    return choose_ways(system, k, sigma)[0][0]


@kinds
@pytest.mark.parametrize("sigma", [SIGMA, MIXED], ids=["alike", "mixed"])
def test_all_numbers_are_those_of_the_plain_sum(kind, sigma):
    system = structure(kind)
    assert way_of(system, sigma).kind == KINDS[kind]
    plain, fast = (everything(system, sigma, method, 1e-10) for method in ("sum", "auto"))
    for name, expected in plain.items():
        assert (fast[name] - expected).norm() < 2e-8 * expected.norm(), name
        assert not torch.equal(fast[name], expected), name


@kinds
@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-6])
def test_nothing_is_lost_at_any_tolerance(kind, tolerance):
    system = structure(kind, seed=1)
    assert way_of(system, tolerance=tolerance).kind == KINDS[kind]
    exact = everything(system, SIGMA, "sum", 1e-10)
    plain, fast = (everything(system, SIGMA, method, tolerance) for method in ("sum", "auto"))
    for name, expected in exact.items():
        error, of_plain = (fast[name] - expected).norm(), (plain[name] - expected).norm()
        # Far below where pairs are summed directly; layers have the plain sum's own error.
        assert error < (0.2 if KINDS[kind] == "cluster" else 1.3) * of_plain + 0.1 * tolerance * expected.norm(), name
        assert error < 20 * tolerance * expected.norm(), name


@kinds
def test_response_is_that_of_the_plain_sum(kind):
    system = structure(kind)
    neighbors = build_neighbors(system, 3.0)
    vectors = pair_vectors(system, neighbors, 3.0)
    kappa = torch.where(neighbors.mask, 0.01 * torch.exp(-(vectors * vectors).sum(-1) / 3.0), 0.0)
    susceptibility = Susceptibility(torch.linspace(0.01, 0.05, N_ATOMS).double(), kappa, neighbors, vectors)
    found = []
    for method in ("sum", "auto"):
        k = prepare_k_vectors(system, reciprocal_cutoff(1e-10, SIGMA, 1), method)
        interaction = prepare_interaction(system, k, SIGMA, 1)
        permanent = interaction.permanent(Multipoles(*random_multipoles(N_ATOMS)[:2]))
        found.append(self_consistent(system, interaction, susceptibility, permanent, 1e-11, True)[1:])
    assert found[1][0].item() == pytest.approx(found[0][0].item(), rel=1e-8)
    assert found[1][1].numpy() == pytest.approx(found[0][1].numpy(), rel=1e-7, abs=1e-10)


def test_a_batch_of_all_kinds_equals_each_alone():
    cell = np.diag([5.0, 6.0, 5.5])
    systems = [structure(kind) for kind in KINDS] + [
        make_system(structure("cluster").positions, np.ones(N_ATOMS)),
        make_system(np.random.default_rng(3).uniform(size=(N_ATOMS, 3)) @ cell, np.ones(N_ATOMS), cell),
        structure("cluster", seed=5),
    ]
    multipoles = [random_multipoles(N_ATOMS, seed=n) for n in range(len(systems))]
    cutoff = reciprocal_cutoff(1e-6, SIGMA, 2)

    def evaluate(system: System, sources: Multipoles, sigma: Smearing):
        return prepare_interaction(system, prepare_k_vectors(system, cutoff), sigma).permanent(sources)

    joined = Multipoles(*(torch.cat(m) for m in zip(*multipoles, strict=True)))
    together = evaluate(concatenate(systems), joined, Smearing(MIXED.widths, MIXED.classes.repeat(len(systems))))
    alone = [evaluate(s, m, MIXED) for s, m in zip(systems, multipoles, strict=True)]
    assert together.energy.numpy() == pytest.approx(torch.cat([a.energy for a in alone]).numpy(), rel=1e-11)
    assert together.field.numpy() == pytest.approx(torch.cat([a.field for a in alone]).numpy(), abs=1e-10)


def test_a_change_of_the_way_does_not_show_in_the_energy():
    # Two atoms leave a cluster: the wide kernel narrows step by step, until the plain sum is the way, and back again.
    system, multipoles, tolerance = structure("cluster"), random_multipoles(N_ATOMS), 1e-5
    start = choose_ways(system, prepare_k_vectors(system, 6.0), SIGMA)[1]
    positions = system.positions + torch.as_tensor(start) @ system.cell[0]
    away = system.cell[0].sum(0) / system.cell[0].sum(0).norm()
    ways, energies, forces = [], {"sum": [], "auto": []}, {"sum": [], "auto": []}
    for step in np.arange(0.0, 17.0, 0.25):
        r = positions.clone()
        r[2] += step * away
        r[4] -= step * away
        r.requires_grad_()
        moved = system._replace(positions=r)
        ways.append(way_of(moved, tolerance=tolerance))
        for method in energies:
            k = prepare_k_vectors(system, reciprocal_cutoff(tolerance, SIGMA, 2), method)
            energy = prepare_interaction(moved, k, SIGMA).permanent(multipoles).energy.sum()
            energies[method].append(energy.item())
            forces[method].append(torch.autograd.grad(energy, r)[0].numpy())
    assert len({way.size for way in ways if way.kind == "cluster"}) > 3
    assert {way.kind for way in ways} >= {"cluster", "plain"}
    deviation = np.array(energies["auto"]) - np.array(energies["sum"])
    changes = [n for n in range(1, len(ways)) if ways[n] != ways[n - 1]]
    scale = COULOMB_CONSTANT * float((multipoles.charges**2).sum()) / SIGMA
    assert len(changes) > 5
    assert np.abs(deviation).max() < tolerance * scale
    assert np.abs(np.diff(deviation)[[n - 1 for n in changes]]).max() < tolerance * scale
    difference = np.abs(np.array(forces["auto"]) - np.array(forces["sum"])).max()
    assert difference < tolerance * np.abs(np.array(forces["sum"])).max()


@kinds
def test_images_and_small_moves_leave_the_choice_as_it_is(kind):
    system = structure(kind)
    expected = way_of(system)
    moved = system.positions + 1e-3 * torch.randn(N_ATOMS, 3, generator=torch.Generator().manual_seed(0)).double()
    assert way_of(system._replace(positions=moved)) == expected
    moved[2] += system.cell[0, 0] - 2 * system.cell[0, 1]
    assert way_of(system._replace(positions=moved + 0.3)) == expected


def test_atoms_of_a_slab_are_never_moved_along_its_normal():
    system = structure("slab")
    lifted = system._replace(positions=system.positions + 100.0 * system.cell[0, 2])
    k = prepare_k_vectors(lifted, reciprocal_cutoff(1e-10, SIGMA, 2))
    ways, shifts = choose_ways(lifted, k, SIGMA)
    assert ways[0].kind == "slab"
    assert not shifts[:, 2].any()


def test_the_vectors_of_the_vacuum_are_never_listed():
    counts = []
    for length in (40.0, 80.0, 160.0):
        system = make_system(structure("cluster").positions, np.ones(N_ATOMS), WIDE * length / 17.0)
        start = choose_ways(structure("cluster"), prepare_k_vectors(structure("cluster"), 6.0), SIGMA)[1]
        compact = structure("cluster").positions + torch.as_tensor(start @ WIDE)
        system = system._replace(positions=compact)
        k = prepare_k_vectors(system, reciprocal_cutoff(1e-4, SIGMA, 2))
        prepare_interaction(system, k, SIGMA).permanent(random_multipoles(N_ATOMS))
        assert "integers" not in k.__dict__
        (wide,) = k._others.values()
        counts.append(wide.integers.shape[1])
    assert max(counts) < 1000
    assert k.count(0) > 1e6


def test_nothing_is_looked_at_where_another_way_is_impossible_or_not_wanted():
    system = structure("cluster")
    unreadable = system._replace(positions=system.positions.to("meta"))
    cutoff = reciprocal_cutoff(1e-6, SIGMA, 2)
    dense = make_system(system.positions, np.ones(N_ATOMS), WIDE * 0.2)
    for cells, method, device in ((system, "sum", "cpu"), (system, "auto", "meta"), (dense, "auto", "cpu")):
        made = prepare_k_vectors(cells, cutoff, method)
        k = KVectors(made.cells, cutoff, method, torch.float64, torch.device(device))
        assert choose_ways(unreadable, k, SIGMA) == ([Way("plain")], None)
    with pytest.raises(TypeError, match="meta"):
        choose_ways(unreadable, prepare_k_vectors(system, cutoff), SIGMA)


def test_atoms_that_flew_away_have_no_way_of_their_own():
    system = structure("cluster")
    lost = system._replace(positions=torch.full_like(system.positions, torch.nan))
    k = prepare_k_vectors(lost, reciprocal_cutoff(1e-4, SIGMA, 2))
    assert choose_ways(lost, k, SIGMA) == ([Way("plain")], None)
    assert prepare_interaction(lost, k, SIGMA).permanent(random_multipoles(N_ATOMS)).energy.isnan().all()


def test_two_ions_in_a_box_attract_as_in_open_space_but_for_the_images():
    # Leading image term of a dipole in a cubic tinfoil cell: -(2 pi/3) k_e p^2/V.
    system = make_system(np.array([[0.5, 0.2, 59.0], [58.5, 0.0, 1.0]]), [11, 17], np.eye(3) * 60.0)
    q = Multipoles(torch.tensor([1.0, -1.0]).double())
    k = prepare_k_vectors(system, reciprocal_cutoff(1e-6, 1.0, 0))
    assert choose_ways(system, k, 1.0)[0][0].kind == "cluster"
    energy = prepare_interaction(system, k, 1.0, 0).permanent(q).energy.item()
    distance = math.sqrt(2.0**2 + 0.2**2 + 2.0**2)
    images = 2.0 * math.pi / 3.0 * COULOMB_CONSTANT * distance**2 / 60.0**3
    expected = -COULOMB_CONSTANT * math.erf(distance / math.sqrt(2.0)) / distance - images
    assert energy == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("short", [True, False])
def test_a_slab_in_two_parts_has_the_numbers_of_the_plain_sum(short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    system = structure("slab")
    whole = Multipoles(*random_multipoles(N_ATOMS))
    plain = prepare_k_vectors(system, reciprocal_cutoff(1e-10, SIGMA, 2), "sum")
    expected = prepare_interaction(system, plain, SIGMA).permanent(whole)
    monkeypatch.setattr(chooser, "NEAR_REACH", 7.0 if short else 20.0)  # else pairs would reach across
    k = prepare_k_vectors(system, reciprocal_cutoff(1e-10, SIGMA, 2), "auto")
    assert choose_ways(system, k, SIGMA)[0][0].kind == "slab"
    split = prepare_interaction(system, k, SIGMA, 2, near_pairs(system, k, SIGMA))
    assert isinstance(split, SlabInteraction)
    found = split.permanent(whole)
    assert (1.0 / (EPSILON_0 * split.uniform.slab) < 0.9 * float(system.volume)) == short
    for a, b in zip(found, expected, strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-5 * float(b.abs().max()))
