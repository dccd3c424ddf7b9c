"""What operations with one derivative have in common."""

from __future__ import annotations

import torch

from spectra_app.errors import ModelError


def refuse_second_derivative() -> None:
    """To be called in the backward pass of an operation whose own derivative has none.

    Raises:
        ModelError: that derivative is being recorded.
    """
    if torch.is_grad_enabled():
        raise ModelError(
            "second derivative of a potential",
            got="engine compiled, which knows first ones",
            wanted="engine eager",
        )
