"""Our potential behind i-PI's interfaces, in atomic units: what the socket client and the direct driver share.

i-PI sends positions (bohr) and the cell, vectors as columns; it takes potential (hartree), forces (hartree/bohr), the
virial -V stress (hartree) and a JSON text of extras: ``dipole``, three numbers in e bohr, and ``polarizability``, nine
numbers xx xy xz yx ... in bohr^3, both physical.  Several structures (beads) at once are one batch of the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from spectra_app.couplings.evaluator import Evaluator, SystemMaker
from spectra_app.dynamics.forces import PotentialLike
from spectra_app.errors import ConfigError, StructureError
from spectra_app.units import BOHR_TO_ANGSTROM, HARTREE_TO_EV

POLARIZABILITY_TO_EV = HARTREE_TO_EV / BOHR_TO_ANGSTROM**2
"""1 e^2 A^2/eV [bohr^3]."""

EXTRAS = ("dipole", "polarizability")


class DriverAnswer(NamedTuple):
    """What i-PI gets for one structure.

    Attributes:
        potential_hartree: energy.
        forces: [atom, xyz], hartree/bohr.
        virial_hartree: [xyz, xyz].
        extras: JSON.
    """

    potential_hartree: float
    forces: np.ndarray
    virial_hartree: np.ndarray
    extras: str


class Driver:
    """Answers for i-PI.

    Args:
        model: the potential.
        atoms: a structure with the same atoms in the same order, whose ``pbc`` say what is periodic: i-PI sends
            neither.
        extras: which of ``EXTRAS`` are sent.
        charge: total charge, e.
        engine: see ``dynamics.engine.choose_engine``.

    Raises:
        ConfigError: unknown extras.
        StructureError: elements that the model does not know.
    """

    def __init__(
        self,
        model: PotentialLike,
        atoms: Atoms,
        extras: Sequence[str] = EXTRAS,
        charge: float | None = None,
        engine: str = "auto",
    ) -> None:
        unknown = sorted(set(extras) - set(EXTRAS))
        if unknown:
            raise ConfigError("extras", got=", ".join(unknown), wanted=f"some of {', '.join(EXTRAS)}")
        total = float(atoms.info.get("charge", 0.0)) if charge is None else charge
        self._model, self._extras = model, tuple(extras)
        self._maker = SystemMaker(atoms.numbers, atoms.pbc, total, model.device)
        self._evaluate = Evaluator(model, engine=engine)
        model.check_system(SystemMaker(atoms.numbers, atoms.pbc, total, model.device)([atoms.positions], [atoms.cell]))
        self.n_structures = 0

    @property
    def n_atoms(self) -> int:
        """Atoms of a structure."""
        return len(self._maker.numbers)

    def __call__(self, cells: Sequence[np.ndarray], positions: Sequence[np.ndarray]) -> list[DriverAnswer]:
        """Answers for structures of one batch.

        Args:
            cells: [structure][xyz, vector], bohr, vectors as columns.
            positions: [structure][atom, xyz], bohr.

        Raises:
            StructureError: another number of atoms, or atoms that cannot be treated.
            SimulationError: the energy is not a number.
        """
        for structure in positions:
            if len(structure) != self.n_atoms:
                raise StructureError(
                    "atoms sent by i-PI",
                    got=len(structure),
                    wanted=f"{self.n_atoms}, as in the structure of the driver",
                    todo="Give the structure that i-PI starts from",
                )
        places = [np.asarray(structure, dtype=float) * BOHR_TO_ANGSTROM for structure in positions]
        boxes = [np.asarray(cell, dtype=float).T * BOHR_TO_ANGSTROM for cell in cells]
        system = self._maker(places, boxes)
        periodic = self._maker.periodic
        prediction = self._evaluate(system, stress=periodic, polarizability="polarizability" in self._extras)
        assert prediction.forces is not None
        scale = self._model.scale
        energy = prediction.energy.tolist()
        forces = prediction.forces.double().cpu().numpy().reshape(len(places), -1, 3)
        dipole = scale.vectors(prediction.dipole.to(system.cell), system).cpu().numpy() / BOHR_TO_ANGSTROM
        alpha = scale.tensors(prediction.polarizability.to(system.cell), system).cpu().numpy() * POLARIZABILITY_TO_EV
        virial = np.zeros((len(places), 3, 3))
        if prediction.stress is not None:
            volume = system.volume[:, None, None].cpu().numpy()
            virial = -volume * prediction.stress.double().cpu().numpy() / HARTREE_TO_EV
        self.n_structures += len(places)
        return [
            DriverAnswer(
                energy[k] / HARTREE_TO_EV,
                forces[k] * (BOHR_TO_ANGSTROM / HARTREE_TO_EV),
                virial[k],
                self._json(dipole[k], alpha[k]),
            )
            for k in range(len(places))
        ]

    def _json(self, dipole: np.ndarray, alpha: np.ndarray) -> str:
        values = {"dipole": dipole.tolist(), "polarizability": alpha.reshape(-1).tolist()}
        return json.dumps({name: values[name] for name in self._extras}) if self._extras else ""
