"""Shipped data is found in a checkout and inside a wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from spectra_app import zoo
from spectra_app.errors import ConfigError, ModelError

ROOT = Path(__file__).parents[1]


def model_folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / zoo.MODEL_FILE).write_text("{}")
    return folder


def test_checkout_uses_the_folders_at_the_top() -> None:
    assert zoo.models_folder() == ROOT / "models"
    assert zoo.workflow_names() == sorted(p.stem for p in (ROOT / "workflows").glob("*.yaml"))


def test_model_by_path_by_file_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = model_folder(tmp_path / "_models", "water")
    monkeypatch.setattr(zoo, "_PACKAGE", tmp_path)
    assert zoo.model_names() == ["water"]
    assert zoo.find_model("water") == shipped
    mine = model_folder(tmp_path / "work", "mine")
    assert zoo.find_model(mine) == mine
    assert zoo.find_model(mine / zoo.MODEL_FILE) == mine
    with pytest.raises(ModelError, match=r"model 'watr': got no such model.*Did you mean 'water'\?"):
        zoo.find_model("watr")
    with pytest.raises(ModelError, match=r"got a folder without model\.yaml"):
        zoo.find_model(tmp_path)


def test_recipe_by_file_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert zoo.find_workflow("water") == ROOT / "workflows" / "water.yaml"
    assert zoo.find_workflow("workflows/molecule.yaml") == ROOT / "workflows" / "molecule.yaml"
    mine = tmp_path / "mine" / "water.yaml"
    mine.parent.mkdir()
    mine.write_text("{}")
    assert zoo.find_workflow(mine) == mine
    with pytest.raises(ConfigError, match=r"recipe watre: got no such file.*Did you mean 'water'\?"):
        zoo.find_workflow("watre")
    with pytest.raises(ConfigError, match="no such file"):
        zoo.find_workflow(tmp_path / "elsewhere" / "water.yaml")


def test_wheel_carries_models_recipes_and_licence(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    for file in (path for path in (ROOT / "workflows").rglob("*") if path.is_file()):
        assert f"spectra_app/_workflows/{file.relative_to(ROOT / 'workflows')}" in names
    for file in (ROOT / "models").rglob("*.*"):
        assert f"spectra_app/_models/{file.relative_to(ROOT / 'models')}" in names
    assert "spectra_app/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "models", "results")) for name in names)
    # The unpacked wheel finds its own zoo, far from the checkout.
    code = "import spectra_app.zoo as z; print(z.models_folder()); print(*z.workflow_names())"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    folder, recipes = done.stdout.splitlines()
    if any((ROOT / "models").rglob("*.*")):
        assert folder == str(tmp_path / "site" / "spectra_app" / "_models")
    assert recipes.split() == zoo.workflow_names()
