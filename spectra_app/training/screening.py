"""How strongly a model screens a slow field by itself: what its physical scale is measured with.

Where induced charges and dipoles answer each other, a model is a dielectric of 1 + chi, chi = tr(alpha)/(3 eps0 V).
Where they answer the permanent multipoles only, it is not: the energy of a displacement u of long wavelength along its
own direction k exceeds that across it by (docs/theory.md, "Screening of a one-shot model")

    U_L - U_T = [ (k.P0)^2 (1 - chi) + 2 (k.P0) (k.P1) ]/(2 eps0 V),     P0 = Z0 u,   P0 + P1 = Z u,

with the Born charges Z0 of the permanent multipoles alone and Z of all.  A material has (k.P)^2/(eps_inf 2 eps0 V).
The model's screening is the one number that makes the two equal over all displacements of all atoms,

    screening = sum Z:Z / sum [ Z0:Z0 (1 - chi) + 2 Z0:(Z - Z0) ],

which is 1 + chi to first order in chi.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import torch

from spectra_app.potentials.potential import Potential
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.structure.neighbors import Neighbors
from spectra_app.structure.system import System
from spectra_app.training.sign import MOST_SAMPLES
from spectra_app.units import EPSILON_0

_LEAST_SHARE = 0.1  # of the bare energy; a model that screens more than tenfold is none that a fit should follow


def susceptibility(system: System, polarizability: torch.Tensor) -> float:
    """Latent chi = tr(alpha)/(3 eps0 V) of one structure; 0 where it is open.

    Args:
        system: one structure.
        polarizability: [1, xyz, xyz], latent, e^2 A^2/eV.
    """
    if not bool(system.periodic[0]):
        return 0.0
    return float(polarizability[0].trace() / (3.0 * EPSILON_0 * system.volume[0]))


def measure_scale(model: Potential, structures: Sequence[tuple[System, Neighbors]]) -> PhysicalScale:
    """Physical scale of a model from a few structures of its material.

    Args:
        model: the potential; its eps_inf is kept.
        structures: single structures in the model's dtype; those that are periodic in three directions count, and the
            first ``MOST_SAMPLES`` of them.

    Returns:
        the scale; without measured chi and screening where no structure is such a cell, or where a one-shot response is
        so large that nothing is left of the interaction at long wavelength.
    """
    if not model.variant.responds:
        return PhysicalScale(model.eps_inf, 0.0, 1.0)
    cells = [pair for pair in structures if bool(pair[0].periodic.all()) and pair[0].slab is None][:MOST_SAMPLES]
    if not cells:
        return PhysicalScale(model.eps_inf, None, None)
    with torch.no_grad():
        chis = [
            susceptibility(system, model.evaluate(system, neighbors, model.k_vectors(system)).polarizability)
            for system, neighbors in cells
        ]
    chi = sum(chis) / len(chis)
    if model.settings.response == "self-consistent" or model.variant.charges == "atomic":
        return PhysicalScale(model.eps_inf, chi, 1.0 + chi)
    whole, bare = 0.0, 0.0
    for (system, neighbors), own in zip(cells, chis, strict=True):
        total = model.latent_born_charges(system, neighbors).double()
        permanent = without_response(model).latent_born_charges(system, neighbors).double()
        whole += float((total * total).sum())
        bare += float((permanent * permanent).sum() * (1.0 - own) + 2.0 * (permanent * (total - permanent)).sum())
    if not bare > _LEAST_SHARE * whole or whole == 0.0:
        return PhysicalScale(model.eps_inf, chi, None)
    return PhysicalScale(model.eps_inf, chi, whole / bare)


def approached(before: PhysicalScale, measured: PhysicalScale, share: float) -> PhysicalScale:
    """A share of the way from one scale to another; the whole way where one of them is not known."""
    if before.chi is None or before.screening is None or measured.chi is None or measured.screening is None:
        return measured
    chi = before.chi + share * (measured.chi - before.chi)
    return PhysicalScale(measured.eps_inf, chi, before.screening + share * (measured.screening - before.screening))


def without_response(model: Potential) -> Potential:
    """The same weights (shared, not copied), nothing induced."""
    other = copy.copy(model)
    other.variant = dataclasses.replace(model.variant, induced_charges=False, induced_dipoles=False)
    return other
