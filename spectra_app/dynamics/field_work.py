"""What an external field acts on at one instant, and the work that it does from one instant to the next.

U(F) = U - P.F - (1/2) F.alpha.F       P, alpha physical: sqrt(e) P_latent, e alpha_latent, e the screening
"""

from __future__ import annotations

import torch
from torch import Tensor

# What the field acts on, at one instant: columns of a [replica, 16] tensor in float64, so that a state keeps and a
# checkpoint stores it as it is.
_DIPOLE, _ALPHA, _SCREENING, _FIELD = slice(0, 3), slice(3, 12), 12, slice(13, 16)


def field_moments(dipole: Tensor, polarizability: Tensor, screening: Tensor, field: Tensor) -> Tensor:
    """Pack what the field acts on.

    Args:
        dipole: [replica, xyz], latent, e A.
        polarizability: [replica, xyz, xyz], latent, e^2 A^2/eV.
        screening: [replica].
        field: [1, xyz], V/A.

    Returns:
        [replica, 16].
    """
    parts = [dipole, polarizability.reshape(-1, 9), screening[:, None].expand(len(dipole), 1)]
    return torch.cat([*(part.double() for part in parts), field.double().expand(len(dipole), 3)], dim=1)


def field_energy(moments: Tensor) -> Tensor:
    """-P.F - (1/2) F.alpha.F [replica], eV, of moments [replica, 16]."""
    field, screening = moments[:, _FIELD], moments[:, _SCREENING]
    return -torch.sqrt(screening) * (moments[:, _DIPOLE] * field).sum(1) - 0.5 * screening * _quadratic(moments, field)


def total_dipole(moments: Tensor) -> Tensor:
    """P + alpha.F = -dU/dF [replica, xyz], e A, of moments [replica, 16]."""
    screening = moments[:, _SCREENING, None]
    induced = (moments[:, _ALPHA].view(-1, 3, 3) @ moments[:, _FIELD, None])[..., 0]
    return torch.sqrt(screening) * moments[:, _DIPOLE] + screening * induced


def field_work(before: Tensor, after: Tensor) -> Tensor:
    """What the field has added to U + K over a step [replica], eV.

    U + K changes by -(P + alpha.F).dF where the field changes, and by dU/de where the screening e of a cell fluctuates:
    e is a number of the material and makes no force.  Both are what is left of the change of -P.F - (1/2) F.alpha.F
    when the work of the field's forces, F.sqrt(e) dP + (1/2) e F.dalpha.F with F and e of the middle of the step, is
    taken out.  Second order in the time step, like velocity Verlet; zero for a static field and a constant e.

    Args:
        before: moments [replica, 16] at the last step.
        after: moments at this step.
    """
    field = 0.5 * (before[:, _FIELD] + after[:, _FIELD])
    root = 0.5 * (torch.sqrt(before[:, _SCREENING]) + torch.sqrt(after[:, _SCREENING]))
    screening = 0.5 * (before[:, _SCREENING] + after[:, _SCREENING])
    change = after - before
    forces = root * (change[:, _DIPOLE] * field).sum(1) + 0.5 * screening * _quadratic(change, field)
    return field_energy(after) - field_energy(before) + forces


def field_pressure(moments: Tensor, volume: Tensor) -> Tensor:
    """Part (P + alpha.F).F/(3 V) [replica], eV/A^3, of the virial pressure at constant field that depends on images.

    At constant F the pressure contains the stretching of the dipole as it stands, which for unwrapped ions depends on
    how many cells they have crossed.  At constant voltage across the cell (F times the cell vectors) this part is gone
    (the proper stress; cf. Vanderbilt 2000, DOI 10.1016/S0022-3697(99)00273-5, for the piezoelectric tensor).

    Args:
        moments: [replica, 16].
        volume: [replica], A^3.
    """
    return (total_dipole(moments) * moments[:, _FIELD]).sum(1) / (3.0 * volume)


def _quadratic(moments: Tensor, field: Tensor) -> Tensor:
    """F.alpha.F [replica] with the latent alpha of moments and a field [replica, xyz]."""
    return ((moments[:, _ALPHA].view(-1, 3, 3) @ field[:, :, None])[..., 0] * field).sum(1)
