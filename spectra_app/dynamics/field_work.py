"""What an external field acts on at one instant, and the work that it does from one instant to the next.

    U(F) = U - P.F - (1/2) F.alpha.F       P, alpha physical

One instant is a row [14] in float64 for every replica, which a state keeps and a checkpoint stores as it is: P [3],
alpha [9], P.F and (1/2) F.alpha.F [2].  The last two are one product of the first twelve with weights [12, 2] of the
field: few operations, because every step of dynamics pays for them (0.03 ms).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_RESPONSES, _ENERGY = slice(0, 12), slice(12, 14)


def field_weights(field_V_per_A: np.ndarray) -> np.ndarray:
    """Weights [12, 2] that take (P, alpha) [12] to (P.F, (1/2) F.alpha.F), of a field [xyz], V/A."""
    weights = np.zeros((12, 2))
    weights[:3, 0] = field_V_per_A
    weights[3:, 1] = 0.5 * np.outer(field_V_per_A, field_V_per_A).ravel()
    return weights


def field_moments(dipole: Tensor, polarizability: Tensor, weights: Tensor) -> Tensor:
    """What the field acts on.

    Args:
        dipole: [replica, xyz], physical, e A.
        polarizability: [replica, xyz, xyz], physical, e^2 A^2/eV.
        weights: [12, 2], float64, of the field (``field_weights``).

    Returns:
        [replica, 14].
    """
    responses = torch.cat([dipole, polarizability.reshape(-1, 9)], dim=1).double()
    return torch.cat([responses, responses @ weights], dim=1)


def field_energy(moments: Tensor) -> Tensor:
    """-P.F - (1/2) F.alpha.F [replica], eV, of moments [replica, 14]."""
    return -moments[:, _ENERGY].sum(dim=1)


def field_work(before: Tensor, after: Tensor, middle: Tensor) -> Tensor:
    """What the field has added to U + K over a step [replica], eV.

    U + K changes by -(P + alpha.F).dF where the field changes: what is left of the change of -P.F - (1/2) F.alpha.F
    when the work of the field's forces, F.dP + (1/2) F.dalpha.F with F of the middle of the step, is taken out.  Second
    order in the time step, like velocity Verlet; zero for a static field.

    Args:
        before: moments [replica, 14] at the last step.
        after: moments at this step.
        middle: [12, 2], weights of the mean of the two fields.
    """
    forces = ((after[:, _RESPONSES] - before[:, _RESPONSES]) @ middle).sum(dim=1)
    return field_energy(after) - field_energy(before) + forces


def field_pressure(moments: Tensor, volume: Tensor) -> Tensor:
    """Part (P + alpha.F).F/(3 V) [replica], eV/A^3, of the virial pressure at constant field that depends on images.

    At constant F the pressure contains the stretching of the dipole as it stands, which for unwrapped ions depends on
    how many cells they have crossed.  At constant voltage across the cell (F times the cell vectors) this part is gone
    (the proper stress; cf. Vanderbilt 2000, DOI 10.1016/S0022-3697(99)00273-5, for the piezoelectric tensor).

    Args:
        moments: [replica, 14].
        volume: [replica], A^3.
    """
    permanent, induced = moments[:, _ENERGY].unbind(dim=1)
    return (permanent + 2.0 * induced) / (3.0 * volume)
