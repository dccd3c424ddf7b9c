"""One typed schema for every setting: defaults, validation and documentation in one place.

A YAML file mirrors the classes below; unknown keys are refused with the nearest known name, and every key can be
overridden from the command line (``-s md.steps=20000``).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spectra_app.errors import ConfigError

VariantName = Literal[
    "sr",
    "q",
    "u",
    "uQ",
    "uiq",
    "uiu",
    "uiqiu",
    "uQiqiu",
    "p",
    "pu",
    "puQ",
    "pip",
    "piu",
    "puiu",
    "puip",
    "puipiu",
    "puQipiu",
]


class Settings(BaseModel):
    """Base of all settings: frozen, and a key that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ModelSettings(Settings):
    """Architecture of a potential."""

    backbone: Literal["painn"] = Field("painn", description="message-passing architecture")
    variant: VariantName = Field("puQipiu", description="latent multipoles and responses (docs/theory.md)")
    channels: int = Field(64, ge=4, description="scalar and vector features per atom")
    layers: int = Field(2, ge=1, description="message-passing layers")
    rank: Literal[1, 2] = Field(2, description="highest rank of the features: 1 vectors, 2 also rank-2 tensors")
    products: bool = Field(True, description="vectors and tensors of an atom multiply into new tensors (rank 2)")
    cutoff_A: float = Field(4.0, gt=0, description="cutoff of the environment, A")
    n_radial: int = Field(8, ge=2, description="radial basis functions")
    sigma_A: float = Field(1.0, gt=0, description="Gaussian smearing of the multipoles, A")
    element_sigma_A: Literal["auto"] | dict[str, float] = Field(
        "auto",
        description="smearing of single elements, A, e.g. {I: 1.5}; auto: wider for soft ones (Cl, Br, I, S, Pb)",
    )
    ewald_tolerance: float = Field(1e-4, gt=0, lt=0.1, description="relative weight of the first neglected k vector")
    response: Literal["one-shot", "self-consistent"] = Field(
        "self-consistent", description="induced terms answer the permanent multipoles only, or each other too"
    )
    response_tolerance: float = Field(
        1e-5, gt=0, lt=0.1, description="relative residual of the self-consistent potentials and fields"
    )
    total_charge: Literal["fixed", "free"] = Field(
        "fixed",
        description="atomic charges (variants without p): shifted evenly to the total charge, or as they come",
    )
    alpha: Literal["scalar", "tensor", "bonds"] = Field(
        "tensor", description="atomic polarizability: a number or a tensor of the features, or a tensor of the bonds"
    )
    alpha_positive: bool = Field(
        True, description="keep every atomic polarizability positive definite (of the bonds: always)"
    )
    bounded_response: bool = Field(
        True, description="keep alpha and kappa below the values at which atoms could polarize each other without end"
    )
    bond_weight: Literal["gaussian", "switched"] = Field(
        "switched",
        description="what counts as a bond (kappa, alpha of bonds): exp(1 - (r/R)^2), or a switch that ends before "
        "hydrogen bonds begin",
    )
    oxidation_states: Literal["auto", "free"] | dict[str, int] = Field(
        "auto",
        description="variants with p: charge that every element carries through a cell, e, e.g. {Pb: 2, I: -1}; auto: "
        "the common ones where they explain the total charge of every frame; free: learned",
    )


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
    output: Path = Field(Path("model"), description="folder of the model being made")
    keys: DataKeys = DataKeys()
    validation_fraction: float = Field(0.06, gt=0, lt=0.9, description="share of frames held out for validation")
    test_fraction: float = Field(
        0.0, ge=0, lt=0.9, description="share of frames held out and evaluated once, at the end"
    )
    epochs: int = Field(500, ge=1, description="passes over the training frames")
    max_minutes: float | None = Field(None, gt=0, description="stop after this wall time; the schedule fits into it")
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
    device: str = Field("cpu", description="torch device")
    dtype: Literal["float32", "float64"] = Field("float32", description="floating-point type of the network")
    checkpoint_minutes: float = Field(2.0, gt=0, description="wall time between checkpoints for an exact resume")
    eps_inf: float | None = Field(
        None, ge=1, description="high-frequency dielectric constant of the material (index squared)"
    )
    description: str = Field("", description="the data in words, for the model card: what, level of theory, source")
    licence: str = Field("", description="licence of the data, for the model card")


class TrainFile(Settings):
    """The file that ``spectra-app train`` reads."""

    model: ModelSettings = ModelSettings()
    training: TrainingSettings


class MDSettings(Settings):
    """A molecular dynamics run."""

    ensemble: Literal["nve", "nvt", "npt"] = Field("nvt", description="ensemble of the recorded part")
    thermostat: Literal["bussi", "langevin"] = Field("bussi", description="thermostat of nvt and of equilibration")
    timestep_fs: float = Field(0.5, gt=0, le=10, description="time step, fs")
    temperature_K: float = Field(300.0, gt=0, description="temperature, K")
    pressure_GPa: float = Field(0.0, description="pressure of npt, GPa")
    thermostat_time_fs: float = Field(500.0, gt=0, description="coupling time of the thermostat, fs")
    barostat_time_fs: float = Field(1000.0, gt=0, description="coupling time of the barostat, fs")
    equilibration_steps: int = Field(2000, ge=0, description="steps before recording, always with a thermostat")
    steps: int = Field(20000, ge=1, description="recorded steps")
    replicas: int = Field(1, ge=1, description="independent copies with different velocities")
    record_stride: int = Field(1, ge=1, description="steps between recorded dipoles and polarizabilities")
    trajectory_stride: int = Field(4, ge=1, description="steps between stored positions and velocities")
    parts: Literal["none", "molecules", "atoms"] = Field(
        "none", description="also record what each molecule or atom contributes to dipole and polarizability"
    )
    skin_A: float = Field(0.5, ge=0, description="skin of the neighbour list, A")
    field_V_per_A: tuple[float, float, float] | None = Field(None, description="static external field, V/A")
    field_table: Path | None = Field(
        None, description="text table of an external field in time: fs, then x, y, z in V/A; 0 fs: recording begins"
    )
    seed: int = Field(0, description="seed of velocities and thermostat")
    device: str = Field("auto", description="torch device; auto takes a GPU where there is one")
    dtype: Literal["float32", "float64"] = Field("float32", description="floating-point type of the network")
    eps_inf: float | None = Field(
        None, ge=1, description="high-frequency dielectric constant; None takes the model card's"
    )


@dataclass(frozen=True)
class Of:
    """Which commands take a setting; one that is not marked so is taken by all.

    Attributes:
        kinds: names of the commands.
        flags: on the command line, where they are not the name of the setting.
    """

    kinds: tuple[str, ...]
    flags: tuple[str, ...] = ()


class SpectraSettings(Settings):
    """How time series become spectra: the one place of these settings, their defaults, limits and descriptions.

    The options of the commands, the keys of a recipe and the arguments of ``run_spectrum`` are made from it, and a
    setting goes to the argument of its name of the function of a spectrum.
    """

    resolution_per_cm: float = Field(20.0, gt=0, description="wanted resolution (full width of the window), cm^-1")
    window: Literal["hann", "gaussian", "blackman", "none"] = Field("hann", description="lag or segment window")
    max_wavenumber_per_cm: float = Field(4500.0, gt=0, description="end of the tables and figures, cm^-1")
    laser_nm: Annotated[float, Of(("raman", "parts"))] = Field(
        532.0, gt=0, description="wavelength of the Raman laser, nm"
    )
    temperature_K: Annotated[float | None, Of(("ir", "raman", "dielectric", "parts", "sfg"))] = Field(
        None, gt=0, description="temperature, K; None takes the run file's"
    )
    eps_inf: Annotated[float | None, Of(("ir", "dielectric"))] = Field(
        None, ge=1, description="high-frequency dielectric constant; None takes the run file's"
    )
    volume_A3: Annotated[float | None, Of(("ir", "dielectric", "parts"))] = Field(
        None,
        gt=0,
        description="volume, A^3, that a spectrum refers to; None takes the file's: a slab has none and needs one, a "
        "table without one is a molecule",
    )
    blocks: int = Field(5, ge=2, description="blocks for error bars")
    method: Annotated[Literal["welch", "lag", "cepstral"], Of(("ir", "raman", "vdos", "dielectric", "sfg"))] = Field(
        "welch", description="estimator of the spectrum"
    )
    derivative: Literal["difference", "direct"] = Field(
        "difference", description="time derivative: corrected forward differences, or omega^2 times the density"
    )
    correct_timestep: bool = Field(
        True,
        description="take the known effect of the integrator's time step off wavenumbers and intensities of a run "
        "of md; series of other codes are left as they are",
    )
    overlap: float = Field(0.5, ge=0, lt=1, description="share that neighbouring segments have in common (welch)")
    zero_padding: int = Field(4, ge=2, description="points of the table per independent point of the spectrum")
    precision: float = Field(0.1, gt=0, description="wanted relative error of the bands, for the verdict on length")
    prefactor: Annotated[Literal["stokes", "reduced", "none"], Of(("raman", "parts"))] = Field(
        "stokes", description="prefactor of the Raman spectrum"
    )
    geometries: Annotated[tuple[str, ...], Of(("raman",), ("--geometry", "-g"))] = Field(
        (), description="Raman geometries in Porto notation, e.g. z(xx)z"
    )
    quantum_factor: Annotated[Literal["none", "harmonic", "standard", "schofield"], Of(("ir", "sfg"))] = Field(
        "none", description="exchange the harmonic quantum correction, contained already, for another one"
    )
    mean: Annotated[Literal["zero", "replica", "pooled"] | None, Of(("dielectric",))] = Field(
        None,
        description="mean of the dipole in the static constant; None takes zero, by symmetry (of rates: a replica's)",
    )
    n_molecules: Annotated[float | None, Of(("ir",))] = Field(
        None, gt=0, description="molecules in the cell, for molar quantities"
    )


class RunFileSettings(Settings):
    """The file that ``spectra-app run`` reads: the whole chain."""

    model: str = Field("water", description="name in the zoo or folder of a model")
    structure: Path | None = Field(None, description="start structure (any ASE format); None takes the model's own")
    repeat: tuple[int, int, int] = Field((1, 1, 1), description="repetitions of the start structure")
    output: Path = Field(Path("results"), description="folder of all results")
    md: MDSettings = MDSettings()
    spectra: SpectraSettings = SpectraSettings()
    tasks: tuple[Literal["ir", "raman", "vdos", "dielectric", "born"], ...] = Field(
        ("ir", "raman", "vdos", "born"), description="what to compute"
    )
    reference: dict[str, Path] = Field(default_factory=dict, description="reference spectra to draw: {ir: file.csv}")


S = TypeVar("S", bound=Settings)


def load_settings(schema: type[S], path: Path | str, overrides: Sequence[str] = ()) -> S:
    """Read a YAML file into its schema; relative paths in it stay relative to the working folder.

    Args:
        schema: the class the file mirrors.
        path: YAML file.
        overrides: ``"section.key=value"`` strings, values in YAML syntax.

    Raises:
        ConfigError: no such file, not YAML, unknown key, or a value out of range.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"configuration {path}", got="no such file", wanted="a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path}", got=f"not YAML ({error})", wanted="key: value lines") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"configuration {path}", got=type(data).__name__, wanted="key: value lines at the top level")
    for override in overrides:
        apply_override(data, override)
    return parse_settings(schema, data, str(path))


def apply_override(data: dict[str, Any], override: str) -> None:
    """Set one ``section.key=value`` in a nested mapping.

    Raises:
        ConfigError: the override is not of that form, or names a section that is a value.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError("override", got=repr(override), wanted="section.key=value", todo="Example: -s md.steps=20000")
    *sections, key = dotted.strip().split(".")
    node = data
    for section in sections:
        node = node.setdefault(section, {})
        if not isinstance(node, dict):
            raise ConfigError(f"override {override}", got=f"'{section}' is a value", wanted="a section")
    try:
        node[key] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override {override}", got=repr(text), wanted="a YAML value") from None


def parse_settings(schema: type[S], data: dict[str, Any], source: str = "settings") -> S:
    """Validate a nested mapping; the first fault becomes one clear line.

    Raises:
        ConfigError: unknown key (with the nearest known name), wrong type, or value out of range.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        fault = error.errors()[0]
    where = [str(part) for part in fault["loc"]]
    name = ".".join(where)
    if fault["type"] == "extra_forbidden":
        known = _known_keys(schema, where[:-1])
        near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.5)
        todo = f"Did you mean '{near[0]}'?" if near else f"Known keys: {', '.join(known)}"
        raise ConfigError(f"{source}: {name}", got="unknown key", todo=todo)
    if fault["type"] == "missing":
        raise ConfigError(f"{source}: {name}", got="nothing", wanted="a value", todo="The key has no default")
    wanted = fault["msg"][:1].lower() + fault["msg"][1:]  # the rest may be names, in which capitals count
    raise ConfigError(f"{source}: {name}", got=repr(fault["input"]), wanted=wanted)


def _known_keys(schema: type[BaseModel], where: Sequence[str]) -> list[str]:
    """Keys that the section at a dotted place accepts."""
    node: type[BaseModel] = schema
    for part in where:
        annotation = node.model_fields[part].annotation if part in node.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        node = annotation
    return list(node.model_fields)
