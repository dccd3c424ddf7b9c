"""PaiNN: the couplings are products of matrices, and models made before them still load."""

from __future__ import annotations

import torch
import yaml

from spectra_app.config import ModelSettings
from spectra_app.potentials.backbones.painn import _outer, _rank2_basis, _rank2_products
from spectra_app.potentials.checkpoint import load_model, save_model
from spectra_app.potentials.potential import Potential


def traceless(matrix: torch.Tensor) -> torch.Tensor:
    symmetric = 0.5 * (matrix + matrix.T)
    return symmetric - symmetric.trace() / 3.0 * torch.eye(3, dtype=matrix.dtype)


def test_products_are_the_symmetric_traceless_parts_of_matrix_products():
    torch.manual_seed(0)
    basis = _rank2_basis()
    vectors, tensors = _rank2_products()
    a, b = torch.randn(2, 1, 3, 1, dtype=torch.float64)
    found = torch.einsum("m,mxy->xy", (vectors @ _outer(a, b))[0, :, 0], basis)
    torch.testing.assert_close(found, traceless(torch.outer(a[0, :, 0], b[0, :, 0])))
    a, b = torch.randn(2, 1, 5, 1, dtype=torch.float64)
    left, right = (torch.einsum("m,mxy->xy", t[0, :, 0], basis) for t in (a, b))
    found = torch.einsum("m,mxy->xy", (tensors @ _outer(a, b))[0, :, 0], basis)
    torch.testing.assert_close(found, traceless(left @ right))


def test_a_model_of_format_version_1_has_no_products(tmp_path):
    settings = ModelSettings(variant="sr", channels=8, cutoff_A=3.0, products=False)
    save_model(Potential(settings, ("H", "O")), tmp_path / "old")
    path = tmp_path / "old" / "model.yaml"
    description = yaml.safe_load(path.read_text())
    description["format_version"] = 1
    del description["architecture"]["products"]
    path.write_text(yaml.safe_dump(description))
    assert load_model(tmp_path / "old").settings == settings
