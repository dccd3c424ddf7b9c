"""How time series become spectra: written once, for functions, recipes and commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from spectra_app.config.base import Settings


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
