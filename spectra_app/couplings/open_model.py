"""A model as the user names it: in the zoo, a folder, or a calculator of ASE; with a second one for the response."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from spectra_app.config import CalculatorSettings, ModelChoice
from spectra_app.couplings.calculator_provenance import fingerprint, notices, provenance, version_of
from spectra_app.couplings.calculator_spec import CalculatorSpec, is_calculator_spec, parse_calculator_spec
from spectra_app.couplings.calculators import calculator_from
from spectra_app.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch

    from spectra_app.couplings.ase_potential import AsePotential
    from spectra_app.couplings.calculator_card import CalculatorCard
    from spectra_app.potentials import Potential
    from spectra_app.potentials.card import ModelCard


@overload
def load_model(
    name: str | Path,
    device: torch.device | str = ...,
    dtype: torch.dtype | Literal["float32", "float64"] = ...,
    eps_inf: float | None = ...,
    training_range: bool = ...,
) -> Potential: ...
@overload
def load_model(
    name: str | Path,
    device: torch.device | str = ...,
    dtype: torch.dtype | Literal["float32", "float64"] = ...,
    eps_inf: float | None = ...,
    training_range: bool = ...,
    *,
    response: str | Path | None = ...,
    trust: bool = ...,
    dipole_unit: Literal["auto", "eA", "D", "au"] = ...,
    polarizability_unit: Literal["e2A2/eV", "A3", "au", "epm2/V"] = ...,
    periodic_dipole: Literal["auto", "cell", "born"] = ...,
) -> Potential | AsePotential: ...
def load_model(
    name: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | Literal["float32", "float64"] = "float32",
    eps_inf: float | None = None,
    training_range: bool = True,
    *,
    response: str | Path | None = None,
    trust: bool = False,
    dipole_unit: Literal["auto", "eA", "D", "au"] = "auto",
    polarizability_unit: Literal["e2A2/eV", "A3", "au", "epm2/V"] = "e2A2/eV",
    periodic_dipole: Literal["auto", "cell", "born"] = "auto",
) -> Potential | AsePotential:
    """Load a model for evaluation: ``Potential``, or ``AsePotential`` where a calculator is named.

    Args:
        name: name in the zoo (``"water"``), folder of a trained model, or ``"ase:module:factory(arguments)"``.
        device: torch device of a model of ours; ``"auto"`` takes a GPU where there is one.
        dtype: floating-point type of its network.
        eps_inf: high-frequency dielectric constant of the material; None takes the model card's.
        training_range: also what tells extrapolation, where the folder has it.
        response: a second model, named likewise, that gives dipoles, polarizabilities and Born charges.
        trust: load pickled checkpoints of calculators, which may run code.
        dipole_unit: of calculators; see ``AsePotential``.
        polarizability_unit: likewise.
        periodic_dipole: likewise.

    Raises:
        ModelError: no such model, or one that cannot be loaded; a module or name that is not there.
        ConfigError: a specification of another form, or a file that runs code, without ``trust``.
    """
    from spectra_app.config import parse_settings

    means = {
        "dipole_unit": dipole_unit,
        "polarizability_unit": polarizability_unit,
        "periodic_dipole": periodic_dipole,
    }
    settings = parse_settings(CalculatorSettings, means, "calculator")
    second = None if response is None else str(response)
    choice = ModelChoice(str(name), second, trust, calculator=settings)
    return open_model(choice, device, dtype, eps_inf, training_range)


def open_model(
    choice: str | ModelChoice,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | Literal["float32", "float64"] = "float32",
    eps_inf: float | None = None,
    training_range: bool = True,
) -> Potential | AsePotential:
    """As ``load_model``, of a choice that was made elsewhere."""
    from spectra_app.potentials.folder import load_model as load_folder

    chosen = ModelChoice(choice) if isinstance(choice, str) else choice
    _check(chosen)
    specs = _specs(chosen)
    if not specs:
        return load_folder(chosen.name, device, dtype, eps_inf, training_range)
    from spectra_app.couplings.ase_potential import AsePotential

    def made(name: str | None) -> Any:
        if name is None:
            return None
        if is_calculator_spec(name):
            return calculator_from(name, chosen.trust, chosen.own)
        return load_folder(name, device, dtype, eps_inf, training_range)

    parts = made(chosen.name), made(chosen.response)
    card = read_card(chosen)
    model = AsePotential(*parts, eps_inf=eps_inf, card=card, **chosen.calculator.model_dump())  # type: ignore[arg-type]
    model.notices = tuple(line for spec in specs for line in notices(spec)) + tuple(model.units())
    return model


def read_card(choice: str | ModelChoice, eps_inf: float | None = None) -> ModelCard | CalculatorCard:
    """Name, hash and origin of a model; nothing is imported and no network is made.

    Args:
        choice: which.
        eps_inf: high-frequency dielectric constant that a model of ours is given; None: its own.

    Raises:
        ModelError: no such model.
        ConfigError: a specification of another form.
    """
    from spectra_app.potentials.folder import read_card as read_folder

    chosen = ModelChoice(choice) if isinstance(choice, str) else choice
    specs = _specs(chosen)
    if not specs:
        return read_folder(chosen.name, eps_inf)
    from spectra_app.couplings.calculator_card import CalculatorCard

    digest = hashlib.sha256(chosen.calculator.model_dump_json().encode())
    source: dict[str, Any] = {}
    names, origins = [], []
    for part, name in (("energy", chosen.name), ("response", chosen.response)):
        if name is None:
            continue
        if is_calculator_spec(name):
            spec = parse_calculator_spec(name)
            digest.update(fingerprint(spec).encode())
            source[part] = provenance(spec) | {"trusted": chosen.trust}
            names.append(name)
            version = version_of(spec)
            origins.append(f"imported {spec.module}" + (f", {spec.top} {version}" if version else ""))
        else:
            card = read_folder(name)
            digest.update(card.hash.encode())
            source[part] = {"model": card.name, "hash": card.hash}
            names.append(card.name)
            origins.append(f"model {card.hash}")
    source["settings"] = chosen.calculator.model_dump(mode="json")
    return CalculatorCard(", response ".join(names), digest.hexdigest()[:12], "; ".join(origins), source)


def _specs(choice: ModelChoice) -> list[CalculatorSpec]:
    words = [name for name in (choice.name, choice.response) if is_calculator_spec(name)]
    return [parse_calculator_spec(str(word)) for word in words]


def _check(choice: ModelChoice) -> None:
    """Refuse a second model of ours.

    Raises:
        ConfigError: that.
    """
    if choice.response is not None and not _specs(choice):
        raise ConfigError(
            "--response",
            got=f"'{choice.response}' for '{choice.name}', both models of ours",
            wanted="a calculator, 'ase:module:factory(arguments)', as one of the two",
            todo="A model of ours brings its own response",
        )
    if choice.response is None and choice.name.endswith(".model"):
        raise ModelError(
            f"model '{choice.name}'",
            got="a file",
            wanted="a name in the zoo, a folder, or 'ase:module:factory(arguments)'",
            todo=f"A checkpoint of MACE: -m \"ase:mace.calculators:MACECalculator(model_paths='{choice.name}')\"",
        )
