"""How time series become spectra: written once, for functions, recipes and commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

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


Row = tuple[float, float, float]


def _number_or_tensor(value: Any) -> Any:
    """A number as it is; 3 numbers (xx yy zz) or 6 (xx yy zz yz xz xy), also as text between commas, as a matrix."""
    if isinstance(value, str):
        words = value.replace(",", " ").split()
        try:
            value = [float(word) for word in words]
        except ValueError:
            raise ValueError("a number, or 3 or 6 numbers between commas") from None
        value = value[0] if len(value) == 1 else value
    if not isinstance(value, list | tuple) or not all(isinstance(part, int | float) for part in value):
        return value
    if len(value) not in (3, 6):
        raise ValueError("a number, 3 of them (xx yy zz), 6 (xx yy zz yz xz xy) or a 3 x 3 matrix")
    xx, yy, zz, yz, xz, xy = (*value, 0.0, 0.0, 0.0)[:6]
    return ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))


def _at_least_one(value: Any) -> Any:
    """Refuse a material that answers less than vacuum, and a tensor that is not symmetric."""
    if value is None:
        return value
    tensor = np.asarray(value) * (np.eye(3) if np.ndim(value) == 0 else 1.0)
    if not np.allclose(tensor, tensor.T) or not np.linalg.eigvalsh(tensor)[0] >= 1.0:
        raise ValueError("at least 1 (of a tensor: symmetric, and every eigenvalue)")
    return value


NumberOrTensor = Annotated[
    float | tuple[Row, Row, Row] | None, BeforeValidator(_number_or_tensor), AfterValidator(_at_least_one)
]
"""A quantity of a material: a number, or the tensor [xyz, xyz] of a crystal."""


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
    eps_inf: Annotated[NumberOrTensor, Of(("ir", "dielectric"))] = Field(
        None,
        description="high-frequency dielectric constant, at least 1: a number, or a crystal's tensor as XX,YY,ZZ or "
        "XX,YY,ZZ,YZ,XZ,XY; None takes the run file's",
    )
    polarizations: Annotated[Literal["laboratory", "principal"], Of(("ir",))] = Field(
        "laboratory", description="polarizations of a tensor eps_inf: x, y, z, or its principal axes"
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
