"""Models of other libraries as the beginning of ours: one row per architecture, one function that opens its files.

A file of such a library may be a pickle, and a pickle is a program: it is opened only where somebody said so.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor

from spectra_app.config import BackboneSettings, ModelSettings
from spectra_app.errors import ConfigError, ModelError
from spectra_app.pickles import runs_code
from spectra_app.potentials.potential import Potential


class OpenedCheckpoint(NamedTuple):
    """What a model of another library gives to ours.

    Attributes:
        backbone: its architecture.
        reference_energies: [species], eV per atom, float64: what an isolated atom has, and constants of the model.
        energy_scale: eV, unit of the backbone's atomic energies.
        state: weights of the backbone.
        words: what it is, for a report.
    """

    backbone: BackboneSettings
    reference_energies: Tensor
    energy_scale: float
    state: dict[str, Tensor]
    words: str


class CheckpointOpener(Protocol):
    """Opens a file of one library.

    Args:
        path: the file; it exists, and may be loaded.
        species: chemical symbols of our model, in its order.
        head: which of several sets of energies it learned; None: the only one.

    Raises:
        ModelError: another kind of file, one that this version of the library cannot load, elements that it does not
            know, or a model whose energy has other parts than atomic energies of the layers.
        ConfigError: several heads and none is named, or no such head.
        MissingExtraError: the library is not installed.
    """

    def __call__(self, path: Path, species: tuple[str, ...], head: str | None) -> OpenedCheckpoint: ...  # noqa: D102


OPENERS: dict[str, tuple[str, str]] = {
    "mace": ("mace_checkpoint", "open_mace"),
    "nequip": ("nequip_checkpoint", "open_nequip"),
    "allegro": ("nequip_checkpoint", "open_allegro"),
}
"""Name of the backbone -> module in ``backbones`` and function in it; imported when a file is opened."""
CALLS_BY_NAME = dict.fromkeys(("nequip", "allegro"), "a file that names the functions which build its model")
"""Name of the backbone -> why each of its files runs code, also where it holds nothing but tensors and words."""


def open_checkpoint(
    backbone: str, path: Path | str, species: tuple[str, ...], head: str | None = None, trust: bool = False
) -> OpenedCheckpoint:
    """Open a trained model of another library.

    Args:
        backbone: ``model.backbone``.
        path: the file.
        species: chemical symbols of our model, in its order.
        head: which of several sets of energies it learned.
        trust: load files that run code of whoever made them.

    Raises:
        ConfigError: a backbone without such files, or a file that needs ``trust``; see ``CheckpointOpener``.
        ModelError: no such file; see ``CheckpointOpener``.
    """
    path = Path(path)
    if backbone not in OPENERS:
        raise ConfigError(
            "training.init_from",
            got=f"model.backbone: {backbone}",
            wanted=f"model.backbone: {' or '.join(OPENERS)}, whose library made the file",
            todo="A model of spectra-app itself goes into training.start",
        )
    if not path.is_file():
        raise ModelError(f"checkpoint {path}", got="no such file", wanted=f"a trained model of {backbone}")
    reason = runs_code(path) or CALLS_BY_NAME.get(backbone)
    if reason is not None and not trust:
        raise ConfigError(
            f"checkpoint {path}",
            got=f"{reason}, which runs whatever its maker put into it when it is loaded",
            wanted="your word that you trust who made it",
            todo="Give --trust-checkpoint (in Python trust_checkpoint=True)",
        )
    module, name = OPENERS[backbone]
    opener: CheckpointOpener = getattr(import_module(f"spectra_app.potentials.backbones.{module}"), name)
    return opener(path, species, head)


def agreed_settings(given: BackboneSettings, found: BackboneSettings, path: Path | str) -> BackboneSettings:
    """The architecture of a checkpoint, where a file says nothing else.

    Args:
        given: keys of the file; those that it does not name are no wish.
        found: of the checkpoint.
        path: of the checkpoint, for the message.

    Raises:
        ConfigError: the two contradict each other.
    """
    free = {key: getattr(given, key) for key in given.keys_beside_checkpoint if key in given.model_fields_set}
    for key in sorted(given.model_fields_set - set(free)):
        wish, has = getattr(given, key), getattr(found, key)
        if wish not in (has, "auto"):
            raise ConfigError(
                f"model.{key}", got=f"{wish}", wanted=f"{has}, as {path} has it", todo="Leave the key out of the file"
            )
    return found.model_copy(update=free)


def begun_from(
    opened: OpenedCheckpoint, settings: ModelSettings, species: tuple[str, ...], eps_inf: float | None = None
) -> Potential:
    """A potential in float64 with the weights, references and unit of a checkpoint; its heads are untrained.

    Args:
        opened: the checkpoint, opened for these elements.
        settings: architecture, whose backbone is that of the checkpoint.
        species: chemical symbols.
        eps_inf: high-frequency dielectric constant of the material.
    """
    model = Potential(settings, species, opened.reference_energies, opened.energy_scale, eps_inf).double()
    model.energy_scale.fill_(opened.energy_scale)  # which came in single precision
    model.backbone.load_state_dict(opened.state)
    return model
