"""Recipes of the systems, the trainings of their tables, and the numbers that are kept of them.

``measured`` beside this file has one file per system: the numbers of every training, by the name of its folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from spectra_app.config import Settings

HERE = Path(__file__).parent
MEASURED = HERE / "measured"
METRICS_FILE, TIMES_FILE = "metrics.json", "times.json"

Numbers = dict[str, float]


class SystemRecipe(Settings):
    """What is trained on a system, how, and what is checked.

    Attributes:
        title: for the heading.
        train: labels, relative to the folder of reference data.
        own: more labels, of this repository and relative to it.
        own_test: likewise, to be evaluated instead of a part of the others.
        check: file with labels of responses; None: there are none.
        check_has_energies: whether that file has energies and forces of the same level of theory.
        split_by: key in the comments of the frames, or "formula"; errors of frames held out (``test_fraction``) are
            given for each of its values too.
        elements: with ``split_by``, elements whose force errors are given by themselves too.
        minutes: budget of the table, CPU minutes of one thread for each training.
        quick: variants of ``--quick``, which are trained at that budget.
        model: keys of the architecture.
        backbones: keys of single architectures.
        training: settings of the training.
    """

    title: str
    train: Path
    own: tuple[Path, ...] = ()
    own_test: tuple[Path, ...] = ()
    check: Path | None = None
    check_has_energies: bool = False
    split_by: str | None = None
    elements: tuple[str, ...] = ()
    minutes: float = Field(4.0, gt=0)
    quick: tuple[str, ...]
    model: dict[str, Any] = Field({})
    backbones: dict[str, dict[str, Any]] = Field({})
    training: dict[str, Any] = Field({})


class Cell(NamedTuple):
    """One training of the table."""

    system: str
    backbone: str
    variant: str
    budget: str
    seed: int

    @property
    def folder(self) -> str:
        """Its place in the output folder."""
        return "-".join(map(str, self))

    @classmethod
    def of_folder(cls, name: str) -> Cell:
        """The cell whose folder has this name."""
        system, backbone, variant, budget, seed = name.split("-")
        return cls(system, backbone, variant, budget, int(seed))

    @property
    def rung(self) -> tuple[bool, bool, int, str]:
        """Order of the ladders: no electrostatics, atomic charges, those that equilibrate, charges of pairs."""
        length = len(self.variant) if self.variant != "sr" else 0
        return (self.variant.startswith("p"), "eq" in self.variant, length, self.variant)


def finished(output: Path, name: str) -> dict[str, Numbers]:
    """Numbers of the finished trainings of a system, by the name of their folder; with times where they were taken."""
    out = {}
    for path in output.glob(f"{name}-*/{METRICS_FILE}"):
        times = path.parent / TIMES_FILE
        out[path.parent.name] = _json(path) | (_json(times) if times.is_file() else {})
    return out


def published(name: str) -> dict[str, Numbers]:
    """Numbers of a system that are kept beside this file, likewise."""
    path = MEASURED / f"{name}.json"
    return _json(path) if path.is_file() else {}


def publish(output: Path, name: str) -> None:
    """Keep the numbers of the finished trainings of a system beside this file, with those that are kept already."""
    kept = published(name) | finished(output, name)
    if kept:
        MEASURED.mkdir(exist_ok=True)
        text = json.dumps(dict(sorted(kept.items())), indent=1)
        (MEASURED / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
