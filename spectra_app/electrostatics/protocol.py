"""What every interaction of a batch offers, however it is summed."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from spectra_app.electrostatics.multipoles import Electrostatics, Multipoles


class Interaction(Protocol):
    """The interaction at fixed positions.  Everything it returns excludes the atoms' own smeared self-terms."""

    def permanent(self, multipoles: Multipoles) -> Electrostatics:
        """Energy, potential and field of the permanent multipoles of every atom."""

    def potentials(self, multipoles: Multipoles) -> tuple[Tensor, Tensor]:
        """Potential [atom], V, and field [atom, xyz], V/A, of multipoles; those of ``permanent``, for less."""

    def energy(self, multipoles: Multipoles) -> Tensor:
        """Energy of multipoles [structure], eV; that of ``permanent``, for less."""

    def act(self, charges: Tensor | None, dipoles: Tensor | None) -> tuple[Tensor, Tensor]:
        """Potential and field of several sets of sources at once.

        Args:
            charges: [atom, source], e, or None.
            dipoles: [atom, source, xyz], e A, or None.

        Returns:
            potential [atom, source], V; field [atom, source, xyz], V/A.
        """
