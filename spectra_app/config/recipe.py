"""The file that ``spectra-app run`` reads: the whole chain."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from spectra_app.config.base import Settings, parse_settings
from spectra_app.config.harmonic import HarmonicSettings
from spectra_app.config.md import MDSettings
from spectra_app.config.model_choice import CalculatorSettings, ModelChoice
from spectra_app.config.spectra import SpectraSettings


class RunFileSettings(Settings):
    """The file that ``spectra-app run`` reads: the whole chain."""

    model: str = Field("water", description="name in the zoo, folder of a model, or 'ase:module:factory(arguments)'")
    response: str | None = Field(
        None, description="a second model that gives dipoles and polarizabilities, named likewise"
    )
    calculator: CalculatorSettings = CalculatorSettings()
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
        """Those of ``harmonic``; what it leaves unsaid and ``spectra`` or ``md`` say holds for both.

        Laser, prefactor, geometries, eps_inf, temperature: normal modes and dynamics are to be compared.

        Raises:
            ConfigError: what ``spectra`` says is out of range here.
        """
        said = self.harmonic.model_dump(exclude_unset=True)
        spectra = self.spectra.model_dump(exclude_unset=True)
        shared = {key: spectra[key] for key in spectra if key in HarmonicSettings.model_fields}
        if shared.get("prefactor") == "none":  # lines of modes have one
            del shared["prefactor"]
        md = self.md.model_fields_set
        if "temperature_K" in md and len(self.md.temperatures_K) == 1:
            shared = {"temperature_K": self.md.temperatures_K[0]} | {k: v for k, v in shared.items() if v is not None}
        if "eps_inf" in md and self.md.eps_inf is not None:
            shared = {"eps_inf": self.md.eps_inf} | shared
        known = {key: value for key, value in shared.items() if value is not None}
        return parse_settings(HarmonicSettings, {**known, **said}, "harmonic")

    def beside(self, folder: Path) -> Self:
        """The recipe with structure and references that are not in the working folder, but in another one.

        Args:
            folder: of the recipe's file.
        """
        here = {} if self.structure is None else {"structure": _found(self.structure, folder)}
        return self.model_copy(
            update={**here, "reference": {kind: _found(path, folder) for kind, path in self.reference.items()}}
        )

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
