"""The adapter of mace-torch: bases of e3nn, edges of fixed shape, other processes, wrong environments."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from spectra_app.config import MACESettings, ModelSettings
from spectra_app.errors import ConfigError, MissingExtraError
from spectra_app.potentials import Potential
from spectra_app.potentials.backbones import Features, PairGeometry, build_backbone, mace_library
from spectra_app.potentials.backbones.feature_scale import FeatureScale
from spectra_app.potentials.backbones.irreps import cartesian_rank2, rank2_basis
from spectra_app.structure.edges import edges_within
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import make_system
from tests.mace_models import NEEDS_MACE, library, mace_model
from tests.random_weights import with_known_material, with_random_weights

POSITIONS = np.random.default_rng(3).uniform(0.0, 5.0, (7, 3))
NUMBERS = np.array([8, 1, 1, 8, 1, 1, 8])
CELL = np.array([[5.6, 0.0, 0.0], [0.8, 5.9, 0.0], [-0.4, 0.7, 6.1]])


def needs_mace(function):
    for mark in NEEDS_MACE:
        function = mark(function)
    return function


def test_five_numbers_become_a_tensor_that_turns() -> None:
    """Against the harmonics as the documentation of e3nn writes them, for a turned and mirrored direction."""
    turn = Rotation.from_rotvec([0.4, -0.9, 1.3]).as_matrix() @ np.diag([1.0, 1.0, -1.0])
    one = np.array([0.48, -0.6, 0.64])

    def harmonics(d: np.ndarray) -> torch.Tensor:
        x, y, z = d
        root = np.sqrt(3.0)
        values = [root * x * z, root * x * y, y * y - 0.5 * (x * x + z * z), root * y * z, 0.5 * root * (z * z - x * x)]
        return torch.tensor([[values]], dtype=torch.float64)

    for d in (one, turn @ one):
        tensor = cartesian_rank2(harmonics(d), rank2_basis())[0, :, :, 0].numpy()
        np.testing.assert_allclose(tensor, np.sqrt(1.5) * (np.outer(d, d) - np.eye(3) / 3.0), atol=1e-12)


@needs_mace
def test_the_bases_are_those_of_the_library() -> None:
    _, o3 = library()
    d = torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64, generator=torch.manual_seed(1)), dim=1)
    second = o3.spherical_harmonics(2, d, normalize=True, normalization="norm")
    tensors = cartesian_rank2(second[:, None], rank2_basis())[..., 0]
    expected = np.sqrt(1.5) * (d[:, :, None] * d[:, None] - torch.eye(3, dtype=torch.float64) / 3.0)
    torch.testing.assert_close(tensors, expected)
    torch.testing.assert_close(o3.spherical_harmonics(1, d, normalize=True, normalization="norm"), d)


def test_edges_of_fixed_shape_hold_the_same_pairs() -> None:
    system = make_system(POSITIONS, NUMBERS, CELL)
    neighbors = build_neighbors(system, 4.0)
    vectors = PairGeometry(system, neighbors, 4.0).vectors
    chosen, every = (edges_within(neighbors, vectors, 3.0, fixed) for fixed in (False, True))
    assert len(every.receiver) == neighbors.other.numel()
    near = every.vectors.norm(dim=1) < 3.0
    for name in ("receiver", "sender", "vectors"):
        torch.testing.assert_close(getattr(every, name)[near], getattr(chosen, name))
    assert every.slots is None
    torch.testing.assert_close(chosen.slots, near.nonzero()[:, 0])
    assert float(every.vectors[~near].norm(dim=1).min()) == 30.0
    brute = np.linalg.norm(POSITIONS[:, None] - POSITIONS[None], axis=-1)
    open_pairs = edges_within(*table(make_system(POSITIONS, NUMBERS, None), 4.0), 3.0, False)
    assert len(open_pairs.receiver) == int(((brute < 3.0) & (brute > 0)).sum())
    lonely = edges_within(*table(make_system([[0, 0, 0], [0, 0, 3.5]], [8, 1]), 4.0), 3.0, False)
    assert float(lonely.vectors.norm(dim=1).min()) == 30.0  # not an empty list


def table(system, cutoff):
    neighbors = build_neighbors(system, cutoff)
    return neighbors, PairGeometry(system, neighbors, cutoff).vectors


def test_features_are_brought_to_size_one() -> None:
    torch.manual_seed(4)
    raw = Features(
        3.0 * torch.randn(50, 8), 0.01 * torch.randn(50, 3, 4), torch.zeros(50, 3, 3, 4), energies=torch.ones(50)
    )
    scale = FeatureScale()
    assert torch.equal(scale(raw).scalars, raw.scalars)
    scale.measure([raw, raw])
    found = scale(raw)
    assert float(found.scalars.square().mean()) == pytest.approx(1.0, rel=1e-5)
    assert float(found.vectors.square().sum(1).mean()) == pytest.approx(1.0, rel=1e-5)
    assert torch.equal(found.rank2, raw.rank2)  # there is nothing to bring to any size
    assert torch.equal(found.energies, raw.energies)


@needs_mace
@pytest.mark.parametrize(
    "change", [{}, {"pair_repulsion": True, "distance_transform": "Agnesi"}, {"cutoff_on_weights": True}]
)
def test_on_a_gpu_the_edges_have_a_fixed_shape_and_say_the_same(change: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, as if it were one."""
    from spectra_app.potentials.backbones import mace

    torch.manual_seed(1)
    made = build_backbone(MACESettings(channels=4, radial_layers=(8,), cutoff_A=3.0, **change), 2).double()
    system = make_system(POSITIONS, NUMBERS, CELL)
    neighbors = build_neighbors(system, 4.0)
    arguments = (system, (system.numbers == 8).long(), neighbors, PairGeometry(system, neighbors, 4.0))
    wanted, original = made(*arguments), edges_within
    monkeypatch.setattr(mace, "edges_within", lambda n, v, c, fixed: original(n, v, c, True))
    for name, value in made(*arguments)._asdict().items():
        if value is not None:
            torch.testing.assert_close(value, getattr(wanted, name), msg=name)


@needs_mace
def test_it_travels_to_other_processes_and_keeps_constants_exact() -> None:
    torch.manual_seed(1)
    made = build_backbone(MACESettings(channels=4, radial_layers=(8,)), 2)
    made.network.node_embedding.linear.weight.requires_grad_(False)
    again = pickle.loads(pickle.dumps(made))
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not again.network.node_embedding.linear.weight.requires_grad
    assert again.network.interactions[0].linear.weight.requires_grad
    basis = "products.0.symmetric_contractions.contractions.0.U_matrix_2"
    exact = dict(build_backbone(made.settings, 2).double().network.named_buffers())[basis]
    assert exact.dtype == torch.float64
    torch.testing.assert_close(dict(made.float().double().network.named_buffers())[basis], exact, rtol=0, atol=0)
    assert not [name for name in made.state_dict() if "U_matrix" in name or "w3j" in name]


@needs_mace
def test_the_library_changes_nothing_for_the_process() -> None:
    from e3nn import get_optimization_defaults

    scripted = get_optimization_defaults()["jit_script_fx"]
    build_backbone(MACESettings(channels=4, radial_layers=(8,)), 2)
    assert torch.get_default_dtype() == torch.float32
    assert get_optimization_defaults()["jit_script_fx"] == scripted
    mace_model()
    code = (
        "import os; from spectra_app.potentials.backbones.mace_library import mace_modules\n"
        "mace_modules(); print(os.environ.get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'))"
    )
    clean = {name: value for name, value in os.environ.items() if name != "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean)
    assert done.stdout.strip() == "None"


@needs_mace
def test_compiled_heads_on_its_features_say_the_same(rotation: torch.Tensor) -> None:
    """Energy, forces, stress, dipole and polarizability by both engines, and of a turned structure."""
    torch.manual_seed(5)
    keys = {"channels": 4, "radial_layers": (8,), "cutoff_A": 3.0, "response_tolerance": 1e-9, "ewald_tolerance": 1e-9}
    settings = ModelSettings(backbone="mace", variant="puQipiu", alpha="bonds", **keys)
    settings = settings.model_copy(update={"oxidation_states": {"H": 1, "O": -2}})
    potential = with_known_material(with_random_weights(Potential(settings, ("H", "O"), eps_inf=1.8).double()))

    def found(engine: str, turn: torch.Tensor) -> dict[str, torch.Tensor]:
        potential.engine = engine
        system = make_system(POSITIONS @ turn.numpy().T, NUMBERS, CELL @ turn.numpy().T, charge=-2.0)
        result = potential(system, build_neighbors(system, potential.cutoff), stress=True)
        names = ("energy", "forces", "stress", "dipole", "polarizability")
        return {name: getattr(result, name) for name in names}

    still = torch.eye(3, dtype=torch.float64)
    assert potential.engines == ("eager", "compiled")
    eager, compiled, turned = found("eager", still), found("compiled", still), found("eager", rotation)
    for name, value in eager.items():
        size = float(value.abs().max())
        assert float((compiled[name] - value).abs().max()) < 2e-5 * size, name
        expected = value
        for _ in range(value.dim() - 1):  # each axis of space moves to the end, turned
            expected = torch.tensordot(expected, rotation, dims=([1], [1]))
        assert float((turned[name] - expected).abs().max()) < 1e-8 * size, name


@needs_mace
def test_keys_that_the_library_does_not_know_are_named() -> None:
    for key, message in (
        ({"interaction": "Nothing"}, "model.interaction: got Nothing, wanted one of RealAgnostic"),
        ({"embeddings": {"field": {}}}, "model.embeddings: got field, wanted total_charge or total_spin"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_backbone(ModelSettings(backbone="mace", **key).backbone, 2)


def test_a_wrong_environment_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mace.modules", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"'mace-torch': got not installed.*pip install 'spectra-app\[mace\]'"):
        mace_library.mace_modules()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(name=name))
    monkeypatch.setattr(mace_library, "version_of", lambda package: {"e3nn": "0.6.1", "mace-torch": "0.3.16"}[package])
    with pytest.raises(ConfigError, match=r"mace-torch 0.3.16: got e3nn 0.6.1, wanted an environment with e3nn 0.4.x"):
        mace_library.mace_modules()
