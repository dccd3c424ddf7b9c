"""The options that name a model made of calculators of other programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from spectra_app.cli import options
from spectra_app.config import CalculatorSettings, ModelChoice, RunFileSettings


@dataclass(frozen=True)
class CalculatorOptions:
    """What a command line says of calculators.

    Attributes:
        response: the second model; None: none.
        trust: load pickled checkpoints.
        given: settings of the results that were given.
    """

    response: str | None
    trust: bool
    given: dict[str, Any]

    def choice(self, model: str) -> ModelChoice:
        """The choice of models that a command makes, with ``--model``.

        Raises:
            ConfigError: a word that a setting does not have.
        """
        settings = options.settings_from_options(CalculatorSettings, "calculator", self.given, ())
        return ModelChoice(model, self.response, self.trust, True, settings)

    def overrides(self, model: str | None) -> list[str]:
        """The same as overrides of a recipe, values in YAML."""
        import json

        named = {"model": model, "response": self.response}
        named |= {f"calculator.{key}": value for key, value in self.given.items()}
        return [f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None]


_TRUST = typer.Option(
    "--trust-checkpoint",
    help="load checkpoints of calculators that are pickles, as those of MACE: loading one runs what its maker put in",
)


def takes_calculators(command: options.Command) -> options.Command:
    """Give a command ``--response``, ``--trust-checkpoint`` and what results mean; it gets them as ``calculator``."""
    names = tuple(CalculatorSettings.model_fields)
    annotations: dict[str, Any] = {
        "response": Annotated[str | None, options.setting(RunFileSettings, "response")],
        "trust_checkpoint": Annotated[bool, _TRUST],
    }
    for name in names:
        field = options.setting(CalculatorSettings, name)
        annotations[name] = Annotated[options.typed(CalculatorSettings, name), field]

    def make(given: dict[str, Any]) -> CalculatorOptions:
        settings = {name: given[name] for name in names if given[name] is not None}
        return CalculatorOptions(given["response"], given["trust_checkpoint"], settings)

    return options.gathered("calculator", annotations, make)(command)
