"""The smooth cutoff of ``backbones.features.RadialBasis`` for compiled loops."""

from __future__ import annotations

import numba


@numba.njit(cache=True, fastmath=True)
def smooth_cutoff(u, cutoff):  # type: ignore[no-untyped-def]
    """Value f and slope df/dr at u = r/cutoff: 1 - 21 u^5 + 35 u^6 - 15 u^7 and its derivative, zero from 1 on."""
    if u >= 1.0:
        return 0.0, 0.0
    u4 = u * u * u * u
    f = 1.0 + u4 * u * (-21.0 + u * (35.0 - 15.0 * u))
    return f, u4 * (-105.0 + u * (210.0 - 105.0 * u)) / cutoff
