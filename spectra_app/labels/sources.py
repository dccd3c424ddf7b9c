"""Where a calculator comes from: ``'ase:...'``, a model of ours, or an object of ASE that there is already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spectra_app.couplings.calculator_spec import is_calculator_spec, parse_calculator_spec
from spectra_app.errors import ConfigError
from spectra_app.zoo import find_model


@dataclass(frozen=True)
class Source:
    """A calculator in words, of which every process makes its own.

    Attributes:
        text: ``'ase:module:factory(arguments)'``, or the name or folder of a model.
        trust: load pickled checkpoints.
        own: they are the user's own words, not those of a file that may be a stranger's.
    """

    text: str
    trust: bool = False
    own: bool = True

    def check(self) -> None:
        """Refuse words that cannot be meant, before anything is computed.

        Raises:
            ConfigError: not of the form.
            ModelError: no such model.
        """
        if is_calculator_spec(self.text):
            parse_calculator_spec(self.text)
        else:
            find_model(self.text)

    def make(self) -> Any:
        """The calculator.

        Raises:
            ConfigError: see ``couplings.calculators.calculator_from``.
            ModelError: likewise; or no such model.
        """
        if is_calculator_spec(self.text):
            from spectra_app.couplings.calculators import calculator_from

            return calculator_from(self.text, self.trust, self.own)
        import torch

        from spectra_app.potentials.folder import load_model

        torch.set_num_threads(1)
        return load_model(self.text).calculator()

    def facts(self) -> dict[str, Any]:
        """What it is and its version, for the record."""
        if not is_calculator_spec(self.text):
            from spectra_app.potentials.folder import WEIGHTS_FILE

            return {"calculator": self.text, "weights": _digest(find_model(self.text) / WEIGHTS_FILE)}
        from spectra_app.couplings.calculator_provenance import fingerprint, version_of

        spec = parse_calculator_spec(self.text)
        return {
            "calculator": self.text,
            "package": spec.top,
            "version": version_of(spec),
            "fingerprint": fingerprint(spec),
        }


def _digest(path: Any) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Given:
    """A calculator that there is already, for work in this process."""

    calculator: Any

    def check(self) -> None:
        """Nothing to be said before it computes.

        Raises:
            ConfigError: it is no calculator.
        """
        if not hasattr(self.calculator, "get_property"):
            raise ConfigError(
                "calculator",
                got=type(self.calculator).__name__,
                wanted="a calculator of ASE, or 'ase:module:factory()'",
            )

    def make(self) -> Any:
        """The calculator."""
        return self.calculator

    def facts(self) -> dict[str, Any]:
        """What it is, for the record."""
        kind = type(self.calculator)
        return {"calculator": f"{kind.__module__}.{kind.__qualname__}"}


AnySource = Source | Given


def source_of(calculator: str | Any, trust: bool = False, own: bool = True) -> AnySource:
    """The source of what a user, or a recipe (``own=False``), names or gives."""
    return Source(calculator, trust, own) if isinstance(calculator, str) else Given(calculator)
