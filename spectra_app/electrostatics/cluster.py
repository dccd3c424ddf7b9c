"""A cluster in a periodic cell with vacuum on all sides: pairs directly, and a smooth rest with few vectors.

    T_sigma = (T_sigma - T_Sigma) + T_Sigma

with a wide kernel Sigma.  T_sigma - T_Sigma ~ erfc(r/(sqrt2 Sigma))/r does not reach across the vacuum, so only the
pairs of the cluster itself have it; the lattice sum of T_Sigma needs vectors up to x/Sigma where that of sigma needs
x/sigma.  The part of k = 0, which a tinfoil boundary leaves out and the sum of pairs does not, is taken out again:

    U = U_pairs(sigma) - U_pairs(Sigma) + U_k(Sigma) - (1/(2 eps0 V)) (1/2) sum_ij q_i q_j (Sigma^2 - sigma_ij^2),

all without self-terms; sigma_ij^2 = (sigma_i^2 + sigma_j^2)/2.  Higher multipoles carry a power of k and have no such
part.  The splitting is Ewald's (Ann. Phys. 369, 253 (1921), DOI 10.1002/andp.19213690304), its pairs without images.
"""

from __future__ import annotations

from torch import Tensor

from spectra_app.electrostatics.direct import DirectInteraction
from spectra_app.electrostatics.lattice import KVectors
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.reciprocal import ReciprocalInteraction
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


class ClusterInteraction:
    """The interaction of smeared multipoles in clusters in periodic cells; see ``Interaction``.

    Args:
        system: the structures, each cluster in one piece.
        k: reciprocal vectors of the wide kernel.
        sigma: smearing, A, of all atoms or by classes.
        wide: A, width of the wide kernel.
        highest_rank: 0 for charges, 1 with dipoles, 2 with quadrupoles.
    """

    def __init__(self, system: System, k: KVectors, sigma: float | Smearing, wide: float, highest_rank: int) -> None:
        self._system = system
        self._near = DirectInteraction(system, sigma, highest_rank, less=wide)
        self._far = ReciprocalInteraction(system, k, wide)
        self._background = (0.25 / (EPSILON_0 * system.volume))[system.batch][:, None]  # [atom, 1]
        excess = wide**2 - by_atom(sigma, 2, system.positions)
        self._excess = excess[:, None] if isinstance(excess, Tensor) else excess

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``."""
        near, far = self._near.permanent(multipoles), self._far.permanent(multipoles)
        uniform = self._uniform(multipoles.charges[:, None])[:, 0]
        energy = near.energy + far.energy + 0.5 * sum_by_structure(multipoles.charges * uniform, self._system)
        return Electrostatics(energy, near.potential + far.potential + uniform, near.field + far.field)

    def energy(self, multipoles: Multipoles) -> Tensor:
        """See ``Interaction``."""
        uniform = multipoles.charges * self._uniform(multipoles.charges[:, None])[:, 0]
        energy = self._near.energy(multipoles) + self._far.energy(multipoles)
        return energy + 0.5 * sum_by_structure(uniform, self._system)

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        near, far = self._near.act(charges, dipoles), self._far.act(charges, dipoles)
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
