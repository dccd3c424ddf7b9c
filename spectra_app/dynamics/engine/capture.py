"""A function of tensors that stay where they are, captured as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UP = 2  # calls before the capture: what is made once must not be made inside


class Captured:
    """Call it to replay the graph; on another device than CUDA, to call the function.

    Args:
        function: reads and writes tensors that it has; it is called a few times more than the object, always from place
            zero.
        place: [1], a counter on the device which the function moves on; set back after every such call.
    """

    def __init__(self, function: Callable[[], None], place: Tensor) -> None:
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        if place.device.type != "cuda":
            return
        here = torch.cuda.current_stream(place.device)
        beside = torch.cuda.Stream(place.device)
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                place.zero_()
                function()
            place.zero_()
        here.wait_stream(beside)
        torch.cuda.synchronize(place.device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            function()

    def __call__(self) -> None:
        """The function once."""
        if self._graph is None:
            self._function()
        else:
            self._graph.replay()
