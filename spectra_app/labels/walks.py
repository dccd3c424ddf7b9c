"""Frames of molecular dynamics to be labelled: Langevin dynamics that can be taken up again at every frame.

The random numbers of the steps between two kept frames come from the seed, the number of the walk and that of the
frame, so a walk that was killed goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin

from spectra_app.labels.calculation import FailedCalculation, tell_charge
from spectra_app.labels.candidates import CLOSEST_A, closest_pair

FRICTION_PER_FS = 0.02  # 50 fs: the start, at rest, is at temperature after a few frames
HOT = 10.0  # times the temperature (and 1000 K): the atoms fly apart


@dataclass(frozen=True)
class Walk:
    """Molecular dynamics from one structure at one temperature.

    Attributes:
        start: where it begins; with momenta where it goes on.
        temperature_K: K.
        timestep_fs: fs.
        stride: steps between kept frames.
        n_frames: kept frames.
        seed: of this walk.
        done: frames that are there already, ``start`` being the last of them.
    """

    start: Atoms
    temperature_K: float
    timestep_fs: float
    stride: int
    n_frames: int
    seed: tuple[int, ...]
    done: int = 0

    def run(self, calculator: Any) -> Iterator[Atoms]:
        """The frames that are left, with their momenta.

        Args:
            calculator: of ASE.

        Raises:
            FailedCalculation: the calculator failed, or the atoms flew apart; frames before are good.
        """
        atoms = self.start.copy()
        tell_charge(atoms, calculator)
        atoms.calc = calculator
        if self.done == 0:
            atoms.set_momenta(self._momenta(atoms))
        for frame in range(self.done, self.n_frames):
            rng = np.random.default_rng([*self.seed, 1, frame])
            dynamics = Langevin(
                atoms,
                self.timestep_fs * units.fs,
                temperature_K=self.temperature_K,
                friction=FRICTION_PER_FS / units.fs,
                rng=_Normal(rng),
                fixcm=False,
            )
            try:
                dynamics.run(self.stride)
            except Exception as error:  # of somebody else's program: any
                text = " ".join(str(error).split())[:200]
                raise FailedCalculation(f"dynamics, frame {frame}: {type(error).__name__}: {text}") from None
            self._check(atoms, frame)
            kept = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)
            kept.set_momenta(atoms.get_momenta())
            kept.info.update(self.start.info)
            yield kept

    def _momenta(self, atoms: Atoms) -> np.ndarray:
        """Of Maxwell and Boltzmann [atom, xyz], in units of ASE, at rest as a whole."""
        widths = np.sqrt(atoms.get_masses() * units.kB * self.temperature_K)
        momenta = widths[:, None] * np.random.default_rng([*self.seed, 0]).normal(size=(len(atoms), 3))
        masses = atoms.get_masses() / atoms.get_masses().sum()
        return momenta - masses[:, None] * momenta.sum(axis=0)

    def _check(self, atoms: Atoms, frame: int) -> None:
        """Stop a walk that is no dynamics any more.

        Raises:
            FailedCalculation: not finite, far too hot, or two atoms on top of each other.
        """
        kelvin = atoms.get_temperature()
        if not np.isfinite(atoms.positions).all() or not kelvin < HOT * self.temperature_K + 1000.0:
            raise FailedCalculation(
                f"dynamics, frame {frame}: atoms fly apart ({kelvin:.0f} K); a shorter timestep_fs?"
            )
        pair = closest_pair(atoms)
        if pair is not None and pair[2] < CLOSEST_A:
            raise FailedCalculation(f"dynamics, frame {frame}: atoms {pair[0]} and {pair[1]} {pair[2]:.2f} A apart")


class _Normal:
    """A generator as ASE wants one: with ``standard_normal`` alone."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def standard_normal(self, size: Any = None) -> Any:
        """Numbers of the standard normal distribution."""
        return self._generator.standard_normal(size)
