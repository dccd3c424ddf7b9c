"""The compiled CACE against the reference: features, energies, first derivatives, weights that change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectra_app.config import CACESettings
from spectra_app.errors import ModelError
from spectra_app.potentials.backbones import PairGeometry
from spectra_app.potentials.backbones.cace import CACE
from spectra_app.structure.neighbors import build_neighbors
from tests.potentials.test_painn_fused import batch, potential

SMALL = {"channels": 8, "n_radial": 5, "cutoff_A": 3.2}


@pytest.mark.parametrize(
    "keys", [{"layers": 0}, {"layers": 2}, {"max_l": 2, "channels": 70}, {"max_l": 1, "max_nu": 1}], ids=str
)
def test_features_and_their_derivative_are_those_of_the_reference(keys: dict[str, int]) -> None:
    torch.manual_seed(4)
    backbone, system = CACE(CACESettings.model_validate({**SMALL, **keys}), 3).double(), batch()
    neighbors = build_neighbors(system, 3.7)  # with a skin
    species = torch.tensor([{1: 0, 8: 1, 14: 2}[int(z)] for z in system.numbers])
    found = []
    for way in (backbone, backbone.once):
        positions = system.positions.clone().requires_grad_(True)
        geometry = PairGeometry(system._replace(positions=positions), neighbors, 3.7)
        features = way(system, species, neighbors, geometry)
        parts = [x for x in features if x is not None]
        assert len(parts) == (2 if keys.get("max_nu") == 1 else 3)
        generator = torch.Generator().manual_seed(1)
        weighed = sum((x * torch.randn(x.shape, generator=generator, dtype=x.dtype)).sum() for x in parts)
        gradient = torch.autograd.grad(weighed, positions)[0]
        found.append([*(x.detach().numpy() for x in parts), gradient.numpy()])
    for reference, fused in zip(*found, strict=True):
        assert np.abs(reference).max() > 1e-3
        assert fused == pytest.approx(reference, abs=1e-11 * np.abs(reference).max())


IONS = {"oxidation_states": {"H": 1, "O": -2, "Si": 4}}


@pytest.mark.parametrize(
    "settings",
    [{"variant": "sr"}, {"variant": "puQipiu"}, {"variant": "puipiu", "alpha": "bonds", **IONS}],
    ids=lambda settings: str(settings["variant"]),
)
def test_energy_forces_and_stress_are_those_of_eager(settings: dict[str, object]) -> None:
    model, system = potential(backbone="cace", response="one-shot", **settings), batch()
    if "oxidation_states" in settings:  # Si2O3H4: +6; OH2Si: +4
        system = system._replace(charge=system.charge.new_tensor([6.0, 4.0]))
    neighbors = build_neighbors(system, model.cutoff)
    found = []
    for change in (1.0, 1.05):  # weights that change are noticed
        with torch.no_grad():
            model.backbone.radial.frequencies.mul_(change)
            model.backbone.messages[0].radial.weight.mul_(change)
        for engine in ("eager", "compiled"):
            model.engine = engine
            prediction = model(system, neighbors, stress=True)
            assert prediction.forces is not None
            assert prediction.stress is not None
            found.append([prediction.energy, prediction.forces, prediction.stress[:1], prediction.dipole])
    for eager, compiled, other_eager, other in zip(*found, strict=True):
        assert compiled.numpy() == pytest.approx(eager.numpy(), abs=1e-10 * float(eager.abs().max()))
        assert other.numpy() == pytest.approx(other_eager.numpy(), abs=1e-10 * float(eager.abs().max()))
    assert float((found[1][1] - found[3][1]).abs().max()) > 1e-4


def test_the_compiled_way_has_one_derivative_and_says_so() -> None:
    backbone, system = potential(backbone="cace").backbone, batch()
    neighbors = build_neighbors(system, 3.2)
    positions = system.positions.clone().requires_grad_(True)
    geometry = PairGeometry(system._replace(positions=positions), neighbors, 3.2)
    scalars = backbone.once(system, torch.zeros_like(system.numbers), neighbors, geometry).scalars
    with pytest.raises(ModelError, match="second derivative of a potential: got engine compiled"):
        torch.autograd.grad(scalars.square().sum(), positions, create_graph=True)
