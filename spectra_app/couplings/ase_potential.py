"""One or two calculators of ASE in place of our potential: their energies move the atoms, their dipoles are recorded.

Physical values come out, so the scale is the identity; where one of the two is a model of ours, what it gives goes
through its own scale.  What is used of the results stands in ``calculator_results`` and docs/calculators.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from spectra_app.config import CalculatorSettings
from spectra_app.couplings.calculator_batch import (
    energies_of,
    geometries_of,
    nothing_known,
    with_energies,
    with_responses,
)
from spectra_app.couplings.calculator_card import CalculatorCard, card_of
from spectra_app.couplings.calculator_results import CalculatorReader, Wanted
from spectra_app.couplings.calculator_source import DipoleSource, Geometry
from spectra_app.dynamics.foreign import Use
from spectra_app.errors import ConfigError, ModelError
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.prediction import Prediction
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.structure.system import System

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator

    from spectra_app.electrostatics.iterations import Iterations
    from spectra_app.potentials.training_range import TrainingRange
    from spectra_app.structure.neighbors import Neighbors

BORN_STEP_A = 0.01  # of central differences of a dipole: 2e-4 e of curvature, and 1e-3 e of an SCF known to 1e-5 e A


class AsePotential:
    """A model made of calculators: ``Simulation(AsePotential(calculator), atoms)``.

    Args:
        calculator: of ASE, gives energies and forces; or a model of ours.
        response: gives dipoles, polarizabilities and Born charges: a calculator of ASE, or a model of ours; None: the
            first one gives them.  One of the two is a calculator.
        dipole_unit: of the calculators' dipoles: ``auto`` (e A as ASE has it, debye for MACE's dipole models), ``eA``,
            ``D``, ``au``.
        polarizability_unit: ``e2A2/eV`` (e A^2/V), ``A3``, ``au``, ``epm2/V``.
        periodic_dipole: what they know of the dipole of a periodic cell: ``auto``, ``cell`` (their dipole is that of
            the cell, up to e times lattice vectors) or ``born``.
        eps_inf: high-frequency dielectric constant of the material, for refractive index and reflectivity; the values
            are physical and not scaled by it.
        card: what is said of it; None makes one.

    Raises:
        ConfigError: two models of ours, or a word that is none of those above.
    """

    def __init__(
        self,
        calculator: Any,
        response: Any = None,
        *,
        dipole_unit: Literal["auto", "eA", "D", "au"] = "auto",
        polarizability_unit: Literal["e2A2/eV", "A3", "au", "epm2/V"] = "e2A2/eV",
        periodic_dipole: Literal["auto", "cell", "born"] = "auto",
        eps_inf: float | None = None,
        card: CalculatorCard | None = None,
    ) -> None:
        from spectra_app.config import parse_settings

        settings = parse_settings(
            CalculatorSettings,
            {
                "dipole_unit": dipole_unit,
                "polarizability_unit": polarizability_unit,
                "periodic_dipole": periodic_dipole,
            },
            "calculator",
        )
        found = [part for part in (calculator, response) if isinstance(part, Potential)]
        if len(found) == (1 if response is None else 2):
            got = "a model of ours" if response is None else "two models of ours"
            raise ConfigError(
                "AsePotential", got=got, wanted="a calculator of ASE", todo="A model of ours is used as it is"
            )
        self._ours: Potential | None = found[0] if found else None
        self._energy = None if calculator is self._ours else _reader_of(calculator, settings)
        self._reader: CalculatorReader | None = self._energy
        if response is not None:
            self._reader = None if response is self._ours else _reader_of(response, settings)
        self._card = card if card is not None else card_of(calculator, response, settings)
        self._eps_inf = eps_inf
        self._engine = "eager"
        self.notices: tuple[str, ...] = ()

    # --- what it is ---------------------------------------------------------------------------------------------------
    @property
    def card(self) -> CalculatorCard:
        """Name, hash, and what it gives: known after ``check_system``."""
        if self._reader is None:
            assert self._ours is not None
            return replace(self._card, has_alpha=self._ours.card.has_alpha, species=self._ours.species)
        source = self._reader.source
        species = () if self._ours is None else self._ours.species
        if source is None:
            return replace(self._card, species=species)
        return replace(self._card, has_alpha=source.has_alpha, dipole_rule=source.rule, species=species)

    @property
    def engines(self) -> tuple[str, ...]:
        """How a model of ours among the two can be evaluated; a calculator knows one way, its own."""
        return ("eager",) if self._ours is None else tuple(name for name in self._ours.engines if name != "graph")

    @property
    def engine(self) -> str:
        """The present one."""
        return self._engine if self._ours is None else self._ours.engine

    @engine.setter
    def engine(self, name: str) -> None:
        self._engine = name
        if self._ours is not None:
            self._ours.engine = name

    @property
    def cutoff(self) -> float:
        """Range of the neighbours that are asked for, A; 0: calculators look for theirs."""
        return 0.0 if self._ours is None else self._ours.cutoff

    @property
    def device(self) -> torch.device:
        """Where positions are wanted: calculators bring them to their own."""
        return torch.device("cpu") if self._ours is None else self._ours.device

    @property
    def dtype(self) -> torch.dtype:
        """Of positions: a calculator gets them unrounded."""
        return torch.float64

    @property
    def scale(self) -> PhysicalScale:
        """The identity, or that of the model of ours that gives the response."""
        return PhysicalScale() if self._reader is not None or self._ours is None else self._ours.scale

    @property
    def eps_inf(self) -> float | None:
        """High-frequency dielectric constant of the material."""
        return self._eps_inf if self._eps_inf is not None or self._ours is None else self._ours.eps_inf

    @property
    def oxidation_states(self) -> dict[str, int] | None:
        """Those of the model of ours that gives the response."""
        return None if self._reader is not None or self._ours is None else self._ours.oxidation_states

    @property
    def training_range(self) -> TrainingRange | None:
        """Of the model of ours among the two."""
        return None if self._ours is None else self._ours.training_range

    def calculator(self) -> BaseCalculator:
        """The calculator of ASE that gives energies and forces."""
        if self._energy is not None:
            return cast("BaseCalculator", self._energy.calculator)
        assert self._ours is not None
        return self._ours.calculator()

    def units(self) -> list[str]:
        """What the results are taken to be, in words, one line for each calculator that gives them."""
        if self._reader is None:
            return []
        return [f"{self._reader.name}: dipoles are taken to be in {self._reader.dipole_unit}"] * (
            self._reader.dipole_unit != "eA"
        )

    # --- before a run -------------------------------------------------------------------------------------------------
    def remember(self, atoms: Atoms) -> None:
        """Keep what a structure says beyond positions (charges, ``info``): calculators see it at each step."""
        for reader in self._readers:
            reader.remember(atoms)

    def check_system(self, system: System) -> None:
        """Evaluate the response once and see what the calculator gives.

        Args:
            system: the structures.

        Raises:
            CalculatorError: it cannot treat the structure.
            ModelError: no dipole that a spectrum can be made of; or another kind of it than for the structure before.
            StructureError: of a model of ours.
        """
        if self._ours is not None:
            self._ours.check_system(system)
        if self._reader is None:
            return
        for geometry in geometries_of(system):
            before = self._reader.source
            now = self._reader.find_source(geometry)
            if before is not None and (before.rule, before.has_alpha) != (now.rule, now.has_alpha):
                raise ModelError(
                    f"calculator {self._reader.name}",
                    got=f"{_words(before)} for one structure, {_words(now)} for another",
                    wanted="the same for all of a run",
                    todo="Run them one by one",
                )

    def check_use(self, system: System, use: Use) -> None:
        """Refuse what a calculator cannot give to a run; evaluates the first structure.

        Raises:
            ConfigError: an external field, or contributions of parts.
            ModelError: no forces, or no stress where the cell fluctuates.
        """
        if use.field:
            raise ConfigError(
                "external field",
                got=f"model {self._card.name}",
                wanted="no field: a calculator does not say how its forces change in one",
                todo="Put the field into the calculator, where it takes one",
            )
        if use.parts and self._reader is not None:
            raise ConfigError(
                "--parts",
                got=f"calculator {self._reader.name}, which gives the whole dipole only",
                wanted="none",
                todo="Use a model of ours for the response",
            )
        if self._energy is not None and use.forces:
            geometry = geometries_of(system)[0]
            self._energy.evaluate(geometry, Wanted(energy=True, forces=True, stress=use.stress))

    # --- evaluation ---------------------------------------------------------------------------------------------------
    def __call__(
        self,
        system: System,
        neighbors: Neighbors,
        forces: bool = True,
        stress: bool = False,
        field: Tensor | None = None,
        polarizability: bool = True,
        guess: Tensor | None = None,
        iterations: Iterations | None = None,
    ) -> Prediction:
        """Evaluate; arguments and result as ``Potential``.

        ``polarizability`` says whether dipole and polarizability are read at all: a second calculator is not asked
        otherwise, and both are NaN.  The energy is NaN of a calculator that has none (``record`` does without).

        Raises:
            CalculatorError: a calculator failed, or gave numbers that are none.
            ModelError: it does not give what is wanted.
            ConfigError: a field.
        """
        if field is not None:
            self.check_use(system, Use(field=True))
        found = nothing_known(system)
        if self._ours is not None and (self._energy is None or polarizability):
            moves = self._energy is None
            asked = {"forces": forces and moves, "stress": stress and moves, "polarizability": polarizability}
            cast, table = system.to(dtype=self._ours.dtype), neighbors.to(dtype=self._ours.dtype)
            ours = self._ours(cast, table, **asked, guess=guess, iterations=iterations)
            found = ours if self._reader is None else energies_of(ours, found)
        alone, geometries = self._reader is self._energy, geometries_of(system)
        if self._energy is not None:
            wanted = Wanted(forces or self._energy.has_energy, forces, stress, polarizability and alone)
            values = [self._energy.evaluate(geometry, wanted) for geometry in geometries]
            found = with_energies(found, values)
            found = with_responses(found, values) if alone and polarizability else found
        if self._reader is not None and not alone and polarizability:
            response = [self._reader.evaluate(geometry, Wanted(response=True)) for geometry in geometries]
            found = with_responses(found, response)
        return found

    def has_born_charges(self, system: System) -> bool:
        """Whether there are Born charges that cost one evaluation."""
        if self._reader is None:
            assert self._ours is not None
            return self._ours.has_born_charges(system)
        return self._reader.source is not None and self._reader.source.born is not None

    def born_charges(self, system: System, neighbors: Neighbors) -> Tensor:
        """[atom, field, displacement], e, physical: the calculator's, or central differences of its dipole.

        Raises:
            ModelError: no dipole.
            CalculatorError: a calculator failed.
        """
        if self._reader is None:
            assert self._ours is not None
            cast, table = system.to(dtype=self._ours.dtype), neighbors.to(dtype=self._ours.dtype)
            return self._ours.born_charges(cast, table)
        tensors = []
        for geometry in geometries_of(system):
            source = self._reader.source or self._reader.find_source(geometry)
            born = source.born is not None
            tensors.append(self._reader.born_charges(geometry) if born else dipole_derivatives(self._reader, geometry))
        return torch.from_numpy(np.concatenate(tensors)).to(system.positions)

    @property
    def _readers(self) -> list[CalculatorReader]:
        different = [self._energy] if self._reader is self._energy else [self._energy, self._reader]
        return [reader for reader in different if reader is not None]


def dipole_derivatives(reader: CalculatorReader, geometry: Geometry) -> np.ndarray:
    """Born charges [atom, field, displacement], e, by central differences of the dipole (``BORN_STEP_A``).

    Args:
        reader: of a calculator with a dipole.
        geometry: the structure; 6 N evaluations are made.
    """
    n_atoms, asked = len(geometry.numbers), Wanted(response=True)
    born = np.empty((n_atoms, 3, 3))
    assert reader.source is not None
    for atom in range(n_atoms):
        for axis in range(3):
            sides = []
            for sign in (1.0, -1.0):
                positions = geometry.positions.copy()
                positions[atom, axis] += sign * BORN_STEP_A
                dipole = reader.evaluate(geometry._replace(positions=positions), asked).dipole
                assert dipole is not None
                sides.append(dipole)
            change = sides[0] - sides[1]
            if reader.source.rule == "modulo":
                quanta = np.round(change @ np.linalg.inv(geometry.cell))
                change = change - quanta @ geometry.cell
            born[atom, :, axis] = change / (2.0 * BORN_STEP_A)
    return born


def _reader_of(calculator: Any, settings: CalculatorSettings) -> CalculatorReader:
    return CalculatorReader(calculator, settings, type(calculator).__name__)


def _words(source: DipoleSource) -> str:
    return f"{source.name}{' and polarizability' if source.has_alpha else ''}"
