"""CACE: its tensors, its invariants against sums over neighbours written out, what each number of factors can tell."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre
from torch import Tensor

from spectra_app.config import CACESettings, ModelSettings
from spectra_app.potentials import Potential
from spectra_app.potentials.backbones import PairGeometry
from spectra_app.potentials.backbones.cace import CACE, BesselBasis
from spectra_app.potentials.backbones.features import RadialBasis
from spectra_app.potentials.backbones.traceless import (
    N_COMPONENTS,
    basis_tensors,
    harmonics,
    matrices_product,
    third_as_rows,
    vectors_product,
    without_traces,
)
from spectra_app.potentials.folder import load_model, save_model
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, make_system
from tests.potentials.test_potential import predict

ENVIRONMENT = [[0.0, 0.0, 0.0], [1.1, 0.2, -0.3], [-0.4, 1.3, 0.5], [0.3, -0.7, 1.6], [-1.0, -0.9, -0.8]]
NUMBERS = [8, 1, 1, 8, 1]


def directions(n: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    found = torch.randn(n, 3, dtype=torch.float64)
    return found / found.norm(dim=-1, keepdim=True)


def random_tensor(rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Components, and the tensor that they stand for."""
    torch.manual_seed(seed)
    components = torch.randn(N_COMPONENTS[rank], dtype=torch.float64)
    return components, torch.einsum("m,m...->...", components, basis_tensors(rank))


def test_harmonics_of_two_directions_make_a_legendre_polynomial() -> None:
    first, second = harmonics(directions(9), 3), harmonics(directions(9, seed=1), 3)
    cosines = (directions(9) * directions(9, seed=1)).sum(-1).numpy()
    for order, (a, b) in enumerate(zip(first.split(N_COMPONENTS, -1), second.split(N_COMPONENTS, -1), strict=True)):
        np.testing.assert_allclose((a * b).sum(-1).numpy(), eval_legendre(order, cosines), atol=1e-13)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_harmonics_are_the_components_of_traceless_tensors(rank: int) -> None:
    d, basis = directions(1)[0], basis_tensors(rank)
    power = d
    for _ in range(rank - 1):
        power = power[..., None] * d
    norm = (1.0, 1.5, 2.5)[rank - 1] ** 0.5
    wanted = norm * torch.einsum("m...,...->m", basis.flatten(1), without_traces(power).flatten())
    found = harmonics(d, 3).split(N_COMPONENTS)[rank]
    torch.testing.assert_close(found, wanted)
    gram = basis.flatten(1) @ basis.flatten(1).T
    torch.testing.assert_close(gram, torch.eye(N_COMPONENTS[rank], dtype=torch.float64))
    if rank > 1:
        torch.testing.assert_close(basis, basis.transpose(1, 2))
        assert float(torch.einsum("maa...->m...", basis).abs().max()) < 1e-15


def test_products_of_components_are_those_of_tensors() -> None:
    (a, vector), (b, matrix), (c, third) = (random_tensor(rank, rank) for rank in (1, 2, 3))
    on_basis = torch.einsum("kxy,xy->k", basis_tensors(2), torch.outer(vector, vector))
    torch.testing.assert_close(vectors_product() @ torch.outer(a, a).flatten(), on_basis)
    on_basis = torch.einsum("kxy,xy->k", basis_tensors(2), matrix @ matrix)
    torch.testing.assert_close(matrices_product() @ torch.outer(b, b).flatten(), on_basis)
    rows = (third_as_rows() @ c).reshape(3, 5)
    torch.testing.assert_close(rows @ b, torch.einsum("xyz,yz->x", third, matrix))
    torch.testing.assert_close(torch.einsum("am,mxy->axy", rows, basis_tensors(2)), third)


def backbone_of(**keys: int) -> CACE:
    torch.manual_seed(3)
    made = CACE(CACESettings(**{"channels": 5, "n_radial": 3, "cutoff_A": 3.0, "layers": 0, **keys}), 2).double()
    for parameter in made.parameters():
        parameter.requires_grad_(False)
    return made


def invariants(backbone: CACE, system: System) -> list[Tensor]:
    """Those of the first atom, in the order of ``Contractions``, as the backbone makes them."""
    seen: list[list[Tensor]] = []
    neighbors = build_neighbors(system, backbone.cutoff)
    species = (system.numbers == 8).long()
    handle = backbone.readouts[0].register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    backbone(system, species, neighbors, PairGeometry(system, neighbors, backbone.cutoff))
    handle.remove()
    return [invariant[0] for invariant in seen[0]]


def weights_of_neighbors(backbone: CACE, positions: np.ndarray, numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Weights [order, neighbour, channel] of the first atom's neighbours one by one, and their directions."""
    kinds = torch.tensor(numbers) == 8
    receiver = backbone.receiver(kinds[:1].long())[0]
    gates = backbone.gates(receiver).reshape(backbone.max_l + 1, -1)
    weights, found = [], []
    for place, kind in zip(positions[1:], kinds[1:].long(), strict=True):
        distance = float(np.linalg.norm(place - positions[0]))
        found.append((place - positions[0]) / distance)
        radial, sender = backbone.radial(torch.tensor(distance, dtype=torch.float64)), backbone.sender.weight[kind]
        rows = torch.stack([r * s for r, s in product(radial, sender)])
        weights.append(torch.einsum("r,lrc->lc", rows, backbone.filters) * gates)
    return torch.stack(weights, dim=1).numpy(), np.array(found)


def test_invariants_are_sums_over_neighbors_pairs_and_triples() -> None:
    backbone = backbone_of()
    found = [one.numpy() for one in invariants(backbone, make_system(ENVIRONMENT, NUMBERS))]
    w, d = weights_of_neighbors(backbone, np.array(ENVIRONMENT), NUMBERS)
    neighbors = range(len(d))
    np.testing.assert_allclose(found[0], w[0].sum(0), rtol=1e-12)
    for order in (1, 2, 3):
        wanted = sum(
            w[order, j] * w[order, k] * eval_legendre(order, d[j] @ d[k]) for j in neighbors for k in neighbors
        )
        np.testing.assert_allclose(found[order], wanted, rtol=1e-11)
    low = high = 0.0
    for j, k, p in product(neighbors, repeat=3):
        jk, jp, kp = d[j] @ d[k], d[j] @ d[p], d[k] @ d[p]
        low = low + w[1, j] * w[1, k] * w[2, p] * (jp * kp - jk / 3.0)
        high = high + w[1, j] * w[2, k] * w[3, p] * (jp * kp**2 - (jp + 2.0 * jk * kp) / 5.0)
    np.testing.assert_allclose(found[4], np.sqrt(1.5) * low, rtol=1e-11)
    np.testing.assert_allclose(found[5], np.sqrt(1.5 * 2.5) * high, rtol=1e-11)
    assert len(found) == 6
    assert min(float(np.abs(one).max()) for one in found) > 1e-3


def ring(places: tuple[int, ...]) -> System:
    """An oxygen with hydrogens on some of the eight corners of an octagon around it."""
    angles = np.pi / 4.0 * np.array(places)
    around = 1.2 * np.stack([np.cos(angles), np.sin(angles), 0.0 * angles], axis=1)
    return make_system([[0.0, 0.0, 0.0], *around], [8, 1, 1, 1, 1])


def test_three_factors_tell_apart_what_all_pairs_of_neighbors_cannot() -> None:
    """{0, 1, 3, 4} and {0, 1, 2, 5} on an octagon: the same angles between pairs (Patterson, Phys. Rev. 65, 195, 1944),

    and no rotation or mirror image takes one to the other.
    """
    backbone = backbone_of()
    left, right = (torch.stack(invariants(backbone, ring(places))) for places in ((0, 1, 3, 4), (0, 1, 2, 5)))
    torch.testing.assert_close(left[:4], right[:4], rtol=1e-12, atol=1e-13)
    assert float((left[4] - right[4]).abs().max()) > 1e-3 * float(left[4].abs().max())
    assert float((left[5] - right[5]).abs().max()) > 1e-3 * float(left[5].abs().max())
    mirrored = torch.stack(invariants(backbone, ring((0, 7, 5, 4))))
    torch.testing.assert_close(left, mirrored, rtol=1e-12, atol=1e-13)
    blind = backbone_of(max_nu=2)
    assert len(invariants(blind, ring((0, 1, 3, 4)))) == 4


def test_radial_functions_begin_as_those_of_the_others_and_are_trained() -> None:
    basis, fixed = BesselBasis(4.0, 5).double(), RadialBasis(4.0, 5).double()
    distance = torch.linspace(0.5, 4.5, 9, dtype=torch.float64)
    torch.testing.assert_close(basis(distance), fixed(distance)[0], rtol=1e-6, atol=1e-7)
    basis(distance).sum().backward()
    assert basis.frequencies.grad is not None
    assert float(basis.frequencies.grad.abs().min()) > 1e-3


def test_messages_bring_what_lies_beyond_the_cutoff() -> None:
    def first_scalars(layers: int, far: float) -> Tensor:
        backbone = backbone_of(layers=layers)
        system = make_system([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [3.0, far, 0.0]], [8, 1, 8])
        neighbors = build_neighbors(system, backbone.cutoff)
        species = (system.numbers == 8).long()
        return backbone(system, species, neighbors, PairGeometry(system, neighbors, 3.0)).scalars[0]

    torch.testing.assert_close(first_scalars(0, 1.0), first_scalars(0, 1.3), rtol=0.0, atol=1e-14)
    assert float((first_scalars(1, 1.0) - first_scalars(1, 1.3)).abs().max()) > 1e-5


def test_a_model_comes_back_from_its_folder(tmp_path: Path) -> None:
    torch.manual_seed(1)
    backbone = CACESettings(channels=8, n_radial=4, cutoff_A=3.0)
    potential = Potential(ModelSettings(backbone=backbone, variant="uQ"), ("H", "O"))
    with torch.no_grad():
        potential.backbone.radial.frequencies.mul_(1.1)
    save_model(potential, tmp_path / "model")
    loaded, system = load_model(tmp_path / "model").double(), make_system(ENVIRONMENT, NUMBERS)
    assert loaded.settings.backbone == backbone
    wanted, found = predict(potential.double(), system), predict(loaded, system)
    torch.testing.assert_close(found.energy, wanted.energy)
    torch.testing.assert_close(found.forces, wanted.forces)
    torch.testing.assert_close(found.dipole, wanted.dipole)
