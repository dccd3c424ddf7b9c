"""The checkpoint beside a run file: everything a restart needs, replaced as a whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch

from spectra_app.errors import TrajectoryError
from spectra_app.runs.opening import is_empty_run
from spectra_app.runs.writer import explained

VERSION = 2  # of the content; 1 kept latent dipoles and their screening


def checkpoint_path(output: Path) -> Path:
    """``run.h5`` -> ``run.h5.checkpoint``."""
    return output.with_name(output.name + ".checkpoint")


def is_begun(output: Path) -> bool:
    """Whether there is something to continue: a checkpoint, or a file that is more than a run without any frame.

    A process that was killed before its first checkpoint leaves such a run.
    """
    if checkpoint_path(output).exists():
        return True
    return output.exists() and not is_empty_run(output)


def save_checkpoint(output: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values next to a run file, atomically.

    Raises:
        TrajectoryError: the disk is full or cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"version": VERSION, **content}, buffer)
    target = checkpoint_path(output)
    temporary = target.with_name(target.name + ".partial")
    with explained(target):
        with temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)


def load_checkpoint(output: Path, kind: str) -> dict[str, Any]:
    """Read the checkpoint of a run file.

    Args:
        output: the run file.
        kind: what must have written it: "md" or "record".

    Raises:
        TrajectoryError: missing, damaged, or of another kind or version.
    """
    path = checkpoint_path(output)
    if not path.is_file():
        raise TrajectoryError(
            f"checkpoint {path}",
            got="no such file",
            wanted="the checkpoint of the run",
            todo="Run again without --restart",
        )
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise TrajectoryError(
            f"checkpoint {path}", got=f"a damaged file ({type(error).__name__})", todo="Run again without --restart"
        ) from None
    if content.get("version") != VERSION or content.get("kind") != kind:
        raise TrajectoryError(
            f"checkpoint {path}",
            got=f"kind {content.get('kind')}, version {content.get('version')}",
            wanted=f"kind {kind}, version {VERSION}",
            todo="Run again without --restart: a checkpoint of an earlier version cannot be continued",
        )
    return content
