"""The file that ``spectra-app run`` reads: the whole chain."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from spectra_app.config.base import Settings
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
    structure: Path | None = Field(None, description="start structure (any ASE format); None takes the model's own")
    repeat: tuple[int, int, int] = Field((1, 1, 1), description="repetitions of the start structure")
    runs: tuple[Path, ...] = Field(
        (),
        description="run files of one system to be merged, instead of new dynamics; 'structure' and 'md' play no part",
    )
    output: Path = Field(Path("results"), description="folder of all results")
    md: MDSettings = MDSettings()
    spectra: SpectraSettings = SpectraSettings()
    tasks: tuple[Literal["ir", "raman", "vdos", "dielectric", "born"], ...] = Field(
        ("ir", "raman", "vdos", "born"), description="what to compute"
    )
    reference: dict[str, Path] = Field(default_factory=dict, description="reference spectra to draw: {ir: file.csv}")

    def choice(self, trust: bool = False, own: bool = True) -> ModelChoice:
        """The model, or the two.

        Args:
            trust: load pickled checkpoints; no recipe can say so.
            own: the names are the user's own words.
        """
        return ModelChoice(self.model, self.response, trust, own, self.calculator)
