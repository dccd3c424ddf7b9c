"""The compiled PaiNN against the reference: features, first derivatives, weights that change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from spectra_app.config import ModelSettings
from spectra_app.errors import ModelError
from spectra_app.potentials import Potential
from spectra_app.potentials.backbones import PairGeometry
from spectra_app.structure.neighbors import build_neighbors
from spectra_app.structure.system import System, concatenate, from_ase
from tests.random_weights import with_known_material, with_random_weights

CELL = np.array([[6.0, 0.0, 0.0], [1.1, 5.7, 0.0], [-0.6, 0.4, 6.2]])


def potential(dtype: torch.dtype = torch.float64, **settings: object) -> Potential:
    torch.manual_seed(11)
    chosen = {"variant": "puQipiu", "channels": 8, "n_radial": 5, "cutoff_A": 3.2, **settings}
    made = Potential(ModelSettings.model_validate(chosen), ("H", "O", "Si"), eps_inf=1.8)
    return with_known_material(with_random_weights(made, 1.2)).to(dtype)


def batch() -> System:
    """A triclinic crystal of three elements, and an open cluster with an atom that has no neighbour."""
    rng = np.random.default_rng(2)
    crystal = Atoms("Si2O3H4", rng.uniform(0.0, 1.0, (9, 3)) @ CELL, cell=CELL, pbc=True)
    cluster = Atoms("OH2Si", [[0, 0, 0], [0.8, 0.5, 0], [-0.8, 0.5, 0.1], [9.0, 0, 0]])
    return concatenate([from_ase(crystal), from_ase(cluster)])


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("products", [True, False])
def test_features_and_their_derivative_are_those_of_the_reference(layers: int, products: bool) -> None:
    backbone, system = potential(layers=layers, products=products).backbone, batch()
    neighbors = build_neighbors(system, 3.7)  # with a skin
    species = torch.tensor([{1: 0, 8: 1, 14: 2}[int(z)] for z in system.numbers])
    found = []
    for way in (backbone, backbone.once):
        positions = system.positions.clone().requires_grad_(True)
        geometry = PairGeometry(system._replace(positions=positions), neighbors, 3.7)
        features = way(system, species, neighbors, geometry)
        assert features.vectors is not None
        assert features.rank2 is not None
        parts = (features.scalars, features.vectors, features.rank2)
        generator = torch.Generator().manual_seed(1)
        weighed = sum((x * torch.randn(x.shape, generator=generator, dtype=x.dtype)).sum() for x in parts)
        gradient = torch.autograd.grad(weighed, positions)[0]
        found.append([*(x.detach().numpy() for x in parts), gradient.numpy()])
    for reference, fused in zip(*found, strict=True):
        assert np.abs(reference).max() > 1e-3
        assert fused == pytest.approx(reference, abs=1e-11 * np.abs(reference).max())


IONS = {"H": 1, "O": -2, "Si": 4}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-3)])
@pytest.mark.parametrize(
    "settings",
    [
        {"response": "one-shot"},
        {"response": "self-consistent"},
        {"response": "self-consistent", "oxidation_states": IONS},
        {"response": "self-consistent", "oxidation_states": IONS, "alpha": "bonds", "bond_weight": "gaussian"},
        {
            "response": "self-consistent",
            "oxidation_states": IONS,
            "alpha": "bonds",
            "variant": "puipiu",
            "channels": 70,
        },
        {"response": "one-shot", "oxidation_states": IONS, "alpha": "bonds", "bounded_response": False},
        {"response": "one-shot", "oxidation_states": IONS, "alpha": "pairs", "bond_weight": "overlap"},
        {"response": "one-shot", "alpha": "bonds", "bond_weight": "overlap", "element_sigma_A": {"O": 1.3}},
        {"response": "one-shot", "alpha": "pairs", "heads": {"cutoff_A": 2.6, "n_radial": 3}},
        {"response": "one-shot", "heads": {"cutoff_A": 3.9}, "variant": "pu"},
        {"response": "one-shot", "variant": "uiqiu"},
        {"response": "one-shot", "variant": "uiu", "alpha": "bonds"},
    ],
    ids=lambda settings: ", ".join(f"{key}" if key == "oxidation_states" else str(x) for key, x in settings.items()),
)
def test_energy_forces_stress_and_born_charges_are_those_of_eager(
    settings: dict[str, object], dtype: torch.dtype, tolerance: float
) -> None:
    model, system = potential(dtype, response_tolerance=1e-12, **settings), batch().to(dtype=dtype)
    if "oxidation_states" in settings:  # Si2O3H4: +6; OH2Si: +4
        system = system._replace(charge=system.charge.new_tensor([6.0, 4.0]))
    neighbors = build_neighbors(system, model.cutoff).to(dtype=dtype)
    found = []
    for engine in ("eager", "compiled"):
        model.engine = engine
        prediction = model(system, neighbors, stress=True)
        assert prediction.forces is not None
        assert prediction.stress is not None
        exact = model.variant.charges == "pair"
        born = model.latent_born_charges(system, neighbors) if exact else prediction.charges
        periodic = prediction.stress[:1]  # an open structure has no volume
        found.append(
            [prediction.energy, prediction.forces, periodic, prediction.dipole, prediction.polarizability, born]
        )
    for eager, compiled in zip(*found, strict=True):
        assert compiled.numpy() == pytest.approx(eager.numpy(), abs=tolerance * float(eager.abs().max()))


def test_weights_that_change_are_noticed() -> None:
    model, system = potential(), batch()
    model.engine = "compiled"
    neighbors = build_neighbors(system, 3.2)
    before = model(system, neighbors).forces
    with torch.no_grad():
        model.backbone.messages[0].filters.mul_(1.1)
    after = model(system, neighbors).forces
    model.engine = "eager"
    expected = model(system, neighbors).forces
    assert before is not None
    assert after is not None
    assert expected is not None
    assert float((after - before).abs().max()) > 1e-4
    assert after.numpy() == pytest.approx(expected.numpy(), abs=1e-11)


def test_the_compiled_way_has_one_derivative_and_says_so() -> None:
    backbone, system = potential().backbone, batch()
    neighbors = build_neighbors(system, 3.2)
    positions = system.positions.clone().requires_grad_(True)
    geometry = PairGeometry(system._replace(positions=positions), neighbors, 3.2)
    scalars = backbone.once(system, torch.zeros_like(system.numbers), neighbors, geometry).scalars
    with pytest.raises(ModelError, match="second derivative of a potential: got engine compiled"):
        torch.autograd.grad(scalars.square().sum(), positions, create_graph=True)
