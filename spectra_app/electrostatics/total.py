"""Energy of the latent multipoles with their response, by the way that the model and the wanted derivatives ask for."""

from __future__ import annotations

from torch import Tensor

from spectra_app.electrostatics.multipoles import Multipoles
from spectra_app.electrostatics.protocol import Interaction
from spectra_app.electrostatics.response import Induced, Susceptibility, direct_polarizability_by_atom, one_shot
from spectra_app.electrostatics.self_consistent import Relaxed, relax, self_consistent
from spectra_app.structure.system import System


def electrostatic_energy(
    system: System,
    interaction: Interaction,
    multipoles: Multipoles,
    susceptibility: Susceptibility,
    tolerance: float | None,
    uniform_fields: bool,
    energy_only: bool,
    guess: Tensor | None = None,
) -> Relaxed:
    """U_elec + U_resp, and what is induced.

    Args:
        system: the structures.
        interaction: at their positions.
        multipoles: the permanent ones.
        susceptibility: of atoms and pairs; nothing answers where it has neither alpha nor kappa.
        tolerance: relative residual of self-consistent response; None: one-shot.
        uniform_fields: also the polarizability (zero otherwise).
        energy_only: only the energy will be differentiated, and once.
        guess: of ``Relaxed.solution``; used where the response is self-consistent and only the energy matters.

    Raises:
        ConvergenceError: the self-consistent response has no solution.
    """
    responds = susceptibility.alpha is not None or susceptibility.kappa is not None
    if responds and tolerance is not None and energy_only:
        return relax(system, interaction, susceptibility, multipoles, tolerance, uniform_fields, guess)
    permanent = interaction.permanent(multipoles)
    n_atoms = len(permanent.potential)
    moments, alpha = permanent.field.new_zeros(n_atoms, 3), permanent.field.new_zeros(n_atoms, 3, 3)
    if not responds:
        return Relaxed(permanent.energy, Induced(None, None, None), moments, alpha, None)
    if tolerance is not None:
        induced, energy, alpha = self_consistent(
            system, interaction, susceptibility, permanent, tolerance, uniform_fields
        )
    else:
        induced, energy = one_shot(system, susceptibility, permanent)
        if uniform_fields:
            alpha = direct_polarizability_by_atom(susceptibility)
    return Relaxed(permanent.energy + energy, induced, moments, alpha, None)
