"""What is known of the elements before training: the charges they carry through a cell, how soft they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spectra_app.config import ModelSettings
from spectra_app.electrostatics.default_smearing import default_smearing_A
from spectra_app.electrostatics.multipoles import parse_variant
from spectra_app.errors import ConfigError, DatasetError
from spectra_app.potentials.elements import check_oxidation_states, common_oxidation_states
from spectra_app.training.dataset import LabelledFrame


def resolve_oxidation_states(
    settings: ModelSettings, frames: Sequence[LabelledFrame], species: Sequence[str]
) -> ModelSettings:
    """The settings with ``oxidation_states`` as numbers or ``"free"``.

    ``auto`` becomes the common states where the variant moves charge between neighbours, every element has an
    unambiguous one, and they explain the total charge of every frame (a peroxide, a metal or a hole do not).

    Args:
        settings: architecture.
        frames: all labelled structures, those held out included.
        species: chemical symbols in them.

    Raises:
        ConfigError: given states leave out an element.
        DatasetError: given states do not sum to the total charge of a frame.
    """
    given = settings.oxidation_states
    if given == "free":
        return settings
    if isinstance(given, dict):
        check_oxidation_states(given, species, parse_variant(settings.variant))
        _check_frames(given, frames)
        return settings.model_copy(update={"oxidation_states": {symbol: given[symbol] for symbol in species}})
    states = common_oxidation_states(species) if parse_variant(settings.variant).charges == "pair" else None
    known = states is not None and all(_excess(states, frame) == 0.0 for frame in frames)
    return settings.model_copy(update={"oxidation_states": states if known else "free"})


def resolve_smearing(settings: ModelSettings, species: Sequence[str]) -> ModelSettings:
    """The settings with ``element_sigma_A`` as numbers of the elements that are smeared wider than ``sigma_A``.

    Args:
        settings: architecture.
        species: chemical symbols.

    Raises:
        ConfigError: a width that is not above zero.
    """
    given = settings.element_sigma_A
    if isinstance(given, dict):
        wrong = [f"{symbol}: {width:g}" for symbol, width in given.items() if not width > 0.0]
        if wrong:
            raise ConfigError("model.element_sigma_A", got=", ".join(wrong), wanted="widths above 0 A")
        return settings
    soft = parse_variant(settings.variant).induced_dipoles and settings.bounded_response
    widths = {symbol: default_smearing_A(symbol, settings.sigma_A) for symbol in species} if soft else {}
    wider = {symbol: width for symbol, width in widths.items() if width > settings.sigma_A}
    return settings.model_copy(update={"element_sigma_A": wider})


def _excess(states: Mapping[str, int], frame: LabelledFrame) -> float:
    """Sum of the oxidation states less the total charge, e; 0 within rounding."""
    excess = sum(states[symbol] for symbol in frame.atoms.get_chemical_symbols()) - float(frame.atoms.info["charge"])
    return 0.0 if abs(excess) < 1e-6 else excess


def _check_frames(states: Mapping[str, int], frames: Sequence[LabelledFrame]) -> None:
    for frame in frames:
        excess = _excess(states, frame)
        if excess != 0.0:
            charge = float(frame.atoms.info["charge"])
            raise DatasetError(
                f"{frame.name}, total charge",
                got=f"{charge:+g} e, where model.oxidation_states of {frame.atoms.get_chemical_formula()} make "
                f"{charge + excess:+g} e",
                wanted="the same",
                todo="Correct the states or the label (training.keys.charge), or set model.oxidation_states: free",
            )
