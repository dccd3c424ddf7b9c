"""Where a calculator comes from: package, version, files; nothing is imported to know it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from spectra_app.couplings.calculator_spec import CalculatorSpec
from spectra_app.pickles import runs_code

PACKAGES = {
    "aimnet": "aimnet2calc",
    "chgnet": "chgnet",
    "deepmd": "deepmd-kit",
    "fairchem": "fairchem-core",
    "mace": "mace-torch",
    "metatomic": "metatomic-torch",
    "nequip": "nequip",
    "orb_models": "orb-models",
    "quippy": "quippy-ase",
}
"""Names in the package index of modules that are called otherwise there."""
_DOWNLOADS = frozenset({"mace_mp", "mace_off", "mace_anicc", "mace_omol", "mace_polar"})
"""Factories of MACE that fetch a model they know by name."""
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def version_of(spec: CalculatorSpec) -> str | None:
    """Version of the package that a specification names, imported or not; None where it says none."""
    name = PACKAGES.get(spec.top, spec.top)
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
    if not any(_INSTALLED & set(path.parts) for path in _source_of(spec)):
        return None  # a module of the user's own: the table below takes a second
    owners = importlib.metadata.packages_distributions().get(spec.top, ())
    return importlib.metadata.version(owners[0]) if owners else None


def fingerprint(spec: CalculatorSpec) -> str:
    """Short hash of what results depend on: the words, the package's version, the content of the files it names.

    Of a module that belongs to no package the source takes the place of a version.
    """
    version = version_of(spec)
    digest = hashlib.sha256(f"{spec.text}\0{version}".encode())
    for path in [*spec.files, *(_source_of(spec) if version is None else ())]:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:12]


def provenance(spec: CalculatorSpec) -> dict[str, Any]:
    """What a run file says of a calculator: specification, module, package, version, files."""
    return {
        "specification": spec.text,
        "module": spec.module,
        "package": spec.top,
        "version": version_of(spec),
        "files": [str(path) for path in spec.files],
    }


def notices(spec: CalculatorSpec) -> list[str]:
    """What a user should be told of a calculator that was made, one line each."""
    version = version_of(spec)
    lines = [f"imported {spec.module}{f' ({spec.top} {version})' if version else ''} for {spec.text}"]
    for path in spec.files:
        reason = runs_code(path)
        if reason is not None:
            lines.append(f"{path} is {reason}: loading it ran what is in it, as --trust-checkpoint allows")
    if spec.top == "mace" and spec.factory.split(".")[-1] in _DOWNLOADS and not spec.files:
        lines.append(f"{spec.factory} downloads its model, or takes it from a cache: both are done by MACE, not by us")
    return lines


def _source_of(spec: CalculatorSpec) -> tuple[Path, ...]:
    """The file of a module that belongs to no package with a version; nothing is imported."""
    try:
        found = importlib.util.find_spec(spec.top)
    except ValueError:  # a module that was made by hand
        return ()
    return () if found is None or found.origin is None or not Path(found.origin).is_file() else (Path(found.origin),)
