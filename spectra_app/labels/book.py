"""What a job that labels has on disk while it is not finished: its plan, sampled frames, and every label that is made.

Everything is written beside its place and renamed, so whatever is there is whole; a killed job goes on from it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import Trajectory

from spectra_app.errors import DatasetError
from spectra_app.files import atomic_path
from spectra_app.labels.calculation import Label
from spectra_app.labels.candidates import Candidate

PLAN_FILE = "plan.json"


class Book:
    """The folder of one job.

    Args:
        output: the file that the job makes; the folder stands beside it.
        plan: what labels depend on; another plan is another job.
        anew: throw away what is there.

    Raises:
        DatasetError: the folder holds work of another plan, or cannot be written.
    """

    def __init__(self, output: Path, plan: dict[str, Any], anew: bool = False) -> None:
        self.folder = output.with_name(f"{output.name}.parts")
        if anew:
            self.remove()
        path, text = self.folder / PLAN_FILE, json.dumps(plan, indent=1, sort_keys=True)
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            if self._holds_work():
                raise DatasetError(
                    f"labels {output}",
                    got=f"begun already, with another calculator, other structures or settings ({self.folder})",
                    wanted="the same ones",
                    todo="Give the same command to go on, or --overwrite to begin anew",
                )
            self.remove()  # a wrong word in the first command, and nothing was computed
        if not path.is_file():
            self.write(path, text)

    def _holds_work(self) -> bool:
        """Whether anything is there that would have to be computed again."""
        return any(next((self.folder / name).glob("*"), None) is not None for name in ("labels", "dynamics"))

    def write(self, path: Path, text: str) -> None:
        """Write a small file whole.

        Raises:
            DatasetError: the disk is full, or the folder cannot be written.
        """
        with atomic_path(path, DatasetError) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def walked(self, walk: int) -> list[Atoms]:
        """Frames of a walk that are there, from the first one on."""
        found: list[Atoms] = []
        while (path := self._frame(walk, len(found))).is_file():
            found.append(_read(path)[0])
        return found

    def add_walked(self, walk: int, frame: int, atoms: Atoms) -> None:
        """Keep a frame of a walk, exactly: momenta and all bits."""
        _write(self._frame(walk, frame), [atoms])

    def _frame(self, walk: int, frame: int) -> Path:
        return self.folder / "dynamics" / f"{walk:04d}_{frame:05d}.traj"

    def pool(self) -> list[Candidate] | None:
        """The structures that are to be labelled; None: not settled yet."""
        path = self.folder / "pool.traj"
        if not path.is_file():
            return None
        origins = json.loads((self.folder / "pool.json").read_text(encoding="utf-8"))
        return [Candidate(atoms, origin) for atoms, origin in zip(_read(path), origins, strict=True)]

    def settle(self, pool: Sequence[Candidate]) -> None:
        """Settle the structures that are to be labelled."""
        self.write(self.folder / "pool.json", json.dumps([candidate.origin for candidate in pool], indent=0))
        _write(self.folder / "pool.traj", [candidate.atoms for candidate in pool])

    def labels(self, n_frames: int) -> dict[int, Label]:
        """Labels that are there, by the number of the frame.

        Raises:
            DatasetError: one of them is damaged.
        """
        return {number: _label(path) for number in range(n_frames) if (path := self._label(number)).is_file()}

    def add_label(self, number: int, label: Label) -> None:
        """Keep a label."""
        facts = {
            "energy_eV": label.energy_eV,
            "forces_eV_per_A": label.forces_eV_per_A.tolist(),
            "stress_eV_per_A3": None if label.stress_eV_per_A3 is None else label.stress_eV_per_A3.tolist(),
            "dipole_eA": None if label.dipole_eA is None else label.dipole_eA.tolist(),
            "charge_e": label.charge_e,
            "deaf": label.deaf,
        }
        self.write(self._label(number), json.dumps(facts))

    def _label(self, number: int) -> Path:
        return self.folder / "labels" / f"{number:06d}.json"

    def note(self, name: str, facts: Any) -> None:
        """Keep what was found out on the way (a check of forces)."""
        self.write(self.folder / f"{name}.json", json.dumps(facts))

    def noted(self, name: str) -> Any:
        """What ``note`` kept; None: nothing."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def remove(self) -> None:
        """The job is done: the output holds everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


def digest(structures: Sequence[Candidate]) -> str:
    """Short hash of structures: another file of the same name is another job."""
    found = hashlib.sha256()
    for candidate in structures:
        atoms = candidate.atoms
        for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
            found.update(np.ascontiguousarray(array).tobytes())
        found.update(json.dumps([candidate.origin, sorted(atoms.info.items())]).encode())
    return found.hexdigest()[:16]


def _label(path: Path) -> Label:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        stress, dipole = facts["stress_eV_per_A3"], facts["dipole_eA"]
        return Label(
            facts["energy_eV"],
            np.array(facts["forces_eV_per_A"]),
            None if stress is None else np.array(stress),
            None if dipole is None else np.array(dipole),
            facts["charge_e"],
            facts["deaf"],
        )
    except (ValueError, KeyError, TypeError):
        raise DatasetError(f"label {path}", got="damaged", todo="Remove it; it is made again") from None


def _write(path: Path, frames: Sequence[Atoms]) -> None:
    with atomic_path(path, DatasetError) as temporary, Trajectory(temporary, "w") as file:
        for atoms in frames:
            file.write(atoms)


def _read(path: Path) -> list[Atoms]:
    with Trajectory(path) as file:
        return list(file)
