"""A model, with what a user should be told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from spectra_app.config import ModelChoice

if TYPE_CHECKING:
    from spectra_app.couplings.ase_potential import AsePotential
    from spectra_app.potentials import Potential


def opened_model(
    choice: str | ModelChoice,
    device: str = "cpu",
    dtype: Literal["float32", "float64"] = "float32",
    eps_inf: float | None = None,
    say: Callable[[str], None] | None = None,
) -> Potential | AsePotential:
    """Load a model of the zoo, a folder, or calculators of another program.

    Args:
        choice: which.
        device: torch device of a model of ours; ``"auto"`` takes a GPU where there is one.
        dtype: of its network.
        eps_inf: high-frequency dielectric constant; None takes the model's.
        say: told which module was imported, with its version, and which checkpoints ran code.

    Raises:
        ModelError: no such model, or one that cannot be loaded.
        ConfigError: a calculator that is named in another form, or a file that needs trust.
    """
    from spectra_app.couplings.open_model import open_model

    model = open_model(choice, device, dtype, eps_inf)
    if say is not None:
        for line in getattr(model, "notices", ()):
            say(line)
    return model
