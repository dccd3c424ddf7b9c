"""The record of latent multipoles, what each named variant holds, and the dense layout of a batch.

Variants (docs/theory.md): a letter before ``i`` is a permanent multipole, one after ``i`` an induced one; ``q`` means
independent atomic charges, ``p`` charges moved between neighbours, which conserve the total charge exactly; ``eq``
instead of ``iq``: induced atomic charges that equilibrate over the whole structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from spectra_app.config import VariantName
from spectra_app.errors import ConfigError
from spectra_app.structure.system import System

VARIANTS: tuple[str, ...] = get_args(VariantName)  # listed once, in the schema


@dataclass(frozen=True)
class Variant:
    """What a variant's name says.

    Attributes:
        name: one of ``VARIANTS``.
        charges: ``"none"``, ``"atomic"`` (the paper's form) or ``"pair"`` (charge-conserving).
        dipoles: permanent atomic dipoles.
        quadrupoles: permanent atomic quadrupoles.
        induced_charges: response of the charges (in the form of ``charges``).
        induced_dipoles: response of atomic dipoles.
        equilibrates: induced atomic charges share one chemical potential, by which they conserve the total charge.
    """

    name: str
    charges: str
    dipoles: bool
    quadrupoles: bool
    induced_charges: bool
    induced_dipoles: bool
    equilibrates: bool

    @property
    def electrostatic(self) -> bool:
        """Whether there is any long-range term."""
        return self.charges != "none"

    @property
    def responds(self) -> bool:
        """Whether anything is induced."""
        return self.induced_charges or self.induced_dipoles

    @property
    def highest_rank(self) -> int:
        """Rank of the highest permanent multipole: 0 charge, 1 dipole, 2 quadrupole."""
        return 2 if self.quadrupoles else 1 if self.dipoles else 0


def parse_variant(name: str) -> Variant:
    """Read a variant's name.

    Raises:
        ConfigError: the name is not one of ``VARIANTS``.
    """
    if name not in VARIANTS:
        raise ConfigError("variant", got=repr(name), wanted=f"one of {', '.join(VARIANTS)}")
    equilibrates = "eq" in name
    permanent, _, _ = name.partition("eq" if equilibrates else "i")
    charges = "none" if name == "sr" else "pair" if name.startswith("p") else "atomic"
    return Variant(
        name=name,
        charges=charges,
        dipoles="u" in permanent,
        quadrupoles="Q" in permanent,
        induced_charges=equilibrates or "iq" in name or "ip" in name,
        induced_dipoles="iu" in name,
        equilibrates=equilibrates,
    )


class Multipoles(NamedTuple):
    """Permanent latent multipoles; ``None`` where the variant has none.

    Attributes:
        charges: [atom], e.
        dipoles: [atom, xyz], e A.
        quadrupoles: [atom, xyz, xyz], e A^2, traceless and symmetric; the energy holds (1/2) Q : grad grad.
    """

    charges: Tensor
    dipoles: Tensor | None = None
    quadrupoles: Tensor | None = None


class Dense(NamedTuple):
    """Where each atom of a batch stands in a padded [structure, place] table.

    Attributes:
        atom: [structure * place], atom in that place (0 where padded).
        mask: [structure, place], True where an atom stands; None when no structure is padded.
        flat: [atom], the atom's place in the flattened table.
        shape: (structures, places).
    """

    atom: Tensor
    mask: Tensor | None
    flat: Tensor
    shape: tuple[int, int]


def dense_layout(system: System) -> Dense:
    """Layout that gives every structure of the batch its own row."""
    n_places = max(system.sizes)
    device = system.positions.device
    shape = (system.n_structures, n_places)
    if len(set(system.sizes)) == 1:
        everyone = torch.arange(len(system.positions), device=device)
        return Dense(everyone, None, everyone, shape)
    sizes = torch.tensor(system.sizes, device=device)
    starts = torch.cumsum(sizes, 0) - sizes
    place = torch.arange(n_places, device=device)
    mask = place[None, :] < sizes[:, None]
    index = torch.where(mask, starts[:, None] + place[None, :], torch.zeros_like(place)[None, :])
    flat = torch.nonzero(mask.reshape(-1))[:, 0]
    return Dense(index.reshape(-1), mask, flat, shape)


def to_dense(values: Tensor, layout: Dense) -> Tensor:
    """[atom, ...] -> [structure, place, ...], zero where padded."""
    if layout.mask is None:
        return values.reshape(*layout.shape, *values.shape[1:])
    rows = values.index_select(0, layout.atom).reshape(*layout.shape, *values.shape[1:])
    return rows * layout.mask.reshape(*layout.shape, *([1] * (values.dim() - 1)))


def from_dense(rows: Tensor, layout: Dense) -> Tensor:
    """[structure, place, ...] -> [atom, ...]."""
    flat = rows.reshape(-1, *rows.shape[2:])
    return flat if layout.mask is None else flat.index_select(0, layout.flat)


class Electrostatics(NamedTuple):
    """Energy of the permanent multipoles, and the potential and field they make at one another.

    Attributes:
        energy: [structure], eV.
        potential: [atom], V; Phi_i = dU/dq_i, the atom's own smeared self-term excluded.
        field: [atom, xyz], V/A; E_i = -dU/du_i, likewise.
    """

    energy: Tensor
    potential: Tensor
    field: Tensor
