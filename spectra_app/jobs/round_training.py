"""The training of a round: data kept apart once for all rounds, settings, errors before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra_app.config import TrainFile, apply_override, parse_settings
from spectra_app.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from ase import Atoms

_GENTLE = 0.3  # of the learning rate: the weights are good already


def recipe_of(folder: Path) -> TrainFile | None:
    """How a model was trained; None where it does not say.

    Args:
        folder: of the model.

    Raises:
        ConfigError: a file that cannot be read.
    """
    import yaml

    from spectra_app.training.publish import RECIPE_FILE

    path = folder / RECIPE_FILE
    if not path.is_file():
        return None
    return parse_settings(TrainFile, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))


def divide_data(folder: Path, data: Sequence[Path], train: Path, validation: Path) -> None:
    """Keep apart what a model was trained on and what it was not, once for all rounds.

    Args:
        folder: of the model.
        data: what it was trained on; nothing: the files of its recipe.
        train: file to be written.
        validation: likewise, of the frames that the recipe held out; where it is there, nothing is done.

    Raises:
        DatasetError: the data are not there.
        ConfigError: the model has no recipe.
    """
    from spectra_app.training.dataset import divided, read_frames, write_frames

    if validation.is_file():
        return
    recipe = recipe_of(folder)
    if recipe is None:
        raise ConfigError(f"model {folder}", got="no recipe", wanted="training.yaml", todo="Give --no-train")
    settings = recipe.training
    files = list(data) or list(settings.data)
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DatasetError(
            f"data of model {folder.name}",
            got=f"no file {missing[0]}",
            wanted="what it was trained on",
            todo="Name the files with --data, or only label with --no-train",
        )
    frames = read_frames(files, settings.keys)
    if data:
        settings = settings.model_copy(update={"validation_data": (), "test_data": ()})
    kept, first, second = divided(frames, settings)
    write_frames(train, kept)
    write_frames(validation, [*first, *second])


def round_settings(
    folder: Path,
    data: Sequence[Path],
    validation: Sequence[Path],
    output: Path,
    epochs: int,
    first: bool,
    overrides: Sequence[str],
) -> TrainFile:
    """The recipe of a round: the model's own, from its weights, with a smaller learning rate.

    Args:
        folder: of the model.
        data: to train on.
        validation: held out.
        output: folder of the new model.
        epochs: passes.
        first: the recipe is the one that made the model from nothing.
        overrides: ``training.KEY=VALUE``.

    Raises:
        ConfigError: overrides that do not fit.
    """
    recipe = recipe_of(folder)
    assert recipe is not None
    content: dict[str, Any] = recipe.model_dump(mode="json")
    content["training"] |= {
        "data": [str(path) for path in data],
        "validation_data": [str(path) for path in validation],
        "test_data": [],
        "keys": {},
        "test_fraction": 0.0,
        "start": str(folder),
        "init_from": None,
        "init_head": None,
        "output": str(output),
        "epochs": epochs,
        "learning_rate": recipe.training.learning_rate * (_GENTLE if first else 1.0),
        "max_minutes": None,
    }
    for override in overrides:
        apply_override(content, override)
    return parse_settings(TrainFile, content, "training of a round")


def force_errors(folder: Path, *sets: Sequence[Atoms]) -> tuple[float | None, ...]:
    """Force errors of a model on sets of labelled structures, meV/A; None of an empty one.

    Args:
        folder: of the model.
        sets: the sets.
    """
    from spectra_app.potentials.folder import load_model
    from spectra_app.training.evaluation import evaluate_structures

    model = load_model(folder)
    return tuple(
        round(float(evaluate_structures(model, list(frames))["forces_rmse_meV_per_A"]), 3) if frames else None
        for frames in sets
    )
