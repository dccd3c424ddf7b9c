"""The width of every atom's charge cloud, one for all or one for each class of atoms.

    rho_i(r) ~ exp(-r^2/sigma_i^2),     T_ij(r) = erf(r/(sqrt2 sigma_ij))/r,     sigma_ij^2 = (sigma_i^2 + sigma_j^2)/2

In Fourier space the factors separate, exp(-sigma_ij^2 k^2/2) = exp(-sigma_i^2 k^2/4) exp(-sigma_j^2 k^2/4), so atoms of
one width share their sums.  Wherever a width is asked for, one number stands for all atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from spectra_app.errors import ConfigError
from spectra_app.structure.loops import may_use_loops


@dataclass(frozen=True, eq=False)
class Smearing:
    """Classes of atoms that are smeared alike.

    Attributes:
        widths: A, one for every class; on the host, so that nothing has to be read back to know how many there are.
        classes: [atom], place of the atom's width in ``widths``.
    """

    widths: tuple[float, ...]
    classes: Tensor

    def __post_init__(self) -> None:
        if not self.widths or not min(self.widths) > 0.0:
            raise ConfigError("smearing", got=self.widths, wanted="widths above 0 A, one for each class of atoms")

    def is_of(self, place: int) -> Tensor:
        """Which atoms [atom] have the width in this place."""
        return self.classes == place


def simplified(sigma: float | Smearing) -> float | Smearing:
    """One number where all atoms of the batch have the same width, else only the classes that occur.

    On a GPU classes that do not occur stay: to find them something would have to be read back.

    Args:
        sigma: A, or classes of atoms.
    """
    if isinstance(sigma, float | int):
        return float(sigma)
    if len(set(sigma.widths)) == 1:
        return sigma.widths[0]
    if not may_use_loops(sigma.classes.device):
        return sigma
    occur = torch.bincount(sigma.classes, minlength=len(sigma.widths)).tolist()
    widths = sorted({width for width, n in zip(sigma.widths, occur, strict=True) if n})
    if len(widths) == 1:
        return widths[0]
    place = torch.tensor([widths.index(w) if n else 0 for w, n in zip(sigma.widths, occur, strict=True)])
    return Smearing(tuple(widths), place[sigma.classes])


def narrowest(sigma: float | Smearing) -> float:
    """The smallest width, A."""
    return min(sigma.widths) if isinstance(sigma, Smearing) else sigma


def widest(sigma: float | Smearing) -> float:
    """The largest width, A."""
    return max(sigma.widths) if isinstance(sigma, Smearing) else sigma


def of_atoms(sigma: float | Smearing, atoms: Tensor) -> float | Smearing:
    """The widths of some of the atoms.

    Args:
        sigma: A, or classes of atoms.
        atoms: [selected], which.
    """
    return Smearing(sigma.widths, sigma.classes[atoms]) if isinstance(sigma, Smearing) else sigma


@overload
def by_atom(sigma: float, power: int, like: Tensor) -> float: ...
@overload
def by_atom(sigma: Smearing, power: int, like: Tensor) -> Tensor: ...
@overload
def by_atom(sigma: float | Smearing, power: int, like: Tensor) -> float | Tensor: ...
def by_atom(sigma: float | Smearing, power: int, like: Tensor) -> float | Tensor:
    """Powers of the widths, sigma^power: [atom], or one number for all.

    Args:
        sigma: A, or classes of atoms.
        power: the exponent.
        like: a tensor of the wanted dtype and device.
    """
    if not isinstance(sigma, Smearing):
        return sigma**power
    # By scalars, not by a table: no number travels to the device, and a captured graph can hold this.
    values = torch.full_like(sigma.classes, 0, dtype=like.dtype)
    for place, width in enumerate(sigma.widths):
        values = torch.where(sigma.is_of(place), width**power, values)
    return values
