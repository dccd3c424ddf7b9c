"""Every backbone keeps the promises of the interface; PaiNN's couplings; models made before still load."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from spectra_app.config import HeadSettings, ModelSettings, PaiNNSettings, parse_settings
from spectra_app.errors import ConfigError, MissingExtraError, ModelError
from spectra_app.potentials import Potential
from spectra_app.potentials.backbones import (
    BACKBONES,
    Backbone,
    Features,
    PairGeometry,
    RadialBasis,
    build_backbone,
    painn,
)
from spectra_app.potentials.backbones.painn import _outer
from spectra_app.potentials.backbones.traceless import basis_tensors, matrices_product, vectors_product
from spectra_app.potentials.folder import load_model, save_model
from spectra_app.structure.neighbors import Neighbors, build_neighbors
from spectra_app.structure.system import System, concatenate, make_system
from tests.potentials.test_potential import displaced, finite_difference, predict
from tests.random_weights import with_known_material, with_random_weights

NUMBERS = [8, 1, 1, 8, 1, 1, 8]
POSITIONS = np.random.default_rng(3).uniform(0.0, 5.0, (7, 3))
CELL = np.array([[5.6, 0.0, 0.0], [0.8, 5.9, 0.0], [-0.4, 0.7, 6.1]])


class PairToy(Backbone):
    """Features of pairs and atomic energies of them, as architectures without atoms have, and no rank-2 tensors."""

    def __init__(self, settings: PaiNNSettings, n_species: int) -> None:
        super().__init__()
        self.cutoff, self.radial = settings.cutoff_A, RadialBasis(settings.cutoff_A, settings.n_radial)
        self.n_scalars, self.n_vectors, self.n_pairs, self.has_energies = 8, 8, 4, True
        self.embedding = nn.Embedding(n_species, 8)
        self.of_pairs = nn.Linear(settings.n_radial + 16, 4)
        self.spread, self.energy = nn.Linear(4, 8), nn.Linear(4, 1, bias=False)

    def forward(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        basis, envelope = geometry.radial(self.radial)
        kinds = self.embedding(species)
        ends = torch.cat([kinds[:, None].expand_as(kinds[neighbors.other]), kinds[neighbors.other], basis], dim=-1)
        pairs = torch.tanh(self.of_pairs(ends)) * envelope[..., None]
        vectors = (geometry.direction[..., None] * self.spread(pairs)[..., None, :] * envelope[..., None, None]).sum(1)
        return Features(kinds + self.spread(pairs.sum(1)), vectors, None, pairs, self.energy(pairs)[..., 0].sum(1))


class ScalarToy(PairToy):
    """Numbers of atoms, and nothing that turns."""

    def __init__(self, settings: PaiNNSettings, n_species: int) -> None:
        super().__init__(settings, n_species)
        self.n_vectors, self.n_pairs, self.has_energies = 0, 0, False

    def forward(self, system: System, species: Tensor, neighbors: Neighbors, geometry: PairGeometry) -> Features:
        return Features(super().forward(system, species, neighbors, geometry).scalars)


SMALL = {"channels": 8, "n_radial": 4, "cutoff_A": 3.0}
SMALL_OF: dict[str, dict[str, Any]] = {  # a row for each of BACKBONES
    "painn": SMALL,
    "cace": SMALL,
    "mace": {**SMALL, "channels": 4, "radial_layers": [8], "readout_channels": 4},
    "nequip": {**SMALL, "radial_width": 8, "avg_num_neighbors": 2.0},
    "allegro": {
        **SMALL,
        "avg_num_neighbors": 2.0,
        "tensor_channels": 4,
        "embedding_width": 8,
        "mlp_width": 8,
        "readout_width": 8,
    },
}


def small_backbone(name: str) -> Backbone:
    """A row of the table, small; skips where its library is not installed."""
    try:
        return build_backbone(ModelSettings(backbone=name, **SMALL_OF[name]).backbone, 2)
    except MissingExtraError as missing:
        pytest.skip(str(missing))


KINDS: dict[str, Callable[[], Backbone]] = {
    **{name: partial(small_backbone, name) for name in BACKBONES},
    "cace, products only": lambda: build_backbone(ModelSettings(backbone="cace", layers=0, **SMALL).backbone, 2),
    "cace, vectors": lambda: build_backbone(ModelSettings(backbone="cace", max_l=1, layers=2, **SMALL).backbone, 2),
    "cace, no products": lambda: build_backbone(ModelSettings(backbone="cace", max_l=1, max_nu=1, **SMALL).backbone, 2),
    "painn, rank 1": lambda: build_backbone(ModelSettings(rank=1, **SMALL).backbone, 2),
    "pairs": lambda: PairToy(ModelSettings(**SMALL).backbone, 2),
    "scalars": lambda: ScalarToy(ModelSettings(**SMALL).backbone, 2),
}


MARKS = {  # of those that need a library: run in its environment alone
    "mace": pytest.mark.mace,
    "nequip": pytest.mark.nequip,
    "allegro": pytest.mark.nequip,
}


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, ())) for name in KINDS])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(1)
    made = KINDS[request.param]().double()
    for parameter in made.parameters():
        parameter.requires_grad_(False)
    return made


def structure(
    positions: np.ndarray = POSITIONS, cell: np.ndarray | None = CELL, order: list[int] | None = None
) -> System:
    order = list(range(len(positions))) if order is None else order
    return make_system(positions[order], [NUMBERS[i] for i in order], cell)


def features(backbone: Backbone, system: System, reach: float = 0.0) -> Features:
    neighbors = build_neighbors(system, backbone.cutoff + reach)
    species = (system.numbers == 8).long()
    return backbone(system, species, neighbors, PairGeometry(system, neighbors, backbone.cutoff + reach))


def per_atom(found: Features) -> dict[str, Tensor]:
    """What does not stand in slots, whose order is the table's own."""
    return {name: value for name, value in found._asdict().items() if value is not None and name != "pairs"}


def assert_same(found: Features, wanted: Features, order: list[int] | None = None) -> None:
    for name, value in per_atom(wanted).items():
        torch.testing.assert_close(per_atom(found)[name], value if order is None else value[order], msg=name)


def test_shapes_are_those_that_are_announced(backbone: Backbone) -> None:
    found, n = features(backbone, structure()), len(POSITIONS)
    assert found.scalars.shape == (n, backbone.n_scalars)
    shapes = {"vectors": (n, 3, backbone.n_vectors), "rank2": (n, 3, 3, backbone.n_rank2)}
    for name, shape in shapes.items():
        value = getattr(found, name)
        assert (value is None) == (shape[-1] == 0)
        assert value is None or value.shape == shape
    assert (found.energies is None) == (not backbone.has_energies)
    assert found.energies is None or found.energies.shape == (n,)
    slots = build_neighbors(structure(), backbone.cutoff).other.shape
    assert (found.pairs is None) == (backbone.n_pairs == 0)
    assert found.pairs is None or found.pairs.shape == (*slots, backbone.n_pairs)


def test_features_turn_with_the_structure(backbone: Backbone) -> None:
    turn = Rotation.from_rotvec([0.4, -0.9, 1.3]).as_matrix() @ np.diag([1.0, 1.0, -1.0])  # and its mirror image
    still, turned = features(backbone, structure()), features(backbone, structure(POSITIONS @ turn.T, CELL @ turn.T))
    matrix = torch.from_numpy(turn)
    torch.testing.assert_close(turned.scalars, still.scalars)
    if still.vectors is not None and turned.vectors is not None:
        torch.testing.assert_close(turned.vectors, torch.einsum("xy,nyc->nxc", matrix, still.vectors))
    if still.rank2 is not None and turned.rank2 is not None:
        torch.testing.assert_close(turned.rank2, torch.einsum("xy,zw,nywc->nxzc", matrix, matrix, still.rank2))
        torch.testing.assert_close(still.rank2, still.rank2.transpose(1, 2))
        assert float(still.rank2.diagonal(dim1=1, dim2=2).sum(-1).abs().max()) < 1e-12
        assert float(still.rank2.abs().max()) > 1e-4
    if still.pairs is not None and turned.pairs is not None:
        torch.testing.assert_close(turned.pairs.sum(1), still.pairs.sum(1))


def test_features_have_no_kink_where_vectors_vanish_by_symmetry(backbone: Backbone) -> None:
    # Rock salt: every atom is a centre of inversion. Features of an atom are even in its displacement, and a parabola.
    places = np.array([[x, y, z] for x in (0.0, 2.1) for y in (0.0, 2.1) for z in (0.0, 2.1)])
    numbers = [8 if round(sum(place) / 2.1) % 2 else 1 for place in places]

    def moved(step_A: float) -> Tensor:
        shifted = places.copy()
        shifted[0] += step_A * np.array([0.6, 0.48, 0.64])
        return features(backbone, make_system(shifted, numbers, 4.2 * np.eye(3))).scalars[0]

    near, far = ((moved(step) - moved(0.0)) / step**2 for step in (0.002, 0.02))
    assert float(far.abs().max()) > 1e-3
    assert float((near - far).abs().max()) < 0.05 * float(far.abs().max())


def test_order_place_and_batch_do_not_matter(backbone: Backbone) -> None:
    order = [4, 0, 6, 2, 1, 5, 3]
    wanted = features(backbone, structure())
    assert_same(features(backbone, structure(order=order)), wanted, order)
    assert_same(features(backbone, structure(POSITIONS + np.array([1.7, -0.3, 9.1]))), wanted)
    other = structure(POSITIONS[:4] * 1.1, None)
    both = per_atom(features(backbone, concatenate([structure(), other])))
    for name, value in per_atom(features(backbone, other)).items():
        torch.testing.assert_close(both[name], torch.cat([per_atom(wanted)[name], value]), msg=name)


def test_a_table_that_reaches_farther_changes_nothing(backbone: Backbone) -> None:
    assert_same(features(backbone, structure(), reach=1.2), features(backbone, structure()))


def test_nothing_jumps_where_a_neighbour_crosses_the_cutoff(backbone: Backbone) -> None:
    def at(distance: float) -> dict[str, Tensor]:
        return per_atom(features(backbone, make_system([[0, 0, 0], [0, 0, distance]], [8, 1]), reach=0.5))

    h, cutoff = 1e-3, backbone.cutoff
    inside, edge, outside = at(cutoff - h), at(cutoff), at(cutoff + h)
    for name, value in edge.items():
        assert float((value - outside[name]).abs().max()) < 1e-12
        assert float((value - inside[name]).abs().max()) < 10 * h**2  # value and slope vanish


def test_forces_can_be_learned(backbone: Backbone) -> None:
    """The gradient of a sum of squared gradients exists and is that of finite differences, for every feature."""
    torch.manual_seed(2)
    parameter = next(p for p in backbone.parameters() if p.dim() > 1)
    system = structure()
    kinds = {name: torch.randn_like(value) for name, value in per_atom(features(backbone, system)).items()}

    def squared_forces() -> Tensor:
        positions = system.positions.clone().requires_grad_(True)
        found = per_atom(features(backbone, system._replace(positions=positions)))
        total = torch.stack([(kinds[name] * value).sum() for name, value in found.items()]).sum()
        return torch.autograd.grad(total, positions, create_graph=True)[0].square().sum()

    parameter.requires_grad_(True)
    slope = torch.autograd.grad(squared_forces(), parameter)[0]
    parameter.requires_grad_(False)
    way = torch.randn_like(parameter)
    step, values = 1e-5, []
    for sign in (1.0, -1.0):
        parameter.add_(sign * step * way)
        values.append(float(squared_forces().detach()))
        parameter.sub_(sign * step * way)
    assert float((slope.detach() * way).sum()) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_single_precision_agrees(backbone: Backbone) -> None:
    exact = per_atom(features(backbone, structure()))
    found = features(backbone.float(), structure().to(dtype=torch.float32))
    for name, value in per_atom(found).items():
        torch.testing.assert_close(value.double(), exact[name], rtol=1e-4, atol=1e-5, msg=name)


def potential_of(toy: type[Backbone], monkeypatch: pytest.MonkeyPatch, **settings: object) -> Potential:
    """A potential on another backbone, all weights random."""
    monkeypatch.setattr(painn, "PaiNN", toy)
    torch.manual_seed(5)
    chosen = ModelSettings(
        **{**SMALL, "bond_weight": "gaussian", "ewald_tolerance": 1e-8, "response_tolerance": 1e-9, **settings}
    )
    return with_known_material(with_random_weights(Potential(chosen, ("H", "O"), eps_inf=1.8).double(), 1.5))


@pytest.mark.parametrize("variant", ["puipiu", "puQipiu"])
def test_a_backbone_of_pairs_moves_charge_and_gives_energies(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    potential, system = potential_of(PairToy, monkeypatch, variant=variant), structure()
    found = predict(potential, system, stress=True)
    for atom, axis in ((0, 0), (4, 1), (6, 2)):
        slope = finite_difference(lambda s: predict(potential, s, forces=False).energy[0].item(), system, atom, axis)
        assert found.forces[atom, axis].item() == pytest.approx(-slope, rel=1e-5, abs=1e-6)
        moved = finite_difference(lambda s: predict(potential, s, forces=False).dipole[0].numpy(), system, atom, axis)
        latent = potential.latent_born_charges(system, build_neighbors(system, potential.cutoff))
        assert latent[atom, :, axis].numpy() == pytest.approx(moved, rel=1e-5, abs=1e-6)
    charges = found.charges.sum().item()
    assert charges == pytest.approx(0.0, abs=1e-10)
    for head, name in ((potential.latent_head.pair_features, "charges"), (potential.backbone.energy, "energy")):
        before = getattr(predict(potential, system), name).clone()
        head.weight.mul_(1.1)
        assert float((getattr(predict(potential, system), name) - before).abs().max()) > 1e-6


def test_a_backbone_without_vectors_gives_charges_and_refuses_dipoles(monkeypatch: pytest.MonkeyPatch) -> None:
    potential, system = potential_of(ScalarToy, monkeypatch, variant="pip", response="one-shot"), structure()
    slope = finite_difference(lambda s: predict(potential, s, forces=False).energy[0].item(), system, 2, 1)
    assert predict(potential, system).forces[2, 1].item() == pytest.approx(-slope, rel=1e-5, abs=1e-6)
    with pytest.raises(ConfigError, match="no equivariant vectors, with variant pu"):
        potential_of(ScalarToy, monkeypatch, variant="pu")


@pytest.mark.parametrize(
    ("toy", "variant", "response"),
    [
        (PairToy, "puQipiu", "self-consistent"),
        (PairToy, "puQipiu", "one-shot"),
        (ScalarToy, "pip", "one-shot"),
        (ScalarToy, "q", "one-shot"),
    ],
)
def test_heads_have_compiled_loops_on_any_backbone(
    toy: type[Backbone], variant: str, response: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one cell: there the sums are split, by loops of which one-shot response needs a derivative more."""
    settings = {"variant": variant, "response": response, "alpha": "bonds" if toy is PairToy else "scalar"}
    potential, system = potential_of(toy, monkeypatch, **settings), structure()
    assert not potential.backbone.compiles
    assert potential.engines == ("eager", "compiled")
    eager = predict(potential, system, stress=True)
    potential.engine = "compiled"
    found = predict(potential, system, stress=True)
    for name in ("energy", "forces", "stress", "dipole", "polarizability"):
        torch.testing.assert_close(getattr(found, name), getattr(eager, name), rtol=1e-5, atol=1e-5)
    assert potential_of(toy, monkeypatch, variant="sr").engines == ("eager",)


@pytest.mark.parametrize("heads_cutoff", [2.2, 4.0])
def test_heads_have_their_own_cutoff(heads_cutoff: float) -> None:
    torch.manual_seed(5)
    settings = ModelSettings(variant="puipiu", alpha="bonds", heads=HeadSettings(cutoff_A=heads_cutoff), **SMALL)
    potential = with_known_material(with_random_weights(Potential(settings, ("H", "O"), eps_inf=1.8).double(), 1.5))
    assert potential.cutoff == max(3.0, heads_cutoff)
    system = structure()
    forces = predict(potential, system).forces
    slope = finite_difference(lambda s: predict(potential, s, forces=False).energy[0].item(), system, 3, 2)
    assert forces[3, 2].item() == pytest.approx(-slope, rel=1e-5, abs=1e-6)

    def moved(distance: float) -> float:
        pair = make_system([[0, 0, 0], [0, 0, distance]], [8, 1])
        charges = predict(potential, pair).charges
        return abs(float(charges[0] - predict(potential, displaced(pair, 1, 2, 9.0)).charges[0]))

    assert moved(heads_cutoff - 0.6) > 1e-7  # charge goes where the heads look ...
    assert moved(heads_cutoff + 0.05) < 1e-12  # ... and nowhere else


def test_keys_of_a_backbone_stand_beside_the_others_in_a_file() -> None:
    settings = parse_settings(ModelSettings, {"backbone": "painn", "channels": 8, "variant": "pu"})
    assert settings.backbone == PaiNNSettings(channels=8)
    written = settings.model_dump(mode="json")
    assert (written["backbone"], written["channels"], written["variant"]) == ("painn", 8, "pu")
    assert parse_settings(ModelSettings, written) == settings
    for wrong, message in (
        ({"chanels": 8}, "chanels: got unknown key.*Did you mean 'channels'"),
        ({"channels": 1}, "settings: channels: got 1"),
        ({"backbone": "pain"}, "settings: backbone: got 'pain', wanted one of 'painn'"),
        ({"backbone": {"name": "pain"}}, "settings: backbone: got 'pain', wanted one of 'painn'"),
        ({"backbone": {"name": "painn", "channels": 1}}, "settings: channels: got 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_settings(ModelSettings, wrong)


def traceless(matrix: torch.Tensor) -> torch.Tensor:
    symmetric = 0.5 * (matrix + matrix.T)
    return symmetric - symmetric.trace() / 3.0 * torch.eye(3, dtype=matrix.dtype)


def test_products_are_the_symmetric_traceless_parts_of_matrix_products():
    torch.manual_seed(0)
    basis, vectors, tensors = basis_tensors(2), vectors_product(), matrices_product()
    a, b = torch.randn(2, 1, 3, 1, dtype=torch.float64)
    found = torch.einsum("m,mxy->xy", (vectors @ _outer(a, b))[0, :, 0], basis)
    torch.testing.assert_close(found, traceless(torch.outer(a[0, :, 0], b[0, :, 0])))
    a, b = torch.randn(2, 1, 5, 1, dtype=torch.float64)
    left, right = (torch.einsum("m,mxy->xy", t[0, :, 0], basis) for t in (a, b))
    found = torch.einsum("m,mxy->xy", (tensors @ _outer(a, b))[0, :, 0], basis)
    torch.testing.assert_close(found, traceless(left @ right))


def write_as_version(folder, settings: ModelSettings, version: int, without: tuple[str, ...]) -> None:
    """A model folder as an earlier format version wrote it."""
    save_model(Potential(settings, ("H", "O")), folder)
    description = yaml.safe_load((folder / "model.yaml").read_text())
    description["format_version"] = version
    for key in without:
        del description["architecture"][key]
    if version < 6:
        description["architecture"].pop("soft_length", None)
    (folder / "model.yaml").write_text(yaml.safe_dump(description))


def test_models_of_earlier_formats_load_as_they_were(tmp_path):
    small = {"channels": 8, "cutoff_A": 3.0, "total_charge": "free", "soft_length": 1e-4}
    unbounded = small | {"bounded_response": False}
    first = ModelSettings(variant="puiu", products=False, response="one-shot", **unbounded)
    write_as_version(tmp_path / "1", first, 1, ("products", "response", "total_charge", "bounded_response"))
    assert load_model(tmp_path / "1").settings == first
    second = ModelSettings(variant="uiu", **unbounded)
    write_as_version(tmp_path / "2", second, 2, ("total_charge", "bounded_response"))
    assert load_model(tmp_path / "2").settings == second
    third = ModelSettings(variant="puiu", **unbounded)
    write_as_version(tmp_path / "3", third, 3, ("bounded_response",))
    assert load_model(tmp_path / "3").settings == third
    write_as_version(
        tmp_path / "kappa", ModelSettings(variant="puipiu", **small), 2, ("total_charge", "bounded_response")
    )
    with pytest.raises(ModelError, match="kappa was another function"):
        load_model(tmp_path / "kappa")
    for backbone, wanted in (("painn", 1e-4), ("cace", None)):
        fifth = ModelSettings(variant="puiu", backbone=backbone, channels=8, cutoff_A=3.0)
        write_as_version(tmp_path / backbone, fifth, 5, ())
        assert getattr(load_model(tmp_path / backbone).settings.backbone, "soft_length", None) == wanted
