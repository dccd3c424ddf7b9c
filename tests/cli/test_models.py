"""``spectra-app models``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from spectra_app import zoo


def test_list_and_card(cli: Callable, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectra_app.cli.models.models_folder", lambda: model_folder.parent)
    monkeypatch.setattr(zoo, "models_folder", lambda: model_folder.parent)
    assert cli("models").out.split() == ["tiny", "H", "O"]
    (facts,) = json.loads(cli("models", "--json").out)
    assert facts["name"] == "tiny"
    assert facts["eps_inf"] == 1.78
    assert "puiu" in cli("models", "tiny").out
    assert json.loads(cli("models", model_folder, "--json").out)["species"] == ["H", "O"]
    (model_folder / "README.md").write_text("# A card\n")
    try:
        outcome = cli("models", model_folder)
    finally:
        (model_folder / "README.md").unlink()
    assert outcome.out.startswith("# A card\n")
    assert str(model_folder) in outcome.out
