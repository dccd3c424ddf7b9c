"""ASE calculator: energies, forces, stress, dipole, charges, polarizability and Born charges of a potential."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from spectra_app.neighbors import Neighbors, build_neighbors
from spectra_app.system import System, from_ase

_ON_DEMAND = ("stress", "born_charges", "born_effective_charges")


class _Results(dict[str, Any]):
    """Results of a calculator; the costly ones are computed when they are read."""

    def __init__(self, calculator: SpectraCalculator) -> None:
        super().__init__()
        self._calculator = weakref.ref(calculator)

    def __missing__(self, name: str) -> Any:
        calculator = self._calculator()
        if calculator is None or calculator.atoms is None or name not in _ON_DEMAND:
            raise KeyError(name)
        calculator.calculate(calculator.atoms, [name], [])
        return self[name]


class SpectraCalculator(Calculator):
    """Calculator of a potential, with a neighbour list that is reused while atoms move less than half the skin.

    Results, ASE units (eV, A, e): energy, free_energy, forces [atom, xyz], stress [Voigt] (ASE sign, eV/A^3), dipole
    [xyz] (physical; of a periodic cell the polarization times volume, defined by the positions as they stand), charges
    [atom] (latent), polarizability [xyz, xyz] (physical, e^2 A^2/eV), born_charges [atom, field, displacement]
    (physical; ASE's name born_effective_charges gives the same).  Stress and Born charges are computed when asked for,
    by ``get_property`` or by reading ``results["born_charges"]``.

    Args:
        model: a ``Potential``.
        skin_A: extra range of the neighbour list, A.
    """

    implemented_properties = [  # noqa: RUF012 (declared as a plain list in ase)
        "energy",
        "free_energy",
        "forces",
        "stress",
        "dipole",
        "charges",
        "polarizability",
        "born_charges",
        "born_effective_charges",
    ]

    def __init__(self, model: Any, skin_A: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.skin_A = skin_A
        self._neighbors: Neighbors | None = None
        self._built_from: System | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute properties into ``results``; see the class.

        Raises:
            StructureError: unknown element, overlapping atoms, mixed periodicity.
            PropertyNotImplementedError: the stress of an open structure.
        """
        super().calculate(atoms, properties, system_changes)
        if system_changes or not isinstance(self.results, _Results):
            self.results = _Results(self)
        assert self.atoms is not None
        system = from_ase(self.atoms, device=self.model.device)
        if "numbers" in system_changes:
            self.model.check_species(system.numbers)
        wants_stress = "stress" in properties and "stress" not in self.results
        if wants_stress and not bool(system.periodic.all()):
            raise PropertyNotImplementedError("the stress of an open structure is not defined")
        neighbors = self._update_neighbors(system)
        cast = system.to(dtype=self.model.dtype)
        if wants_stress or "energy" not in self.results:
            self._store(self.model(cast, neighbors, forces=True, stress=wants_stress))
        if {"born_charges", "born_effective_charges"} & set(properties):
            charges = _to_numpy(self.model.born_charges(cast, neighbors))
            self.results["born_charges"] = charges
            self.results["born_effective_charges"] = charges.copy()

    def _store(self, prediction: Any) -> None:
        """Copy a prediction for one structure into ``results``."""
        screening = float(prediction.screening[0])
        energy = float(prediction.energy[0])
        self.results.update(
            energy=energy,
            free_energy=energy,
            forces=_to_numpy(prediction.forces),
            dipole=_to_numpy(prediction.dipole[0]) * screening**0.5,
            charges=_to_numpy(prediction.charges),
            polarizability=_to_numpy(prediction.polarizability[0]) * screening,
        )
        if prediction.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(_to_numpy(prediction.stress[0]))

    def _update_neighbors(self, system: System) -> Neighbors:
        """The table for a structure: the old one while it is certainly complete."""
        old = self._built_from
        usable = (
            self._neighbors is not None
            and old is not None
            and old.sizes == system.sizes
            and torch.equal(old.periodic, system.periodic)
            and torch.equal(old.cell, system.cell)
            and float((system.positions - old.positions).square().sum(dim=1).max()) <= (0.5 * self.skin_A) ** 2
        )
        if self._neighbors is None or not usable:
            table = build_neighbors(system, self.model.cutoff + self.skin_A)
            self._neighbors = table.to(dtype=self.model.dtype)
            self._built_from = system
        return self._neighbors


def _to_numpy(values: torch.Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.float64).numpy().copy()
