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

from spectra_app.errors import ConfigError, StructureError
from spectra_app.structure.distances import check_distances
from spectra_app.structure.neighbors import Neighbors, build_neighbors
from spectra_app.structure.system import System, check_vacuum, from_ase, slab_axes

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
    (physical; ASE's name born_effective_charges gives the same), extrapolation [atom] (how far outside the training
    data, 1 is their edge; left out where the model does not know).  Stress and Born charges are computed when asked
    for, by ``get_property`` or by reading ``results["born_charges"]``.

    In an external field F the energy is U - P.F - (1/2) F.alpha.F, forces and stress are its derivatives at constant F,
    and the dipole is P + alpha.F; polarizability and Born charges are those without field.

    Slabs (periodic along two cell vectors, e.g. ``pbc = [True, True, False]``): the stress is lateral, its components
    along the normal are zero, and it refers to the volume ``atoms.get_volume()``, as from codes that are periodic in
    three dimensions; times the height of the cell it is the surface stress, eV/A^2.

    Args:
        model: a ``Potential``.
        skin_A: extra range of the neighbour list, A.
        field_V_per_A: [xyz], uniform external field, V/A.

    Attributes:
        prediction: what the model gave for the present ``atoms``, latent; None before the first call.

    Raises:
        ConfigError: a field that is not three finite numbers.
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
        "extrapolation",
    ]
    periodic_dipole = "cell"  # what our own ``couplings.ase_potential`` reads

    def __init__(
        self, model: Any, skin_A: float = 0.5, field_V_per_A: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.skin_A = skin_A
        self._field = None if field_V_per_A is None else _field_vector(field_V_per_A).to(model.device)
        self.prediction: Any = None
        self._neighbors: Neighbors | None = None
        self._built_from: System | None = None

    @property
    def has_field(self) -> bool:
        """Whether there is an external field."""
        return self._field is not None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute properties into ``results``; see the class.

        Raises:
            StructureError: unknown element, overlapping atoms, one periodic direction only, a charged slab.
            ConfigError: a charged structure in a field.
            PropertyNotImplementedError: the stress of an open structure, or of a slab without a third cell vector.
        """
        super().calculate(atoms, properties, system_changes)
        if system_changes or not isinstance(self.results, _Results):
            self.results = _Results(self)
        assert self.atoms is not None
        system = self._same_vacuum(from_ase(self.atoms, device=self.model.device))
        if self._field is not None and abs(float(system.charge[0])) > 1e-9:
            raise ConfigError(
                "external field", got=f"charge {float(system.charge[0]):g} e", wanted="a neutral structure"
            )
        if self._built_from is None:  # the first structure: later ones may be stretched or pressed on purpose
            cell = _to_numpy(system.cell[0]) if bool(system.periodic[0]) else None
            check_distances(_to_numpy(system.positions), self.atoms.numbers, cell, "structure", stretched=False)
        if "numbers" in system_changes:
            self.model.check_system(system)
        wants_stress = "stress" in properties and "stress" not in self.results
        if wants_stress and not self.atoms.cell.volume > 0.0:
            raise PropertyNotImplementedError("a stress refers to a volume: this structure has no three cell vectors")
        if wants_stress and not bool(system.periodic.all()):
            raise PropertyNotImplementedError("the stress of an open structure is not defined")
        neighbors = self._update_neighbors(system)
        cast = system.to(dtype=self.model.dtype)
        if wants_stress or "energy" not in self.results:
            # None, not a field of zeros: models without a polarization of periodic cells have no field at all.
            field = None if self._field is None else self._field.to(self.model.dtype)
            self._store(self.model(cast, neighbors, forces=True, stress=wants_stress, field=field), system)
        if {"born_charges", "born_effective_charges"} & set(properties):
            charges = _to_numpy(self.model.born_charges(cast, neighbors))
            self.results["born_charges"] = charges
            self.results["born_effective_charges"] = charges.copy()

    def _same_vacuum(self, system: System) -> System:
        """A slab with the cell of the last call while that still fits: its energy shall not depend on the vacuum."""
        old = self._built_from
        if (
            system.slab is None
            or old is None
            or old.slab is None
            or not torch.equal(old.cell[:, :2], system.cell[:, :2])
        ):
            return system
        kept = system._replace(cell=old.cell)
        try:
            check_vacuum(kept, self.model.cutoff + self.skin_A)
        except StructureError:
            return system
        return kept

    def _store(self, prediction: Any, system: System) -> None:
        """Copy a prediction for one structure into ``results``."""
        self.prediction = prediction
        energy = float(prediction.energy[0])
        scale = self.model.scale
        polarizability = _to_numpy(scale.tensors(prediction.polarizability, system)[0])
        induced = 0.0 if self._field is None else polarizability @ _to_numpy(self._field[0])
        self.results.update(
            energy=energy,
            free_energy=energy,
            forces=_to_numpy(prediction.forces),
            dipole=_to_numpy(scale.vectors(prediction.dipole, system)[0]) + induced,
            charges=_to_numpy(prediction.charges),
            polarizability=polarizability,
        )
        if prediction.extrapolation is not None:
            self.results["extrapolation"] = _to_numpy(prediction.extrapolation.value)
        if prediction.stress is not None:
            stress = _to_numpy(prediction.stress[0])
            if system.slab is not None:
                stress = self._lateral_stress(stress, float(system.volume[0]))
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)

    def _lateral_stress(self, stress: np.ndarray, volume_A3: float) -> np.ndarray:
        """Stress [xyz, xyz] of a slab in its plane, from that of the cell inside to the volume of the atoms' own."""
        assert self.atoms is not None
        normal = slab_axes(np.asarray(self.atoms.cell.array), np.asarray(self.atoms.pbc, dtype=bool))[2]
        lateral = np.eye(3) - np.outer(normal, normal)
        return lateral @ stress @ lateral * (volume_A3 / float(self.atoms.cell.volume))

    def _update_neighbors(self, system: System) -> Neighbors:
        """The table for a structure: the old one while it is certainly complete."""
        old = self._built_from
        usable = (
            self._neighbors is not None
            and old is not None
            and old.sizes == system.sizes
            and torch.equal(old.periodic, system.periodic)
            and (old.slab is None) == (system.slab is None)
            and torch.equal(old.cell, system.cell)
            and float((system.positions - old.positions).square().sum(dim=1).max()) <= (0.5 * self.skin_A) ** 2
        )
        if self._neighbors is None or not usable:
            table = build_neighbors(system, self.model.cutoff + self.skin_A)
            self._neighbors = table.to(dtype=self.model.dtype)
            self._built_from = system
        return self._neighbors


def _field_vector(field_V_per_A: Sequence[float]) -> torch.Tensor:
    """A field [1, xyz], V/A.

    Raises:
        ConfigError: not three finite numbers.
    """
    field = np.asarray(field_V_per_A, dtype=float)
    if field.shape != (3,) or not np.isfinite(field).all():
        raise ConfigError("field_V_per_A", got=str(field_V_per_A), wanted="three finite numbers, V/A")
    return torch.from_numpy(field)[None]


def _to_numpy(values: torch.Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.float64).numpy().copy()
