"""mace-torch, imported once: what it prints, warns of and sets for the whole process stays here."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from spectra_app.errors import ConfigError, MissingExtraError

EXTRA = "mace"
_E3NN = "0.4."  # what mace-torch is made for
_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # its import lets every torch.load of the process run code


def mace_modules() -> Any:
    """``mace.modules``: layers and models.

    Raises:
        MissingExtraError: mace-torch is not installed.
        ConfigError: it is, beside an e3nn that it cannot work with.
    """
    if "mace.modules" in sys.modules:
        return sys.modules["mace.modules"]
    if importlib.util.find_spec("mace") is None or importlib.util.find_spec("e3nn") is None:
        raise MissingExtraError("mace-torch", EXTRA)
    found = version_of("e3nn")
    if not found.startswith(_E3NN):
        raise _wrong_environment(f"e3nn {found}")
    before = os.environ.get(_UNSAFE)
    try:
        with quiet():
            return importlib.import_module("mace.modules")
    except Exception as error:  # of whatever in it does not fit together
        raise _wrong_environment(f"{type(error).__name__}: {error}") from error
    finally:
        if before is None:
            os.environ.pop(_UNSAFE, None)


def version_of(package: str) -> str:
    """Installed version of a package, or ``"unknown"``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what the library prints and warns of while it is imported, builds a network or opens one."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def in_precision(dtype: torch.dtype = torch.float64) -> Iterator[None]:
    """Networks are made with constants of this dtype, and without TorchScript, which gains nothing here."""
    e3nn = importlib.import_module("e3nn")
    before, scripted = torch.get_default_dtype(), e3nn.get_optimization_defaults()["jit_script_fx"]
    torch.set_default_dtype(dtype)
    e3nn.set_optimization_defaults(jit_script_fx=False)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        e3nn.set_optimization_defaults(jit_script_fx=scripted)


def _wrong_environment(got: str) -> ConfigError:
    return ConfigError(
        f"mace-torch {version_of('mace-torch')}",
        got=got,
        wanted=f"an environment with e3nn {_E3NN}x",
        todo="Make one for it alone (nequip needs another e3nn): python -m venv mace-env; "
        "mace-env/bin/pip install 'spectra-app[mace]'",
    )
