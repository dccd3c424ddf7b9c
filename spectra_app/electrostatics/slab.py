"""Slabs: what a sum that is periodic in three dimensions has to be corrected by to describe two.

    U = (1/(2 eps0 V)) ( M^2 - Q G - Q^2 L^2/12 )
    Q = sum q,   M = sum (q z + u_z),   G = sum (q (z^2 + sigma^2/2) + 2 u_z z + Q_zz)

z along the normal, L the height of the cell, V its volume with the vacuum.  The first term removes the field that the
periodic images of a dipolar slab and the tinfoil boundary make (Yeh, Berkowitz, J. Chem. Phys. 111, 3155 (1999), DOI
10.1063/1.479595); the others the uniform background of a net latent charge, which the atomic family may have
(Ballenegger, Arnold, Cerda, J. Chem. Phys. 131, 094107 (2009), DOI 10.1063/1.3216473).  What is left decays as
exp(-2 pi gap/width) with the vacuum.

Between two heights of the cell, L and a larger L', V and V', the energies of the same layer differ by the difference of
their corrections: U' = U + (1/(2 eps0)) (1/V - 1/V') (M^2 - Q G + Q^2 L L'/12).
"""

from __future__ import annotations

import torch
from torch import Tensor

from spectra_app.electrostatics.cluster import SplitInteraction, Uniform
from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles
from spectra_app.electrostatics.protocol import Interaction
from spectra_app.electrostatics.smearing import Smearing, by_atom, narrowest
from spectra_app.structure.system import System, sum_by_structure
from spectra_app.units import EPSILON_0


class SlabInteraction:
    """An interaction of periodic cells with the correction added for those structures that are slabs.

    Args:
        system: the structures, some of them slabs.
        inner: the periodic interaction of the same structures.
        sigma: its smearing, A, of all atoms or by classes.
        tall: [structure], A; correct to a cell that is periodic with this height instead of to an open normal.

    Attributes:
        inner: as given.
    """

    def __init__(self, system: System, inner: Interaction, sigma: float | Smearing, tall: Tensor | None = None) -> None:
        assert system.slab is not None
        self._system, self.inner = system, inner
        normal = torch.linalg.cross(system.cell[:, 0], system.cell[:, 1])
        normal = normal / torch.where(system.slab, normal.norm(dim=1), torch.ones_like(normal[:, 0]))[:, None]
        height = (system.cell[:, 2] * normal).sum(-1)
        self._normal = normal[system.batch]
        z = (system.positions * self._normal).sum(-1)
        sizes = torch.tensor(system.sizes, dtype=z.dtype, device=z.device)
        self._z = z - (sum_by_structure(z, system) / sizes)[system.batch]  # U has no origin; small numbers are exact
        volume = torch.where(system.slab, system.volume, torch.ones_like(height))
        self._unit = torch.where(system.slab, 1.0 / (EPSILON_0 * volume), torch.zeros_like(height))  # [structure]
        self._background = height * height / 12.0 + 0.5 * narrowest(sigma) ** 2
        if tall is not None:
            self._unit = self._unit * (1.0 - height / tall)
            self._background = -height * tall / 12.0 + 0.5 * narrowest(sigma) ** 2
        self._wider: Tensor | None = None  # [atom, 1], A^2, sigma^2/2 beyond that of the narrowest cloud
        if isinstance(sigma, Smearing):
            self._wider = 0.5 * (by_atom(sigma, 2, z) - narrowest(sigma) ** 2)[:, None]

    @property
    def uniform(self) -> Uniform:
        """Of one slab on the CPU whose cell is summed in two parts: with that of the cell, for compiled loops."""
        assert isinstance(self.inner, SplitInteraction)
        of_cell = self.inner.uniform
        return of_cell._replace(
            heights=self._z.detach().numpy(),
            normal=self._normal[0].detach().numpy(),
            wider=of_cell.wider if self._wider is None else self._wider.detach().numpy()[:, 0],
            slab=float(self._unit[0]),
            level=float(self._background[0]),
        )

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """See ``Interaction``."""
        inner, more = self.inner.permanent(multipoles), self._correction_of(multipoles)
        return Electrostatics(*(a + b for a, b in zip(inner, more, strict=True)))

    def potentials(self, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        inner, (_, potential, field) = self.inner.potentials(multipoles), self._correction_of(multipoles)
        return inner[0] + potential, inner[1] + field

    def energy(self, multipoles: Multipoles) -> Tensor:
        """See ``Interaction``."""
        return self.inner.energy(multipoles) + self._correction_of(multipoles).energy

    def _correction_of(self, multipoles: Multipoles) -> Electrostatics:
        q, u, quad = multipoles
        potential, field, own = self._correction(q[:, None], None if u is None else u[:, None], quad)
        energy = q * potential[:, 0]
        if u is not None:
            energy = energy - (u * field[:, 0]).sum(-1)
        if quad is not None:
            energy = energy + own
        return Electrostatics(0.5 * sum_by_structure(energy, self._system), potential[:, 0], field[:, 0])

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """See ``Interaction``."""
        inner = self.inner.act(charges, dipoles)
        potential, field, _ = self._correction(charges, dipoles, None)
        return inner[0] + potential, inner[1] + field

    def _correction(
        self, charges: Tensor | None, dipoles: Tensor | None, quadrupoles: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Potential [atom, source], field [atom, source, xyz], and (1/2) Q_zz d^2 Phi/dz^2 [atom]."""
        z = self._z[:, None]
        some = charges if charges is not None else None if dipoles is None else dipoles[..., 0]
        assert some is not None
        zero = torch.zeros_like(some)
        q = zero if charges is None else charges
        along = zero if dipoles is None else (dipoles * self._normal[:, None]).sum(-1)
        second = q * z * z + 2.0 * along * z
        q_zz = zero[:, 0]
        if quadrupoles is not None:
            q_zz = ((quadrupoles @ self._normal[:, :, None])[..., 0] * self._normal).sum(-1)
            second = second + q_zz[:, None]
        if self._wider is not None:
            second = second + q * self._wider
        batch, unit = self._system.batch, self._unit[self._system.batch, None]
        charge, moment, spread = (
            sum_by_structure(x, self._system)[batch] for x in (q, q * z + along, second)
        )  # each [atom, source], the same for all atoms of a structure
        background = self._background[batch, None]
        potential = unit * (moment * z - 0.5 * (spread + charge * z * z) - charge * background)
        if self._wider is not None:
            potential = potential - 0.5 * unit * charge * self._wider
        field = -(unit * (moment - charge * z))[..., None] * self._normal[:, None]
        return potential, field, -0.5 * (unit * charge)[:, 0] * q_zz
