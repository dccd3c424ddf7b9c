"""Files of the libraries ``nequip`` and ``nequip-allegro``, read by the library: what it sets and says stays here."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from spectra_app.errors import ModelError
from spectra_app.potentials.backbones.nequip_library import OLDEST

_PACKAGE = ".nequip.zip"


def load_graph(path: Path) -> tuple[Any, str]:
    """The library's model of a file, and the release of nequip that made it; this runs code that is in the file.

    Args:
        path: a checkpoint of ``nequip-train`` (.ckpt; the averaged weights where there are any) or a package of
            ``nequip-package`` (.nequip.zip).

    Raises:
        ModelError: another file, or one that this release of the library cannot read.
    """
    package = path.name.endswith(_PACKAGE)
    if not zipfile.is_zipfile(path) or not (package or path.suffix == ".ckpt"):
        raise not_of_the_library(path, "another kind of file")
    version = "unknown"
    try:
        with library_at_work():
            from nequip.model.saved_models.load_utils import load_saved_model

            version = _version_of_package(path) if package else _version_of_checkpoint(path)
            graph = load_saved_model(path)
    except ModelError:
        raise
    except Exception as error:  # whatever a foreign file or another release makes of itself
        raise another_release(path, version, f"{type(error).__name__}: {first_line(error)}") from error
    return graph, version


def _version_of_checkpoint(path: Path) -> str:
    """Release of nequip that wrote a checkpoint.

    Raises:
        ModelError: it is not one.
    """
    content = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(content, dict) or "info_dict" not in content.get("hyper_parameters", {}):
        raise not_of_the_library(path, "a checkpoint of another program, or of nequip before 0.7")
    return str(content["hyper_parameters"]["info_dict"].get("versions", {}).get("nequip", "unknown"))


def _version_of_package(path: Path) -> str:
    """Release of nequip that wrote a package.

    Raises:
        ModelError: it is not one.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("model/package_metadata.txt")]
        if not names:
            raise not_of_the_library(path, "another archive")
        content = yaml.safe_load(archive.read(names[0]))
    return str(content.get("versions", {}).get("nequip", "unknown"))


def first_line(error: Exception) -> str:
    """Of what an error says."""
    return (str(error).splitlines() or [""])[0]


def not_of_the_library(path: Path, got: str) -> ModelError:
    """The error of a file of another kind."""
    return ModelError(
        f"checkpoint {path}", got=got, wanted="a .ckpt of nequip-train or a .nequip.zip of nequip-package"
    )


def another_release(path: Path, version: str, got: str) -> ModelError:
    """The error of a model that the installed library does not build in the same way."""
    oldest = ".".join(map(str, OLDEST["nequip"]))
    return ModelError(
        f"checkpoint {path} (nequip {version})",
        got=f"unreadable ({got})",
        wanted=f"a model that the nequip installed here, {oldest} or newer, builds itself",
        todo="Make a package of it with the release that trained it (nequip-package build), or train it anew",
    )


@contextmanager
def library_at_work() -> Iterator[None]:
    """The library may set what it wants for the whole process (seeds, dtype, variables), and it is set back."""
    dtype, environment = torch.get_default_dtype(), dict(os.environ)
    sharing = torch.multiprocessing.get_sharing_strategy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lightning.pytorch.utilities.seed import isolate_rng
            from nequip.utils.global_state import set_global_state

            with isolate_rng():
                set_global_state()
                torch.set_default_dtype(torch.float64)  # which it does itself the first time only
                yield
    finally:
        torch.set_default_dtype(dtype)
        torch.multiprocessing.set_sharing_strategy(sharing)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
