"""Which responses a variant has, and the errors of asking for others."""

from __future__ import annotations

from spectra_app.electrostatics.multipoles import Variant
from spectra_app.errors import ModelError
from spectra_app.structure.system import System


def require_electrostatics(variant: Variant, what: str) -> None:
    """Refuse a short-range model.

    Args:
        variant: of the model.
        what: is asked of it.

    Raises:
        ModelError: it has no electrostatics.
    """
    if not variant.electrostatic:
        raise ModelError(
            what,
            got="a short-range model (variant sr)",
            wanted="latent charges",
            todo="Train variant puQipiu, the default",
        )


def require_polarization(variant: Variant, system: System) -> None:
    """Refuse P of a periodic cell in the family of atomic charges, where it has no meaning.

    Raises:
        ModelError: that, or a short-range model.
    """
    require_electrostatics(variant, "polarization")
    if variant.charges == "atomic" and bool(system.periodic.any()):
        raise ModelError(
            "polarization of a periodic cell",
            got=f"variant {variant.name} with independent atomic charges",
            wanted="a charge-conserving variant (p, pu, puiu, ...)",
        )
