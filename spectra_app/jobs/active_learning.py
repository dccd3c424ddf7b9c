"""Rounds of: pick the frames that a model knows least, label, learn, run dynamics with the new model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra_app.config import ActiveSettings, LabelSettings, MDSettings, apply_override, parse_settings
from spectra_app.errors import ConfigError, DatasetError, SimulationError
from spectra_app.files import atomic_path
from spectra_app.jobs.round_report import ActiveResult, RoundReport
from spectra_app.jobs.round_training import divide_data, force_errors, round_settings

if TYPE_CHECKING:
    from spectra_app.jobs.extrapolation import ExtrapolationReport
    from spectra_app.jobs.label_job import LabelProgress
    from spectra_app.labels.candidates import Candidate
    from spectra_app.runs import Run

PLAN_FILE = "plan.json"
REPORT_FILE = "report.json"
_MAY_CHANGE = frozenset({"rounds"})
_FEW_LABELS = 5  # of fewer, none is held out

Tell = Callable[[str, int, int, str], None]
"""Phase, done, total, note."""


def learn_actively(
    runs: Sequence[Path | str],
    model: Path | str,
    calculator: str | Any,
    output: Path | str = "active",
    settings: ActiveSettings = ActiveSettings(),  # noqa: B008  (frozen)
    labelling: LabelSettings = LabelSettings(),  # noqa: B008
    *,
    data: Sequence[Path | str] = (),
    overrides: Sequence[str] = (),
    trust: bool = False,
    overwrite: bool = False,
    tell: Tell | None = None,
    max_minutes: float | None = None,
) -> ActiveResult:
    """Label the frames of runs that a model knows least, and train it on them, once or several times.

    A killed job goes on where it was when it is called again with the same arguments (docs/labels.md).

    Args:
        runs: run files of the model, with stored configurations.
        model: name in the zoo or folder; it goes on learning from its own weights.
        calculator: that labels; at the level of theory of the model's data. See ``label_structures``.
        output: folder of all rounds.
        settings: how many frames, of which kind.
        labelling: checks and processes; what is sampled plays no part.
        data: what the model was trained on; without it the files of its recipe.
        overrides: ``training.KEY=VALUE`` and ``md.KEY=VALUE``, for training and dynamics of the rounds.
        trust: load pickled checkpoints that the calculator names.
        overwrite: begin anew.
        tell: told how far it is.
        max_minutes: wall time after which labelling stops, min.

    Raises:
        TrajectoryError: a run that cannot be read, is empty, or has no stored configurations.
        ModelError: no such model, or one that does not know the range of its training data.
        StructureError: a run with elements that the model does not know.
        DatasetError: the model's data are not there; see also ``label_structures``.
        ConfigError: overrides that do not fit.
        StoppedError: a signal, or the time is over; the same call goes on.
    """
    loop = _Loop(Path(output), calculator, settings, labelling, tuple(overrides), trust, tell, max_minutes)
    return loop.run([Path(run) for run in runs], str(model), [Path(file) for file in data], overwrite)


@dataclass
class _Loop:
    """The rounds on their way."""

    output: Path
    calculator: str | Any
    settings: ActiveSettings
    labelling: LabelSettings
    overrides: tuple[str, ...]
    trust: bool
    tell: Tell | None
    max_minutes: float | None

    def run(self, runs: list[Path], model: str, data: list[Path], overwrite: bool) -> ActiveResult:
        """See ``learn_actively``."""
        from spectra_app.runs import read_run
        from spectra_app.zoo import find_model

        self._chosen("md")  # nothing is computed for overrides that do not fit
        folder = find_model(model)
        opened = [read_run(path) for path in runs]
        self._begin(opened, folder, overwrite)
        if self.settings.train:
            divide_data(folder, data, self._data("train"), self._data("validation"))
        rounds: list[RoundReport] = []
        ended = f"{self.settings.rounds} round{'s' if self.settings.rounds > 1 else ''} made"
        for number in range(1, self.settings.rounds + 1):
            report = self._round(number, opened, folder)
            rounds.append(report)
            if report.picked == 0:
                ended = f"no frame beyond {self.settings.beyond:g}: nothing to be learned from these runs"
                break
            folder = Path(report.model)
            if not self.settings.train:
                ended = "labelled; nothing trained"
                break
            opened = [read_run(self._place(number) / "run.h5")]
        labels = tuple(self._place(one.number) / "labels.extxyz" for one in rounds if one.labelled)
        self._write(self.output / REPORT_FILE, json.dumps([asdict(one) for one in rounds], indent=1))
        return ActiveResult(self.output, tuple(rounds), folder, labels, ended)

    def _place(self, number: int) -> Path:
        return self.output / f"round_{number}"

    def _data(self, name: str) -> Path:
        return self.output / "data" / f"{name}.extxyz"

    def _begin(self, runs: Sequence[Run], folder: Path, overwrite: bool) -> None:
        """Remember what everything depends on.

        Raises:
            DatasetError: the folder is of another job.
        """
        import shutil

        from spectra_app.labels.sources import source_of

        source = source_of(self.calculator, self.trust)
        source.check()
        digests = [_digest(run.path) for run in runs]
        weights = _digest(folder / "weights.safetensors")
        plan = {
            "runs": digests,
            "model": weights,
            "calculator": source.facts(),
            "settings": self.settings.model_dump(mode="json", exclude=set(_MAY_CHANGE)),
            "overrides": list(self.overrides),
        }
        if overwrite and (self.output / PLAN_FILE).is_file():
            shutil.rmtree(self.output)
        path, text = self.output / PLAN_FILE, json.dumps(plan, indent=1)
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise DatasetError(
                f"rounds in {self.output}",
                got="a folder of other runs, another model, calculator or settings",
                wanted="the same ones",
                todo="Give the same command to go on, another --output, or --overwrite",
            )
        self._write(path, text)

    def _round(self, number: int, runs: Sequence[Run], folder: Path) -> RoundReport:
        """One round, or what is left of it."""
        report = self._pick(number, runs, folder)
        if report["picked"] == 0:
            return RoundReport(**report, model=str(folder))
        labels = self._label(number)
        report |= {"labelled": len(labels)}
        if not self.settings.train:
            return RoundReport(**report, model=str(folder))
        report |= self._train(number, labels, folder)
        after = self._simulate(number, runs)
        return RoundReport(**report, run_after=after)

    def _pick(self, number: int, runs: Sequence[Run], folder: Path) -> dict[str, Any]:
        from ase.io import write

        from spectra_app.jobs.extrapolation import combined, run_extrapolation
        from spectra_app.labels.picking import pick_frames
        from spectra_app.potentials.folder import load_model

        place = self._place(number)
        facts = place / "picks.json"
        if facts.is_file():
            kept: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))["report"]
            return kept
        self._say("picking", 0, 1, f"round {number}")
        picks = pick_frames(load_model(folder), runs, self.settings)
        known = [found for run in runs if (found := run_extrapolation(run)) is not None]
        report = {
            "number": number,
            "looked_at": picks.n_looked_at,
            "outside": picks.n_outside,
            "largest": round(picks.largest, 4),
            "picked": len(picks.candidates),
            "run_before": _largest_and_share(combined(known)),
        }
        if picks.candidates:
            with atomic_path(place / "picks.traj", DatasetError) as temporary:
                write(temporary, [candidate.atoms for candidate in picks.candidates], format="traj")
        origins = [candidate.origin for candidate in picks.candidates]
        self._write(facts, json.dumps({"report": report, "origins": origins}, indent=1))
        return report

    def _label(self, number: int) -> list[Any]:
        """Structures with labels."""
        from ase.io import read

        from spectra_app.jobs.labelling import label_structures
        from spectra_app.labels.candidates import Candidate

        place = self._place(number)
        origins = json.loads((place / "picks.json").read_text(encoding="utf-8"))["origins"]
        picked: list[Candidate] = [
            Candidate(atoms, origin) for atoms, origin in zip(read(place / "picks.traj", ":"), origins, strict=True)
        ]

        def show(progress: LabelProgress) -> None:
            self._say(f"round {number}: {progress.phase}", progress.done, progress.total, progress.note)

        result = label_structures(
            picked,
            self.calculator,
            place / "labels.extxyz",
            self.labelling,
            trust=self.trust,
            progress=show,
            max_minutes=self.max_minutes,
        )
        return list(read(result.path, ":"))

    def _train(self, number: int, labels: list[Any], folder: Path) -> dict[str, Any]:
        """A new model of the old one's weights, and the errors of both."""
        from ase.io import write

        from spectra_app.potentials.folder import WEIGHTS_FILE
        from spectra_app.training.evaluation import read_structures
        from spectra_app.training.resume import CHECKPOINT_FILE
        from spectra_app.training.trainer import train

        place = self._place(number)
        n_held = round(self.settings.held_out * len(labels)) if len(labels) >= _FEW_LABELS else 0
        held = {round((k + 0.5) * len(labels) / n_held - 0.5) for k in range(n_held)}
        parts = {
            "train": [atoms for k, atoms in enumerate(labels) if k not in held],
            "test": [atoms for k, atoms in enumerate(labels) if k in held],
        }
        for name, frames in parts.items():
            with atomic_path(place / f"{name}.extxyz", DatasetError) as temporary:
                write(temporary, frames, format="extxyz")
        output = place / "model"
        if not (output / WEIGHTS_FILE).is_file():
            settings = round_settings(
                folder,
                [self._data("train"), *(self._place(one) / "train.extxyz" for one in range(1, number + 1))],
                self._validation(number),
                output,
                self.settings.epochs,
                number == 1,
                self._chosen("training"),
            )
            total = settings.training.epochs
            train(
                settings,
                resume=(output / CHECKPOINT_FILE).is_file(),
                progress=lambda record, fraction: self._say(
                    f"round {number}: training",
                    round(fraction * total),
                    total,
                    f"validation {record.valid_forces_rmse_meV_per_A:.1f} meV/A",
                ),
            )
        old = read_structures(self._data("validation"))
        before, after = (force_errors(model, labels, parts["test"], old) for model in (folder, output))
        return {
            "held_out": len(held),
            "new_before_meV_per_A": before[0],
            "new_after_meV_per_A": after[1],
            "old_before_meV_per_A": before[2],
            "old_after_meV_per_A": after[2],
            "model": str(output),
        }

    def _validation(self, number: int) -> list[Path]:
        """What chooses the epoch up to a round: old frames and new ones that are not trained on."""
        tests = [self._place(one) / "test.extxyz" for one in range(1, number + 1)]
        return [self._data("validation"), *(path for path in tests if path.stat().st_size)]

    def _chosen(self, section: str) -> list[str]:
        """Overrides of a section.

        Raises:
            ConfigError: one of neither.
        """
        for override in self.overrides:
            if override.split(".")[0] not in ("training", "md"):
                raise ConfigError("override", got=repr(override), wanted="training.KEY=VALUE or md.KEY=VALUE")
        return [override for override in self.overrides if override.startswith(f"{section}.")]

    def _simulate(self, number: int, runs: Sequence[Run]) -> tuple[float, float] | None:
        """Dynamics with the new model from the first configurations of the runs before."""
        from spectra_app.jobs.extrapolation import run_extrapolation
        from spectra_app.jobs.simulate import simulate
        from spectra_app.labels.picking import first_configurations
        from spectra_app.runs import read_run
        from spectra_app.runs.restart_file import is_begun

        output = self._place(number) / "run.h5"
        found = runs[0].metadata.get("configuration", {}).get("md") or {}
        content: dict[str, Any] = {"md": dict(found)}
        content["md"] |= {"seed": int(found.get("seed") or 0) + number, "field_table": None, "replicas": 1}
        for override in self._chosen("md"):
            apply_override(content, override)
        settings = parse_settings(MDSettings, content["md"], "md of a round")
        starts = first_configurations(runs[0], settings.n_replicas)
        try:
            simulate(
                str(self._place(number) / "model"),
                starts[0] if len(starts) == 1 else starts,
                settings,
                output,
                restart=is_begun(output),
                progress=lambda one: self._say(
                    f"round {number}: dynamics", one.step, one.total_steps, f"{one.temperature_K:.0f} K"
                ),
                max_minutes=self.max_minutes,
            )
        except SimulationError as error:  # a model that fails has frames to learn from; one without frames does not
            self._say(f"round {number}: dynamics", 1, 1, f"failed: {error}")
        return _largest_and_share(run_extrapolation(read_run(output)))

    def _write(self, path: Path, text: str) -> None:
        with atomic_path(path, DatasetError) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _say(self, phase: str, done: int, total: int, note: str) -> None:
        if self.tell is not None:
            self.tell(phase, done, total, note)


def _largest_and_share(report: ExtrapolationReport | None) -> tuple[float, float] | None:
    return None if report is None else (round(report.largest, 4), round(report.share, 5))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
