"""What a potential returns: the differentiable pieces of an evaluation, and the detached prediction."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spectra_app.potentials.heads import Latents
from spectra_app.potentials.training_range import Extrapolation
from spectra_app.structure.system import System, sum_by_structure


class Response(NamedTuple):
    """Differentiable result of ``Potential.evaluate``: the pieces of ``Prediction`` with their graph.

    Attributes:
        energy: [structure], eV, network part only (no reference energies), in the network's dtype.
        dipole: [structure, xyz], latent P, e A.
        polarizability: [structure, xyz, xyz], latent, e^2 A^2/eV.
        latents: what the heads predicted; None for ``sr``.
        dipoles: [atom, xyz], permanent plus induced atomic dipoles, e A; None where there are none.
        charges: [atom], permanent plus (atomic family) induced charges, e.
        dipole_by_atom: [atom, xyz], what every atom adds to ``dipole``, e A.
        polarizability_by_atom: [atom, xyz, xyz], what every atom adds to ``polarizability``, e^2 A^2/eV.
        fixed_charges: [atom], z_i that multiply r_i in ``dipole``, e.
        solution: [atom, source, 4], of self-consistent response, see ``electrostatics.self_consistent.Relaxed``; None
            where there was nothing to iterate, or more than the energy was to be differentiated.
        excess: [2], see ``electrostatics.self_consistent.Relaxed``; None without a fixed number of iterations.
        extrapolation: of every atom, without graph; None where it is not known or was not asked for.
    """

    energy: Tensor
    dipole: Tensor
    polarizability: Tensor
    latents: Latents | None
    dipoles: Tensor | None
    charges: Tensor
    dipole_by_atom: Tensor
    polarizability_by_atom: Tensor
    fixed_charges: Tensor
    solution: Tensor | None = None
    excess: Tensor | None = None
    extrapolation: Extrapolation | None = None


class Prediction(NamedTuple):
    """Results of one evaluation, detached from the graph; everything but energy, forces and stress is latent.

    ``scale.PhysicalScale`` makes physical dipoles and polarizabilities of it.

    Attributes:
        energy: [structure], eV, float64, reference energies of the elements included.
        forces: [atom, xyz], eV/A, or None.
        stress: [structure, xyz, xyz], eV/A^3, (1/V) dU/dstrain (positive under tension), or None.
        dipole: [structure, xyz], latent P, e A.
        polarizability: [structure, xyz, xyz], latent, e^2 A^2/eV (zero in variants without induced response).
        charges: [atom], latent, e.
        atomic_dipoles: [atom, xyz], latent, permanent plus induced, e A.
        atomic_polarizabilities: [atom, xyz, xyz], latent, e^2 A^2/eV.
        dipole_by_atom: [atom, xyz], latent, e A; adds up to ``dipole`` (charge moved between two atoms counts half for
            either).
        polarizability_by_atom: [atom, xyz, xyz], latent, e^2 A^2/eV; adds up to ``polarizability``: the atom's answer
            to a uniform field, in self-consistent response the answer to the others' answers included.
        fixed_charges: [atom], latent, e; the part of ``dipole`` that depends on images is sum_i z_i r_i with these z_i
            (constants of the elements, or all of the charges in variants with atomic charges).
        solution: [atom, source, 4], in the network's own sign: what the next step of a run may begin the iterations of
            self-consistent response with; None where there are none.
        excess: [2], of a fixed number of iterations: of the fields and of the answers to uniform fields, the squared
            residual over the one that is wanted, where it is above; not more than 1 where all have converged.  None
            where iterations went on to the tolerance.
        extrapolation: of every atom, how far it is outside the training data; None where the model does not know them
            or the polarizability was not asked for.
        born_charges: [atom, field, displacement], physical, e; None where they are no part of an evaluation, as in
            every model of ours (``Potential.born_charges`` gives them).
    """

    energy: Tensor
    forces: Tensor | None
    stress: Tensor | None
    dipole: Tensor
    polarizability: Tensor
    charges: Tensor
    atomic_dipoles: Tensor
    atomic_polarizabilities: Tensor
    dipole_by_atom: Tensor
    polarizability_by_atom: Tensor
    fixed_charges: Tensor
    solution: Tensor | None = None
    excess: Tensor | None = None
    extrapolation: Extrapolation | None = None
    born_charges: Tensor | None = None


def without_electrostatics(system: System, per_atom: Tensor, outside: Extrapolation | None = None) -> Response:
    """Result of variant ``sr`` with the energies of its atoms [atom], eV, and how far they are outside."""
    total, by_atom = (system.positions.new_zeros(n, 3) for n in (system.n_structures, len(per_atom)))
    alpha, alpha_by_atom = (vector.new_zeros(len(vector), 3, 3) for vector in (total, by_atom))
    energy, charges = sum_by_structure(per_atom, system), per_atom.new_zeros(len(per_atom))
    return Response(energy, total, alpha, None, None, charges, by_atom, alpha_by_atom, charges, extrapolation=outside)


def detached(result: Response, sign: Tensor, forces: Tensor | None, stress: Tensor | None) -> Prediction:
    """What is reported of an evaluation.

    Args:
        result: with the energy that is reported, reference energies included.
        sign: of all reported multipoles.
        forces: [atom, xyz], eV/A, or None.
        stress: [structure, xyz, xyz], eV/A^3, or None.
    """
    moments = result.dipole_by_atom.detach()
    alpha = None if result.latents is None else result.latents.alpha
    if alpha is None:
        alpha = moments.new_zeros(len(moments), 3, 3)
    elif alpha.dim() == 1:
        alpha = alpha[:, None, None] * torch.eye(3, dtype=alpha.dtype, device=alpha.device)
    dipoles = torch.zeros_like(moments) if result.dipoles is None else result.dipoles
    return Prediction(
        energy=result.energy,
        forces=forces,
        stress=stress,
        dipole=sign * result.dipole.detach(),
        polarizability=result.polarizability.detach(),
        charges=sign * result.charges.detach(),
        atomic_dipoles=sign * dipoles.detach(),
        atomic_polarizabilities=alpha.detach(),
        dipole_by_atom=sign * moments,
        polarizability_by_atom=result.polarizability_by_atom.detach(),
        fixed_charges=sign * result.fixed_charges.detach(),
        solution=result.solution,
        excess=result.excess,
        extrapolation=result.extrapolation,
    )
