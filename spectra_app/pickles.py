"""Files that run code when they are loaded: pickles, archives of torch with more than tensors in them, compiled code.

A pickle is a program.  ``torch.load(..., weights_only=True)`` reads the harmless ones, tensors in plain containers; the
others are told from their content, whatever they are called.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

_EXECUTABLES = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_COMPILED = (".so", ".dylib", ".dll", ".pyd", ".o", ".cubin", ".py", ".pyc")
_ACTING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "EXT1"})
_MOST_FILES = 10_000  # of a folder
_HEAD = 65536


def runs_code(path: Path | str) -> str | None:
    """Why loading a file may run code of whoever made it; None where it does not.

    Told from the content.  It may with pickles, archives of torch and TorchScript that ``torch.load`` does not read
    with ``weights_only=True``, with shared libraries and archives that hold them; of a folder the first such counts.

    Args:
        path: file or folder; None is returned where there is neither.
    """
    path = Path(path)
    if path.is_dir():
        found = ((file, runs_code(file)) for file in _files_of(path))
        return next((f"{file.name}: {reason}" for file, reason in found if reason is not None), None)
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith(_EXECUTABLES):
        return "compiled code"
    if zipfile.is_zipfile(path):
        return _of_zip(path)
    if tarfile.is_tarfile(path):
        return "a tar archive, in which old versions of torch kept pickles"
    if any(_is_pickle(part) for part in _unpacked(path, head)):
        return None if _only_tensors(path) else "a pickle of Python objects"
    return None


def _files_of(folder: Path) -> Iterator[Path]:
    for count, file in enumerate(sorted(folder.rglob("*"))):
        if count >= _MOST_FILES:
            return
        if file.is_file():
            yield file


def _of_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "a damaged archive"
    if any(name.endswith(_COMPILED) for name in names):
        return "an archive with compiled code or TorchScript"
    if any(name.endswith((".pkl", ".pickle")) for name in names):
        return None if _only_tensors(path) else "a pickle of Python objects, not of tensors alone"
    return None


def _only_tensors(path: Path) -> bool:
    """Whether torch reads the file without running anything; tensors are not brought to memory."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(path, map_location="meta", weights_only=True)
    except Exception:  # whatever it is, torch did not read it
        return False
    return True


def _unpacked(path: Path, head: bytes) -> Iterable[Callable[[], BinaryIO]]:
    """The file, and what is in it where it is compressed."""
    yield lambda: path.open("rb")
    openers: dict[bytes, Callable[[], Any]] = {
        b"\x1f\x8b": partial(gzip.open, path, "rb"),
        b"BZh": partial(bz2.open, path, "rb"),
        b"\xfd7zXZ": partial(lzma.open, path, "rb"),
    }
    for magic, opener in openers.items():
        if head.startswith(magic):
            yield opener
    if head[:1] == b"\x78":
        yield lambda: io.BytesIO(zlib.decompressobj().decompress(head, _HEAD))


def _is_pickle(opened: Callable[[], BinaryIO]) -> bool:
    """Whether the bytes begin a pickle that makes or calls something: known by its operations, in every protocol."""
    acts = False
    try:
        with opened() as stream:
            start = stream.read(2)
            if len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= 5:
                return True
            stream.seek(0)
            for operation, _, position in pickletools.genops(stream):
                acts = acts or operation.name in _ACTING
                if operation.name == "STOP" or (position or 0) > _HEAD:
                    return acts
    except Exception:  # no pickle, or a broken one: its loader gets no further either
        return acts
    return acts
