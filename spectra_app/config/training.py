"""Labels, loss and schedule of a training; the file that ``spectra-app train`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from spectra_app.config.base import Settings
from spectra_app.config.model import ModelSettings


class DataKeys(Settings):
    """Names and units of the labels in an extended-XYZ file."""

    energy: str = Field("energy", description="key of the total energy in the comment line")
    forces: str = Field("forces", description="column of the forces")
    stress: str = Field("stress", description="key of the stress in the comment line (used where present)")
    charge: str = Field("charge", description="key of the total charge, e")
    energy_unit: Literal["eV", "Hartree", "Ry", "kcal/mol", "kJ/mol"] = Field("eV", description="unit of the energy")
    length_unit: Literal["A", "Bohr", "nm"] = Field("A", description="unit of positions and cell")
    stress_unit: Literal["eV/A^3", "GPa", "kbar"] = Field("eV/A^3", description="unit of the stress")


class LossSettings(Settings):
    """Weights of the loss; each ramps linearly from the first to the second number over ``ramp`` of the training."""

    energy: tuple[float, float] = Field(
        (0.03, 0.3), description="weight of the squared energy error over the number of atoms"
    )
    forces: tuple[float, float] = Field((1.0, 1.0), description="weight of the squared force error")
    stress: tuple[float, float] = Field(
        (0.01, 0.01),
        description="weight of the squared virial error over the number of atoms, where stress is labelled",
    )
    ramp: tuple[float, float] = Field((0.6, 0.8), description="the ramp begins and ends at these fractions of training")


class TrainingSettings(Settings):
    """How a potential is trained."""

    data: tuple[Path, ...] = Field(description="extended-XYZ files with energies and forces")
    validation_data: tuple[Path, ...] = Field(
        (), description="files to validate on instead of validation_fraction of the data, which are all trained on"
    )
    test_data: tuple[Path, ...] = Field(
        (), description="files to evaluate once, at the end, instead of test_fraction of the data"
    )
    output: Path = Field(Path("model"), description="folder of the model being made")
    keys: DataKeys = DataKeys()
    start: str | None = Field(
        None,
        description="model whose weights the training begins with (name in the zoo, or folder): fine-tuning; on its "
        "own data keep its seed and fractions, or it has seen the frames held out",
    )
    init_from: Path | None = Field(
        None,
        description="trained model of another library whose weights the short-range part begins with, of the kind that "
        "model.backbone names; its architecture is taken from it (docs/backbones.md)",
    )
    init_head: str | None = Field(None, description="which of several sets of energies in init_from")
    short_range_rate: float | None = Field(
        None,
        ge=0,
        description="learning rate of the short-range part as a share of learning_rate; 0 freezes it; null: 1, and "
        "0.05 with init_from",
    )
    validation_fraction: float = Field(0.06, gt=0, lt=0.9, description="share of frames held out for validation")
    test_fraction: float = Field(
        0.0, ge=0, lt=0.9, description="share of frames held out and evaluated once, at the end"
    )
    epochs: int = Field(500, ge=1, description="passes over the training frames")
    max_minutes: float | None = Field(None, gt=0, description="stop after this time; the schedule fits into it")
    clock: Literal["wall", "cpu"] = Field(
        "wall",
        description="time that max_minutes counts: on the wall, or of the process, which other work does not touch",
    )
    batch_size: int = Field(2, ge=1, description="structures per optimizer step")
    optimizer: Literal["muon", "adam"] = Field(
        "muon", description="muon: orthogonalized momentum for matrices, Adam for the rest; adam: AMSGrad for all"
    )
    learning_rate: float = Field(5e-3, gt=0, description="peak learning rate")
    final_learning_rate: float = Field(2e-5, gt=0, description="learning rate at the end of the cosine")
    warmup: float = Field(0.01, ge=0, lt=1, description="share of the training over which the learning rate rises")
    response_start: float = Field(
        0.0, ge=0, lt=1, description="share of the training before which alpha and kappa keep their first values"
    )
    loss: LossSettings = LossSettings()
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the exponential moving average of the weights")
    clip: float = Field(10.0, gt=0, description="largest norm of the gradient")
    patience: int = Field(200, ge=1, description="epochs without a better validation loss before stopping")
    seed: int = Field(0, description="seed of the split, the initial weights and the order of frames")
    split_seed: int | None = Field(
        None, description="seed of the split alone: the same frames are held out whatever seed is; null: seed"
    )
    device: str = Field("cpu", description="torch device")
    dtype: Literal["float32", "float64"] = Field("float32", description="floating-point type of the network")
    checkpoint_minutes: float = Field(2.0, gt=0, description="wall time between checkpoints for an exact resume")
    check_charges: bool = Field(
        True, description="see at the end whether the data determine the charges at all (some per cent of the time)"
    )
    eps_inf: float | None = Field(
        None, ge=1, description="high-frequency dielectric constant of the material (index squared)"
    )
    description: str = Field("", description="the data in words, for the model card: what, level of theory, source")
    licence: str = Field("", description="licence of the data, for the model card")

    @model_validator(mode="after")
    def _one_beginning(self) -> TrainingSettings:
        if self.start is not None and self.init_from is not None:
            raise ValueError("start or init_from, not both")
        if self.init_head is not None and self.init_from is None:
            raise ValueError("init_head together with init_from")
        return self

    @property
    def seed_of_split(self) -> int:
        """Seed that divides the frames."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def short_range_share(self) -> float:
        """``short_range_rate``, or what it is by default."""
        default = 1.0 if self.init_from is None else 0.05
        return default if self.short_range_rate is None else self.short_range_rate


class TrainFile(Settings):
    """The file that ``spectra-app train`` reads."""

    model: ModelSettings = ModelSettings()
    training: TrainingSettings
