"""Calculators that label in the tests: good ones, and ones that go wrong at a frame that they know by its height."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT


class Faulty(EMT):
    """EMT that fails, dies or hangs where the first atom stands at a certain height.

    Args:
        fails: heights, A, at which it raises.
        dies: heights at which the process dies.
        hangs: heights at which it takes a minute.
        forces_times: factor of the forces.
        nan: heights at which forces are NaN.
        slow_s: time of every calculation, s.
    """

    def __init__(
        self,
        fails: Sequence[int] = (),
        dies: Sequence[int] = (),
        hangs: Sequence[int] = (),
        forces_times: float = 1.0,
        nan: Sequence[int] = (),
        slow_s: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.fails, self.dies, self.hangs, self.nan = fails, dies, hangs, nan
        self.forces_times, self.slow_s, self.n_calls = forces_times, slow_s, 0

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """See ASE."""
        height = round(float(atoms.positions[0, 2]))
        self.n_calls += 1
        time.sleep(self.slow_s + 60.0 * (height in self.hangs))
        if height in self.dies:
            print("a last word")
            os._exit(9)
        if height in self.fails:
            raise RuntimeError("SCF did not\n converge")
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = self.results["forces"] * (np.nan if height in self.nan else self.forces_times)


class Charged(Calculator):
    """The analytic potential of ``tests.training.data``: Morse bonds and charges of water-like molecules, open.

    Args:
        charges: False leaves the charges away: a teacher without any long range.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012
    default_parameters = {"charge": 0, "multiplicity": 1}  # noqa: RUF012

    def __init__(self, charges: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.charges = charges

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """See ASE."""
        import torch  # a process that needs only the other one starts faster without

        from tests.training.data import analytic_energy

        super().calculate(atoms, properties, system_changes)
        positions = torch.tensor(self.atoms.positions, requires_grad=True)
        energy = analytic_energy(positions, self.atoms.numbers, self.charges)
        (gradient,) = torch.autograd.grad(energy, positions)
        self.results = {"energy": float(energy.detach()), "forces": -gradient.numpy()}


def clusters(count: int, seed: int = 0) -> list[Atoms]:
    """Small copper clusters, all different, the first atom of number k at a height of k A."""
    rng = np.random.default_rng(seed)
    corners = 2.5 * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    frames = []
    for number in range(count):
        moved = corners + rng.normal(scale=0.1, size=corners.shape) * (np.arange(4) > 0)[:, None]
        frames.append(Atoms("Cu4", moved + np.array([0.0, 0.0, float(number)])))
    return frames
