"""Model folders: the physical scale is a part of the model, and its hash covers it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from spectra_app.config import ModelSettings
from spectra_app.errors import ModelError
from spectra_app.potentials import Potential
from spectra_app.potentials.folder import load_model, read_card, save_model, save_scale
from spectra_app.potentials.scale import PhysicalScale

SCALE = PhysicalScale(1.8, 0.5, 1.6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    settings = ModelSettings(variant="puiu", channels=4, n_radial=4, oxidation_states={"H": 1, "O": -2})
    model = Potential(settings, ("H", "O"), eps_inf=1.8)
    model.scale = SCALE
    save_model(model, tmp_path / "tiny")
    return tmp_path / "tiny"


def edit(folder: Path, **changes: object) -> None:
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, sort_keys=False))


def test_the_scale_travels_with_the_model_and_the_hash_covers_it(folder: Path) -> None:
    first = read_card(folder)
    assert first.scale == SCALE
    assert load_model(folder).scale == SCALE
    assert load_model(folder).card.hash == first.hash
    save_scale(folder, PhysicalScale(1.8, 0.6, 1.6))
    second = read_card(folder)
    assert (second.scale.chi, second.hash != first.hash) == (0.6, True)
    save_scale(folder, SCALE)
    assert read_card(folder).hash == first.hash


def test_another_eps_inf_is_another_model(folder: Path) -> None:
    model = load_model(folder, eps_inf=1.7)
    assert model.scale == PhysicalScale(1.7, 0.5, 1.6)
    assert model.card.eps_inf == 1.7
    assert model.card.hash != read_card(folder).hash
    assert load_model(folder, eps_inf=1.8).card.hash == read_card(folder).hash


def test_a_folder_without_its_scale_is_refused(folder: Path) -> None:
    for broken in (None, {"eps_inf": 1.8}, {"eps_inf": 1.8, "chi": "much", "screening": 1.0}):
        edit(folder, scale=broken)
        with pytest.raises(ModelError, match=r"model.yaml, scale: got unreadable .*, wanted eps_inf, chi"):
            read_card(folder)


def as_version_4(folder: Path) -> None:
    data = yaml.safe_load((folder / "model.yaml").read_text())
    for key in ("oxidation_states", "bond_weight", "element_sigma_A"):
        data["architecture"].pop(key)
    del data["scale"]
    (folder / "model.yaml").write_text(yaml.safe_dump(data | {"format_version": 4, "eps_inf": 1.8}))


def test_models_of_version_4_bring_chi_in_their_report_or_have_no_scale(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_model(Potential(ModelSettings(variant="puiu", channels=4, n_radial=4), ("H", "O"), eps_inf=1.8), tmp_path)
    as_version_4(tmp_path)
    assert read_card(tmp_path).scale == PhysicalScale(1.8, None, None)
    assert not read_card(tmp_path).scale.known
    unreported = read_card(tmp_path).hash
    (tmp_path / "interpretation.json").write_text(json.dumps({"chi": {"mean": 0.25}, "periodic": True}))
    card = read_card(tmp_path)
    assert card.scale == PhysicalScale(1.8, 0.25, 1.25)
    assert card.hash != unreported
    assert (card.settings.oxidation_states, card.settings.bond_weight) == ("free", "gaussian")
