"""The structure that a job starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectra_app.errors import StructureError
from spectra_app.zoo import find_model

if TYPE_CHECKING:
    from ase import Atoms

START_FILE = "start.extxyz"  # the equilibrated structure in the folder of a model


def read_structure(path: Path, repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
    """A structure in any format of ASE; the last frame of a file with several (``file@3`` takes another).

    Args:
        path: file, or ``file@index``.
        repeat: repetitions along the cell vectors.

    Raises:
        StructureError: no such file, a format that ASE does not know, or a repetition along an open direction.
    """
    from ase.io import read

    name, _, index = str(path).rpartition("@") if "@" in path.name else (str(path), "", "")
    if not Path(name).is_file():
        raise StructureError(
            f"structure {name}",
            got="no such file",
            wanted="a structure file that ASE reads",
            todo=f"A shipped model has one: FOLDER/{START_FILE}, the folder by: spectra-app models NAME",
        )
    try:
        atoms = read(name, index=int(index) if index.lstrip("-").isdigit() else -1)
    except Exception as error:  # ASE's readers raise whatever their parsing meets
        got = f"{type(error).__name__}: {error}".strip()[:150]
        raise StructureError(
            f"structure {path}", got=got, wanted="extxyz, CIF, POSCAR or another format of ASE"
        ) from None
    if isinstance(atoms, list):
        raise StructureError(f"structure {path}", got=f"{len(atoms)} frames", wanted="one", todo="Use FILE@INDEX")
    if tuple(repeat) != (1, 1, 1):
        if any(times > 1 and not along for times, along in zip(repeat, atoms.pbc, strict=True)):
            raise StructureError(
                f"structure {path}",
                got=f"repeat {repeat} with pbc = {atoms.pbc.tolist()}",
                wanted="repetitions along periodic cell vectors only",
            )
        atoms = atoms.repeat(tuple(repeat))
    return atoms


def read_structures(paths: Sequence[Path], repeat: tuple[int, int, int] = (1, 1, 1)) -> list[Atoms]:
    """Structures of several files, ``file@:`` or ``file@0:10`` being several frames of one.

    Args:
        paths: files, as ``read_structure`` takes them, or ``file@begin:end:step``.
        repeat: repetitions along the cell vectors.

    Raises:
        StructureError: as ``read_structure``; or no frame.
    """
    from ase.io import string2index

    structures: list[Atoms] = []
    for path in paths:
        name, _, index = str(path).rpartition("@")
        if not name or ":" not in index:
            structures.append(read_structure(path, repeat))
            continue
        count = _number_of_frames(Path(name))
        chosen = string2index(index)
        assert isinstance(chosen, slice)
        structures += [read_structure(Path(f"{name}@{k}"), repeat) for k in range(count)[chosen]]
    if not structures:
        raise StructureError(f"structures {' '.join(map(str, paths))}", got="no frame", wanted="one at least")
    return structures


def _number_of_frames(path: Path) -> int:
    """Frames in a file.

    Raises:
        StructureError: no such file, or a format that ASE does not know.
    """
    from ase.io import iread

    read_structure(path)  # whatever is wrong is said there
    return sum(1 for _ in iread(path, index=":"))


def start_structure(model: str, structure: Path | None, repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
    """The given structure, or the one that lies with the model.

    Raises:
        StructureError: as ``read_structure``; or the model brings none and none is given.
    """
    if structure is not None:
        return read_structure(structure, repeat)
    shipped = None if model.startswith("ase:") else find_model(model) / START_FILE
    if shipped is None or not shipped.is_file():
        raise StructureError(
            f"start structure of model '{model}'", got="none in its folder", wanted="a structure", todo="Name a file"
        )
    return read_structure(shipped, repeat)
