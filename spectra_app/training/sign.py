"""The sign of the latent multipoles: U does not know it, electronegativity does.

physics.md 4 asks for a positive mean charge of the more electropositive element.  The mean latent charge cannot decide
where there are latent dipoles too: on liquid water the trained dipoles outweigh the charges, and hydrogen with a
positive latent charge came out with a Born charge of -0.5 e.  The mean Born charge holds both, and does not depend on
how the model shares a moment between charges and dipoles; the sign is fixed on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spectra_app.potentials.potential import Potential
from spectra_app.potentials.records import PAULING
from spectra_app.training.dataset import Sample

_ZERO_CHARGE_E = 1e-3  # mean Born charges below this carry no sign
_MOST_SAMPLES = 8  # means over elements converge with a few structures


def mean_born_charges(model: Potential, samples: Sequence[Sample]) -> dict[str, float]:
    """Isotropic mean Born charge of every element [e], with the model's present sign.

    Args:
        model: the potential.
        samples: single structures.
    """
    sums, counts = torch.zeros(len(model.species)), torch.zeros(len(model.species))
    for sample in samples[:_MOST_SAMPLES]:
        born = model.born_charges(sample.system, sample.neighbors).float().cpu()
        species = model.species_index[sample.system.numbers].cpu()
        sums.index_add_(0, species, born.diagonal(dim1=1, dim2=2).mean(1))
        counts.index_add_(0, species, torch.ones(len(species)))
    return {symbol: float(s / max(float(n), 1.0)) for symbol, s, n in zip(model.species, sums, counts, strict=True)}


def fix_sign(model: Potential, samples: Sequence[Sample]) -> bool:
    """Give the more electropositive elements (Pauling) the positive mean Born charge.

    The sign follows the covariance of the elements' mean Born charges with their electronegativities.

    Args:
        model: the potential; its ``sign`` is changed in place.
        samples: single structures.

    Returns:
        whether the sign could be determined; it cannot where the mean Born charges vanish.
    """
    if not model.variant.electrostatic or not samples:
        return False
    charges = mean_born_charges(model, samples)
    mean = sum(PAULING.get(s, 2.0) for s in charges) / len(charges)
    covariance = sum(z * (PAULING.get(s, 2.0) - mean) for s, z in charges.items())
    if max(abs(z) for z in charges.values()) < _ZERO_CHARGE_E or covariance == 0.0:
        return False
    if covariance > 0:
        model.sign.neg_()
    return True
