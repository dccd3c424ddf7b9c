"""Random numbers of molecular dynamics: a stream of its own for every replica.

What a replica draws does not depend on how many others run beside it: replica k of a batch takes the steps that it
would take alone with its seed (to the rounding of a sum over a batch).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Streams = tuple[torch.Generator, ...]
"""One generator per replica; a single one serves all replicas together (checkpoints of earlier versions)."""


class Drawn:
    """Numbers that were drawn before, in the place of streams: a captured step draws none itself.

    Args:
        numbers: what one step asks for, in its order; of a device: real numbers, and a note of what is asked for.

    Attributes:
        asked: function and counts of every call.
    """

    def __init__(self, numbers: Sequence[Tensor] | torch.device) -> None:
        self._numbers = numbers
        self.asked: list[tuple[Callable[[Streams, Sequence[int]], Tensor], tuple[int, ...]]] = []

    def take(self, function: Callable[[Streams, Sequence[int]], Tensor], counts: Sequence[int]) -> Tensor:
        """What a function gives of streams."""
        place = len(self.asked)
        self.asked.append((function, tuple(counts)))
        if isinstance(self._numbers, torch.device):
            return function(streams_from_seeds([0], self._numbers), counts)
        return self._numbers[place]


def replica_seeds(seed: int, n_replicas: int) -> tuple[int, ...]:
    """Seeds of the replicas: the first has the seed of the run, the others hashes of seed and number.

    ``seed + k`` would give two batches with neighbouring seeds the same replicas.
    """
    others = [np.random.SeedSequence(abs(seed), spawn_key=(k,)) for k in range(1, n_replicas)]
    return (seed, *(int(sequence.generate_state(1, np.uint32)[0]) for sequence in others))


def streams_from_seeds(seeds: Sequence[int], device: torch.device) -> Streams:
    """Generators at their beginning."""
    return tuple(torch.Generator(device=device).manual_seed(seed) for seed in seeds)


def streams_from_step(seeds: Sequence[int], step: int, device: torch.device) -> Streams:
    """Generators for a run that goes on with a step on another kind of device, which draws other numbers."""
    sequences = [np.random.SeedSequence(abs(seed), spawn_key=(0, step)) for seed in seeds]
    return streams_from_seeds([int(sequence.generate_state(1, np.uint32)[0]) for sequence in sequences], device)


def noise_of_atoms(streams: Streams | Drawn, sizes: Sequence[int]) -> Tensor:
    """Standard normal numbers [atom, xyz], float64.

    Args:
        streams: of the replicas.
        sizes: atoms of each replica.
    """
    if isinstance(streams, Drawn):
        return streams.take(noise_of_atoms, sizes)
    return torch.cat(_drawn(streams, [(size, 3) for size in sizes]))


def noise_of_replicas(streams: Streams | Drawn, counts: Sequence[int]) -> Tensor:
    """Standard normal numbers [replica, column], float64; a replica with fewer columns has zeros behind them.

    Args:
        streams: of the replicas.
        counts: numbers that each replica draws.
    """
    if isinstance(streams, Drawn):
        return streams.take(noise_of_replicas, counts)
    drawn = _drawn(streams, [(1, count) for count in counts])
    if len(set(counts)) == 1:
        return torch.cat(drawn)
    wide = drawn[0].new_zeros(len(counts), max(counts))
    for row, numbers in zip(wide, drawn, strict=True):
        row[: numbers.shape[1]] = numbers[0]
    return wide


def _drawn(streams: Streams, shapes: list[tuple[int, int]]) -> list[Tensor]:
    """One block of numbers per replica, or all of them from the one stream in one block."""
    device = streams[0].device
    if len(streams) == 1:
        columns = {shape[1] for shape in shapes}
        if len(columns) == 1:
            shapes = [(sum(shape[0] for shape in shapes), columns.pop())]
        streams = streams * len(shapes)
    return [
        torch.randn(shape, generator=generator, device=device, dtype=torch.float64)
        for generator, shape in zip(streams, shapes, strict=True)
    ]
