"""``spectra-app models``."""

from __future__ import annotations

import json
import shutil
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
    assert facts["scale"]["eps_inf"] == 1.78
    assert "puiu" in cli("models", "tiny").out
    assert json.loads(cli("models", model_folder, "--json").out)["species"] == ["H", "O"]
    (model_folder / "README.md").write_text("# A card\n")
    try:
        outcome = cli("models", model_folder)
    finally:
        (model_folder / "README.md").unlink()
    assert outcome.out.startswith("# A card\n")
    assert str(model_folder) in outcome.out


def test_report_on_latent_quantities(model_folder: Path, tmp_path: Path, cli: Callable) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(model_folder, folder)
    outcome = cli("models", folder)
    assert "interpretation" not in json.loads(cli("models", folder, "--json").out)
    assert "--frames FILE makes one" in outcome.err
    fresh = cli("models", folder, "--frames", folder / "start.extxyz")
    assert "Born charge, tr(Z*)/3" in fresh.out
    assert "of start.extxyz" in fresh.out
    assert {path.name for path in folder.iterdir()} == {"model.yaml", "weights.safetensors", "start.extxyz"}
    report = json.loads(cli("models", folder, "--frames", folder / "start.extxyz", "--save", "--json").out)
    assert [element["symbol"] for element in report["elements"]] == ["H", "O"]
    kept = json.loads(cli("models", folder, "--json").out)["interpretation"]
    assert kept == report
    shown = cli("models", folder)
    assert all(line in shown.out for line in fresh.out.splitlines())
    assert "makes one" not in shown.err
    other = json.loads(cli("models", folder, "--frames", folder / "start.extxyz", "--eps-inf", 3, "--json").out)
    assert other["eps_e"]["mean"] == pytest.approx(3 / 1.78 * report["eps_e"]["mean"])


def test_what_the_report_needs_is_said(model_folder: Path, tmp_path: Path, cli: Callable) -> None:
    assert "Give --frames FILE" in cli("models", model_folder, "--save").err
    assert "the name or folder of one" in cli("models", "--frames", model_folder / "start.extxyz").err
    assert "no such file" in cli("models", model_folder, "--frames", tmp_path / "none.xyz").err
