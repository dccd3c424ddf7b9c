"""Where the shipped models and recipes are: beside the package in a checkout, inside it after ``pip install``."""

from __future__ import annotations

import difflib
from pathlib import Path

from spectra_app.errors import ConfigError, ModelError

MODEL_FILE = "model.yaml"  # every folder of a model holds one
CARD_FILE = "README.md"  # and its card
INTERPRETATION_FILE = "interpretation.json"  # what its latent quantities are, for programs
EVIDENCE_FILE = "charge_evidence.json"  # whether its training data determine charges
RANGE_FILE = "training_range.safetensors"  # what extrapolation is told from
_PACKAGE = Path(__file__).resolve().parent


def _shipped(name: str) -> Path:
    """Folder of shipped data: ``spectra_app/_NAME`` of a wheel, else ``NAME`` beside the package in a checkout."""
    inside = _PACKAGE / f"_{name}"
    return inside if inside.is_dir() else _PACKAGE.parent / name


def models_folder() -> Path:
    """The zoo: one folder per shipped model."""
    return _shipped("models")


def model_names() -> list[str]:
    """Names of the shipped models, sorted."""
    folder = models_folder()
    return sorted(p.parent.name for p in folder.glob(f"*/{MODEL_FILE}")) if folder.is_dir() else []


def find_model(name: str | Path) -> Path:
    """Folder of a model, given its name in the zoo or its path; a folder of that name in the way wins.

    Args:
        name: ``"water"`` or a folder that holds ``model.yaml``.

    Raises:
        ModelError: neither a folder with a model nor a name in the zoo.
    """
    if str(name).startswith("ase:"):
        raise ModelError(
            f"model '{name}'",
            got="a calculator of another program",
            wanted="a name in the zoo or a folder of a model",
            todo="Calculators are models of md, record, born and run only",
        )
    path = Path(name).expanduser()
    if (path / MODEL_FILE).is_file():
        return path
    if path.name == MODEL_FILE and path.is_file():
        return path.parent
    shipped = models_folder() / str(name)
    if (shipped / MODEL_FILE).is_file():
        return shipped
    names = model_names()
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Shipped models: {', '.join(names) or 'none'}"
    got = f"a folder without {MODEL_FILE}" if path.is_dir() else "no such model"
    raise ModelError(f"model '{name}'", got=got, wanted="a name in the zoo or a folder of a model", todo=hint)


def workflows_folder() -> Path:
    """The shipped recipes, and the workflow of a sweep."""
    return _shipped("workflows")


def workflow_names() -> list[str]:
    """Names of the shipped recipes, sorted."""
    folder = workflows_folder()
    return sorted(p.stem for p in folder.glob("*.yaml")) if folder.is_dir() else []


def find_workflow(path: str | Path) -> Path:
    """A recipe: an existing file as it is, else the shipped one of that name (``water`` or ``workflows/water.yaml``).

    Raises:
        ConfigError: neither a file nor the name of a shipped recipe.
    """
    given = Path(path).expanduser()
    if given.is_file():
        return given
    shipped = workflows_folder() / f"{given.stem}.yaml"
    if given.suffix in ("", ".yaml") and given.parent.name in ("", "workflows") and shipped.is_file():
        return shipped
    names = workflow_names()
    near = difflib.get_close_matches(given.stem, names, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Shipped recipes: {', '.join(names)}"
    raise ConfigError(f"recipe {path}", got="no such file", wanted="a YAML file or a shipped recipe", todo=hint)
