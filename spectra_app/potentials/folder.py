"""Model folders: weights (safetensors) and ``model.yaml`` (architecture, units, eps_inf, errors, version).

Beside them may stand the range of the training data (``training_range.safetensors``), which no prediction depends on.

A model folder carries a format version; older versions are upgraded by pure functions, one per version, in
``UPGRADES``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from spectra_app.config import ModelSettings, parse_settings
from spectra_app.errors import ModelError
from spectra_app.files import atomic_path
from spectra_app.potentials.card import ModelCard
from spectra_app.potentials.potential import Potential
from spectra_app.potentials.range_file import read_training_range, save_training_range
from spectra_app.potentials.scale import PhysicalScale
from spectra_app.zoo import INTERPRETATION_FILE, MODEL_FILE, RANGE_FILE, find_model

FORMAT_VERSION = 6
_SCALE_VERSION = 5  # from here on the physical scale stands in model.yaml
WEIGHTS_FILE = "weights.safetensors"
UNITS = {"energy": "eV", "length": "A", "charge": "e", "polarizability": "e^2 A^2/eV"}


def _without_products(description: dict[str, Any]) -> dict[str, Any]:
    """1 -> 2: architectures of version 1 knew no ``products``, and its first ones no other response than one-shot."""
    if "architecture" not in description:
        return description
    return description | {"architecture": {"products": False, "response": "one-shot"} | description["architecture"]}


def _with_free_charges(description: dict[str, Any]) -> dict[str, Any]:
    """2 -> 3: atomic charges of version 2 summed to what they liked, and kappa of pairs reached over all neighbours."""
    if "architecture" not in description:
        return description
    variant = str(description["architecture"].get("variant", ""))
    if "ip" in variant:
        raise ModelError(
            f"model of variant {variant}",
            got="format version 2, whose kappa was another function",
            wanted="format version 3",
            todo="Train it again",
        )
    return description | {"architecture": {"total_charge": "free"} | description["architecture"]}


def _without_bound(description: dict[str, Any]) -> dict[str, Any]:
    """3 -> 4: alpha and kappa of version 3 knew no bound."""
    if "architecture" not in description:
        return description
    return description | {"architecture": {"bounded_response": False} | description["architecture"]}


def _with_scale(description: dict[str, Any]) -> dict[str, Any]:
    """4 -> 5: charges of elements were learned, all atoms were smeared alike, and chi stood in another file.

    ``chi`` is put into the description by its reader; the screening of version 4 was 1 + chi for every response.
    """
    if "architecture" not in description:
        return description
    before = {"oxidation_states": "free", "bond_weight": "gaussian", "element_sigma_A": {}}
    architecture = before | description["architecture"]
    chi = description.get("chi") if "i" in str(architecture.get("variant", "")) else 0.0
    scale = {"eps_inf": description.get("eps_inf"), "chi": chi, "screening": None if chi is None else 1.0 + chi}
    return description | {"architecture": architecture, "scale": description.get("scale") or scale}


def _with_sharp_lengths(description: dict[str, Any]) -> dict[str, Any]:
    """5 -> 6: lengths of the vectors of ``painn`` had a kink where they vanish."""
    if description.get("architecture", {}).get("backbone", "painn") != "painn":
        return description
    return description | {"architecture": {"soft_length": 1e-4} | description.get("architecture", {})}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _without_products,
    2: _with_free_charges,
    3: _without_bound,
    4: _with_scale,
    5: _with_sharp_lengths,
}
"""Format version -> function that makes the next version's description from it."""


def save_model(model: Potential, folder: Path | str) -> None:
    """Write a model folder; every file is written beside its place first, then moved.

    Args:
        model: the potential; its ``card`` describes it.
        folder: made if missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    card = model.card
    description = {
        "format_version": FORMAT_VERSION,
        "name": card.name,
        "species": list(model.species),
        "units": UNITS,
        "scale": _scale_description(model.scale),
        "architecture": model.settings.model_dump(mode="json"),
        "errors": card.errors,
        "data": card.data,
        "licence": card.licence,
        "created": card.created,
    }
    (folder / RANGE_FILE).unlink(missing_ok=True)  # of other weights
    write_atomically(folder / WEIGHTS_FILE, save(state))
    if model.training_range is not None:
        save_training_range(model.training_range, folder / WEIGHTS_FILE)
    write_atomically(folder / MODEL_FILE, yaml.safe_dump(description, sort_keys=False, allow_unicode=True).encode())


def save_scale(folder: Path | str, scale: PhysicalScale) -> None:
    """Put another physical scale into a model's ``model.yaml``; runs made with the old one cannot be continued.

    Args:
        folder: of the model.
        scale: the new one.
    """
    path = Path(folder) / MODEL_FILE
    description = yaml.safe_load(path.read_text(encoding="utf-8")) | {"scale": _scale_description(scale)}
    write_atomically(path, yaml.safe_dump(description, sort_keys=False, allow_unicode=True).encode())


def _scale_description(scale: PhysicalScale) -> dict[str, float | None]:
    """The scale as ``model.yaml`` has it; eps_e follows from the others and stands there for the reader."""
    return dataclasses.asdict(scale) | {"eps_e": scale.eps_e if scale.known else None}


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or complete.

    Raises:
        ModelError: the folder cannot be written, or the disk is full.
    """
    with atomic_path(path, ModelError) as temporary:
        temporary.write_bytes(content)


def read_card(name: str | Path, eps_inf: float | None = None) -> ModelCard:
    """Card of a model without loading its weights into a network.

    Args:
        name: name in the zoo or folder.
        eps_inf: high-frequency dielectric constant of the material; None takes the model's.

    Raises:
        ModelError: no such model, or a description that cannot be read.
    """
    folder = find_model(name)
    description = _read_description(folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise ModelError(f"model {folder}", got=f"no {WEIGHTS_FILE}", wanted="the weights beside model.yaml")
    scale = _scale_of(description, folder)
    if eps_inf is not None:
        scale = dataclasses.replace(scale, eps_inf=float(eps_inf))
    return ModelCard(
        name=description["name"],
        species=tuple(description["species"]),
        settings=parse_settings(ModelSettings, description["architecture"], str(folder / MODEL_FILE)),
        scale=scale,
        errors=dict(description.get("errors") or {}),
        data=description.get("data") or "",
        licence=description.get("licence") or "",
        created=str(description.get("created") or ""),
        hash=_hash(weights.read_bytes(), (folder / MODEL_FILE).read_bytes(), scale),
    )


def _hash(weights: bytes, description: bytes, scale: PhysicalScale) -> str:
    """Of everything that results depend on: weights, description, and the physical scale in use."""
    return hashlib.sha256(b"\0".join([weights, description, repr(scale).encode()])).hexdigest()[:12]


def _scale_of(description: dict[str, Any], folder: Path) -> PhysicalScale:
    try:
        numbers = description["scale"]
        values = [None if numbers[name] is None else float(numbers[name]) for name in ("eps_inf", "chi", "screening")]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder / MODEL_FILE}, scale",
            got=f"unreadable ({error!r})",
            wanted="eps_inf, chi and screening, each a number or null",
        ) from None
    return PhysicalScale(*values)


def _material_chi(folder: Path) -> float | None:
    """Mean chi of the material, which models before version 5 had in their report; None without a report or cell."""
    path = folder / INTERPRETATION_FILE
    if not path.is_file():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return float(report["chi"]["mean"]) if report["periodic"] else None
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}", got=f"unreadable ({error})", wanted="a report", todo="Remove it") from None


def _read_description(folder: Path) -> dict[str, Any]:
    """``model.yaml`` in the present format version."""
    try:
        description = yaml.safe_load((folder / MODEL_FILE).read_text(encoding="utf-8"))
        version = int(description["format_version"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / MODEL_FILE}", got=f"unreadable ({error})", wanted="a model description") from None
    if version > FORMAT_VERSION:
        raise ModelError(
            f"model {folder}",
            got=f"format version {version}",
            wanted=f"at most {FORMAT_VERSION}",
            todo="Update spectra-app",
        )
    if version < _SCALE_VERSION:
        description = description | {"chi": _material_chi(folder)}
    while version < FORMAT_VERSION:
        description = UPGRADES[version](description)
        version += 1
    missing = {"name", "species", "architecture"} - set(description)
    if missing:
        raise ModelError(
            f"{folder / MODEL_FILE}", got=f"no {', '.join(sorted(missing))}", wanted="a complete description"
        )
    return description


def load_model(
    name: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | Literal["float32", "float64"] = "float32",
    eps_inf: float | None = None,
    training_range: bool = True,
) -> Potential:
    """Load a model for evaluation; parameters are frozen.

    Args:
        name: name in the zoo (``"water"``) or folder of a trained model.
        device: torch device; ``"auto"`` takes a GPU where there is one.
        dtype: floating-point type of the network.
        eps_inf: high-frequency dielectric constant of the material; None takes the model card's.
        training_range: also what tells extrapolation, where the folder has it.

    Raises:
        ModelError: no such model, damaged weights, or weights that do not fit the description or the training range.
    """
    card = read_card(name, eps_inf)
    folder = find_model(name)
    model = Potential(card.settings, card.species)
    model.scale = card.scale
    try:
        state = load_file(folder / WEIGHTS_FILE)
        if state.get("energy_scale", torch.zeros(())).dtype == torch.float64:
            model = model.to(torch.float64)
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError, OSError) as error:
        first = str(error).splitlines()[0]
        raise ModelError(f"weights of {folder}", got=first, wanted="weights that fit model.yaml") from None
    model.card = card
    model.training_range = read_training_range(folder / WEIGHTS_FILE) if training_range else None
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.to(device=choose_device(device), dtype=_dtype(dtype)).eval()


def choose_device(name: torch.device | str) -> torch.device:
    """The named device; ``"auto"`` is a GPU where there is one, else the CPU.

    Raises:
        ModelError: CUDA is asked for and not there.
    """
    if str(name) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            f"device '{name}'", got="no CUDA device on this machine", wanted="cpu", todo="Use --device cpu"
        )
    return device


def _dtype(dtype: torch.dtype | str) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    return {"float32": torch.float32, "float64": torch.float64}[dtype]
