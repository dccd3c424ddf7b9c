"""The file that ``spectra-app run`` reads: the whole chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from spectra_app.config.base import Settings, parse_settings
from spectra_app.config.harmonic import HarmonicSettings
from spectra_app.config.label_settings import LabelSettings
from spectra_app.config.md import MDSettings
from spectra_app.config.model_choice import CalculatorSettings, ModelChoice
from spectra_app.config.spectra import SpectraSettings
from spectra_app.config.training import TrainFile

LABELS_FILE, MODEL_FOLDER = "labels.extxyz", "model"  # in the folder of results


class RecipeLabels(LabelSettings):
    """Labels that a recipe makes for its own model."""

    structures: tuple[Path, ...] = Field(
        (), description="files of the structures to label or to sample from; none: the structure of the recipe"
    )
    calculator: str = Field(description="what labels them: 'ase:module:factory(arguments)', or a model")

    @property
    def sampling(self) -> LabelSettings:
        """The settings alone."""
        return LabelSettings(**{name: getattr(self, name) for name in LabelSettings.model_fields})


def harmonic_beside(harmonic: HarmonicSettings, spectra: SpectraSettings, md: MDSettings) -> HarmonicSettings:
    """Settings of normal modes beside dynamics: what they leave unsaid and the others say holds for both.

    Laser, prefactor, geometries, eps_inf, temperature: the two are to be compared.

    Args:
        harmonic: of the normal modes.
        spectra: of the spectra of the dynamics.
        md: of the dynamics.

    Raises:
        ConfigError: what ``spectra`` says is out of range here.
    """
    shared: dict[str, Any] = {}
    if "temperature_K" in md.model_fields_set and len(md.temperatures_K) == 1:
        shared["temperature_K"] = md.temperatures_K[0]
    shared["eps_inf"] = md.eps_inf
    said = spectra.model_dump(exclude_unset=True)
    shared |= {key: said[key] for key in said if key in HarmonicSettings.model_fields and said[key] is not None}
    if shared.get("prefactor") == "none":  # lines of modes have one
        del shared["prefactor"]
    known = {key: value for key, value in shared.items() if value is not None}
    return parse_settings(HarmonicSettings, {**known, **harmonic.model_dump(exclude_unset=True)}, "harmonic")


class RunFileSettings(Settings):
    """The file that ``spectra-app run`` reads: the whole chain."""

    model: str = Field("water", description="name in the zoo, folder of a model, or 'ase:module:factory(arguments)'")
    response: str | None = Field(
        None, description="a second model that gives dipoles and polarizabilities, named likewise"
    )
    calculator: CalculatorSettings = CalculatorSettings()
    labels: RecipeLabels | None = Field(
        None, description="labels for the training of the recipe, made first: structures, calculator, keys of 'label'"
    )
    train: TrainFile | None = Field(
        None,
        description="the model is trained first: sections 'model' and 'training' as of 'train'; data: the labels, "
        "output: folder 'model' of the results; plays no part where 'model' names another one",
    )
    structure: Path | None = Field(
        None,
        description="start structure (any ASE format), looked for in the working folder, then beside the recipe; None "
        "takes the model's own",
    )
    repeat: tuple[int, int, int] = Field(
        (1, 1, 1), description="repetitions of the start structure in the dynamics; normal modes are those of one"
    )
    runs: tuple[Path, ...] = Field(
        (),
        description="run files of one system to be merged, instead of new dynamics; 'md' plays no part",
    )
    output: Path = Field(Path("results"), description="folder of all results")
    md: MDSettings = MDSettings()
    spectra: SpectraSettings = SpectraSettings()
    harmonic: HarmonicSettings = HarmonicSettings()
    tasks: tuple[Literal["harmonic", "ir", "raman", "vdos", "dielectric", "born"], ...] = Field(
        ("ir", "raman", "vdos", "born"),
        description="what to compute: harmonic (normal modes; alone it needs no dynamics), spectra and Born charges of "
        "the dynamics",
    )
    reference: dict[str, Path] = Field(
        default_factory=dict, description="reference spectra to draw: {ir: file.csv}, found as the structure is"
    )

    @property
    def needs_dynamics(self) -> bool:
        """Whether a task is about dynamics."""
        return set(self.tasks) != {"harmonic"}

    def harmonic_settings(self) -> HarmonicSettings:
        """Those of ``harmonic``, with what ``spectra`` and ``md`` say for both.

        Raises:
            ConfigError: what ``spectra`` says is out of range here.
        """
        return harmonic_beside(self.harmonic, self.spectra, self.md)

    def beside(self, folder: Path) -> Self:
        """The recipe with structure and references that are not in the working folder, but in another one.

        Args:
            folder: of the recipe's file.
        """
        here: dict[str, Any] = {} if self.structure is None else {"structure": _found(self.structure, folder)}
        if self.labels is not None:
            found = tuple(_found(path, folder) for path in self.labels.structures)
            here["labels"] = self.labels.model_copy(update={"structures": found})
        return self.model_copy(
            update={**here, "reference": {kind: _found(path, folder) for kind, path in self.reference.items()}}
        )

    @model_validator(mode="before")
    @classmethod
    def _say_once(cls, data: Any) -> Any:
        """Where the labels and the model of a recipe are, unless it says so itself."""
        train = data.get("train") if isinstance(data, dict) else None
        if not isinstance(train, dict) or not isinstance(train.get("training") or {}, dict):
            return data
        folder = Path(data.get("output") or "results")
        training = {"output": str(folder / MODEL_FOLDER), **(train.get("training") or {})}
        if data.get("labels") is not None:
            training.setdefault("data", [str(folder / LABELS_FILE)])
        return {"model": str(training["output"]), **data, "train": {**train, "training": training}}

    @model_validator(mode="after")
    def _whole_chain(self) -> Self:
        if self.labels is not None and self.train is None:
            raise ValueError("train beside labels, which nothing else uses (spectra-app label makes labels alone)")
        if self.trains and self.structure is None and not self.runs:
            raise ValueError("a structure beside train: a model that is not there yet brings none")
        return self

    @property
    def trains(self) -> bool:
        """Whether the model is the one that the recipe trains."""
        return self.train is not None and Path(self.model) == self.train.training.output

    def choice(self, trust: bool = False, own: bool = True) -> ModelChoice:
        """The model, or the two.

        Args:
            trust: load pickled checkpoints; no recipe can say so.
            own: the names are the user's own words.
        """
        return ModelChoice(self.model, self.response, trust, own, self.calculator)


def _found(path: Path, folder: Path) -> Path:
    """A file (``FILE@INDEX`` too) of the working folder, or of another one where only that has it."""
    name = path.name.rpartition("@")[0] or path.name
    here = (path, path.with_name(name))
    there = (folder / path, folder / path.with_name(name))
    return there[0] if not any(p.is_file() for p in here) and any(p.is_file() for p in there) else path
