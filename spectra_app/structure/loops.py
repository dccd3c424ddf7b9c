"""Where compiled loops and decisions of the host may stand in for torch: on the CPU, and not in static steps.

A step that is captured for a GPU, traced or compiled has to be torch from end to end.  The same operations run on a
CPU inside ``only_torch``, so that what a GPU does is tested without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_only_torch: ContextVar[bool] = ContextVar("only_torch", default=False)


@contextmanager
def only_torch() -> Iterator[None]:
    """Inside, nothing but torch's own operations, as on a GPU."""
    token = _only_torch.set(True)
    try:
        yield
    finally:
        _only_torch.reset(token)


def may_use_loops(device: torch.device) -> bool:
    """Whether numbers on a device may be read by the host, and loops compiled for it used."""
    return device.type == "cpu" and not torch.compiler.is_compiling() and not _only_torch.get()
