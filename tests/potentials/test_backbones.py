"""PaiNN: the couplings are products of matrices, and models made before them still load."""

from __future__ import annotations

import pytest
import torch
import yaml

from spectra_app.config import ModelSettings
from spectra_app.errors import ModelError
from spectra_app.potentials.backbones.painn import _outer, _rank2_basis, _rank2_products
from spectra_app.potentials.folder import load_model, save_model
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


def write_as_version(folder, settings: ModelSettings, version: int, without: tuple[str, ...]) -> None:
    """A model folder as an earlier format version wrote it."""
    save_model(Potential(settings, ("H", "O")), folder)
    description = yaml.safe_load((folder / "model.yaml").read_text())
    description["format_version"] = version
    for key in without:
        del description["architecture"][key]
    (folder / "model.yaml").write_text(yaml.safe_dump(description))


def test_models_of_earlier_formats_load_as_they_were(tmp_path):
    small = {"channels": 8, "cutoff_A": 3.0, "total_charge": "free"}
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
