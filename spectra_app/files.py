"""Files that are either the old one or complete: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from spectra_app.errors import SpectraAppError


@contextlib.contextmanager
def atomic_path(path: Path | str, error_class: type[SpectraAppError] = SpectraAppError) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error.

    Args:
        path: the file that is to appear; missing folders are made.
        error_class: raised when the file cannot be written.

    Raises:
        SpectraAppError: (or ``error_class``) the folder cannot be written, or the disk is full.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; a result is an ordinary one
        temporary.replace(target)
    except OSError as error:
        raise error_class(
            f"writing {target}", got=error.strerror or str(error), todo="Free space or choose another output folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
