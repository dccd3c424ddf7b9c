"""The first part of a recipe that has no model yet: labels from a calculator, and a training on them.

What is there and fits is kept, what was stopped goes on, and what is of other settings is refused or replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from spectra_app.config import RecipeLabels, RunFileSettings, TrainFile
from spectra_app.config.recipe import LABELS_FILE
from spectra_app.errors import ConfigError, DatasetError, ModelError, SpectraAppError
from spectra_app.zoo import MODEL_FILE

if TYPE_CHECKING:
    from spectra_app.jobs.label_job import LabelProgress
    from spectra_app.training.resume import EpochRecord

Say = Callable[[str], None]
Result = TypeVar("Result")


def make_model(
    settings: RunFileSettings,
    say: Say,
    *,
    overwrite: bool = False,
    max_minutes: float | None = None,
    trust: bool = False,
    own: bool = True,
) -> None:
    """Make the labels and the model of a recipe, where it has sections for them and they are not there.

    Args:
        settings: the recipe.
        say: told what begins, and how far it is.
        overwrite: replace labels and a model of other settings instead of refusing.
        max_minutes: wall time after which it stops, everything being kept, min.
        trust: load pickled checkpoints.
        own: the calculator is named by the user's own words.

    Raises:
        DatasetError: labels of other settings, or that cannot be made or trained on.
        ModelError: a model of other settings.
        StoppedError: a signal, or the time is over; the same call goes on.
    """
    train = settings.train
    if train is None:
        return
    if not settings.trains:
        say(f"model '{settings.model}' is given: labels and train of the recipe play no part")
        return
    began, folder = time.monotonic(), train.training.output
    if _is_there(settings, train, overwrite):
        say(f"model: {folder} is trained and kept")
        return
    if settings.labels is not None:
        _make_labels(settings, settings.labels, say, overwrite, max_minutes, trust, own)
    _train(train, say, overwrite, minutes_left(max_minutes, began), trust)


def minutes_left(minutes: float | None, began: float) -> float | None:
    """What is left of a time, min; never nothing, so that what comes next stops at once and says so itself.

    Args:
        minutes: in all; None: without end.
        began: ``time.monotonic()`` of its beginning.
    """
    return None if minutes is None else max(minutes - (time.monotonic() - began) / 60.0, 1e-3)


def _is_there(settings: RunFileSettings, train: TrainFile, overwrite: bool) -> bool:
    """Whether the model of these settings, trained on labels of these, is there.

    Raises:
        ModelError: another one is, and nothing was said of overwriting it.
    """
    from spectra_app.jobs.round_training import recipe_of

    folder = train.training.output
    if not (folder / MODEL_FILE).is_file():
        return False
    changed = differences(train, recipe_of(folder))
    if settings.labels is not None:
        changed += other_labels(settings.labels, settings.output / LABELS_FILE)
    if changed and not overwrite:
        raise ModelError(
            f"model {folder}",
            got=f"one of other settings ({'; '.join(changed[:3])})",
            wanted="the same settings",
            todo="Choose another folder (-s output=FOLDER), take it as it is with -m, or replace it with --overwrite",
        )
    return not changed


def other_labels(wanted: RecipeLabels, path: Path) -> list[str]:
    """Where labels that are there were made otherwise than is wanted; nothing where they do not say how.

    Args:
        wanted: of the recipe.
        path: the set.
    """
    from spectra_app.labels.writing import read_sidecar

    facts = read_sidecar(path)
    if facts is None or "plan" not in facts:
        return []
    before = {**facts["plan"]["settings"], "calculator": facts["plan"]["by"]["calculator"]}
    now = wanted.model_dump(mode="json")
    return [f"labels.{key}: {value} -> {now[key]}" for key, value in before.items() if now.get(key) != value]


def differences(wanted: TrainFile, found: TrainFile | None) -> list[str]:
    """Where the recipe of a trained model is not what is wanted; what was left to the data (``auto``) may be anything.

    Args:
        wanted: of the recipe.
        found: of the model; None: it does not say.
    """
    if found is None:
        return ["no recipe in its folder"]
    before, now = (_flat(one.model_dump(mode="json")) for one in (found, wanted))
    free = {key for key, value in now.items() if value == "auto"} | {"training.device"}
    free |= {key for key in now if key.startswith("model.oxidation_states.") and key not in before}  # no such atoms
    keys = [key for key in sorted({*before, *now}) if not any(key == one or key.startswith(f"{one}.") for one in free)]
    return [f"{key}: {before.get(key)} -> {now.get(key)}" for key in keys if before.get(key) != now.get(key)]


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _make_labels(
    settings: RunFileSettings,
    labels: RecipeLabels,
    say: Say,
    overwrite: bool,
    max_minutes: float | None,
    trust: bool,
    own: bool,
) -> None:
    """The set of labels, whole.

    Raises:
        DatasetError, StoppedError: see ``make_model``.
    """
    from spectra_app.jobs.labelling import label_structures

    output, tenths = settings.output / LABELS_FILE, _Tenths(say)
    structures = [str(path) for path in labels.structures or (settings.structure,) if path is not None]
    if not structures:
        raise ConfigError("labels.structures", got="none", wanted="files", todo="Name them, or a structure")

    def show(progress: LabelProgress) -> None:
        tenths(f"labels, {progress.phase}", progress.done, progress.total, progress.note)

    def make(anew: bool) -> Any:
        return label_structures(
            structures,
            labels.calculator,
            output,
            labels.sampling,
            trust=trust,
            overwrite=anew,
            progress=show,
            max_minutes=max_minutes,
            own=own,
        )

    say(f"labels by {labels.calculator} ...")
    there = output.exists() or output.with_name(f"{output.name}.parts").exists()
    result = _or_anew(partial(make, False), partial(make, True), DatasetError, overwrite and there)
    say(f"labels: {output}, {result.n_frames} frames{'' if result.new else ', complete and kept'}")
    for warning in result.warnings:
        say(f"labels: {warning}")


def _train(train: TrainFile, say: Say, overwrite: bool, max_minutes: float | None, trust: bool) -> None:
    """The model, from where its training was stopped.

    Raises:
        ModelError: a stopped training of other settings.
        StoppedError: see ``make_model``.
    """
    from spectra_app.training.resume import CHECKPOINT_FILE
    from spectra_app.training.trainer import train as train_model

    folder, tenths = train.training.output, _Tenths(say)
    checkpoint = folder / CHECKPOINT_FILE

    def show(record: EpochRecord, fraction: float) -> None:
        note = f"epoch {record.epoch}, validation {record.valid_forces_rmse_meV_per_A:.1f} meV/A"
        tenths("training", fraction, 1.0, note)

    def make(resume: bool) -> Any:
        return train_model(train, resume=resume, progress=show, trust_checkpoint=trust, stop_minutes=max_minutes)

    def anew() -> Any:
        checkpoint.unlink()
        return make(False)

    resume = checkpoint.is_file()
    say(f"training: continuing in {folder} ..." if resume else "training ...")
    result = _or_anew(partial(make, resume), anew, ModelError, overwrite and resume)
    say(f"model: {folder}, {result.stopped}")
    if result.evidence is not None:
        say(f"model: {result.evidence.sentence}")


def _or_anew(
    goes_on: Callable[[], Result], anew: Callable[[], Result], refusal: type[SpectraAppError], may_replace: bool
) -> Result:
    """What goes on with what is there; what begins anew, where that is refused and may be replaced.

    Args:
        goes_on: tried first.
        anew: replaces what is there.
        refusal: how ``goes_on`` refuses what is there.
        may_replace: something is there, and the user wants it replaced.
    """
    try:
        return goes_on()
    except refusal:
        if not may_replace:
            raise
    return anew()


class _Tenths:
    """Says how far something is, at most ten times."""

    def __init__(self, say: Say) -> None:
        self._say, self._last = say, ("", 0)

    def __call__(self, what: str, done: float, total: float, note: str) -> None:
        tenth = int(10.0 * done / max(total, 1e-12) + 1e-9)
        if what != self._last[0]:
            self._last = (what, 0)
        if tenth > self._last[1]:
            self._last = (what, tenth)
            self._say(f"{what}: {10 * tenth}%, {note}")
