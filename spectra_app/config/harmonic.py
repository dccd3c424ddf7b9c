"""The harmonic limit: relaxation, derivatives, and what is drawn of the modes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from spectra_app.config.base import Settings
from spectra_app.config.spectra import NumberOrTensor, Of, Row


class HarmonicSettings(Settings):
    """How normal modes are computed and shown: options of the command, keys of a recipe, arguments in Python."""

    relax: Literal["no", "positions", "volume", "cell"] = Field(
        "positions", description="what is relaxed first: positions, also the cell's shape at its volume, or all of it"
    )
    force_eV_per_A: float = Field(1e-4, gt=0, description="largest force that relaxation leaves, eV/A")
    max_steps: int = Field(500, ge=1, description="steps of the relaxation")
    symmetry: bool = Field(True, description="keep a crystal's space group in the relaxation (needs spglib)")
    primitive: bool = Field(False, description="reduce a crystal to its primitive cell (needs spglib)")
    method: Literal["exact", "differences"] = Field(
        "exact", description="second derivatives by automatic differentiation, or by central differences of forces"
    )
    step_A: float | None = Field(None, gt=0, description="of the differences, A; null: 0.001 of float64, else 0.01")
    masses: dict[str, float] = Field(
        {}, description="masses of elements or of single atoms by their place, amu, e.g. {H: 2.014, 3: 18.0}"
    )
    eps_inf: NumberOrTensor = Field(
        None, description="high-frequency dielectric constant or tensor of a crystal; null: the model's"
    )
    damping_per_cm: float = Field(10.0, gt=0, description="full width of the lines at half maximum, cm^-1")
    directions: tuple[Row, ...] = Field(
        ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        description="Cartesian directions of waves for which longitudinal modes are given",
    )
    geometries: Annotated[tuple[str, ...], Of(("harmonic",), ("--geometry", "-g"))] = Field(
        (), description="Raman geometries of an oriented crystal, e.g. z(xx)z"
    )
    supercell: tuple[int, int, int] | None = Field(
        None, description="repetitions of a crystal's cell for phonons (needs phonopy): bands and density of states"
    )
    temperature_K: float = Field(300.0, gt=0, description="of Raman intensities and thermochemistry, K")
    pressure_bar: float = Field(1.0, gt=0, description="of the thermochemistry of a molecule, bar")
    symmetry_number: int = Field(1, ge=1, description="rotational symmetry number of a molecule (water: 2)")
    spin: float = Field(0.0, ge=0, description="total electronic spin of a molecule (a singlet: 0)")
    laser_nm: float = Field(532.0, gt=0, description="wavelength of the Raman laser, nm")
    prefactor: Literal["stokes", "reduced"] = Field("stokes", description="prefactor of the Raman spectrum")
    max_wavenumber_per_cm: float | None = Field(
        None, gt=0, description="end of the tables, cm^-1; null: above the highest mode"
    )

    @field_validator("relax", mode="before")
    @classmethod
    def _no_is_a_word(cls, value: Any) -> Any:
        """YAML takes a bare ``no`` for false."""
        return "no" if value is False else value
