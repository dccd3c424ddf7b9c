"""The sign of the latent multipoles: U does not know it, electronegativity does.

The convention is a positive mean charge of the more electropositive element.  The mean latent charge cannot decide
where there are latent dipoles too: on liquid water the trained dipoles outweigh the charges, and hydrogen with a
positive latent charge came out with a Born charge of -0.5 e.  The mean Born charge holds both, and does not depend on
how the model shares a moment between charges and dipoles; the sign is fixed on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from spectra_app.potentials.elements import PAULING
from spectra_app.potentials.potential import Potential
from spectra_app.training.dataset import Sample

ZERO_CHARGE_E = 1e-3  # mean Born charges below this carry no sign
MOST_SAMPLES = 8  # means over elements converge with a few structures


def mean_born_charges(model: Potential, samples: Sequence[Sample]) -> dict[str, float]:
    """Isotropic mean Born charge of every element that is there [e], with the model's present sign.

    Args:
        model: the potential.
        samples: single structures.
    """
    sums, counts = torch.zeros(len(model.species)), torch.zeros(len(model.species))
    for sample in samples[:MOST_SAMPLES]:
        born = model.born_charges(sample.system, sample.neighbors).float().cpu()
        species = model.species_index[sample.system.numbers].cpu()
        sums.index_add_(0, species, born.diagonal(dim1=1, dim2=2).mean(1))
        counts.index_add_(0, species, torch.ones(len(species)))
    rows = zip(model.species, sums.tolist(), counts.tolist(), strict=True)
    return {symbol: total / count for symbol, total, count in rows if count > 0}


def charge_order(means_e: Mapping[str, float]) -> float | None:
    """Covariance of the elements' mean Born charges with their electronegativities (Pauling) [e].

    Args:
        means_e: isotropic mean Born charge of each element, e.

    Returns:
        negative where the more electropositive elements are positive, as they should be; None where the mean charges
        vanish, or where there is but one element: the sign is then undetermined.
    """
    if len(means_e) < 2 or max(abs(z) for z in means_e.values()) < ZERO_CHARGE_E:
        return None
    mean = sum(PAULING.get(s, 2.0) for s in means_e) / len(means_e)
    return sum(z * (PAULING.get(s, 2.0) - mean) for s, z in means_e.items()) / len(means_e) or None


def fix_sign(model: Potential, samples: Sequence[Sample]) -> bool:
    """Give the more electropositive elements (Pauling) the positive mean Born charge; see ``charge_order``.

    A model of the charge-conserving family that knows oxidation states, or has learned from charged structures, knows
    its sign already.

    Args:
        model: the potential; its ``sign`` is changed in place.
        samples: single structures.

    Returns:
        whether the sign could be determined.
    """
    if not model.variant.electrostatic or not samples:
        return False
    if model.oxidation_states is not None:
        return True
    if model.variant.charges == "pair" and any(bool((sample.system.charge != 0).any()) for sample in samples):
        return True  # the charges sum to labelled total charges: their sign is that of the labels
    order = charge_order(mean_born_charges(model, samples))
    if order is not None and order > 0:
        model.sign.neg_()
    return order is not None
