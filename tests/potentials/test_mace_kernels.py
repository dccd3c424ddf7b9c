"""Products of cuequivariance and openequivariance in the layers of mace-torch: the same numbers on the same weights.

Without a GPU cuequivariance computes in PyTorch what its kernels compute, which is what runs here; openequivariance
is stood in for by e3nn.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectra_app.config import ModelSettings, TrainFile, TrainingSettings, parse_settings
from spectra_app.errors import ConfigError
from spectra_app.potentials import Potential
from spectra_app.potentials.backbones import library_kernels, mace
from spectra_app.potentials.folder import load_model, save_model
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import make_system
from tests.mace_models import NEEDS_CUEQUIVARIANCE, NEEDS_MACE
from tests.openequivariance_by_e3nn import Convolution, openequivariance

pytestmark = NEEDS_MACE
POSITIONS = np.random.default_rng(3).uniform(0.0, 5.0, (7, 3))
NUMBERS = np.array([8, 1, 1, 8, 1, 1, 8])
CELL = np.array([[5.6, 0.0, 0.0], [0.8, 5.9, 0.0], [-0.4, 0.7, 6.1]])
SMALL: dict[str, Any] = {"channels": 4, "n_radial": 4, "radial_layers": (8,), "readout_channels": 4, "cutoff_A": 3.0}
KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "three factors": {"correlation": 3, "max_ell": 1},
    "ranks in the last layer": {"max_L": 2, "last_equivariant": True},
    "a rank that no neighbour has": {"max_L": 2, "max_ell": 1, "layers": 1},
    "reduced products": {"reduced_products": True},
    "as later foundation models": {
        "interaction": "RealAgnosticResidualNonLinearInteractionBlock",
        "first_interaction": "RealAgnosticResidualNonLinearInteractionBlock",
        "readout": "NonLinearBiasReadoutBlock",
        "edge_irreps": "2x0e + 2x1o",
        "cutoff_on_weights": True,
        "agnostic_products": True,
        "embeddings": {
            "total_charge": {"type": "categorical", "per": "graph", "num_classes": 21, "emb_dim": 4, "offset": 10}
        },
        "embedding_readout": True,
    },
}


def needs_cuequivariance(function: Any) -> Any:
    for mark in NEEDS_CUEQUIVARIANCE:
        function = mark(function)
    return function


def made(kernels: str = "cuequivariance", variant: str = "pu", **keys: Any) -> Potential:
    """A potential of random weights in float64, on the CPU: its products are those of e3nn."""
    torch.manual_seed(5)
    settings = ModelSettings(
        backbone="mace", variant=variant, heads={"cutoff_A": 3.0}, kernels=kernels, **{**SMALL, **keys}
    )
    potential = Potential(settings, ("H", "O"), eps_inf=1.8).double()
    with torch.no_grad():
        for parameter in potential.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return potential


def found(potential: Potential) -> dict[str, torch.Tensor]:
    """Energy, forces, stress and dipole of a cell."""
    system = make_system(POSITIONS, NUMBERS, CELL, dtype=next(potential.parameters()).dtype)
    result = potential(system, build_neighbors(system, potential.cutoff), stress=True)
    return {name: getattr(result, name).detach() for name in ("energy", "forces", "stress", "dipole")}


def slopes(potential: Potential) -> dict[str, torch.Tensor]:
    """Derivatives of the squared forces by every weight, as a training takes them."""
    like = next(potential.parameters())
    system = make_system(POSITIONS, NUMBERS, CELL, dtype=like.dtype, device=like.device)
    moving = system._replace(positions=system.positions.requires_grad_(True))
    neighbors = build_neighbors(system, potential.cutoff)
    energy = potential.evaluate(moving, neighbors, potential.k_vectors(system), responses=False).energy.sum()
    (gradient,) = torch.autograd.grad(energy, moving.positions, create_graph=True)
    potential.zero_grad()
    gradient.square().sum().backward()
    return {name: value.grad.clone() for name, value in potential.named_parameters() if value.grad is not None}


@needs_cuequivariance
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_of_cuequivariance_say_what_e3nn_says(kind: str) -> None:
    """Energies, forces, stress, the dipole of the heads, and what a training takes; weights and their names stay."""
    potential = made(**KINDS[kind])
    names, parameters = list(potential.state_dict()), list(potential.parameters())
    wanted, wanted_slopes, plain = found(potential), slopes(potential), potential.backbone.network
    before = torch.random.get_rng_state()
    potential.backbone.use_kernels()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert potential.backbone.network is not plain
    assert type(potential.backbone.network.products[0].symmetric_contractions.kernel).__module__.startswith("cueq")
    for name, value in found(potential).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-9)
        assert float(value.abs().max()) > 1e-4
    turned = slopes(potential)
    assert set(turned) == set(wanted_slopes)
    for name, value in turned.items():
        scale = float(wanted_slopes[name].abs().max())
        torch.testing.assert_close(value, wanted_slopes[name], rtol=1e-8, atol=1e-9 * max(1.0, scale), msg=name)
    assert list(potential.state_dict()) == names
    assert all(one is other for one, other in zip(potential.parameters(), parameters, strict=True))


@needs_cuequivariance
def test_a_folder_knows_one_order_of_weights(tmp_path: Path) -> None:
    """Weights that were trained with kernels run with e3nn, and the other way round."""
    potential = made(max_ell=1)
    potential.backbone.use_kernels()
    optimizer = torch.optim.Adam(potential.parameters(), lr=0.01)
    slopes(potential)
    optimizer.step()
    save_model(potential, tmp_path / "model")
    loaded = load_model(tmp_path / "model", dtype="float64")
    assert loaded.backbone._made_for is None
    wanted = found(potential)
    for name, value in found(loaded).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-10)
    loaded.backbone.use_kernels()
    for name, value in found(loaded).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-10)


def test_a_training_begins_with_a_model_of_other_kernels(tmp_path: Path) -> None:
    from spectra_app.training.beginning import _begun_model

    save_model(made("e3nn"), tmp_path / "model")
    training = TrainingSettings(data=(tmp_path,), start=str(tmp_path / "model"), eps_inf=1.8)
    settings = TrainFile(model=made().settings, training=training)
    assert _begun_model(settings, ("H", "O"), str(tmp_path / "model")).settings.backbone.kernels == "cuequivariance"
    other = settings.model_copy(update={"model": made(channels=6).settings})
    with pytest.raises(ConfigError, match=r"training.start, model.channels: got 4"):
        _begun_model(other, ("H", "O"), str(tmp_path / "model"))


@needs_cuequivariance
def test_kernels_follow_device_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, which the CPU is taken for; where there is none, everything is e3nn again."""
    potential = made(max_ell=1)
    wanted, plain = found(potential), potential.backbone.network
    assert potential.backbone._made_for is None
    monkeypatch.setattr(mace, "kernels_run_on", lambda device: True)
    potential.float()
    assert potential.backbone._made_for == (torch.device("cpu"), torch.float32)
    rough = found(potential)
    assert rough["forces"].dtype == torch.float32
    torch.testing.assert_close(rough["forces"].double(), wanted["forces"], rtol=1e-4, atol=1e-5)
    network = potential.backbone.network
    assert potential.float().backbone.network is network  # nothing changes: nothing is made
    potential.double()
    again = pickle.loads(pickle.dumps(potential.backbone))
    assert again._made_for == (torch.device("cpu"), torch.float64)
    copied = found(potential)
    potential.backbone = again
    for name, value in found(potential).items():
        torch.testing.assert_close(value, copied[name], rtol=0, atol=0)
    monkeypatch.setattr(mace, "kernels_run_on", lambda device: False)
    potential = made(max_ell=1)
    potential.backbone.use_kernels()
    potential.double()
    assert potential.backbone._made_for is None
    assert type(potential.backbone.network.interactions[0].linear) is type(plain.interactions[0].linear)
    for name, value in found(potential).items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)


@needs_cuequivariance
def test_the_product_that_also_sums_over_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU products of pairs are summed in the same kernel: the library's way to call it, computed in PyTorch."""
    import cuequivariance_torch

    from spectra_app.potentials.backbones import mace_kernels

    original, calls = cuequivariance_torch.SegmentedPolynomial, []

    class Counted(original):
        def __init__(self, polynomial: Any, *words: Any, **keys: Any) -> None:
            super().__init__(polynomial, *words, **keys)
            self.m.buffer_num_segments = [operand.num_segments for operand in polynomial.operands]
            self.m.operand_extent = polynomial.operands[0].size // polynomial.operands[0].num_segments

        def forward(self, *words: Any, **keys: Any) -> Any:
            calls.append(len(words) == 4)  # the last: where sums go
            return super().forward(*words, **keys)

    options = mace_kernels.kernel_options
    potential = made(max_ell=1)
    wanted = found(potential)
    monkeypatch.setattr(cuequivariance_torch, "SegmentedPolynomial", Counted)
    monkeypatch.setattr(mace_kernels, "kernel_options", lambda kernels, fused: options(kernels, True))
    potential.backbone.use_kernels()
    for name, value in found(potential).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-10)
    assert sum(calls) == 2  # one a layer


@pytest.mark.parametrize("kind", ["default", "as later foundation models"])
def test_kernels_of_openequivariance_are_given_the_products_of_pairs(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mace.modules import wrapper_ops

    potential = made("openequivariance", **KINDS[kind])
    names, wanted, wanted_slopes = list(potential.state_dict()), found(potential), slopes(potential)
    monkeypatch.setitem(sys.modules, "openequivariance", openequivariance())
    monkeypatch.setattr(library_kernels, "find_spec", lambda name: name)
    monkeypatch.setattr(wrapper_ops, "oeq", sys.modules["openequivariance"], raising=False)
    monkeypatch.setattr(wrapper_ops, "OEQ_AVAILABLE", True)
    potential.backbone.use_kernels()
    for name, value in found(potential).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-10)
    assert Convolution.calls == 2
    for name, value in slopes(potential).items():
        torch.testing.assert_close(value, wanted_slopes[name], rtol=1e-8, atol=1e-10, msg=name)
    assert list(potential.state_dict()) == names


def test_what_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    potential = made("openequivariance")
    monkeypatch.setattr(library_kernels, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError,
        match=r"model.kernels: got openequivariance, whose openequivariance is not .*Run: pip install openequivariance",
    ):
        potential.backbone.use_kernels()
    monkeypatch.setattr(mace, "kernels_run_on", lambda device: True)
    with pytest.raises(ConfigError, match=r"got cuequivariance, whose cuequivariance_torch is not .*ops-torch-cu12"):
        made("cuequivariance")
    with pytest.raises(ConfigError, match=r"kernels: got 'numpy'|kernels: got numpy"):
        parse_settings(ModelSettings, {"backbone": "mace", "kernels": "numpy"})


@needs_cuequivariance
def test_layers_that_kernels_do_not_know_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from spectra_app.potentials.backbones import mace_kernels

    potential = made(max_ell=1)
    monkeypatch.setattr(mace_kernels, "_used_weights", lambda one, every: ["max"])
    with pytest.raises(
        ConfigError, match=r"kernels cuequivariance: got \d+ paths of a product for \d+ of e3nn.*Set kernels: e3nn"
    ):
        potential.backbone.use_kernels()
    assert found(potential)["energy"].isfinite()


@pytest.mark.gpu
@pytest.mark.parametrize("kernels", ["cuequivariance", "openequivariance"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_a_gpu_kernels_say_what_e3nn_says(kernels: str, dtype: torch.dtype, device_cuda: torch.device) -> None:
    for module in library_kernels.PACKAGES[kernels][0]:
        pytest.importorskip(module, reason=f"needs {kernels} on a GPU")
    potential = made(kernels, channels=32)
    wanted, wanted_slopes = found(potential), slopes(potential)
    potential.to(device_cuda, dtype)
    assert potential.backbone._made_for is not None
    system = make_system(POSITIONS, NUMBERS, CELL, dtype=dtype, device=device_cuda)
    result = potential(system, build_neighbors(system, potential.cutoff), stress=True)
    close = 1e-9 if dtype == torch.float64 else 1e-4
    for name, value in wanted.items():
        got = getattr(result, name).detach().cpu().double()
        torch.testing.assert_close(got, value, rtol=close, atol=close * max(1.0, float(value.abs().max())))
    for name, value in slopes(potential).items():
        scale = max(1.0, float(wanted_slopes[name].abs().max()))
        got = value.cpu().double()
        torch.testing.assert_close(got, wanted_slopes[name], rtol=10 * close, atol=10 * close * scale, msg=name)
