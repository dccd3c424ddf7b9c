"""Backbones made of nequip and nequip-allegro beyond what all backbones keep (test_backbones.py)."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from spectra_app.config import ModelSettings, parse_settings
from spectra_app.errors import ConfigError, MissingExtraError
from spectra_app.potentials.backbones import Features, PairGeometry, build_backbone
from spectra_app.structure.edges import edges_within
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, make_system
from tests.openequivariance_by_e3nn import Convolution, openequivariance

pytest.importorskip("nequip", reason="needs nequip: run make test-nequip")
pytest.importorskip("allegro", reason="needs nequip-allegro: run make test-nequip")

from spectra_app.potentials.backbones import library_kernels, nequip_library
from spectra_app.potentials.backbones.nequip_library import LibraryBackbone, require

pytestmark = pytest.mark.nequip
POSITIONS = np.random.default_rng(3).uniform(0.0, 4.5, (7, 3))
CELL = np.array([[4.9, 0.0, 0.0], [0.8, 5.2, 0.0], [-0.4, 0.7, 5.1]])
SMALL = {"channels": 6, "n_radial": 4, "cutoff_A": 3.4, "avg_num_neighbors": 8.0}
KINDS: dict[str, dict[str, Any]] = {
    "both parities": {"backbone": "nequip", **SMALL, "parity": True, "l_max": 2, "layers": 3},
    "the library's last layer": {"backbone": "nequip", **SMALL, "channels": (6, 4, 2), "last_layer": "scalars"},
    "elements unlike": {
        "backbone": "nequip",
        **SMALL,
        "avg_num_neighbors": (5.0, 9.0),
        "pair_cutoffs_A": ((2.5, 3.4), (3.1, 2.9)),
        "zbl": ("H", "O"),
        "readout_layers": 1,
        "bessel_trainable": True,
    },
    "pairs of both parities": {"backbone": "allegro", **SMALL, "tensor_channels": 3, "parity": True, "layers": 3},
    "pairs of splines": {"backbone": "allegro", **SMALL, "tensor_channels": 3, "spline_span": 3, "n_radial": 6},
    "pairs without channels of paths": {
        "backbone": "allegro",
        **SMALL,
        "tensor_channels": 3,
        "coupled_paths": False,
        "avg_num_neighbors": (5.0, 9.0),
        "zbl": ("H", "O"),
        "mlp_layers": 2,
        "readout_activation": "none",
    },
    "one layer of pairs": {"backbone": "allegro", **SMALL, "tensor_channels": 3, "layers": 1, "l_max": 1},
}


@pytest.fixture(scope="module", params=KINDS)
def backbone(request: pytest.FixtureRequest) -> LibraryBackbone:
    return made(KINDS[request.param])


def made(keys: dict[str, Any]) -> LibraryBackbone:
    torch.manual_seed(4)
    found = build_backbone(parse_settings(ModelSettings, dict(keys)).backbone, 2).double()
    assert isinstance(found, LibraryBackbone)
    with torch.no_grad():
        found.type_scales.copy_(torch.tensor([1.2, 0.7]))
        found.type_shifts.copy_(torch.tensor([0.1, -0.3]))
    return found.requires_grad_(False)


def system_of(turn: np.ndarray | None = None, dtype: torch.dtype = torch.float64) -> tuple[System, Tensor]:
    turn = np.eye(3) if turn is None else turn
    system = make_system(POSITIONS @ turn.T, np.array([8, 1, 1, 8, 1, 1, 8]), CELL @ turn.T).to(dtype=dtype)
    return system, (system.numbers == 8).long()


def features(backbone: LibraryBackbone, turn: np.ndarray | None = None, fixed: bool = False) -> Features:
    system, species = system_of(turn, backbone.type_scales.dtype)
    neighbors = build_neighbors(system, backbone.cutoff + 0.7)
    geometry = PairGeometry(system, neighbors, backbone.cutoff + 0.7)
    return backbone.scale(backbone._features(species, neighbors, geometry, fixed))


def assert_turned(still: Features, turned: Features, turn: np.ndarray, **tolerances: float) -> None:
    matrix = torch.from_numpy(turn).to(still.scalars.dtype)
    torch.testing.assert_close(turned.scalars, still.scalars, **tolerances)
    torch.testing.assert_close(turned.energies, still.energies, **tolerances)
    assert still.vectors is not None
    assert turned.vectors is not None
    torch.testing.assert_close(turned.vectors, torch.einsum("xy,nyc->nxc", matrix, still.vectors), **tolerances)
    assert float(still.vectors.abs().max()) > 1e-3
    if still.rank2 is not None and turned.rank2 is not None:
        wanted = torch.einsum("xy,zw,nywc->nxzc", matrix, matrix, still.rank2)
        torch.testing.assert_close(turned.rank2, wanted, **tolerances)
        assert float(still.rank2.abs().max()) > 1e-3


def test_features_turn_and_reflect(backbone: LibraryBackbone) -> None:
    turn = Rotation.from_rotvec([0.4, -0.9, 1.3]).as_matrix()
    for matrix in (turn, -turn):  # an axial vector among the polar ones would be seen under inversion
        assert_turned(features(backbone), features(backbone, matrix), matrix)


def test_vectors_point_where_they_should() -> None:
    """Two atoms of one element, l to 1: each vector is along the bond, and opposite to the other's."""
    backbone = made({"backbone": "nequip", **SMALL, "layers": 1, "l_max": 2})
    direction = np.array([1.0, 2.0, -2.0]) / 3.0
    system = make_system(np.stack([np.zeros(3), 1.5 * direction]), np.array([1, 1]), None)
    neighbors = build_neighbors(system, backbone.cutoff)
    found = backbone(system, torch.zeros(2, dtype=torch.int64), neighbors, PairGeometry(system, neighbors, 3.4))
    along = torch.from_numpy(direction)
    size = torch.einsum("x,nxc->nc", along, found.vectors)
    torch.testing.assert_close(found.vectors, along[None, :, None] * size[:, None])
    torch.testing.assert_close(size[0], -size[1])
    tensor = torch.outer(along, along) - torch.eye(3, dtype=torch.float64) / 3.0
    size = torch.einsum("xy,nxyc->nc", tensor, found.rank2) * 1.5
    torch.testing.assert_close(found.rank2, tensor[None, :, :, None] * size[:, None, None])
    torch.testing.assert_close(size[0], size[1])
    assert float(size.abs().max()) > 1e-3


def test_every_slot_as_an_edge_changes_nothing(backbone: LibraryBackbone) -> None:
    """What a GPU does: shapes that do not depend on positions."""
    few, all_slots = features(backbone), features(backbone, fixed=True)
    for name, value in few._asdict().items():
        if value is not None:
            torch.testing.assert_close(getattr(all_slots, name), value, msg=name)


def test_pairs_stand_in_the_slots_of_the_table() -> None:
    backbone = made(KINDS["pairs of splines"])
    system, species = system_of()
    neighbors = build_neighbors(system, backbone.cutoff + 0.7)
    geometry = PairGeometry(system, neighbors, backbone.cutoff + 0.7)
    pairs = backbone(system, species, neighbors, geometry).pairs
    assert pairs is not None
    inside = neighbors.mask & (geometry.distance < backbone.cutoff)
    assert float(pairs[~inside].abs().max()) == 0.0
    assert float(pairs[inside].abs().amax(-1).min()) > 0.0
    i, slot = (int(index[2]) for index in inside.nonzero(as_tuple=True))
    moved = system._replace(positions=system.positions.clone())
    moved.positions[int(neighbors.other[i, slot])] += 1e-3
    changed = backbone(moved, species, neighbors, PairGeometry(moved, neighbors, backbone.cutoff + 0.7)).pairs
    assert changed is not None
    assert float((changed - pairs)[i, slot].abs().max()) > 1e-8


def test_an_atom_alone_and_a_batch_without_pairs(backbone: LibraryBackbone) -> None:
    system = make_system(np.array([[0.0, 0, 0], [0.0, 0, 9.0]]), np.array([8, 1]), None)
    species = torch.tensor([1, 0])
    neighbors = build_neighbors(system, backbone.cutoff)
    found = backbone(system, species, neighbors, PairGeometry(system, neighbors, backbone.cutoff))
    torch.testing.assert_close(found.energies, backbone.type_shifts[species])
    assert found.vectors is not None
    assert float(found.vectors.abs().max()) == 0.0
    assert torch.isfinite(found.scalars).all()


def test_a_model_cast_up_turns_exactly(backbone: LibraryBackbone) -> None:
    """Constants are rounded from float64 at every change of dtype, those of a model that was in float32 too."""
    up = copy.deepcopy(backbone).float().double()
    turn = Rotation.from_rotvec([0.4, -0.9, 1.3]).as_matrix()
    assert_turned(features(up), features(up, turn), turn, rtol=1e-9, atol=1e-11)
    single = features(copy.deepcopy(backbone).float())
    assert single.energies is not None
    assert single.energies.dtype == torch.float32
    torch.testing.assert_close(single.energies.double(), features(backbone).energies, rtol=1e-4, atol=1e-5)


def test_weights_hold_what_is_learned_and_nothing_else(backbone: LibraryBackbone) -> None:
    learned = {name for name, _ in backbone.named_parameters()} | {"scale.scalars", "scale.vectors", "scale.rank2"}
    assert set(backbone.state_dict()) == learned
    again = build_backbone(backbone.settings, 2).double()
    again.load_state_dict(backbone.state_dict())
    for twin in (again, pickle.loads(pickle.dumps(backbone)), copy.deepcopy(backbone)):
        torch.testing.assert_close(features(twin).energies, features(backbone).energies, rtol=0.0, atol=0.0)
        assert twin is again or not any(parameter.requires_grad for parameter in twin.parameters())


def test_features_become_of_size_one(backbone: LibraryBackbone) -> None:
    calibrated = copy.deepcopy(backbone)
    system, species = system_of()
    calibrated.calibrate([(system, species, build_neighbors(system, backbone.cutoff))])
    found = features(calibrated)
    for name in ("scalars", "vectors", "rank2"):
        value = getattr(found, name)
        if value is not None:
            size = float(value.square().sum() / (len(value) * value.shape[-1])) ** 0.5
            assert size == pytest.approx(1.0, rel=1e-6), name
    torch.testing.assert_close(found.energies, features(backbone).energies)


@pytest.mark.parametrize("coupled", [True, False])
def test_products_by_atoms_first_are_the_librarys(coupled: bool) -> None:
    from allegro.nn._strided import Contracter

    backbone = made({**KINDS["pairs of both parities"], "coupled_paths": coupled})
    product = next(p for p in backbone.network["allegro"].tps if type(p) is not Contracter)
    torch.manual_seed(0)
    x = torch.randn(11, product.mul, product.base_dim1, dtype=torch.float64)
    y = torch.randn(4, product.mul, product.base_dim2, dtype=torch.float64)
    centre = torch.randint(4, (11,))
    found = product(x, y, centre)
    torch.testing.assert_close(found, Contracter.forward(product, x, y, centre), rtol=0.0, atol=0.0)
    product.__class__ = Contracter
    torch.testing.assert_close(found, product(x, y, centre))


def test_keys_that_do_not_fit() -> None:
    for keys, message in (
        (
            {"backbone": "nequip", "channels": (8, 8)},
            "channels: a number above 0, or one for each of",
        ),
        ({"backbone": "nequip", "pair_cutoffs_A": ((3.0,), (3.0,))}, "as many numbers in every row"),
        ({"backbone": "allegro", "pair_cutoffs_A": ((5.0,),)}, "at most cutoff_A"),
        ({"backbone": "allegro", "last_layer": "scalars"}, "last_layer: got unknown key"),
        ({"backbone": "allegro", "kernels": "openequivariance"}, "kernels"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_settings(ModelSettings, keys)
    for key, value in (("avg_num_neighbors", (1.0, 2.0, 3.0)), ("zbl", ("H",)), ("pair_cutoffs_A", ((3.0,),))):
        with pytest.raises(ConfigError, match=f"model.{key}: got {len(value)} entries, wanted one for each of 2"):
            made({"backbone": "nequip", **SMALL, key: value})


def test_written_settings_are_read_again(backbone: LibraryBackbone) -> None:
    settings = ModelSettings(backbone=backbone.settings)
    assert parse_settings(ModelSettings, settings.model_dump(mode="json")) == settings
    assert str(backbone.settings.l_max) in backbone.settings.in_words()


def test_a_wrong_environment_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    releases = {"nequip": "0.19.1", "e3nn": "0.4.4"}
    monkeypatch.setattr(nequip_library, "version", lambda package: releases[package])
    with pytest.raises(ConfigError, match=r"package e3nn: got release 0.4.4.*pip install 'spectra-app\[nequip\]'"):
        require("nequip", "e3nn")
    releases["nequip"] = "0.6.2"
    with pytest.raises(ConfigError, match=r"package nequip: got release 0\.6\.2, wanted 0\.19 or newer"):
        require("nequip")

    def absent(package: str) -> str:
        raise nequip_library.PackageNotFoundError(package)

    monkeypatch.setattr(nequip_library, "version", absent)
    with pytest.raises(MissingExtraError, match=r"'nequip-allegro'.*pip install 'spectra-app\[nequip\]'"):
        made({"backbone": "allegro", **SMALL})


def test_other_kernels_are_the_librarys_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"backbone": "nequip", **SMALL, "kernels": "openequivariance"}
    backbone = made(keys)
    assert backbone._fast_dtype is None  # on the CPU nothing is replaced
    before = features(backbone)
    with pytest.raises(ConfigError, match=r"kernels: got openequivariance, whose .* is not .*pip install openeq"):
        backbone.use_kernels()
    monkeypatch.setitem(sys.modules, "openequivariance", openequivariance())
    monkeypatch.setattr(library_kernels, "find_spec", lambda name: name)
    backbone.use_kernels()
    after = features(backbone)
    assert Convolution.calls == 2
    torch.testing.assert_close(after.energies, before.energies)
    torch.testing.assert_close(after.vectors, before.vectors)
    assert set(backbone.state_dict()) == set(made(keys).state_dict())
    with pytest.raises(Exception, match="Load the model anew"):
        backbone.float()
    missing = made({"backbone": "allegro", **SMALL, "kernels": "cuequivariance"})
    monkeypatch.setattr(library_kernels, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"cuequivariance, whose .* is not installed.*cuequivariance-torch"):
        missing.use_kernels()


def test_edges_are_the_pairs_of_the_table() -> None:
    system, _ = system_of()
    neighbors = build_neighbors(system, 4.0)
    geometry = PairGeometry(system, neighbors, 4.0)
    few, fixed = (edges_within(neighbors, geometry.vectors, 3.0, kind) for kind in (False, True))
    near = neighbors.mask & (geometry.distance < 3.0)
    assert len(few.receiver) == int(near.sum())
    assert few.slots is not None
    torch.testing.assert_close(few.vectors, geometry.vectors[near])
    torch.testing.assert_close(few.slots, near.flatten().nonzero()[:, 0])
    torch.testing.assert_close(few.receiver, near.nonzero()[:, 0])
    torch.testing.assert_close(few.sender, neighbors.other[near])
    assert fixed.slots is None
    assert len(fixed.receiver) == near.numel()
    assert float(torch.linalg.norm(fixed.vectors[~near.flatten()], dim=1).min()) == pytest.approx(30.0)
