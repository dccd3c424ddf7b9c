"""A periodic sum in two parts: pairs directly, and a smooth rest with few vectors.

    T_sigma = (T_sigma - T_Sigma) + T_Sigma

with a wide kernel Sigma.  T_sigma - T_Sigma ~ erfc(r/(sqrt2 Sigma))/r is short: of a cluster with vacuum on all sides
only its own pairs have it, in a dense cell those within a few Sigma (``near``); the lattice sum of T_Sigma needs
vectors up to x/Sigma where that of sigma needs x/sigma.  The part of k = 0, which a tinfoil boundary leaves out and the
sum of pairs does not, is taken out again:

    U = U_pairs(sigma) - U_pairs(Sigma) + U_k(Sigma) - (1/(2 eps0 V)) (1/2) sum_ij q_i q_j (Sigma^2 - sigma_ij^2),

all without self-terms; sigma_ij^2 = (sigma_i^2 + sigma_j^2)/2.  Higher multipoles carry a power of k and have no such
part.  The splitting is Ewald's (Ann. Phys. 369, 253 (1921), DOI 10.1002/andp.19213690304), its pairs without images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.protocol import Interaction
from spectra_app.electrostatics.smearing import Smearing, by_atom
from spectra_app.structure.system import System, sum_by_structure
from spectra_app.units import EPSILON_0


def compacted(system: System, shifts: Tensor) -> System:
    """The batch with its atoms moved by cell vectors.

    Args:
        system: the structures.
        shifts: [atom, vector], integers.
    """
    if system.n_structures == 1:
        return system._replace(positions=system.positions + shifts @ system.cell[0])
    moved = (shifts[:, None] @ system.cell[system.batch])[:, 0]
    return system._replace(positions=system.positions + moved)


class Uniform(NamedTuple):
    """What the sums of pairs and of vectors of one structure leave out, for compiled loops.

    Attributes:
        excess: [atom], A^2, Sigma^2 - sigma_i^2.
        background: V/(e A^2), 1/(4 eps0 V).
        heights: [atom], A, above the middle of a slab; zeros in a cell, as all that follows (``slab``).
        normal: [xyz], of the slab.
        wider: [atom], A^2, sigma^2/2 beyond that of the narrowest cloud.
        slab: V/(e A), 1/(eps0 V).
        level: A^2, by which a net charge lowers the potential everywhere, L^2/12 + sigma^2/2.
    """

    excess: np.ndarray
    background: float
    heights: np.ndarray
    normal: np.ndarray
    wider: np.ndarray
    slab: float
    level: float


class SplitInteraction:
    """The interaction of smeared multipoles in periodic cells as a short and a smooth part; see ``Interaction``.

    Args:
        system: the structures.
        near: the interaction T_sigma - T_Sigma of their pairs: of a cluster in one piece, or of a cell with images.
        far: the lattice sum of T_Sigma.
        sigma: smearing, A, of all atoms or by classes.
        wide: A, width of the wide kernel.

    Attributes:
        near: as given.
        far: as given.
    """

    def __init__(
        self, system: System, near: Interaction, far: Interaction, sigma: float | Smearing, wide: float
    ) -> None:
        self._system, self.near, self.far = system, near, far
        self._background = (0.25 / (EPSILON_0 * system.volume))[system.batch][:, None]  # [atom, 1]
        excess = wide**2 - by_atom(sigma, 2, system.positions)
        self._excess = excess[:, None] if isinstance(excess, Tensor) else excess

    @property
    def uniform(self) -> Uniform:
        """Of one structure on the CPU: its part of k = 0 in compiled loops."""
        positions = self._system.positions.detach().numpy()
        n_atoms, dtype = len(positions), positions.dtype
        excess = self._excess.detach().numpy()[:, 0] if isinstance(self._excess, Tensor) else self._excess
        zeros = np.zeros(n_atoms, dtype)
        return Uniform(
            np.full(n_atoms, excess, dtype), float(self._background[0]), zeros, np.zeros(3, dtype), zeros, 0.0, 0.0
        )

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``."""
        return Electrostatics(self.energy(multipoles), *self.potentials(multipoles))

    def potentials(self, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        near, far = self.near.potentials(multipoles), self.far.potentials(multipoles)
        return near[0] + far[0] + self._uniform(multipoles.charges[:, None])[:, 0], near[1] + far[1]

    def energy(self, multipoles: Multipoles) -> Tensor:
        """See ``Interaction``."""
        uniform = multipoles.charges * self._uniform(multipoles.charges[:, None])[:, 0]
        energy = self.near.energy(multipoles) + self.far.energy(multipoles)
        return energy + 0.5 * sum_by_structure(uniform, self._system)

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        near, far = self.near.act(charges, dipoles), self.far.act(charges, dipoles)
        potential = near[0] + far[0]
        if charges is not None:
            potential = potential + self._uniform(charges)
        return potential, near[1] + far[1]

    def _uniform(self, charges: Tensor) -> Tensor:
        """Potential [atom, source] of the part of k = 0."""
        batch = self._system.batch
        total = sum_by_structure(charges, self._system)[batch]
        spread = sum_by_structure(charges * self._excess, self._system)[batch]
        return -self._background * (total * self._excess + spread)
